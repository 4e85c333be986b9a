/**
 * What a hostile or broken peer puts on the line, from a seed: requests of every command with
 * members that mean something and values that do not, damaged CBOR, damaged headers, damaged
 * frames, halves, noise, and console text in between.
 */
import type { Random } from "../../sim/random.ts";
import { commands } from "../../wire/commands.ts";
import { enframe } from "../../wire/frame.ts";

interface Target {
  readonly group: number;
  readonly id: number;
  readonly op: number;
  /** Members that the request's shape asks for. */
  readonly members: readonly string[];
}

/** As in the first byte of a header. */
const opOf = { read: 0, write: 2, either: 0 } as const;

/** Every command there is, except those that `spare` names. */
export function targetsOf(spare: readonly string[]): Target[] {
  return Object.entries(commands)
    .filter(([name]) => !spare.includes(name))
    .map(([, { group, id, op, request }]) => {
      return { group, id, op: opOf[op], members: request.members ?? [] };
    });
}

/** Most bytes of one input: more than the largest packet, so that too much is tried as well. */
const inputBytesMax = 6000;
const depthMax = 24;
const text = new TextEncoder();
const consoleText = text.encode("\n[   12.345678] mlx5_core 0000:03:00.0: link up\nlogin: ");
/** Names that other commands know, and that objects have. */
const names = ["d", "name", "off", "len", "rc", "err", "__proto__", "constructor", "toString", ""];
const words = ["a", "hang", "power", "direct", "../../etc/passwd", "\u0000", "�", "kernel"];
const marks = [0x06, 0x09, 0x04, 0x14, 0x0a, 0x0d, 0x3d, 0xff, 0x00];

/** Bytes of CBOR, of which a good part is no good. */
class Body {
  readonly bytes: number[] = [];
  private readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  map(members: readonly string[]): void {
    const { random } = this;
    const count = random.chance(0.05) ? random.int(40) : random.int(members.length + 2);
    if (random.chance(0.1)) {
      this.bytes.push(0xbf);
      for (let at = 0; at < count; at++) this.member(members);
      if (random.chance(0.9)) this.bytes.push(0xff);
      return;
    }
    this.head(5, random.chance(0.05) ? random.uint32() : count);
    for (let at = 0; at < count; at++) this.member(members);
  }

  private member(members: readonly string[]): void {
    const { random } = this;
    const known = members.length > 0 && random.chance(0.8);
    if (random.chance(0.02)) this.value(0);
    else this.string(3, text.encode(known ? random.pick(members) : random.pick(names)));
    this.value(0);
  }

  private value(depth: number): void {
    const { random } = this;
    if (this.bytes.length > inputBytesMax) return;
    switch (random.int(12)) {
      case 0:
      case 1:
      case 2:
        return this.head(random.int(2), this.number());
      case 3:
      case 4:
        return this.string(3, text.encode(random.pick(words).repeat(random.pick([1, 1, 2, 90]))));
      case 5:
        return this.string(2, random.bytes(random.pick([0, 1, 8, 64, 700])));
      case 6:
        return this.list(depth);
      case 7:
        return depth < depthMax ? this.nested(depth) : this.head(7, 22);
      case 8:
        this.bytes.push(0xfb, ...random.bytes(8));
        return;
      case 9:
        this.bytes.push(random.pick([0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa]));
        return;
      case 10:
        // A tag: refused, but only after it was understood.
        this.head(6, this.number());
        return this.value(depth + 1);
      default:
        this.bytes.push(random.int(256));
    }
  }

  private list(depth: number): void {
    const { random } = this;
    const count = random.pick([0, 1, 3, 70]);
    this.head(4, random.chance(0.05) ? random.uint32() : count);
    if (depth < depthMax) for (let at = 0; at < count; at++) this.value(depth + 1);
  }

  private nested(depth: number): void {
    const { random } = this;
    const twice = random.chance(0.2);
    this.head(5, twice ? 2 : 1);
    const key = text.encode(random.pick(names));
    for (let at = twice ? 2 : 1; at > 0; at--) {
      this.string(3, key);
      this.value(depth + 1);
    }
  }

  private number(): number {
    const { random } = this;
    return random.pick([0, 1, 23, 24, 255, 256, 65_535, 65_536, 0x7fffffff, 0xffffffff, 4096]);
  }

  private string(major: number, bytes: Uint8Array): void {
    const { random } = this;
    this.head(major, random.chance(0.02) ? random.uint32() : bytes.length);
    for (const byte of bytes) this.bytes.push(byte);
  }

  /** As short as it can be, or longer than it need be; at times of 64 bits. */
  private head(major: number, value: number): void {
    const { random } = this;
    const first = major << 5;
    if (random.chance(0.02)) {
      this.bytes.push(
        first | 27,
        ...random.bytes(4),
        value >>> 24,
        value >>> 16,
        value >>> 8,
        value,
      );
    } else if (value < 24) this.bytes.push(first | value);
    else if (value < 256) this.bytes.push(first | 24, value);
    else if (value < 65_536) this.bytes.push(first | 25, value >>> 8, value & 0xff);
    else this.bytes.push(first | 26, value >>> 24, value >>> 16, value >>> 8, value);
  }
}

/** One SMP message for a command, with its header right, or not quite. */
function messageFor(random: Random, target: Target): Uint8Array {
  const body = new Body(random);
  if (!random.chance(0.03)) body.map(target.members);
  const length = random.chance(0.02) ? random.int(0x10000) : body.bytes.length;
  const { group, id, op } = random.chance(0.02)
    ? { group: random.int(0x10000), id: random.int(256), op: random.int(8) }
    : target;
  const version = random.chance(0.02) ? random.int(4) : random.int(2);
  const flags = random.chance(0.01) ? random.int(256) : 0;
  const header = [(version << 3) | op, flags, length >>> 8, length, group >>> 8, group];
  return Uint8Array.from([...header, random.int(256), id, ...body.bytes]);
}

/** The body of a message by itself: CBOR, good and bad. */
export function hostileBody(random: Random, targets: readonly Target[]): Uint8Array {
  const body = new Body(random);
  body.map(random.pick(targets).members);
  return Uint8Array.from(body.bytes);
}

/** The next input: what comes in one read from the line. */
export function hostileInput(random: Random, targets: readonly Target[]): Uint8Array {
  const kind = random.int(100);
  if (kind < 3) return random.bytes(random.int(200));
  if (kind < 5) return consoleText;
  const message = messageFor(random, random.pick(targets));
  if (kind < 8) {
    const both = [message, messageFor(random, random.pick(targets))].flatMap((one) => [...one]);
    return enframe(Uint8Array.from(both));
  }
  const frame = enframe(message);
  if (kind < 12) return frame.subarray(0, random.int(frame.length + 1));
  if (kind < 15) return frame.subarray(random.int(frame.length));
  if (kind < 25) {
    for (let hits = random.range(1, 4); hits > 0; hits--) {
      frame[random.int(frame.length)] = random.chance(0.5) ? random.pick(marks) : random.int(256);
    }
  }
  return frame;
}
