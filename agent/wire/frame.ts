/**
 * Console framing of SMP: a packet is base64 in lines that begin with 06 09 (first) or 04 14
 * (further) and end with a newline, so that it shares a serial line with console text.
 *
 * Sent: lines of at most `lineBytesMax`, LF, `=` only at the end (Zephyr, "SMP over console").
 * Received besides: lines of any length up to the whole packet, CRLF, lines that are base64 each
 * by itself, a checksum cut by a line end, frames that begin in the middle of a line of text, text
 * between the lines of a packet.
 *
 * No I/O and no time: bytes in, values out. Noise and bad frames are values, not errors.
 */
import { packetBytesMax } from "./command.ts";
import { Assembly, type BadPacket, wrap, writeBase64 } from "./packet.ts";

/** Longest line sent, markers and newline included (Zephyr MCUMGR_SERIAL_MAX_FRAME). */
export const lineBytesMax = 127;
/** Bytes of a packet in one line: 31 groups of three, which are 124 characters. */
const bytesPerLine = 93;
/** Console text is handed on at the end of its line, or in pieces of this size. */
export const textBytesMax = 256;

const newline = 0x0a;
const carriageReturn = 0x0d;
/** The two bytes that begin the first line of a packet, and those of every further one. */
const firstMarker = [0x06, 0x09] as const;
const furtherMarker = [0x04, 0x14] as const;

/**
 * What was wrong with a frame. `stray_continuation`: its first line was not seen; `cut`: another
 * one began before it was complete, or it was given up.
 */
export type BadFrame = BadPacket | "stray_continuation" | "cut";

/** What a stretch of serial bytes turned out to be. Nothing is dropped silently. */
export type Decoded =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  | { readonly kind: "text"; readonly bytes: Uint8Array }
  | { readonly kind: "bad"; readonly reason: BadFrame };

/**
 * Frames one SMP packet, ready to be written in one go. Failure `wire.too_large` above the 65533
 * bytes that a frame can announce.
 */
export function enframe(message: Uint8Array): Uint8Array {
  const packet = wrap(message);
  const lines = Math.ceil(packet.length / bytesPerLine);
  const out = new Uint8Array(Math.ceil(packet.length / 3) * 4 + lines * 3);
  for (let line = 0, to = 0; line < lines; line++) {
    out.set(line === 0 ? firstMarker : furtherMarker, to);
    const from = line * bytesPerLine;
    to = writeBase64(packet, from, Math.min(from + bytesPerLine, packet.length), out, to + 2);
    out[to++] = newline;
  }
  return out;
}

/** One value per reason: a line full of rubbish must not cost memory per bad frame. */
const badValues: Readonly<Record<BadFrame, Decoded>> = {
  stray_continuation: { kind: "bad", reason: "stray_continuation" },
  base64: { kind: "bad", reason: "base64" },
  length: { kind: "bad", reason: "length" },
  crc: { kind: "bad", reason: "crc" },
  too_long: { kind: "bad", reason: "too_long" },
  cut: { kind: "bad", reason: "cut" },
};

export interface DeframerOptions {
  /** Longest SMP packet taken; a frame that announces more is bad. */
  readonly packetBytes?: number;
  /** `count`: text is only counted, for those who do not read it. */
  readonly text?: "lines" | "count";
}

/**
 * Bytes in, messages out: call `push` with whatever arrived, in pieces of any size. Holds at most
 * one packet and one piece of text. A frame is bad once: the lines that still belong to it, or to
 * one whose first line was not seen, are skipped up to the next first line.
 */
export class Deframer {
  /** All that was seen so far, for a diagnosis of a silent line. */
  readonly seen = { messages: 0, textBytes: 0, skippedBytes: 0, bad: new Map<BadFrame, number>() };
  private readonly keepsText: boolean;
  private readonly text: Uint8Array;
  private textLength = 0;
  /** Where in a line we are: in console text, in base64, or in the rest of a bad line. */
  private mode: "text" | "line" | "skip" = "text";
  /** First byte of what may become a marker, else 0. */
  private half = 0;
  /** A carriage return may only be followed by more of them and the newline. */
  private isCrSeen = false;
  /** The packet under way: none, one that is being put together, one known to be bad. */
  private state: "none" | "assembling" | "refused" = "none";
  private readonly assembly: Assembly;

  constructor(options: DeframerOptions = {}) {
    this.assembly = new Assembly(options.packetBytes ?? packetBytesMax);
    this.keepsText = options.text !== "count";
    this.text = new Uint8Array(textBytesMax);
  }

  /** Bytes of a frame that is not complete yet; 0 when none is under way. */
  get pendingBytes(): number {
    const frameBytes = this.state === "assembling" ? 2 + this.assembly.pendingBytes : 0;
    return frameBytes + (this.half === 0 ? 0 : 1);
  }

  /** Whether the next byte of text will be taken as such: nothing is under way or being skipped. */
  get isResting(): boolean {
    return this.mode === "text" && this.half === 0 && this.state !== "assembling";
  }

