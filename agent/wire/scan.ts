/**
 * A linear look over CBOR bytes before they are decoded (RFC 8949): what is outside our profile is
 * refused here, so that the decoder never meets what it would accept by mistake or be slow on.
 *
 * Accepted: one map with text keys; integers, floats, text, bytes, lists, maps, bool, null; maps and
 * lists of definite or indefinite length. Refused: text and bytes in chunks (the decoder has no way
 * with them, and no SMP client sends them), tags, other simple values, reserved heads, lone breaks,
 * keys that are not text or come twice, invalid UTF-8, depth or items above the bounds, trailing
 * bytes.
 */
import { Failure } from "../errors.ts";

/** Bounds on nesting and on the number of items of one message. */
export const depthMax = 16;
export const itemsMax = 4096;

const utf8 = new TextDecoder("utf-8", { fatal: true });

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
  items: number;
}

function refuse(at: number, problem: string): never {
  throw new Failure("wire.malformed", `CBOR refused at byte ${at}: ${problem}`);
}

/** Throws `wire.malformed` unless `bytes` is exactly one map within the profile. */
export function scanMap(bytes: Uint8Array): void {
  const cursor = { bytes, at: 0, items: 0 };
  const first = bytes[0];
  if (first === undefined || first >> 5 !== 5) refuse(0, "expected a map");
  item(cursor, 0);
  if (cursor.at !== bytes.length) refuse(cursor.at, "trailing bytes");
}

function next(cursor: Cursor): number {
  const byte = cursor.bytes[cursor.at];
  if (byte === undefined) return refuse(cursor.at, "truncated");
  cursor.at += 1;
  return byte;
}

/** The argument of a head: a value, a length, or -1 for an indefinite length. */
function argument(cursor: Cursor, info: number): number {
  if (info < 24) return info;
  if (info === 31) return -1;
  if (info > 27) return refuse(cursor.at - 1, `reserved head ${info}`);
  let value = 0;
  for (let count = 1 << (info - 24); count > 0; count -= 1) value = value * 256 + next(cursor);
  return value;
}

function item(cursor: Cursor, depth: number): void {
  const start = cursor.at;
  cursor.items += 1;
  if (depth > depthMax) refuse(start, `nested deeper than ${depthMax}`);
  if (cursor.items > itemsMax) refuse(start, `more than ${itemsMax} items`);
  const head = next(cursor);
  const major = head >> 5;
  const info = head & 31;
  switch (major) {
    case 0:
    case 1:
      if (argument(cursor, info) < 0) refuse(start, "an integer without a value");
      return;
    case 2:
    case 3:
      string(cursor, major, info);
      return;
    case 4:
      return list(cursor, info, depth);
    case 5:
      return mapItem(cursor, info, depth);
    case 6:
      return refuse(start, "tags are not used here");
    default:
      return simple(cursor, info, start);
  }
}

/** false, true, null and floats of 2, 4 and 8 bytes. */
function simple(cursor: Cursor, info: number, start: number): void {
  if (info >= 20 && info <= 22) return;
  if (info < 25 || info > 27) refuse(start, `simple value ${info}`);
  for (let count = 1 << (info - 24); count > 0; count -= 1) next(cursor);
}

/** Moves past the bytes of a string and returns them. */
function string(cursor: Cursor, major: number, info: number): Uint8Array {
  const start = cursor.at;
  const length = argument(cursor, info);
  if (length < 0) return refuse(start, "a string of indefinite length");
  if (length > cursor.bytes.length - cursor.at) return refuse(start, "truncated string");
  const part = cursor.bytes.subarray(cursor.at, cursor.at + length);
  if (major === 3 && !isUtf8(part)) refuse(start, "invalid UTF-8");
  cursor.at += length;
  return part;
}

function isUtf8(part: Uint8Array): boolean {
  if (part.every((byte) => byte < 0x80)) return true;
  try {
    utf8.decode(part);
    return true;
  } catch {
    return false;
  }
}

/** Moves past a break, if one is next. */
function atBreak(cursor: Cursor): boolean {
  if (cursor.bytes[cursor.at] !== 0xff) return false;
  cursor.at += 1;
  return true;
}

function list(cursor: Cursor, info: number, depth: number): void {
  const count = argument(cursor, info);
  if (count < 0) while (!atBreak(cursor)) item(cursor, depth + 1);
  else for (let at = 0; at < count; at += 1) item(cursor, depth + 1);
}

function mapItem(cursor: Cursor, info: number, depth: number): void {
  const count = argument(cursor, info);
  const keys = new Set<string>();
  const member = (): void => {
    key(cursor, keys);
    item(cursor, depth + 1);
  };
  if (count < 0) while (!atBreak(cursor)) member();
  else for (let at = 0; at < count; at += 1) member();
}

function key(cursor: Cursor, keys: Set<string>): void {
  const start = cursor.at;
  const head = next(cursor);
  if (head >> 5 !== 3 || (head & 31) === 31) refuse(start, "a key that is not a definite text");
  const name = utf8.decode(string(cursor, 3, head & 31));
  if (keys.has(name)) refuse(start, `key "${name}" twice`);
  keys.add(name);
}
