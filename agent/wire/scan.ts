/**
 * A linear look over CBOR bytes before they are decoded (RFC 8949): what is outside our profile is
 * refused here, so that the decoder never meets what it would accept by mistake or be slow on.
 *
 * Accepted: one map with text keys; integers, floats, text, bytes, lists, maps, bool, null; lengths
 * definite or indefinite. Refused: tags, other simple values, reserved heads, lone breaks, keys
 * that are not text of definite length, come twice, or are `__proto__`, invalid UTF-8, depth or
 * items above the bounds, trailing bytes.
 */
import { Failure } from "../errors.ts";
import { type Chunked, joinChunks } from "./chunks.ts";

/** Bounds on nesting and on the number of items of one message. */
export const depthMax = 16;
export const itemsMax = 4096;

/** Longest key. */
export const keyBytesMax = 64;
/** cbor-x puts it under another name, onto whatever has that name already. */
const refusedKey = "__proto__";

/** Where the look stands. One is used for all: this runs for every message, and never nests. */
interface Cursor {
  bytes: Uint8Array;
  at: number;
  items: number;
  /** Is there anything that cbor-x gives in another form than we do: 64-bit integers, bytes? */
  unsettled: boolean;
  /** Strings that came in chunks, none as a rule. */
  chunked: Chunked[];
  /** Keys of the maps around `at`: hash, first byte and end of each. */
  readonly keys: number[];
}

const shared: Cursor = {
  bytes: new Uint8Array(0),
  at: 0,
  items: 0,
  unsettled: false,
  chunked: [],
  keys: [],
};
const wordsPerKey = 3;

function refuse(at: number, problem: string): never {
  throw new Failure("wire.malformed", `CBOR refused at byte ${at}: ${problem}`);
}

export interface Scanned {
  /** The same CBOR with every string whole: cbor-x has no way with chunks. */
  readonly bytes: Uint8Array;
  /** There are 64-bit integers or bytes in it, which cbor-x gives in a form that is not ours. */
  readonly unsettled: boolean;
}

/** Throws `wire.malformed` unless `bytes` is exactly one map within the profile. */
export function scanMap(bytes: Uint8Array): Scanned {
  const cursor = shared;
  cursor.bytes = bytes;
  cursor.at = 0;
  cursor.items = 0;
  cursor.unsettled = false;
  cursor.keys.length = 0;
  if (cursor.chunked.length > 0) cursor.chunked = [];
  const first = bytes[0];
  if (first === undefined || first >> 5 !== 5) refuse(0, "expected a map");
  item(cursor, 0);
  if (cursor.at !== bytes.length) refuse(cursor.at, "trailing bytes");
  return { bytes: joinChunks(bytes, cursor.chunked), unsettled: cursor.unsettled };
}

