/**
 * Calls to the security services of a card through Kennel's agent (dist/kennel-tee-client.cjs).
 *
 *     const { connect } = require("/usr/lib/kennel/kennel-tee-client.cjs");
 *     const tee = await connect("/run/kennel/tee.sock");
 *     const { ret, output } = await tee.call("keystore", 3, { input, class: "idempotent" });
 *
 * Every call ends exactly once, within its time: with what the TEE said, or with a TeeError that
 * names why not. The agent may be restarted meanwhile, and the TEE as well.
 */

/**
 * `idempotent`: may run more than once. `keyed`: the application remembers the keys of what it has
 * done, and is asked before anything is sent again. `once`: never sent twice.
 */
export type CallClass = "idempotent" | "keyed" | "once";

export interface CallOptions {
  /** At most 32768 bytes. */
  readonly input?: Uint8Array;
  /** As registered on the card when absent, and `once` where nothing is. */
  readonly class?: CallClass;
  /** From now to the verdict, ms: 1 to 120000, 30000 when absent. */
  readonly withinMs?: number;
  /** Wait for a service that is away, instead of `tee.unavailable` at once. */
  readonly waits?: boolean;
  /**
   * 1 to 64 letters, digits, `_`, `.` and `-`, never used before by this user; made up when absent.
   */
  readonly id?: string;
}

/** What the TEE said: success, `ret` 0, or its refusal. */
export interface CallResult {
  readonly id: string;
  /** `replayed`: it was sent again after a crash, as its class allows. */
  readonly verdict: "answered" | "replayed";
  /** TEEC result, and who made it (TEEC_ORIGIN_*). */
  readonly ret: number;
  readonly origin: number;
  readonly value?: number;
  readonly output?: Uint8Array;
  /** It was done before a crash and is not done again: what it gave is lost. */
  readonly lost: boolean;
  /** Goes up with every restart of the TEE or the agent: what was in its RAM before is gone. */
  readonly epoch: number;
}

export interface Outcome {
  readonly id: string;
  /** `unknown`: the agent never took such a call, or has forgotten it. */
  readonly state: "under_way" | "settled" | "unknown";
  readonly verdict?: string;
  readonly because?: string;
  /** False: it never reached the TEE. */
  readonly sent?: boolean;
}

export interface Service {
  readonly service: string;
  readonly available: boolean;
}

/**
 * By `code`: `tee.unavailable` not done, or harmless if it was; `tee.unknown_outcome` may have been
 * done, nobody can say; `tee.deadline` its time is up: `outcome(id)` tells later; `tee.quarantined`
 * this command crashed the TEE and is not sent any more; `tee.denied` not for this user;
 * `tee.limit` too much at once; `tee.call` against a rule; `tee.socket` no agent, or closed.
 * `evidence` has the call's `id`, and `sent`: false where the TEE never saw it.
 */
export declare class TeeError extends Error {
  readonly code: string;
  readonly evidence: Readonly<Record<string, unknown>>;
}

export interface TeeClient {
  /** Goes up with every restart of the TEE or the agent. */
  readonly epoch: number;
  /** Rejects with a TeeError. */
  call(service: string, command: number, options?: CallOptions): Promise<CallResult>;
  /** The services that this user may call. */
  services(): Promise<readonly Service[]>;
  /** `told` is told at once and at every change. Returns what ends that. */
  subscribe(
    service: string,
    told: (available: boolean, epoch: number) => void,
  ): Promise<() => void>;
  /** What became of a call of this user's, also one that an earlier process made. */
  outcome(id: string): Promise<Outcome>;
  /** What is under way ends with `tee.socket`. */
  close(): void;
}

export interface ConnectOptions {
  /** Shown on the card. */
  readonly name?: string;
  /** How long the first connection may take, ms; 10000 when absent. Lost ones are made anew. */
  readonly withinMs?: number;
}

/** Rejects with a TeeError `tee.socket`, or `tee.denied` where no service is for this user. */
export declare function connect(path?: string, options?: ConnectOptions): Promise<TeeClient>;
