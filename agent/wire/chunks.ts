/** Strings of indefinite length, made definite: cbor-x does not read the former. */

/** A string that came in chunks: where it is, text or bytes, and where each chunk is. */
export interface Chunked {
  readonly from: number;
  readonly end: number;
  /** CBOR major type: 2 bytes, 3 text. */
  readonly major: number;
  /** Start and end of the contents of each chunk. */
  readonly parts: readonly (readonly [number, number])[];
}

/** The same CBOR with those strings whole; never longer. Without any it is `bytes` itself. */
export function joinChunks(bytes: Uint8Array, strings: readonly Chunked[]): Uint8Array {
  if (strings.length === 0) return bytes;
  const out = new Uint8Array(bytes.length);
  let from = 0;
  let to = 0;
  const copy = (start: number, end: number): void => {
    out.set(bytes.subarray(start, end), to);
    to += end - start;
  };
  for (const { from: start, end, major, parts } of strings) {
    copy(from, start);
    const length = parts.reduce((sum, [partFrom, partEnd]) => sum + partEnd - partFrom, 0);
    to = writeHead(out, to, major, length);
    for (const [partFrom, partEnd] of parts) copy(partFrom, partEnd);
    from = end;
  }
  copy(from, bytes.length);
  return out.subarray(0, to);
}

/** Writes the shortest head of a string; returns where it ended. */
function writeHead(out: Uint8Array, to: number, major: number, length: number): number {
  const size = length < 24 ? 0 : length < 0x100 ? 1 : length < 0x1_0000 ? 2 : 4;
  out[to] = (major << 5) | (size === 0 ? length : 24 + Math.log2(size));
  for (let at = 1; at <= size; at++) out[to + at] = length >>> (8 * (size - at));
  return to + 1 + size;
}
