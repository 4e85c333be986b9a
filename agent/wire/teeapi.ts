/**
 * What the agent and the programs of the card say to each other about security services: frames of
 * four bytes of length, big-endian, then one CBOR map. A request has an id and exactly one reply
 * with that id; a notice has none. SPEC.md, section 11, has the bytes.
 */
import { Failure } from "../errors.ts";
import { decodeMap, encodeMap } from "./cbor.ts";
import {
  bool,
  bytes,
  check,
  type Infer,
  list,
  map,
  oneOf,
  optional,
  type Shape,
  text,
  textOf,
  uint,
} from "./shape.ts";

/** The contract spoken here; a client that speaks another is refused by name. */
export const apiVersion = 1;
/** Longest input of a call, as a trusted application takes it (SPEC, section 7). */
export const inputBytesMax = 32_768;
/** Longest body of a frame, both ways: an input or output and what goes around it. */
export const frameBytesMax = inputBytesMax + 4_096;
/** The least and the most time that a client may give a call, ms. */
export const withinRangeMs = { min: 1, max: 120_000 } as const;
/** A call that does not say how long it may take has as long as the agent gives any. */
export const withinDefaultMs = 30_000;
/** Calls of one connection that are not over; with one more it is refused by name. */
export const callsOfConnection = 16;
/** What a call's id may be: it goes into keys and into the journal, and is unique to its user. */
export const callIdPattern = /^[\w.-]{1,64}$/;
const lengthBytes = 4;

const callClass = oneOf("idempotent", "keyed", "once");
const service = textOf(64);

/** What a client may ask, by `op`. */
export const asks = {
  /** The first request of a connection. */
  hello: map({ version: uint, name: optional(textOf(64)) }),
  /** The services that this client may use. */
  services: map({}),
  /** From now on notices tell when the service comes and goes. */
  subscribe: map({ service }),
  call: map({
    service,
    command: uint,
    /** Names the call for ever: asking after it, sending it again. Unique to the user. */
    call: textOf(64),
    /** As registered when absent. */
    class: optional(callClass),
    input: optional(bytes),
    within_ms: optional(uint),
    /** Wait for a service that is away, instead of `unavailable` at once. */
    waits: optional(bool),
    /** It was sent before, perhaps to an agent that is gone, and its verdict never came. */
    again: optional(bool),
  }),
  /** What became of a call. */
  outcome: map({ call: textOf(64) }),
} as const;
export type AskName = keyof typeof asks;
export type AskOf<K extends AskName> = Infer<(typeof asks)[K]>;
export type Ask = { [K in AskName]: { readonly op: K; readonly id: number } & AskOf<K> }[AskName];

/**
 * `answered`, `replayed`, `unavailable`, `outcome_unknown`, `quarantined`: as of
 * machines/teecalls.ts. `deadline`: the client's time is up and nothing is known yet; the call goes
 * on, and `outcome` tells what became of it. `rejected`: never sent, `error` says which rule.
 */
export const verdictNames = [
  ...(["answered", "replayed", "unavailable", "outcome_unknown", "quarantined"] as const),
  ...(["deadline", "rejected"] as const),
] as const;
const verdict = oneOf(...verdictNames);
export type ApiVerdict = (typeof verdictNames)[number];

const resultMembers = {
  /** Name of the errno with which the driver refused; absent when it did not. */
  errno: optional(text),
  /** What the TEE said, and who of it (TEEC_ORIGIN_*). */
  ret: optional(uint),
  origin: optional(uint),
  value: optional(uint),
  output: optional(bytes),
  /** It was done before and is not done again: what it gave is lost. */
  lost: optional(bool),
};

