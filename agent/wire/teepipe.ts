/**
 * What the agent and its TEE helper say to each other over a pipe: four bytes of length,
 * big-endian, then one CBOR map. Every request has an id, and at most one reply with that id: a
 * call that never comes back has none.
 */
import { Failure } from "../errors.ts";
import { decodeMap, encodeMap } from "./cbor.ts";
import { bytes, check, type Infer, list, map, oneOf, optional, text, uint } from "./shape.ts";

/** Bytes of shared memory that one call may use; what security services pass is far smaller. */
export const memoryBytesMax = 65_536;
/** Parameters of a call (TEEC_CONFIG_PAYLOAD_REF_COUNT). */
export const paramsMax = 4;
/** A message: the memory of a call and what goes around it. */
export const messageBytesMax = memoryBytesMax + 4_096;
const lengthBytes = 4;

/** What a parameter is (TEE_IOCTL_PARAM_ATTR_TYPE_*). */
export const attr = {
  none: 0,
  value_in: 1,
  value_out: 2,
  value_both: 3,
  memory_in: 5,
  memory_out: 6,
  memory_both: 7,
} as const;

/** `a` and `b` of values; `bytes` go in or came out, `size` is the room for what comes out. */
const paramShape = map({
  attr: uint,
  a: optional(uint),
  b: optional(uint),
  bytes: optional(bytes),
  size: optional(uint),
});
export type PipeParam = Infer<typeof paramShape>;

const requestShape = map({
  id: uint,
  /** `version` asks the kernel; `canary` opens, invokes and closes a service of its own. */
  op: oneOf("open", "invoke", "cancel", "close", "version", "canary"),
  /** Which client context: one open of the device each, closed with its last session. */
  context: optional(uint),
  /** 16 bytes, big-endian. */
  uuid: optional(bytes),
  /** TEE_IOCTL_LOGIN_*. */
  login: optional(uint),
  session: optional(uint),
  command: optional(uint),
  /** Names the call for `cancel`. */
  cancel: optional(uint),
  params: optional(list(paramShape, paramsMax)),
});
export type PipeRequest = Infer<typeof requestShape>;

/** `ret` and `origin` count only without an `errno`. */
const replyShape = map({
  id: uint,
  errno: optional(text),
  ret: uint,
  origin: uint,
  session: optional(uint),
  params: optional(list(paramShape, paramsMax)),
  /** Of `version`: implementation, its capabilities, generic capabilities. */
  version: optional(list(uint, 3)),
});
export type PipeReply = Infer<typeof replyShape>;
/** Of no request: the helper says with it that it has started. */
export const readyId = 0;

/** Failure `wire.malformed` when it is longer than a message may be. */
export function toPipe(message: PipeRequest | PipeReply): Uint8Array {
  const body = encodeMap(message);
  if (body.length > messageBytesMax) {
    throw new Failure("wire.malformed", `a message of ${body.length} bytes to or from the helper`);
  }
  const framed = new Uint8Array(lengthBytes + body.length);
  new DataView(framed.buffer).setUint32(0, body.length);
  framed.set(body, lengthBytes);
  return framed;
}

export function requestOf(body: Uint8Array): PipeRequest {
  return check(requestShape, decodeMap(body), "request");
}

export function replyOf(body: Uint8Array): PipeReply {
  return check(replyShape, decodeMap(body), "reply");
}

/** Bytes in, bodies of messages out: call `push` with whatever arrived. */
export class PipeReader {
  private held: Uint8Array = new Uint8Array(0);

  /** Failure `wire.malformed` for a length that no message has: nothing after it can be read. */
  push(some: Uint8Array): Uint8Array[] {
    const joined = new Uint8Array(this.held.length + some.length);
    joined.set(this.held);
    joined.set(some, this.held.length);
    const bodies: Uint8Array[] = [];
    let at = 0;
    while (joined.length - at >= lengthBytes) {
      const length = new DataView(joined.buffer).getUint32(at);
      if (length > messageBytesMax) {
        throw new Failure("wire.malformed", `the helper's pipe announces ${length} bytes`);
      }
      if (joined.length - at - lengthBytes < length) break;
      at += lengthBytes;
      bodies.push(joined.slice(at, at + length));
      at += length;
    }
    this.held = joined.slice(at);
    return bodies;
  }
}