  /**
   * Gives up a half frame, so that a sender that died does not spoil what comes next. When is the
   * caller's to say: it knows the time and the speed of the line.
   */
  reset(): void {
    if (this.state === "assembling") this.count("cut");
    this.dropHalf();
    this.mode = "text";
    this.state = "none";
  }

  push(bytes: Uint8Array): Decoded[] {
    const out: Decoded[] = [];
    for (let at = 0; at < bytes.length; ) {
      if (this.half !== 0) at = this.takeMarker(bytes, at, out);
      else if (this.mode === "text") at = this.takeText(bytes, at, out);
      else if (this.mode === "line") at = this.takeLine(bytes, at, out);
      else at = this.skipLine(bytes, at);
    }
    return out;
  }

  /**
   * The text of a line that has not ended yet, such as a prompt; what follows comes as the next
   * piece. With `half` also a first byte of a marker that nothing followed: a key, not a frame.
   * Null when there is none.
   */
  takePending(half: boolean): Uint8Array | null {
    if (half && this.mode === "text") this.dropHalf();
    if (this.textLength === 0) return null;
    const bytes = this.text.slice(0, this.textLength);
    this.textLength = 0;
    return bytes;
  }

  /** Console text up to the end of its line, or to what may be a marker. */
  private takeText(bytes: Uint8Array, from: number, out: Decoded[]): number {
    if (this.textLength === textBytesMax) this.endText(out);
    const end = Math.min(bytes.length, from + textBytesMax - this.textLength);
    for (let at = from; at < end; at++) {
      const value = bytes[at] as number;
      if (value === newline) {
        this.addText(bytes, from, at + 1);
        this.endText(out);
        return at + 1;
      }
      if (value === firstMarker[0] || value === furtherMarker[0]) {
        this.addText(bytes, from, at);
        this.half = value;
        return at + 1;
      }
    }
    this.addText(bytes, from, end);
    return end;
  }

  private addText(bytes: Uint8Array, from: number, end: number): void {
    this.seen.textBytes += end - from;
    if (!this.keepsText) return;
    for (let at = from; at < end; at++) this.text[this.textLength++] = bytes[at] as number;
  }

  private endText(out: Decoded[]): void {
    if (this.textLength === 0) return;
    out.push({ kind: "text", bytes: this.text.slice(0, this.textLength) });
    this.textLength = 0;
  }

  /** The byte after the first one of a marker. */
  private takeMarker(bytes: Uint8Array, at: number, out: Decoded[]): number {
    const value = bytes[at];
    const isFirst = this.half === firstMarker[0] && value === firstMarker[1];
    const isFurther = this.half === furtherMarker[0] && value === furtherMarker[1];
    if (!isFirst && !isFurther) {
      // No marker: its first byte belongs to what it stood in, and this one is looked at again.
      this.dropHalf();
      if (this.mode === "line") this.refuse("base64", out);
      return at;
    }
    this.half = 0;
    this.isCrSeen = false;
    this.endText(out);
    if (isFirst) this.begin(out);
    else this.resume(out);
    return at + 1;
  }

  /** A first line: whatever was under way is over. */
  private begin(out: Decoded[]): void {
    if (this.state === "assembling") this.refuse("cut", out);
    this.state = "assembling";
    this.mode = "line";
    this.assembly.begin();
  }

  private resume(out: Decoded[]): void {
    if (this.state === "none") return this.refuse("stray_continuation", out);
    this.mode = this.state === "assembling" ? "line" : "skip";
    this.assembly.beginLine();
  }

  private dropHalf(): void {
    if (this.half === 0) return;
    if (this.mode === "text") this.addText(Uint8Array.of(this.half), 0, 1);
    this.half = 0;
  }

  /** The rest of a bad line, up to its end or to a new frame. */
  private skipLine(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length) {
      const value = bytes[at++];
      if (value === newline) {
        this.mode = "text";
        break;
      }
      if (value === firstMarker[0]) {
        this.half = value;
        break;
      }
    }
    this.seen.skippedBytes += at - from;
    return at;
  }

  private takeLine(bytes: Uint8Array, from: number, out: Decoded[]): number {
    const at = this.isCrSeen ? from : this.assembly.takeGroups(bytes, from);
    if (at === bytes.length) return at;
    const value = bytes[at] as number;
    if (value === newline) this.endLine(out);
    else if (value === firstMarker[0]) this.half = value;
    else if (value === carriageReturn) this.isCrSeen = true;
    else {
      const problem = this.isCrSeen ? "base64" : this.assembly.take(value);
      if (problem !== null) this.refuse(problem, out);
    }
    return at + 1;
  }

  private endLine(out: Decoded[]): void {
    const found = this.assembly.endLine();
    if (typeof found === "string") this.refuse(found, out);
    else if (found !== null) {
      this.state = "none";
      this.seen.messages++;
      out.push({ kind: "message", bytes: found });
    }
    this.mode = "text";
  }

  private refuse(reason: BadFrame, out: Decoded[]): void {
    this.mode = "skip";
    this.state = "refused";
    this.count(reason);
    out.push(badValues[reason]);
  }

  private count(reason: BadFrame): void {
    this.seen.bad.set(reason, (this.seen.bad.get(reason) ?? 0) + 1);
  }
}
