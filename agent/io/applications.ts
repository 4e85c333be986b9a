/**
 * The programs of the card that use security services, as the agent meets them: connections of a
 * local socket, with what the kernel says about who is at the other end. Frames are whole here;
 * what is no frame, comes in halves, or is not read, never gets past this.
 */

/** Who is at the other end, as the kernel noted it when the connection was made (SO_PEERCRED). */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
}

/** One connection. */
export interface Application {
  /** Unique for the life of the agent. */
  readonly id: number;
  readonly peer: Peer;
  /** Queues a frame; a connection that is gone, or that does not read, takes it to nowhere. */
  send(frame: Uint8Array): void;
  /** Ends it once what was queued is written. */
  close(): void;
}

/** What happened, in the order in which it did. */
export type ApplicationNews =
  | { readonly kind: "joined"; readonly of: Application }
  /** The body of one frame. */
  | { readonly kind: "frame"; readonly of: Application; readonly body: Uint8Array }
  /** It is gone. `problem`: it was cut off for what it did; null when it left by itself. */
  | { readonly kind: "left"; readonly of: Application; readonly problem: string | null }
  /** Somebody was turned away before he was a connection, or the socket itself is in trouble. */
  | { readonly kind: "trouble"; readonly problem: string };

/** Bounds on what programs can make the agent hold; each is reached without harm to the others. */
export const applicationLimits = {
  /** Connections at once, and how many of them one user may have. */
  connections: 256,
  connectionsOfOne: 192,
  /** A frame that has begun is complete by then, ms. */
  frameMs: 5_000,
  /** A connection has said hello by then, ms. */
  helloMs: 10_000,
  /** Bytes that wait for a client to read them; with more it is cut off. */
  queueBytes: 262_144,
  /** A client reads what waits for it within this, or is cut off, ms. */
  readMs: 10_000,
} as const;

export interface ApplicationServer {
  /** For people: the socket's path. */
  readonly name: string;
  /** The user that the agent runs as. */
  readonly ownUid: number;
  /** Sets who is told. What happened in one turn of the loop comes together. */
  listen(tell: (news: readonly ApplicationNews[]) => void): void;
  /**
   * A keyed digest of these bytes, 16 bytes long, for telling whether two calls are the same. The
   * key outlives the agent, not the machine's boot.
   */
  digest(bytes: Uint8Array): Uint8Array;
  /** What an earlier agent sent into the TEE may still have its effect: its process lives. */
  leftInside(): boolean;
  /** No more connections, and those that are there end. */
  close(): void;
}
