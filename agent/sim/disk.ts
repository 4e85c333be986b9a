/**
 * The twin of a disk that loses power: after a cut, what was not synced survives whole, torn or
 * not at all, each by chance. The constructor's options are what a real one does to us.
 */
import { Failure } from "../errors.ts";
import type { Disk } from "../io/disk.ts";
import type { Random } from "./random.ts";

/** Thrown by the operation at which the power fails; the code under test dies there. */
export class PowerCut extends Error {}

export interface DiskFaults {
  /** Every write fails: the file system is full. */
  full?: boolean;
  /** Every write fails: mounted read-only. */
  readOnly?: boolean;
}

interface File {
  /** Content on stable storage; undefined = the file does not exist there. */
  durable: Uint8Array | undefined;
  /** Content as programs see it. */
  seen: Uint8Array | undefined;
  /** So much of the durable content no cut can take: an append leaves alone what was there. */
  keptBytes: number;
}

export class SimDisk implements Disk {
  /** Writes, appends, syncs and removals still allowed before the power fails. */
  operationsLeft = Infinity;
  faults: DiskFaults = {};
  private cut = false;
  private readonly files = new Map<string, File>();
  private readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  read(name: string): Uint8Array | undefined {
    return this.files.get(name)?.seen?.slice();
  }

  write(name: string, bytes: Uint8Array): void {
    this.change(name, bytes.slice(), 0);
  }

  append(name: string, bytes: Uint8Array): void {
    const before = this.files.get(name)?.seen ?? new Uint8Array(0);
    const after = new Uint8Array(before.length + bytes.length);
    after.set(before, 0);
    after.set(bytes, before.length);
    this.change(name, after, Infinity);
  }

  sync(name: string): void {
    this.spend();
    const file = this.files.get(name);
    if (file === undefined) return;
    file.durable = file.seen;
    file.keptBytes = file.durable?.length ?? 0;
  }

  remove(name: string): void {
    if (this.files.has(name)) this.change(name, undefined, 0);
  }

  /** The power fails now: decides what of the unsynced content survives. */
  powerLoss(): void {
    this.operationsLeft = Infinity;
    this.cut = false;
    for (const [name, file] of this.files) {
      if (file.seen !== file.durable) file.durable = this.survivor(file);
      file.seen = file.durable;
      file.keptBytes = file.durable?.length ?? 0;
      if (file.durable === undefined) this.files.delete(name);
    }
  }

  /** Names of the files, sorted; for tests that damage each in turn. */
  names(): string[] {
    const names = [...this.files].flatMap(([name, { seen }]) => (seen === undefined ? [] : [name]));
    return names.sort();
  }

  private change(name: string, seen: Uint8Array | undefined, keptBytes: number): void {
    this.spend(() => {
      const file = this.files.get(name) ?? { durable: undefined, seen, keptBytes: 0 };
      file.seen = seen;
      file.keptBytes = Math.min(file.keptBytes, keptBytes);
      this.files.set(name, file);
    });
  }

  /** A write under way when the power fails may reach the disk in part; a later one never. */
  private spend(act: () => void = () => undefined): void {
    if (this.faults.readOnly) throw new Failure("journal.degraded", "the disk is read-only");
    if (this.faults.full) throw new Failure("journal.degraded", "no space left on the disk");
    if (this.operationsLeft <= 0) {
      if (!this.cut) act();
      this.cut = true;
      throw new PowerCut("the power failed");
    }
    this.operationsLeft -= 1;
    act();
  }

  /**
   * Whole, not at all, or torn: a prefix of the new content, alone or over the old one or, where
   * the file grew, with zeros in place of what did not reach the disk.
   */
  private survivor(file: File): Uint8Array | undefined {
    const { seen, durable, keptBytes } = file;
    const fate = this.random.int(4);
    if (fate === 0 || seen === undefined) return fate === 0 ? seen : durable;
    if (fate === 1) return durable;
    const kept = seen.slice(0, this.random.range(Math.min(keptBytes, seen.length), seen.length));
    if (fate === 2) return kept;
    const mixed = new Uint8Array(Math.max(seen.length, durable?.length ?? 0));
    if (durable !== undefined && durable.length >= seen.length) mixed.set(durable, 0);
    mixed.set(kept, 0);
    return mixed;
  }
}
