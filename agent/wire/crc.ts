/** CRC-16/XMODEM: polynomial 0x1021, start 0, not reflected; check("123456789") = 0x31C3. */

const table = new Uint16Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte << 8;
  for (let bit = 0; bit < 8; bit++) value = value & 0x8000 ? (value << 1) ^ 0x1021 : value << 1;
  table[byte] = value;
}

/** Checksum of the bytes from `from` up to, not including, `end`. */
export function crc16(bytes: Uint8Array, from = 0, end = bytes.length): number {
  let crc = 0;
  for (let at = from; at < end; at++) {
    crc = ((crc & 0xff) << 8) ^ (table[(crc >> 8) ^ (bytes[at] as number)] as number);
  }
  return crc;
}
