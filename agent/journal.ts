/**
 * What survives a power cut. A value lives in two slots written in turn, each with a checksummed
 * header and checksummed data, so that a cut at any write leaves the old value or the new one.
 * Behind them stands a last-known-good copy, and behind that a default that is never laxer.
 */
import { Failure } from "./errors.ts";
import type { Disk } from "./io/disk.ts";
import { seal, unseal } from "./wire/seal.ts";

/** Which copy was believed when the journal was opened. */
export type Outcome = "current" | "spare" | "last_known_good" | "defaults" | "absent";

export interface Codec<T> {
  encode(value: T): Uint8Array;
  /** Throws when the bytes are not a value: recovered data is checked before it is used. */
  decode(bytes: Uint8Array): T;
  /** `lost`: there was a record and no copy of it could be read. */
  fallback(lost: boolean): T;
  /**
   * What a last known good copy amounts to now. It is old: what happened since and is lost must
   * not make it laxer. Absent: it is taken as it is.
   */
  aged?(value: T): T;
}

/** First bytes of a stored value; see wire/seal.ts. */
const magic = "KNLJ";
/** A longer record is refused: one packet's worth of state is plenty, 64 kB is a defect. */
export const recordBytesMax = 65_536;

/** One copy as found on disk. */
type Found<T> =
  | { kind: "none" }
  | { kind: "good"; sequence: number; value: T }
  | { kind: "bad_data"; sequence: number }
  | { kind: "bad_header" };

export class Journal<T> {
  /** The value last committed, or recovered at opening. */
  value: T;
  /** How it was recovered. */
  readonly outcome: Outcome;
  /** Why writes do not reach the disk; null while they do. */
  degraded: string | null = null;
  private readonly disk: Disk;
  private readonly name: string;
  private readonly codec: Codec<T>;
  private sequence: number;
  private staged = false;
  /** The slot that the next commit overwrites: never the one holding the newest value. */
  private target: "a" | "b";

  constructor(disk: Disk, name: string, codec: Codec<T>) {
    this.disk = disk;
    this.name = name;
    this.codec = codec;
    const a = this.find("a");
    const b = this.find("b");
    const newest = newestOf(a, b);
    this.sequence = laterOf(sequenceOf(a), sequenceOf(b));
    if (newest !== null) {
      this.value = newest.found.value;
      this.target = newest.slot === "a" ? "b" : "a";
      const other = newest.slot === "a" ? b : a;
      this.outcome = isHurt(other) ? "spare" : "current";
      return;
    }
    this.target = "a";
    const good = this.find("good");
    const lost = [a, b, good].some((found) => found.kind !== "none");
    if (good.kind === "good") {
      this.value = codec.aged?.(good.value) ?? good.value;
      this.sequence = laterOf(this.sequence, good.sequence);
      this.outcome = "last_known_good";
    } else {
      this.value = codec.fallback(lost);
      this.outcome = lost ? "defaults" : "absent";
    }
  }

  /** Stores a value: on return it is on stable storage, or `degraded` says why not. */
  commit(value: T): void {
    this.value = value;
    this.staged = false;
    this.sequence = (this.sequence + 1) >>> 0;
    if (this.put(this.target, this.sequence)) this.target = this.target === "a" ? "b" : "a";
  }

  /** Takes a new value that may wait for the next `flush`: several of them cost one write. */
  stage(value: T): void {
    this.value = value;
    this.staged = true;
  }

  /** Stores what was staged. */
  flush(): void {
    if (this.staged) this.commit(this.value);
  }

  /** Keeps the present value as the last known good one: after a boot that proved healthy. */
  keepAsGood(): void {
    this.put("good", this.sequence);
  }

  private put(slot: string, sequence: number): boolean {
    const data = this.codec.encode(this.value);
    if (data.length > recordBytesMax) {
      throw new Failure("journal.degraded", `${this.name}: a record of ${data.length} bytes`);
    }
    try {
      this.disk.write(`${this.name}.${slot}`, seal(magic, data, sequence));
      this.disk.sync(`${this.name}.${slot}`);
      this.degraded = null;
      return true;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.degraded = error.message;
      return false;
    }
  }

  /** A copy that cannot be read is as good as damaged. */
  private readCopy(slot: string): Uint8Array | undefined | "unreadable" {
    try {
      return this.disk.read(`${this.name}.${slot}`);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.degraded = error.message;
      return "unreadable";
    }
  }

  private find(slot: string): Found<T> {
    const record = this.readCopy(slot);
    if (record === "unreadable") return { kind: "bad_header" };
    if (record === undefined) return { kind: "none" };
    const opened = unseal(magic, record);
    if (opened === null) return { kind: "bad_header" };
    if (!("data" in opened)) return { kind: "bad_data", sequence: opened.sequence };
    try {
      const value = this.codec.decode(opened.data);
      return { kind: "good", sequence: opened.sequence, value };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { kind: "bad_data", sequence: opened.sequence };
    }
  }
}

function sequenceOf<T>(found: Found<T>): number | null {
  return "sequence" in found ? found.sequence : null;
}

function laterOf(left: number | null, right: number | null): number {
  if (left === null || right === null) return left ?? right ?? 0;
  return isNewer(left, right) ? left : right;
}

function isHurt<T>(found: Found<T>): boolean {
  return found.kind === "bad_data" || found.kind === "bad_header";
}

function newestOf<T>(a: Found<T>, b: Found<T>) {
  if (a.kind === "good" && (b.kind !== "good" || isNewer(a.sequence, b.sequence))) {
    return { slot: "a" as const, found: a };
  }
  return b.kind === "good" ? { slot: "b" as const, found: b } : null;
}

/** Sequence numbers wrap at 2^32: newer is at most half the circle ahead. */
function isNewer(left: number, right: number): boolean {
  return (left - right) >>> 0 < 0x80000000;
}
