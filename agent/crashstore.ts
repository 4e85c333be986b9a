/**
 * Crash records until the host has them: plain text, the most telling first, each in a sealed file
 * of its own. A record goes only when somebody confirms its digest, or when a worse crash needs its
 * place; the latter is counted.
 */
import { Failure } from "./errors.ts";
import type { Sha256 } from "./io/digest.ts";
import type { Disk } from "./io/disk.ts";
import { decodeMap, encodeMap } from "./wire/cbor.ts";
import { seal, unseal } from "./wire/seal.ts";
import { bytes, check, map, oneOf, text } from "./wire/shape.ts";

/**
 * What a record tells of, worst first: a boot that died with its kernel or by the watchdog, a crash
 * of the TEE, a boot that ended in a way that nobody can name, such as a power cut.
 */
export const crashKinds = ["reset", "tee", "lost"] as const;
export type CrashKind = (typeof crashKinds)[number];

/** Records kept. */
export const recordsMax = 8;
/** Longest text of a record: 6 s of line at 115200 Bd. What is longer loses its end. */
export const recordBytesMax = 65_536;

/** First bytes of a record's file; see wire/seal.ts. */
const magic = "KNLC";
const shape = map({ name: text, about: oneOf(...crashKinds), boot: text, body: bytes });

export interface CrashInfo {
  /** Such as `reset-3-1a2b3c4d.txt`: letters, digits, dots and hyphens alone. */
  readonly name: string;
  readonly about: CrashKind;
  /** The boot that it happened in. */
  readonly boot: string;
  readonly bytes: number;
  /** SHA-256 of the text, 64 hexadecimal digits. */
  readonly sha256: string;
}

export interface Crash extends Pick<CrashInfo, "name" | "about" | "boot"> {
  readonly body: Uint8Array;
}

interface Slot {
  /** Counts up with every record; the higher one is the later. */
  readonly sequence: number;
  readonly info: Omit<CrashInfo, "sha256">;
  readonly body: Uint8Array;
  /** Made when first asked for. */
  sha256: string | null;
}

export class CrashStore {
  /** Why the latest change did not reach the disk; null while they do. */
  degraded: string | null = null;
  private readonly disk: Disk;
  private readonly sha256: Sha256;
  /** Read when first asked for: a start has better things to do. */
  private slots: (Slot | null)[] | null = null;

  constructor(disk: Disk, sha256: Sha256) {
    this.disk = disk;
    this.sha256 = sha256;
  }

  /** The worst first, of the same kind the latest first. */
  list(): CrashInfo[] {
    return this.inOrder().map((slot) => ({ ...slot.info, sha256: this.digestOf(slot) }));
  }

  /** How many are kept. */
  get count(): number {
    return this.inOrder().length;
  }

  /** The whole text of a record; null when there is none of that name. */
  contentOf(name: string): Uint8Array | null {
    return this.inOrder().find(({ info }) => info.name === name)?.body ?? null;
  }

  /** Bytes of a record. Failure `crash.missing`. */
  sizeOf(name: string): number {
    return this.find(name).body.length;
  }

  /** At most `max` bytes from `off`; none behind the end. Failure `crash.missing`. */
  read(name: string, off: number, max: number): Uint8Array {
    const { body } = this.find(name);
    return body.subarray(Math.min(off, body.length), Math.min(off + max, body.length));
  }

  /**
   * Somebody has the whole record, as its digest shows: it is removed for good. Failure
   * `crash.missing`, `crash.digest` when the digest is of something else.
   */
  confirm(name: string, sha256: string): void {
    const slot = this.find(name);
    const own = this.digestOf(slot);
    if (own !== sha256.toLowerCase()) {
      const message = `${name} has the digest ${own}, not ${sha256}: it is kept`;
      throw new Failure("crash.digest", message, { evidence: { sha256: own } });
    }
    this.empty(slot);
  }

  /**
   * Keeps a record, synced on return; one of a name that is there already changes nothing. When all
   * places are taken, the oldest of the least bad gives way. Returns which did; null for none.
   */
  add(crash: Crash): Slot["info"] | null {
    const kept = this.inOrder();
    if (kept.some(({ info }) => info.name === crash.name)) return null;
    const sequence = Math.max(0, ...kept.map((slot) => slot.sequence)) + 1;
    const slot = slotOf(sequence, { ...crash, body: crash.body.slice(0, recordBytesMax) });
    const last = kept.length < recordsMax ? undefined : kept.at(-1);
    if (last !== undefined && rankOf(last) < rankOf(slot)) return slot.info;
    if (last !== undefined) this.loaded()[this.placeOf(last)] = null;
    const at = this.loaded().indexOf(null);
    this.loaded()[at] = slot;
    const { name, about, boot } = slot.info;
    this.put(at, seal(magic, encodeMap({ name, about, boot, body: slot.body }), sequence));
    return last?.info ?? null;
  }

  private digestOf(slot: Slot): string {
    slot.sha256 ??= hexOf(this.sha256(slot.body));
    return slot.sha256;
  }

  private inOrder(): Slot[] {
    const found = this.loaded().filter((slot) => slot !== null);
    return found.sort((one, other) => rankOf(one) - rankOf(other) || other.sequence - one.sequence);
  }

  private find(name: string): Slot {
    const slot = this.loaded().find((slot) => slot?.info.name === name);
    if (slot != null) return slot;
    const names = this.inOrder().map(({ info }) => info.name);
    const there = names.length === 0 ? "there is none" : `there are ${names.join(", ")}`;
    throw new Failure("crash.missing", `no crash record named ${name}: ${there}`);
  }

  private placeOf(slot: Slot): number {
    return this.loaded().indexOf(slot);
  }

  /** Emptied, not removed: a removal may not outlive a power cut, and the record would be back. */
  private empty(slot: Slot): void {
    const at = this.placeOf(slot);
    this.loaded()[at] = null;
    this.put(at, new Uint8Array());
  }

  private put(at: number, content: Uint8Array): void {
    try {
      this.disk.write(fileOf(at), content);
      this.disk.sync(fileOf(at));
      this.degraded = null;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.degraded = error.message;
    }
  }

  private loaded(): (Slot | null)[] {
    this.slots ??= Array.from({ length: recordsMax }, (_, at) => this.load(at));
    return this.slots;
  }

  /** A damaged record is no record: its place is free. */
  private load(at: number): Slot | null {
    try {
      const opened = unseal(magic, this.disk.read(fileOf(at)) ?? new Uint8Array());
      if (opened === null || !("data" in opened)) return null;
      return slotOf(opened.sequence, check(shape, decodeMap(opened.data), "crash record"));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return null;
    }
  }
}

function slotOf(sequence: number, { name, about, boot, body }: Crash): Slot {
  return { sequence, body, info: { name, about, boot, bytes: body.length }, sha256: null };
}

/** 0 is the worst. */
function rankOf({ info }: Slot): number {
  return crashKinds.indexOf(info.about);
}

function fileOf(at: number): string {
  return `crash.${at}`;
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
