/**
 * The packet inside the lines of console framing, in base64:
 *
 *     u16 length of what follows | SMP message | u16 CRC-16/XMODEM over the message
 */
import { Failure } from "../errors.ts";
import { crc16 } from "./crc.ts";

const checksumBytes = 2;
/** Bytes of a packet that are not the message: length and checksum. */
const wrapBytes = 2 + checksumBytes;
/** What the length field can announce, less the checksum. */
const messageBytesMax = 0xffff - checksumBytes;

const padding = 0x3d;
const alphabet = Uint8Array.from(
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
  (letter) => letter.charCodeAt(0),
);
/** Value of each base64 character, -1 for all others. */
const sextets = new Int8Array(256).fill(-1);
for (let value = 0; value < 64; value++) sextets[alphabet[value] as number] = value;

/** Failure `wire.too_large` above the 65533 bytes that the length field can announce. */
export function wrap(message: Uint8Array): Uint8Array {
  if (message.length > messageBytesMax) {
    const problem = `a packet of ${message.length} bytes: a frame holds ${messageBytesMax}`;
    throw new Failure("wire.too_large", problem);
  }
  const packet = new Uint8Array(message.length + wrapBytes);
  const view = new DataView(packet.buffer);
  view.setUint16(0, message.length + checksumBytes);
  packet.set(message, 2);
  view.setUint16(message.length + 2, crc16(message));
  return packet;
}

/** Writes the bytes from `from` to `end` as base64 at `to`; returns where it ended. */
export function writeBase64(
  bytes: Uint8Array,
  from: number,
  end: number,
  out: Uint8Array,
  to: number,
): number {
  let next = to;
  for (let at = from; at < end; at += 3) {
    const left = end - at;
    const second = left > 1 ? (bytes[at + 1] as number) : 0;
    const third = left > 2 ? (bytes[at + 2] as number) : 0;
    const group = ((bytes[at] as number) << 16) | (second << 8) | third;
    out[next] = alphabet[group >> 18] as number;
    out[next + 1] = alphabet[(group >> 12) & 63] as number;
    out[next + 2] = left > 1 ? (alphabet[(group >> 6) & 63] as number) : padding;
    out[next + 3] = left > 2 ? (alphabet[group & 63] as number) : padding;
    next += 4;
  }
  return next;
}

/** `length`: not as long as announced; `too_long`: more announced than is taken. */
export type BadPacket = "base64" | "length" | "too_long" | "crc";

/**
 * Puts a packet together, line by line, in a buffer of fixed size. Each line is whole groups of
 * four characters; `=` may end any line, since some senders encode every line by itself.
 */
export class Assembly {
  /** The packet, and two bytes of slack for a last group of three. */
  private readonly bytes: Uint8Array;
  private length = 0;
  /** Length of the whole packet once its length field has come, else 0. */
  private expected = 0;
  /** The group of four characters under way. */
  private group = 0;
  private groupLength = 0;
  /** `=` seen in this line; nothing but more of them may follow. */
  private pads = 0;

  /** For messages of at most `messageBytes`. */
  constructor(messageBytes: number) {
    this.bytes = new Uint8Array(messageBytes + wrapBytes + 2);
  }

  /** Bytes and characters taken so far. */
  get pendingBytes(): number {
    return this.length + this.groupLength;
  }

  begin(): void {
    this.length = 0;
    this.expected = 0;
    this.beginLine();
  }

  beginLine(): void {
    this.group = 0;
    this.groupLength = 0;
    this.pads = 0;
  }

  /**
   * The quick way through the middle of a line: takes whole groups of four plain characters and
   * returns where it stopped, which may be where it began.
   */
  takeGroups(bytes: Uint8Array, from: number): number {
    if (this.groupLength !== 0 || this.pads !== 0) return from;
    const out = this.bytes;
    let length = this.length;
    // Not beyond what was announced; and nothing while that is not known.
    const room = Math.floor((this.expected - length) / 3);
    const end = from + Math.min(room, (bytes.length - from) >> 2) * 4;
    let at = from;
    while (at < end) {
      const group =
        ((sextets[bytes[at] as number] as number) << 18) |
        ((sextets[bytes[at + 1] as number] as number) << 12) |
        ((sextets[bytes[at + 2] as number] as number) << 6) |
        (sextets[bytes[at + 3] as number] as number);
      // A -1 among them has set the sign.
      if (group < 0) break;
      out[length] = group >> 16;
      out[length + 1] = group >> 8;
      out[length + 2] = group;
      length += 3;
      at += 4;
    }
    this.length = length;
    return at;
  }

  /** Takes one character; says what is wrong with it, or null. */
  take(value: number): BadPacket | null {
    const isPad = value === padding;
    const sextet = isPad ? 0 : (sextets[value] as number);
    // `=` ends a group as its third or fourth character, and with it the line.
    const isMisplaced = isPad ? this.groupLength < 2 : this.pads > 0;
    if (sextet < 0 || isMisplaced) return "base64";
    if (isPad) this.pads++;
    this.group = (this.group << 6) | sextet;
    this.groupLength++;
    return this.groupLength === 4 ? this.endGroup() : null;
  }

  private endGroup(): BadPacket | null {
    const { group } = this;
    this.group = 0;
    this.groupLength = 0;
    // The bits that padding leaves over are zero: one text per packet, no hidden changes.
    if ((group & ((1 << (this.pads * 8)) - 1)) !== 0) return "base64";
    for (let part = 0; part < 3 - this.pads; part++) {
      this.bytes[this.length++] = group >> (16 - part * 8);
    }
    if (this.expected === 0 && this.length >= 2) {
      const announced = this.uint16(0);
      if (announced < checksumBytes) return "length";
      if (announced + wrapBytes > this.bytes.length) return "too_long";
      this.expected = announced + 2;
    }
    return this.expected > 0 && this.length > this.expected ? "length" : null;
  }

  /** At the end of a line: the message, what is wrong with it, or null while it is incomplete. */
  endLine(): Uint8Array | BadPacket | null {
    if (this.groupLength !== 0) return "base64";
    if (this.expected === 0 || this.length < this.expected) return null;
    const end = this.expected - checksumBytes;
    return crc16(this.bytes, 2, end) === this.uint16(end) ? this.bytes.slice(2, end) : "crc";
  }

  private uint16(at: number): number {
    return ((this.bytes[at] as number) << 8) | (this.bytes[at + 1] as number);
  }
}
