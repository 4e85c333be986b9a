/**
 * Sealed records: what is stored or handed over is wrapped in a header with a checksum of its own
 * and checksummed data, so that nothing torn, truncated or foreign is ever believed.
 *
 *     magic 4 | version u8 = 1 | 3 zero | sequence u32 | length u32 | crc32 of these 16
 *     data | crc32 of the data
 */

const table = new Uint32Array(256);
for (let byte = 0; byte < 256; byte += 1) {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) {
    value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  table[byte] = value >>> 0;
}

/** CRC-32 (IEEE 802.3, reflected, as in zlib): check("123456789") = 0xCBF43926. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  let at = 0;
  // Four at a time: half the work of a byte at a time, which shows at every start.
  for (const end = bytes.length - 3; at < end; at += 4) {
    crc = (table[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8);
    crc = (table[(crc ^ (bytes[at + 1] as number)) & 0xff] as number) ^ (crc >>> 8);
    crc = (table[(crc ^ (bytes[at + 2] as number)) & 0xff] as number) ^ (crc >>> 8);
    crc = (table[(crc ^ (bytes[at + 3] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  for (; at < bytes.length; at += 1) {
    crc = (table[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

const version = 1;
const headerBytes = 20;

/** Bytes that sealing adds to the data. */
export const sealBytes = headerBytes + 4;

/** Wraps data; `magic` is four ASCII characters, `sequence` an unsigned 32-bit number. */
export function seal(magic: string, data: Uint8Array, sequence: number): Uint8Array {
  const record = new Uint8Array(headerBytes + data.length + 4);
  const view = new DataView(record.buffer);
  for (let at = 0; at < 4; at += 1) record[at] = magic.charCodeAt(at);
  record[4] = version;
  view.setUint32(8, sequence);
  view.setUint32(12, data.length);
  view.setUint32(16, crc32(record.subarray(0, 16)));
  record.set(data, headerBytes);
  view.setUint32(headerBytes + data.length, crc32(data));
  return record;
}

/** What a seal holds: intact data, a header whose data is damaged, or nothing to be believed. */
export type Unsealed = { sequence: number; data: Uint8Array } | { sequence: number } | null;

/** Opens a record of exactly the stated length. */
export function unseal(magic: string, record: Uint8Array): Unsealed {
  if (record.length < headerBytes) return null;
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  if (crc32(record.subarray(0, 16)) !== view.getUint32(16)) return null;
  for (let at = 0; at < 4; at += 1) if (record[at] !== magic.charCodeAt(at)) return null;
  if (record[4] !== version) return null;
  const sequence = view.getUint32(8);
  const length = view.getUint32(12);
  if (record.length !== headerBytes + length + 4) return { sequence };
  const data = record.subarray(headerBytes, headerBytes + length);
  if (crc32(data) !== view.getUint32(headerBytes + length)) return { sequence };
  return { sequence, data };
}
