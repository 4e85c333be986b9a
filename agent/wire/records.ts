/** Logs of sealed records, one after the other: what is damaged is skipped, and that is said. */
import { Failure } from "../errors.ts";
import { decodeMap } from "./cbor.ts";
import { sealBytes, unseal } from "./seal.ts";

/** What a log says. */
export interface Records {
  /** Of its first record; 0 when it has none. */
  generation: number;
  entries: Record<string, unknown>[];
  /** Something in it was no record, or one of another generation. */
  damaged: boolean;
}

/** Splits a segment into its records; what is damaged is skipped up to the next good one. */
export function readRecords(magic: string, bytes: Uint8Array): Records {
  const segment: Records = { generation: -1, entries: [], damaged: false };
  let at = 0;
  while (at < bytes.length) {
    const found = readRecord(magic, bytes, at);
    if (found === null) {
      segment.damaged = true;
      at = nextMagic(magic, bytes, at + 1);
      continue;
    }
    at += found.length;
    if (segment.generation < 0) segment.generation = found.generation;
    if (found.generation !== segment.generation) segment.damaged = true;
    else segment.entries.push(found.entry);
  }
  return { ...segment, generation: Math.max(segment.generation, 0) };
}

/** Of the record that a log begins with; null when it does not begin with a good one. */
export function generationOf(magic: string, bytes: Uint8Array): number | null {
  return readRecord(magic, bytes, 0)?.generation ?? null;
}

function readRecord(
  magic: string,
  bytes: Uint8Array,
  at: number,
): { length: number; generation: number; entry: Record<string, unknown> } | null {
  if (bytes.length - at < sealBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, bytes.length - at);
  const length = view.getUint32(12) + sealBytes;
  const opened = unseal(magic, bytes.subarray(at, at + length));
  if (opened === null || !("data" in opened)) return null;
  try {
    return { length, generation: opened.sequence, entry: decodeMap(opened.data) };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return null;
  }
}

/** Where the next record may begin, or the end. */
function nextMagic(magic: string, bytes: Uint8Array, from: number): number {
  const first = magic.charCodeAt(0);
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if ([...magic].every((letter, index) => bytes[at + index] === letter.charCodeAt(0))) return at;
  }
  return bytes.length;
}