function next(cursor: Cursor): number {
  if (cursor.at >= cursor.bytes.length) return refuse(cursor.at, "truncated");
  const byte = cursor.bytes[cursor.at] as number;
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
  const info = head & 31;
  switch (head >> 5) {
    case 0:
    case 1:
      if (argument(cursor, info) < 0) refuse(start, "an integer without a value");
      if (info === 27) cursor.unsettled = true;
      return;
    case 2:
      cursor.unsettled = true;
      if (info === 31) chunks(cursor, head);
      else cursor.at = end(cursor, info);
      return;
    case 3:
      if (info === 31) chunks(cursor, head);
      else text(cursor, info);
      return;
    case 4:
      return list(cursor, info, depth);
    case 5:
      return map(cursor, info, depth);
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

/** Moves past a string of indefinite length: chunks of its own kind, each of definite length. */
function chunks(cursor: Cursor, head: number): void {
  const from = cursor.at - 1;
  const major = head >> 5;
  const parts: [number, number][] = [];
  while (!atBreak(cursor)) {
    const start = cursor.at;
    cursor.items += 1;
    if (cursor.items > itemsMax) refuse(start, `more than ${itemsMax} items`);
    const chunk = next(cursor);
    const info = chunk & 31;
    if (chunk >> 5 !== major) refuse(start, "a chunk of another kind");
    if (major === 3) text(cursor, info);
    else cursor.at = end(cursor, info);
    parts.push([start + headBytes(info), cursor.at]);
  }
  cursor.chunked.push({ from, end: cursor.at, major, parts });
}

/** Where the string ends whose head has just been read. */
function end(cursor: Cursor, info: number): number {
  const start = cursor.at - 1;
  const length = argument(cursor, info);
  if (length < 0) return refuse(start, "a string of indefinite length inside another");
  if (length > cursor.bytes.length - cursor.at) return refuse(start, "truncated string");
  return cursor.at + length;
}

/** Moves past a text and returns a hash of it (FNV-1a over its bytes). */
function text(cursor: Cursor, info: number): number {
  const to = end(cursor, info);
  const { bytes, at: from } = cursor;
  let hash = 0x811c9dc5;
  let seen = 0;
  for (let at = from; at < to; at += 1) {
    const byte = bytes[at] as number;
    seen |= byte;
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  if (seen > 0x7f && !isUtf8(bytes.subarray(from, to))) refuse(from, "invalid UTF-8");
  cursor.at = to;
  return hash;
}

/**
 * Well-formed UTF-8 (Unicode, table 3-7). Written out because the platform's strict decoder costs
 * two megabytes of memory on first use.
 */
function isUtf8(part: Uint8Array): boolean {
  let at = 0;
  while (at < part.length) {
    const lead = part[at] as number;
    at += 1;
    if (lead < 0x80) continue;
    const more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || at + more > part.length) return false;
    const second = part[at] as number;
    if (second < (secondMin[lead] ?? 0x80) || second > (secondMax[lead] ?? 0xbf)) return false;
    for (let tail = 1; tail < more; tail += 1) {
      if (((part[at + tail] as number) & 0xc0) !== 0x80) return false;
    }
    at += more;
  }
  return true;
}

/** Bounds of the second byte where they are narrower: no overlong forms, surrogates, or above. */
const secondMin: Readonly<Record<number, number>> = { 224: 0xa0, 240: 0x90 };
const secondMax: Readonly<Record<number, number>> = { 237: 0x9f, 244: 0x8f };

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

function map(cursor: Cursor, info: number, depth: number): void {
  const count = argument(cursor, info);
  const first = cursor.keys.length;
  for (let at = 0; count < 0 ? !atBreak(cursor) : at < count; at += 1) {
    key(cursor, first);
    item(cursor, depth + 1);
  }
  cursor.keys.length = first;
}

/** Moves past a key, which must be none of those from `first` on. */
function key(cursor: Cursor, first: number): void {
  const start = cursor.at;
  const head = next(cursor);
  if (head >> 5 !== 3 || (head & 31) === 31) refuse(start, "a key that is not a definite text");
  const hash = text(cursor, head & 31);
  const { keys, bytes, at: to } = cursor;
  const from = start + headBytes(head & 31);
  if (to - from > keyBytesMax) refuse(start, `a key over ${keyBytesMax} bytes`);
  if (to - from === refusedKey.length && bytes[from] === 0x5f) {
    const name = String.fromCharCode(...bytes.subarray(from, to));
    if (name === refusedKey) refuse(start, `a key "${refusedKey}"`);
  }
  for (let at = first; at < keys.length; at += wordsPerKey) {
    if (keys[at] !== hash) continue;
    if (isSame(bytes, from, to, keys[at + 1] as number, keys[at + 2] as number)) {
      refuse(start, `key "${String.fromCharCode(...bytes.subarray(from, to))}" twice`);
    }
  }
  keys.push(hash, from, to);
}

function headBytes(info: number): number {
  return info < 24 ? 1 : 1 + (1 << (info - 24));
}

function isSame(bytes: Uint8Array, from: number, to: number, other: number, end: number): boolean {
  if (to - from !== end - other) return false;
  for (let at = from; at < to; at += 1) if (bytes[at] !== bytes[other + at - from]) return false;
  return true;
}
