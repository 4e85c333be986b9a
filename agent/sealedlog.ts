/**
 * A log of sealed records in two files that take turns: records are appended to one; when that has
 * grown too long, what is still worth knowing is written to the other, complete with an end mark,
 * before the first is removed. A power cut at any write leaves all that was synced.
 */
import { Failure } from "./errors.ts";
import type { Disk } from "./io/disk.ts";
import { decodeMap, encodeMap } from "./wire/cbor.ts";
import { seal, sealBytes, unseal } from "./wire/seal.ts";

export type Entry = Readonly<Record<string, unknown>>;

/** The entry that closes a rewritten file's opening: a file without it is not believed. */
const endMark = { t: "end" };

interface Found {
  readonly at: number;
  readonly length: number;
  /** Turn in which it was written: every record carries it, so that no stale one passes for new. */
  readonly turn: number;
  readonly entries: Entry[];
  readonly isComplete: boolean;
  /** It ends with what is no record. */
  readonly isTorn: boolean;
  readonly isDamaged: boolean;
}

export class SealedLog {
  /** What was found at opening, oldest first. */
  readonly found: readonly Entry[];
  /** There was something, and not all of it can be believed. */
  readonly isDamaged: boolean;
  /** Bytes in the file that is written to. */
  written: number;
  private readonly disk: Disk;
  private readonly name: string;
  private readonly magic: string;
  private file: number;
  private turn: number;
  private turnMax: number;
  /** Nothing may be appended before all is written anew. */
  private isStale: boolean;

  /** `magic`: four ASCII characters. Failure `journal.degraded` when the disk cannot be read. */
  constructor(disk: Disk, name: string, magic: string) {
    this.disk = disk;
    this.name = name;
    this.magic = magic;
    const both = [0, 1].map((at) => this.read(at)).sort(byWorth);
    const [best, other] = both as [Found, Found];
    this.found = best.entries.filter(({ t }) => t !== endMark.t);
    this.file = best.at;
    this.written = best.length;
    this.turn = best.turn;
    this.turnMax = Math.max(best.turn, other.turn);
    const isNew = best.length === 0 && other.length === 0;
    this.isDamaged = !isNew && (!best.isComplete || best.isDamaged);
    // A file that was being written anew when the power went is of no more use.
    this.isStale = isNew || this.isDamaged || best.isTorn || other.length > 0;
  }

  /** Everything is to be written anew before anything is appended. */
  get wantsRewrite(): boolean {
    return this.isStale;
  }

  /** Adds entries; with `isSynced` they are on stable storage on return. */
  append(entries: readonly Entry[], isSynced: boolean): void {
    const bytes = this.bytesOf(entries, this.turn);
    try {
      this.disk.append(this.path(this.file), bytes);
      if (isSynced) this.disk.sync(this.path(this.file));
      this.written += bytes.length;
    } catch (error) {
      // How much of it is there is not known: the next write begins a new file.
      this.isStale = true;
      throw error;
    }
  }

  /** Begins the other file with these entries alone. */
  rewrite(entries: readonly Entry[]): void {
    const next = 1 - this.file;
    this.turnMax += 1;
    const bytes = this.bytesOf([...entries, endMark], this.turnMax);
    // A file that may be complete or not: until one surely is, nothing is appended to either.
    this.isStale = true;
    this.disk.write(this.path(next), bytes);
    this.disk.sync(this.path(next));
    const old = this.file;
    this.file = next;
    this.turn = this.turnMax;
    this.written = bytes.length;
    this.isStale = false;
    this.disk.remove(this.path(old));
  }

  private path(at: number): string {
    return `${this.name}.${at}`;
  }

  private bytesOf(entries: readonly Entry[], turn: number): Uint8Array {
    const records = entries.map((entry) => seal(this.magic, encodeMap(entry), turn));
    const bytes = new Uint8Array(records.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const record of records) {
      bytes.set(record, at);
      at += record.length;
    }
    return bytes;
  }

  /**
   * Reads one file up to the first byte that is no record. A write that the power cut leaves such
   * an end, and was never synced; a good record behind it means that something else happened.
   */
  private read(at: number): Found {
    const bytes = this.disk.read(this.path(at)) ?? new Uint8Array(0);
    const entries: Entry[] = [];
    let turn = 0;
    let from = 0;
    while (from < bytes.length) {
      const record = this.recordAt(bytes, from);
      if (record === null || (from > 0 && record.turn !== turn)) break;
      turn = record.turn;
      entries.push(record.entry);
      from += record.length;
    }
    const isComplete = entries.some(({ t }) => t === endMark.t);
    return {
      at,
      length: bytes.length,
      turn,
      entries,
      isComplete,
      isTorn: from < bytes.length,
      isDamaged: from < bytes.length && this.isAnyAfter(bytes, from + 1),
    };
  }

  private isAnyAfter(bytes: Uint8Array, from: number): boolean {
    const first = this.magic.charCodeAt(0);
    for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
      if (this.recordAt(bytes, at) !== null) return true;
    }
    return false;
  }

  private recordAt(
    bytes: Uint8Array,
    at: number,
  ): { length: number; turn: number; entry: Entry } | null {
    if (bytes.length - at < sealBytes) return null;
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, bytes.length - at);
    const length = view.getUint32(12) + sealBytes;
    const opened = unseal(this.magic, bytes.subarray(at, at + length));
    if (opened === null || !("data" in opened)) return null;
    try {
      return { length, turn: opened.sequence, entry: decodeMap(opened.data) };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return null;
    }
  }
}

function byWorth(left: Found, right: Found): number {
  if (left.isComplete !== right.isComplete) return left.isComplete ? -1 : 1;
  if (left.isComplete) return right.turn - left.turn;
  return right.entries.length - left.entries.length;
}
