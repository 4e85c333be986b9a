/**
 * The twin of a serial line: two ends of one cable on the virtual clock, with the cable's bad
 * habits. Bytes written at one end arrive at the other after their time on the wire.
 */
import type { Clock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";
import type { Random } from "./random.ts";

export interface LineFaults {
  /** Chance that a written piece has one bit flipped. */
  flip?: number;
  /** Chance that a written piece is lost. */
  lose?: number;
  /** Chance that console text comes between two pieces. */
  text?: number;
  /** Chance of each data bit to arrive wrong. */
  bitError?: number;
  /** Chance that a written piece arrives as two, with a moment in between. */
  cut?: number;
  /** The host has stopped reading: nothing leaves the card. */
  blocked?: boolean;
}

const consoleText = new TextEncoder().encode("[  12.345678] nic0: link up, 100 Gb/s\n");

export interface LineOptions {
  /** Bits per second; ten bits make a byte on the wire. */
  readonly baud: number;
  /** Bytes that may wait at either end. */
  readonly queueBytes: number;
  readonly random: Random;
  readonly clock: Clock;
}

/** A cable: `card` is the agent's end, `host` the console's. */
export class SimLine {
  faults: LineFaults = {};
  readonly card: SimEnd;
  readonly host: SimEnd;
  readonly options: LineOptions;

  constructor(options: LineOptions) {
    this.options = options;
    this.card = new SimEnd(this, "sim:card");
    this.host = new SimEnd(this, "sim:host");
    this.card.peer = this.host;
    this.host.peer = this.card;
  }

  /** XOFF: neither end sends from now on; `unblock`: XON, and what waited leaves. */
  block(): void {
    this.faults = { ...this.faults, blocked: true };
  }

  unblock(): void {
    this.faults = { ...this.faults, blocked: false };
    this.card.release();
    this.host.release();
  }
}

/** One end. A card that resets lets go of its end; the cable stays. */
export class SimEnd implements Port {
  readonly name: string;
  peer: SimEnd | null = null;
  waitingBytes = 0;
  private readonly line: SimLine;
  private freeMs = 0;
  private readonly held: Uint8Array[] = [];
  private listen: (bytes: Uint8Array) => void = () => undefined;
  private closed: (cause: string) => void = () => undefined;

  constructor(line: SimLine, name: string) {
    this.line = line;
    this.name = name;
  }

  write(bytes: Uint8Array): boolean {
    const { faults } = this.line;
    const { clock, baud, queueBytes, random } = this.line.options;
    if (this.waitingBytes + bytes.length > queueBytes) return false;
    this.waitingBytes += bytes.length;
    if (faults.blocked === true) {
      this.held.push(bytes.slice());
      return true;
    }
    const spoiled = this.spoil(bytes.slice(), random);
    const startMs = Math.max(this.freeMs, clock.now());
    const wireMs = (bytes.length * 10_000) / baud;
    this.freeMs = startMs + wireMs;
    const first = this.cutOff(spoiled, random);
    if (first !== null) {
      // What has arrived of a piece is read before the rest is there.
      const partMs = (wireMs * Math.min(first.length, bytes.length)) / bytes.length;
      clock.at(startMs + partMs, () => this.peer?.listen(first));
    }
    clock.at(this.freeMs, () => {
      this.waitingBytes = Math.max(this.waitingBytes - bytes.length, 0);
      for (const piece of spoiled) this.peer?.listen(piece);
    });
    return true;
  }

  /** The other end reads again: what was held back leaves now. */
  release(): void {
    const held = this.held.splice(0);
    this.waitingBytes -= held.reduce((sum, { length }) => sum + length, 0);
    for (const bytes of held) this.write(bytes);
  }

  onData(listen: (bytes: Uint8Array) => void): void {
    this.listen = listen;
  }

  onClose(listen: (cause: string) => void): void {
    this.closed = listen;
  }

  close(): void {
    this.listen = () => undefined;
    this.closed = () => undefined;
    this.waitingBytes = 0;
    this.held.length = 0;
  }

  /** Unplugs the cable at this end. */
  unplug(): void {
    const { closed } = this;
    this.close();
    closed("unplugged");
  }

  /** Takes the first part of what is sent off it; null where it stays whole. */
  private cutOff(pieces: Uint8Array[], random: Random): Uint8Array | null {
    const { cut = 0 } = this.line.faults;
    const last = pieces.at(-1);
    if (last === undefined || last.length < 2 || cut === 0 || !random.chance(cut)) return null;
    const at = random.range(1, last.length - 1);
    pieces[pieces.length - 1] = last.subarray(at);
    return last.subarray(0, at);
  }

  private spoil(bytes: Uint8Array, random: Random): Uint8Array[] {
    const { flip = 0, lose = 0, text = 0, bitError = 0 } = this.line.faults;
    if (bitError > 0) spoilBits(bytes, bitError, random);
    if (flip === 0 && lose === 0 && text === 0) return [bytes];
    const pieces: Uint8Array[] = [];
    if (random.chance(text)) pieces.push(consoleText);
    if (random.chance(lose)) return pieces;
    if (random.chance(flip)) {
      const at = random.int(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8));
    }
    pieces.push(bytes);
    return pieces;
  }
}

/** Turns each bit over by chance, from one wrong bit to the next. */
function spoilBits(bytes: Uint8Array, chance: number, random: Random): void {
  const skip = (): number => Math.floor(Math.log(1 - random.next()) / Math.log(1 - chance));
  for (let at = skip(); at < bytes.length * 8; at += 1 + skip()) {
    const index = at >> 3;
    bytes[index] = (bytes[index] ?? 0) ^ (1 << (at & 7));
  }
}
