/**
 * Console framing of SMP: a packet is base64 in lines that begin with 06 09 (first) or 04 14
 * (further) and end with a newline, so that it shares a serial line with console text.
 *
 *     packet = u16 length of what follows | SMP message | u16 CRC-16/XMODEM over the message
 *
 * No I/O and no time: bytes in, values out. Noise and bad frames are values, not errors.
 */
import { packetBytesMax } from "./commands.ts";

/** Longest line sent, markers and newline included (MCUMGR_SERIAL_MAX_FRAME). */
export const lineBytesMax = 127;
const charsPerLine = 124;
/** Longest line accepted: some clients send the largest packet as a single line. */
export const lineAcceptedMax = 3 + Math.ceil((packetBytesMax + 8) / 3) * 4;
/** Console text is handed on at the end of its line, or in pieces of this size. */
export const textBytesMax = 256;

export type BadFrame = "stray_continuation" | "base64" | "length" | "crc" | "too_long" | "cut";

/** What a stretch of serial bytes turned out to be. Nothing is dropped silently. */
export type Decoded =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  | { readonly kind: "text"; readonly bytes: Uint8Array }
  | { readonly kind: "bad"; readonly reason: BadFrame };

const crcTable = new Uint16Array(256);
for (let byte = 0; byte < 256; byte += 1) {
  let value = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) {
    value = value & 0x8000 ? ((value << 1) ^ 0x1021) & 0xffff : (value << 1) & 0xffff;
  }
  crcTable[byte] = value;
}

/** CRC-16/XMODEM: polynomial 0x1021, start 0; check("123456789") = 0x31C3. */
export function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const index = ((crc >> 8) ^ (bytes[at] as number)) & 0xff;
    crc = ((crc << 8) & 0xffff) ^ (crcTable[index] as number);
  }
  return crc;
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const sextets = new Int8Array(256).fill(-1);
for (let at = 0; at < 64; at += 1) sextets[alphabet.charCodeAt(at)] = at;
const padding = 0x3d;

/** Frames one SMP packet, ready to be written in one go. */
export function enframe(message: Uint8Array): Uint8Array {
  const packet = new Uint8Array(message.length + 4);
  const view = new DataView(packet.buffer);
  view.setUint16(0, message.length + 2);
  packet.set(message, 2);
  view.setUint16(message.length + 2, crc16(message));
  const text = base64(packet);
  const lines = Math.ceil(text.length / charsPerLine);
  const out = new Uint8Array(text.length + lines * 3);
  let to = 0;
  for (let line = 0; line < lines; line += 1) {
    out[to] = line === 0 ? 0x06 : 0x04;
    out[to + 1] = line === 0 ? 0x09 : 0x14;
    const part = text.subarray(line * charsPerLine, (line + 1) * charsPerLine);
    out.set(part, to + 2);
    to += 2 + part.length;
    out[to] = 0x0a;
    to += 1;
  }
  return out;
}

function base64(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(Math.ceil(bytes.length / 3) * 4);
  for (let at = 0, to = 0; at < bytes.length; at += 3, to += 4) {
    const left = bytes.length - at;
    const value = (byte(bytes, at) << 16) | (byte(bytes, at + 1) << 8) | byte(bytes, at + 2);
    out[to] = alphabet.charCodeAt(value >> 18);
    out[to + 1] = alphabet.charCodeAt((value >> 12) & 63);
    out[to + 2] = left > 1 ? alphabet.charCodeAt((value >> 6) & 63) : padding;
    out[to + 3] = left > 2 ? alphabet.charCodeAt(value & 63) : padding;
  }
  return out;
}

function byte(bytes: Uint8Array, at: number): number {
  return at < bytes.length ? (bytes[at] as number) : 0;
}

/** Where in a line the deframer stands. */
type Mode = "text" | "half_first" | "half_further" | "first" | "further";

/** Bytes in, messages out: call `push` with whatever arrived. Memory is bounded. */
export class Deframer {
  /** What was seen so far, for a diagnosis of a silent line. */
  readonly seen = { messages: 0, textBytes: 0, bad: new Map<BadFrame, number>() };
  private mode: Mode = "text";
  private readonly line = new Uint8Array(lineAcceptedMax);
  private lineLength = 0;
  private readonly text = new Uint8Array(textBytesMax);
  private textLength = 0;
  /** The packet being put together: announced length, message and checksum. */
  private readonly packet = new Uint8Array(packetBytesMax + 4);
  private packetLength = 0;
  private assembling = false;

  /** Bytes of a frame that is not complete yet; 0 when none is under way. */
  get pendingBytes(): number {
    return this.packetLength + (this.mode === "text" ? 0 : this.lineLength + 1);
  }

  /** Gives up a half frame, so that a sender that died does not spoil the next one. */
  reset(): void {
    this.mode = "text";
    this.lineLength = 0;
    this.packetLength = 0;
    this.assembling = false;
  }

