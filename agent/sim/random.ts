/**
 * Seeded chance: the only source of it in simulations and tests, so that any run can be repeated
 * from its seed. The generator is sfc32 (Chris Doty-Humphrey, PractRand): 128 bits of state, of
 * which 32 count, hence no period below 2^32. Not for secrets.
 */
import { assert } from "../errors.ts";

/** Outputs thrown away after seeding, until the seed has reached every bit of the state. */
const warmUp = 12;
const uint32 = 0x1_0000_0000;

/** FNV-1a over UTF-16 units: a label becomes 32 bits. */
export function hash32(label: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < label.length; index++) {
    hash = Math.imul(hash ^ label.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

export class Random {
  /** 0 .. 2^32-1: with it the same numbers come again. */
  readonly seed: number;
  private readonly stream: number;
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  /** Of `seed` the low 32 bits count; `stream` tells streams of one seed apart. */
  constructor(seed: number, stream = 0) {
    assert(Number.isSafeInteger(seed), "a seed is an integer");
    this.seed = seed >>> 0;
    this.stream = stream;
    this.a = this.seed | 0;
    this.b = stream | 0;
    this.c = 0x6b656e6c;
    for (let round = 0; round < warmUp; round++) this.uint32();
  }

  /** 0 .. 2^32-1, all equally likely. */
  uint32(): number {
    const out = (((this.a + this.b) | 0) + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + out) | 0;
    return out >>> 0;
  }

  /** A number in [0, 1) with 53 random bits. */
  next(): number {
    const high = this.uint32() >>> 5;
    return (high * 0x400_0000 + (this.uint32() >>> 6)) / 0x20_0000_0000_0000;
  }

  /** A whole number in [0, below), without bias; `below` is 1 .. 2^32. */
  int(below: number): number {
    assert(Number.isInteger(below) && below >= 1 && below <= uint32, "int() takes 1 to 2^32");
    // What lies above the last whole multiple of `below` would favour small results.
    const limit = uint32 - (uint32 % below);
    for (;;) {
      const value = this.uint32();
      if (value < limit) return value % below;
    }
  }

  /** A whole number in [low, high], both ends included. */
  range(low: number, high: number): number {
    assert(low <= high, "a range has its low end first");
    return low + this.int(high - low + 1);
  }

  /** True with the given probability: never for 0, always for 1. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.uint32() & 0xff);
  }

  /** One of the list's entries; the list must not be empty. */
  pick<T>(list: readonly T[]): T {
    assert(list.length > 0, "there is something to pick from");
    return list[this.int(list.length)] as T;
  }

  /**
   * A stream of its own for a part of the world. It depends on the seed and the labels alone, not
   * on what was drawn before: a part that draws more does not change the others.
   */
  fork(label: string): Random {
    return new Random(this.seed, hash32(`${this.stream}/${label}`));
  }
}
