/**
 * SMP messages: an 8-byte header and a CBOR map (Zephyr, "MCUmgr Simple Management Protocol").
 *
 *     byte 0: 3 bits 0 | 2 bits version (0 = v1, 1 = v2) | 3 bits op
 *     byte 1: flags 0 | 2-3: length of the map | 4-5: group | 6: sequence | 7: command
 */
import { Failure, rcs } from "../errors.ts";
import { decodeMap, encodeMap } from "./cbor.ts";
import { GroupFailure } from "./grouperrors.ts";

export const headerBytes = 8;
export type Op = "read" | "read_response" | "write" | "write_response";
const ops: readonly Op[] = ["read", "read_response", "write", "write_response"];

export interface Header {
  /** As on the wire: 0 is SMP v1, 1 is v2. */
  readonly version: number;
  readonly op: Op;
  readonly group: number;
  readonly seq: number;
  readonly command: number;
}

export interface Request {
  readonly kind: "request";
  readonly header: Header;
  readonly body: Record<string, unknown>;
}

/**
 * A piece of a packet that is no message. With a header it was a request and can be answered with
 * `rc`; what came as a response has none, so that two ends never answer each other's answers.
 */
export interface BadRequest {
  readonly kind: "bad";
  readonly reason: string;
  readonly header?: Header;
  readonly rc: number;
}

export type Message = Header & { readonly body: Readonly<Record<string, unknown>> };

/** Highest version understood; responses to a higher one carry this and `rc` 13. */
const versionMax = 1;

/** What the header's length field can say. */
const bodyBytesMax = 0xffff;

/** The message as bytes. Failure `wire.malformed` or `wire.too_large` for its body. */
export function encodeMessage(message: Message): Uint8Array {
  const body = encodeMap(message.body);
  if (body.length > bodyBytesMax) {
    const problem = `a body of ${body.length} bytes: a message holds ${bodyBytesMax}`;
    throw new Failure("wire.too_large", problem);
  }
  const bytes = new Uint8Array(headerBytes + body.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = (message.version << 3) | ops.indexOf(message.op);
  view.setUint16(2, body.length);
  view.setUint16(4, message.group);
  bytes[6] = message.seq;
  bytes[7] = message.command;
  bytes.set(body, headerBytes);
  return bytes;
}

/** Splits a packet into its messages; several may stand in one. Never throws. */
export function parsePacket(packet: Uint8Array): (Request | BadRequest)[] {
  const found: (Request | BadRequest)[] = [];
  let at = 0;
  while (at < packet.length) {
    const left = packet.length - at;
    if (left < headerBytes) return [...found, bad(`${left} bytes are no header`, rcs.invalid)];
    const view = new DataView(packet.buffer, packet.byteOffset + at, left);
    const length = view.getUint16(2);
    const header = parseHeader(view);
    if (header === null) return [...found, bad("reserved bits or operation", rcs.invalid)];
    if (length > left - headerBytes) {
      const reason = `${length} bytes announced, ${left - headerBytes} there`;
      return [...found, bad(reason, rcs.invalid, header)];
    }
    const body = packet.subarray(at + headerBytes, at + headerBytes + length);
    found.push(parseBody(header, body));
    at += headerBytes + length;
  }
  return found;
}

function parseHeader(view: DataView): Header | null {
  const first = view.getUint8(0);
  const op = ops[first & 7];
  if (op === undefined || first >> 5 !== 0) return null;
  return {
    version: (first >> 3) & 3,
    op,
    group: view.getUint16(4),
    seq: view.getUint8(6),
    command: view.getUint8(7),
  };
}

function parseBody(header: Header, body: Uint8Array): Request | BadRequest {
  if (header.version > versionMax) {
    return bad(`SMP version ${header.version + 1}`, rcs.too_new, header);
  }
  try {
    return { kind: "request", header, body: decodeMap(body) };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return bad(error.message, error.rc, header);
  }
}

function bad(reason: string, rc: number, header?: Header): BadRequest {
  const isRequest = header?.op === "read" || header?.op === "write";
  return isRequest ? { kind: "bad", reason, rc, header } : { kind: "bad", reason, rc };
}

/** The header of the answer: version capped at v2, everything else echoed. */
export function responseHeader(request: Header): Header {
  const op: Op = request.op === "write" ? "write_response" : "read_response";
  return { ...request, version: Math.min(request.version, versionMax), op };
}

/** First of the groups whose errors are their own in v2. */
export const ownGroups = 64;

/** Longest explanation in a refusal, UTF-16 units: with three bytes for each it fits a packet. */
export const reasonMax = 512;

/**
 * The body of a refusal, to the letter. Version 1 knows `rc`. In version 2 what is wrong with the
 * message itself, or with who sent it, is `rc` as well, and so are failures of the standard groups
 * that have no code of their own for it. A code of a group is `err` alone: strict clients take no
 * other key. Those of our groups have the numbers of `rc`; with `rsn: true` in the request words
 * stand beside them.
 */
export function errorBody(
  { header, body }: Pick<Request, "header" | "body">,
  error: Failure,
): Record<string, unknown> {
  const { rc, code } = error;
  const { group, version } = header;
  const rsn = error.message.slice(0, reasonMax);
  if (version === 0) return { rc, rsn };
  if (error instanceof GroupFailure) return { err: { group, rc: error.error.rc } };
  if (group < ownGroups || /^(wire|access)\./.test(code)) return { rc, rsn };
  return { err: { group, rc }, ...(body.rsn === true ? { rsn } : {}) };
}