/** What the agent says, by `kind`. */
export const tellings = {
  hello: map({ id: uint, version: uint, epoch: uint, boot: text, simulated: bool, uid: uint }),
  services: map({
    id: uint,
    epoch: uint,
    services: list(map({ service, available: bool })),
  }),
  subscribed: map({ id: uint, service, available: bool, epoch: uint }),
  verdict: map({
    id: uint,
    call: textOf(64),
    verdict,
    because: text,
    epoch: uint,
    /** False: it never reached the TEE, so that nothing of it was done. */
    sent: bool,
    error: optional(text),
    ...resultMembers,
  }),
  outcome: map({
    id: uint,
    call: textOf(64),
    /** `unknown`: this agent never took such a call, or has forgotten it. */
    state: oneOf("under_way", "settled", "unknown"),
    epoch: uint,
    verdict: optional(verdict),
    because: optional(text),
    sent: optional(bool),
    ret: optional(uint),
    origin: optional(uint),
  }),
  /** Of a request that is no call. Without an id when none could be read. */
  refused: map({ id: optional(uint), error: text, because: text }),
  /** A service that was subscribed to is there, or not any more. */
  notice: map({ service, available: bool, epoch: uint }),
} as const;
export type TellingName = keyof typeof tellings;
export type TellingOf<K extends TellingName> = Infer<(typeof tellings)[K]>;
export type Telling = {
  [K in TellingName]: { readonly kind: K } & TellingOf<K>;
}[TellingName];

const askHead = map({ id: uint, op: oneOf("hello", "services", "subscribe", "call", "outcome") });
const tellingHead = map({ kind: textOf(16) });

/** One frame. Failure `wire.too_large` when it is longer than the other end reads. */
export function toFrame(message: Ask | Telling): Uint8Array {
  const body = encodeMap(message);
  if (body.length > frameBytesMax) {
    throw new Failure("wire.too_large", `a frame of ${body.length} bytes; ${frameBytesMax} fit`);
  }
  const framed = new Uint8Array(lengthBytes + body.length);
  new DataView(framed.buffer).setUint32(0, body.length);
  framed.set(body, lengthBytes);
  return framed;
}

/** Failure `wire.malformed`, naming the member. */
export function askOf(body: Uint8Array): Ask {
  const found = decodeMap(body);
  const { op, id } = check(askHead, found, "request");
  const shape: Shape<object> = asks[op];
  return { op, id, ...check(shape, found, op) } as Ask;
}

/** The id of a request that is otherwise refused; null when there is none. */
export function idOf(body: Uint8Array): number | null {
  try {
    return check(map({ id: uint }), decodeMap(body), "request").id;
  } catch {
    return null;
  }
}

/** Failure `wire.malformed`; a kind that is not known here is null, and left out. */
export function tellingOf(body: Uint8Array): Telling | null {
  const found = decodeMap(body);
  const { kind } = check(tellingHead, found, "message");
  if (!Object.hasOwn(tellings, kind)) return null;
  const shape: Shape<object> = tellings[kind as TellingName];
  return { kind, ...check(shape, found, kind) } as Telling;
}

/** Bytes in, bodies of frames out. A frame is held in memory of its own size and no more. */
export class FrameReader {
  private readonly head = new Uint8Array(lengthBytes);
  private headBytes = 0;
  private body: Uint8Array | null = null;
  private bodyBytes = 0;

  /** A frame has begun and is not complete. */
  get isPartial(): boolean {
    return this.headBytes > 0;
  }

  /** Failure `wire.malformed` for a length that no frame has: nothing after it can be read. */
  push(some: Uint8Array): Uint8Array[] {
    const bodies: Uint8Array[] = [];
    let at = 0;
    while (at < some.length || this.isWhole) {
      if (this.body === null) {
        at += this.takeHead(some.subarray(at));
        continue;
      }
      const part = some.subarray(at, at + this.body.length - this.bodyBytes);
      this.body.set(part, this.bodyBytes);
      this.bodyBytes += part.length;
      at += part.length;
      if (!this.isWhole) break;
      bodies.push(this.body);
      this.body = null;
      this.headBytes = 0;
    }
    return bodies;
  }

  private get isWhole(): boolean {
    return this.body !== null && this.bodyBytes === this.body.length;
  }

  private takeHead(some: Uint8Array): number {
    const part = some.subarray(0, lengthBytes - this.headBytes);
    this.head.set(part, this.headBytes);
    this.headBytes += part.length;
    if (this.headBytes < lengthBytes) return part.length;
    const length = new DataView(this.head.buffer).getUint32(0);
    if (length === 0 || length > frameBytesMax) {
      throw new Failure("wire.malformed", `a frame announces ${length} bytes`);
    }
    this.body = new Uint8Array(length);
    this.bodyBytes = 0;
    return part.length;
  }
}
