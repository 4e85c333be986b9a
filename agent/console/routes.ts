/** Which client asked what: sequence numbers on the shared line, and the way back. */
import { type Header, headerBytes, type Op, parsePacket } from "../wire/smp.ts";

/**
 * Requests of one client that may wait for the card; the oldest is given up for a newer one, as
 * its asker has by then. With clientsMax of them half of the 256 numbers rest, so that one comes
 * again only long after its last answer.
 */
export const perOwnerMax = 8;

/** One message of a packet, as it came. */
export interface Piece {
  /** Null where the rest of the packet makes no sense. */
  readonly header: Header | null;
  readonly bytes: Uint8Array;
  /** Its map; null when that is not sound. */
  readonly body: () => Record<string, unknown> | null;
}

/** Splits a packet into its messages, bytes untouched. */
export function split(packet: Uint8Array): Piece[] {
  const pieces: Piece[] = [];
  for (let at = 0; at + headerBytes <= packet.length; ) {
    const view = new DataView(packet.buffer, packet.byteOffset + at);
    const end = at + headerBytes + view.getUint16(2);
    if (end > packet.length) break;
    pieces.push(pieceOf(packet.subarray(at, end)));
    at = end;
  }
  return pieces;
}

function pieceOf(bytes: Uint8Array): Piece {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const first = view.getUint8(0);
  const op = (["read", "read_response", "write", "write_response"] as const)[first & 7];
  const isSound = op !== undefined && first >> 5 === 0;
  const header: Header | null = !isSound
    ? null
    : {
        version: (first >> 3) & 3,
        op,
        group: view.getUint16(4),
        seq: view.getUint8(6),
        command: view.getUint8(7),
      };
  return { header, bytes, body: () => bodyOf(bytes) };
}

function bodyOf(bytes: Uint8Array): Record<string, unknown> | null {
  const [item] = parsePacket(bytes);
  return item?.kind === "request" ? item.body : null;
}

/** The same message with another sequence number. */
export function withSequence(bytes: Uint8Array, sequence: number): Uint8Array {
  const copy = bytes.slice();
  copy[6] = sequence;
  return copy;
}

interface Route<Owner> {
  readonly owner: Owner;
  /** The owner's own number. */
  readonly sequence: number;
  readonly answer: Op;
  readonly group: number;
  readonly command: number;
}

export class Routes<Owner> {
  /** By sequence number on the line, the longest waiting first. */
  private readonly routes = new Map<number, Route<Owner>>();
  private next: number;

  constructor(first: number) {
    this.next = first & 0xff;
  }

  get size(): number {
    return this.routes.size;
  }

  /** The number under which to ask on the line. */
  add(owner: Owner, { op, group, command, seq }: Header): number {
    const own = [...this.routes].filter(([, route]) => route.owner === owner);
    const [oldest] = own;
    if (own.length >= perOwnerMax && oldest !== undefined) this.routes.delete(oldest[0]);
    while (this.routes.has(this.next)) this.next = (this.next + 1) & 0xff;
    const number = this.next;
    this.next = (number + 1) & 0xff;
    const answer: Op = op === "write" ? "write_response" : "read_response";
    this.routes.set(number, { owner, sequence: seq, answer, group, command });
    return number;
  }

  /** Whose the answer is, once; null for what nobody waits for. */
  take({ op, group, command, seq }: Header): Route<Owner> | null {
    const route = this.routes.get(seq);
    if (route === undefined || route.answer !== op) return null;
    if (route.group !== group || route.command !== command) return null;
    this.routes.delete(seq);
    return route;
  }

  drop(sequence: number): void {
    this.routes.delete(sequence);
  }

  /** Nobody is there any more to take the answers. */
  forget(owner: Owner): void {
    for (const [number, route] of this.routes) {
      if (route.owner === owner) this.routes.delete(number);
    }
  }

  clear(): void {
    this.routes.clear();
  }
}