  push(bytes: Uint8Array): Decoded[] {
    const out: Decoded[] = [];
    for (let at = 0; at < bytes.length; at += 1) this.take(bytes[at] as number, out);
    return out;
  }

  private take(value: number, out: Decoded[]): void {
    switch (this.mode) {
      case "half_first":
      case "half_further":
        return this.takeMarker(value, out);
      case "first":
      case "further":
        return this.takeLine(value, out);
      default:
        return this.takeText(value, out);
    }
  }

  /** Console text; a marker may begin anywhere in it. */
  private takeText(value: number, out: Decoded[]): void {
    if (value === 0x06) this.mode = "half_first";
    else if (value === 0x04) this.mode = "half_further";
    else this.addText(value, out);
  }

  private addText(value: number, out: Decoded[]): void {
    this.text[this.textLength] = value;
    this.textLength += 1;
    this.seen.textBytes += 1;
    if (value === 0x0a || this.textLength === textBytesMax) this.endText(out);
  }

  private endText(out: Decoded[]): void {
    if (this.textLength === 0) return;
    out.push({ kind: "text", bytes: this.text.slice(0, this.textLength) });
    this.textLength = 0;
  }

  private takeMarker(value: number, out: Decoded[]): void {
    const first = this.mode === "half_first";
    if (value === (first ? 0x09 : 0x14)) {
      this.endText(out);
      this.mode = first ? "first" : "further";
      this.lineLength = 0;
      return;
    }
    this.mode = "text";
    this.addText(first ? 0x06 : 0x04, out);
    this.takeText(value, out);
  }

  private takeLine(value: number, out: Decoded[]): void {
    if (value === 0x0a) return this.endLine(out);
    if (value === 0x06) return this.cut("half_first", out);
    if (this.lineLength === this.line.length) {
      this.mode = "text";
      this.lineLength = 0;
      return this.bad("too_long", out);
    }
    this.line[this.lineLength] = value;
    this.lineLength += 1;
  }

  /** A new frame began in the middle of this line. */
  private cut(mode: Mode, out: Decoded[]): void {
    this.mode = mode;
    this.lineLength = 0;
    this.bad("cut", out);
  }

  private endLine(out: Decoded[]): void {
    const first = this.mode === "first";
    this.mode = "text";
    const length = this.lineLength;
    this.lineLength = 0;
    if (!first && !this.assembling) return this.bad("stray_continuation", out);
    if (first && this.assembling) this.bad("cut", out);
    if (first) this.packetLength = 0;
    this.assembling = true;
    const end = length > 0 && this.line[length - 1] === 0x0d ? length - 1 : length;
    const problem = this.decodeLine(end);
    if (problem !== null) return this.bad(problem, out);
    this.settle(out);
  }

  /** Adds the bytes of a base64 line to the packet; each line is whole by itself. */
  private decodeLine(length: number): BadFrame | null {
    if (length % 4 !== 0) return "base64";
    for (let at = 0; at < length; at += 4) {
      const last = this.line[at + 3] === padding;
      const two = last && this.line[at + 2] === padding;
      const count = two ? 1 : last ? 2 : 3;
      if (last && at + 4 !== length) return "base64";
      let value = 0;
      for (let part = 0; part < 4; part += 1) {
        const sextet = part > count ? 0 : sextets[this.line[at + part] as number];
        if (sextet === undefined || sextet < 0) return "base64";
        value = (value << 6) | sextet;
      }
      // The bits that padding leaves over are zero: one text per packet, no hidden changes.
      if (value & ((1 << ((3 - count) * 8)) - 1)) return "base64";
      if (this.packetLength + count > this.packet.length) return "too_long";
      for (let part = 0; part < count; part += 1) {
        this.packet[this.packetLength] = (value >> (16 - part * 8)) & 0xff;
        this.packetLength += 1;
      }
    }
    return null;
  }

  /** Is the packet complete, and is it what it says it is? */
  private settle(out: Decoded[]): void {
    if (this.packetLength < 2) return;
    const announced = ((this.packet[0] as number) << 8) | (this.packet[1] as number);
    if (announced < 2 || announced + 2 > this.packet.length) return this.bad("length", out);
    if (this.packetLength < announced + 2) return;
    if (this.packetLength > announced + 2) return this.bad("length", out);
    const message = this.packet.slice(2, announced);
    const crc = ((this.packet[announced] as number) << 8) | (this.packet[announced + 1] as number);
    if (crc16(message) !== crc) return this.bad("crc", out);
    this.assembling = false;
    this.packetLength = 0;
    this.seen.messages += 1;
    out.push({ kind: "message", bytes: message });
  }

  private bad(reason: BadFrame, out: Decoded[]): void {
    this.assembling = false;
    this.packetLength = 0;
    this.seen.bad.set(reason, (this.seen.bad.get(reason) ?? 0) + 1);
    out.push({ kind: "bad", reason });
  }
}
