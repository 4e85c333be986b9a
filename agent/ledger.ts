/**
 * The report ledger: every report has an identity (boot id, sequence), is on disk before it is
 * sent, and stays until the host acknowledged it. On disk it is a log in two segments: records are
 * appended to one; when that grows too long, what is still pending is written to the other.
 */
import { Failure } from "./errors.ts";
import type { EventClass } from "./events.ts";
import type { Disk } from "./io/disk.ts";
import { decodeMap, encodeMap } from "./wire/cbor.ts";
import { type Report, report as reportShape } from "./wire/commands.ts";
import { seal, sealBytes, unseal } from "./wire/seal.ts";
import { check, cutText, map, oneOf, text, uint } from "./wire/shape.ts";

/** Bound on reports kept for a host that is away; the least worthy are dropped, and counted. */
export const pendingMax = 512;
/** A longer segment is rewritten to the other file: at most 512 reports of ~120 bytes remain. */
export const segmentBytesMax = 262_144;
/** Boots whose counts are remembered. */
export const bootsMax = 16;

/** Counts of one boot: what was numbered, what the host has, what was dropped unseen. */
export interface BootCount {
  readonly boot: string;
  lastSeq: number;
  acknowledged: number;
  dropped: number;
}

const magic = "KNLR";
const entryKind = map({ t: oneOf("begin", "count", "report", "end", "ack", "drop") });
const counted = map({ boot: text, last: uint, acknowledged: uint, dropped: uint });
const acked = map({ boot: text, seq: uint });
const kept = map({ report: reportShape });

export class Ledger {
  /** Oldest first. */
  readonly pending: Report[] = [];
  /** The most reports that waited at a time since the agent started. */
  pendingPeak = 0;
  /** True when damage was found at opening and what could be read was kept. */
  readonly salvaged: boolean;
  /** Why reports do not reach the disk; null while they do. */
  degraded: string | null = null;
  private readonly disk: Disk;
  private readonly counts = new Map<string, BootCount>();
  private readonly own: BootCount;
  private segment = 0;
  /** Of the segment in use; every record carries it, so that no stale one is taken for new. */
  private generation = 0;
  private generationMax = 0;
  private written = 0;
  private buffered: Uint8Array[] = [];
  private newDrops = 0;
  /** No segment is to be believed: the first flush begins one. */
  private isAnew = false;

  /** Opens the ledger of an agent whose boot id is `boot`; reports of earlier boots are kept. */
  constructor(disk: Disk, boot: string) {
    this.disk = disk;
    const found = this.load();
    this.salvaged = found === "damaged";
    this.own = this.count(boot);
    if (found === "intact") this.buffered.push(this.record(countEntry(this.own)));
    else this.isAnew = true;
  }

  /** Numbers and buffers a report; `flush` makes it durable. */
  add(atMs: number, kind: string, worth: "safety" | "state", data: Report["data"]): Report {
    this.own.lastSeq += 1;
    const seq = this.own.lastSeq;
    const at_ms = Math.max(Math.round(atMs), 0);
    const report: Report = {
      boot: this.own.boot,
      seq,
      at_ms,
      kind,
      class: worth,
      data: fitting(data),
    };
    this.pending.push(report);
    this.pendingPeak = Math.max(this.pendingPeak, this.pending.length);
    this.buffered.push(this.record({ t: "report", report }));
    if (this.pending.length > pendingMax) this.dropOne();
    return report;
  }

  /**
   * Puts everything buffered on stable storage, in one write. What an earlier write did not get
   * there comes along: then all is written anew.
   */
  flush(): void {
    if (this.buffered.length === 0 && !this.isAnew) return;
    const bytes = concat(this.buffered);
    this.buffered = [];
    const isFull = this.written + bytes.length > segmentBytesMax;
    if (isFull || this.isAnew || this.degraded !== null) return this.rewrite();
    this.guard(() => {
      this.disk.append(this.file(this.segment), bytes);
      this.disk.sync(this.file(this.segment));
      this.written += bytes.length;
    });
  }

  /** The host has every report of `boot` up to `seq`. Returns how many are still pending. */
  acknowledge(boot: string, seq: number): number {
    const count = this.counts.get(boot);
    if (count === undefined || seq <= count.acknowledged) return this.pending.length;
    count.acknowledged = Math.min(seq, count.lastSeq);
    this.forget(boot, count.acknowledged);
    this.buffered.push(this.record({ t: "ack", boot, seq: count.acknowledged }));
    return this.pending.length;
  }

  /** Pending reports after (boot, seq), oldest first; all of them when `boot` is not known. */
  after(boot: string | undefined, seq: number): Report[] {
    if (boot === undefined || !this.counts.has(boot)) return this.pending.slice();
    const order = [...this.counts.keys()];
    const from = order.indexOf(boot);
    return this.pending.filter((report) => {
      const at = order.indexOf(report.boot);
      return at > from || (at === from && report.seq > seq);
    });
  }

  /** Counts per boot, oldest boot first. */
  boots(): BootCount[] {
    return [...this.counts.values()];
  }

  /** Reports dropped since this was last asked; the agent reports the loss itself. */
  takeDrops(): number {
    const drops = this.newDrops;
    this.newDrops = 0;
    return drops;
  }

  private count(boot: string): BootCount {
    let count = this.counts.get(boot);
    if (count === undefined) {
      count = { boot, lastSeq: 0, acknowledged: 0, dropped: 0 };
      this.counts.set(boot, count);
      this.forgetOldBoots();
    }
    return count;
  }

  /** A boot whose counts are forgotten takes its reports with it: they are drops of that boot. */
  private forgetOldBoots(): void {
    for (const boot of this.counts.keys()) {
      if (this.counts.size <= bootsMax) return;
      this.newDrops += this.pending.filter((report) => report.boot === boot).length;
      this.forget(boot, Infinity);
      this.counts.delete(boot);
    }
  }

  private forget(boot: string, seq: number): void {
    let keep = 0;
    for (const report of this.pending) {
      if (report.boot !== boot || report.seq > seq) this.pending[keep++] = report;
    }
    this.pending.length = keep;
  }

  /** The oldest of the least worthy goes first. */
  private dropOne(): void {
    const worth: EventClass[] = ["state", "safety"];
    for (const lowest of worth) {
      const at = this.pending.findIndex((report) => report.class === lowest);
      if (at < 0) continue;
      const [dropped] = this.pending.splice(at, 1);
      if (dropped === undefined) return;
      this.count(dropped.boot).dropped += 1;
      this.newDrops += 1;
      this.buffered.push(this.record({ t: "drop", boot: dropped.boot, seq: dropped.seq }));
      return;
    }
  }

  private file(segment: number): string {
    return `reports.${segment}`;
  }

  /** Starts the other segment with all that is still worth knowing, then removes this one. */
  private rewrite(): void {
    this.buffered = [];
    this.generationMax += 1;
    this.generation = this.generationMax;
    const old = this.segment;
    const next = 1 - old;
    const bytes = concat(
      [
        { t: "begin" },
        ...[...this.counts.values()].map(countEntry),
        ...this.pending.map((report) => ({ t: "report", report })),
        { t: "end" },
      ].map((entry) => this.record(entry)),
    );
    this.guard(() => {
      this.disk.write(this.file(next), bytes);
      this.disk.sync(this.file(next));
      this.segment = next;
      this.written = bytes.length;
      this.isAnew = false;
      this.disk.remove(this.file(old));
    });
  }

  private record(entry: Record<string, unknown>): Uint8Array {
    return seal(magic, encodeMap(entry), this.generation);
  }

  private guard(act: () => void): void {
    try {
      act();
      this.degraded = null;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.degraded = error.message;
    }
  }

  /** Reads the newer complete segment or, when damage left none, the one that says most. */
  private load(): "none" | "intact" | "damaged" {
    const segments = [0, 1].map((at) => {
      let bytes: Uint8Array = new Uint8Array(0);
      this.guard(() => {
        bytes = this.disk.read(this.file(at)) ?? bytes;
      });
      const found = readRecords(bytes);
      return { at, length: bytes.length, isComplete: found.entries.some(isEnd), ...found };
    });
    segments.sort(byWorth);
    const [best] = segments;
    if (best === undefined || segments.every(({ length }) => length === 0)) return "none";
    this.segment = best.at;
    this.written = best.length;
    this.generation = best.generation;
    this.generationMax = Math.max(...segments.map((segment) => segment.generation));
    let intact = best.isComplete && !segments.some((segment) => segment.damaged);
    for (const entry of best.entries) intact = this.replay(entry) && intact;
    return intact ? "intact" : "damaged";
  }

  /** Applies one record; false when it is not of any known form. */
  private replay(entry: Record<string, unknown>): boolean {
    try {
      const { t } = check(entryKind, entry, "record");
      if (t === "count") {
        const { boot, last, acknowledged, dropped } = check(counted, entry, t);
        Object.assign(this.count(boot), { lastSeq: last, acknowledged, dropped });
      } else if (t === "report") {
        const { report } = check(kept, entry, t);
        this.pending.push(report);
        const count = this.count(report.boot);
        count.lastSeq = Math.max(count.lastSeq, report.seq);
      } else if (t === "ack" || t === "drop") {
        this.replayEnd(t, check(acked, entry, t));
      }
      return true;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return false;
    }
  }

  private replayEnd(kind: "ack" | "drop", { boot, seq }: { boot: string; seq: number }): void {
    const count = this.count(boot);
    if (kind === "ack") {
      count.acknowledged = Math.max(count.acknowledged, seq);
      this.forget(boot, seq);
    } else {
      count.dropped += 1;
      const at = this.pending.findIndex((report) => report.boot === boot && report.seq === seq);
      if (at >= 0) this.pending.splice(at, 1);
    }
  }
}

function countEntry(count: BootCount): Record<string, unknown> {
  const { boot, lastSeq, acknowledged, dropped } = count;
  return { t: "count", boot, last: lastSeq, acknowledged, dropped };
}

/** The record that closes a rewritten segment's opening: without it the segment is not believed. */
function isEnd(entry: Record<string, unknown>): boolean {
  return entry.t === "end";
}

/** Data as the contract has it: what does not fit is cut or spelt, as no reader would take it. */
function fitting(data: Report["data"]): Report["data"] {
  const entries = Object.entries(data).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries.map(([key, value]) => [key, fittingValue(value)]));
}

function fittingValue(value: string | number | boolean): string | number | boolean {
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  return typeof value === "string" ? cutText(value) : value;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** What a segment on disk says. */
interface Segment {
  generation: number;
  entries: Record<string, unknown>[];
  /** Something in it was no record, or one of another generation. */
  damaged: boolean;
}

function byWorth(
  left: Segment & { isComplete: boolean },
  right: Segment & { isComplete: boolean },
): number {
  if (left.isComplete !== right.isComplete) return left.isComplete ? -1 : 1;
  if (left.isComplete) return right.generation - left.generation;
  return right.entries.length - left.entries.length;
}

/** Splits a segment into its records; what is damaged is skipped up to the next good one. */
function readRecords(bytes: Uint8Array): Segment {
  const segment: Segment = { generation: -1, entries: [], damaged: false };
  let at = 0;
  while (at < bytes.length) {
    const found = readRecord(bytes, at);
    if (found === null) {
      segment.damaged = true;
      at = nextMagic(bytes, at + 1);
      continue;
    }
    at += found.length;
    if (segment.generation < 0) segment.generation = found.generation;
    if (found.generation !== segment.generation) segment.damaged = true;
    else segment.entries.push(found.entry);
  }
  return { ...segment, generation: Math.max(segment.generation, 0) };
}

function readRecord(
  bytes: Uint8Array,
  at: number,
): { length: number; generation: number; entry: Record<string, unknown> } | null {
  if (bytes.length - at < sealBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, bytes.length - at);
  const length = view.getUint32(12) + sealBytes;
  const opened = unseal(magic, bytes.subarray(at, at + length));
  if (opened === null || !("data" in opened)) return null;
  try {
    return { length, generation: opened.sequence, entry: decodeMap(opened.data) };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return null;
  }
}

/** Where the next record may begin, or the end. */
function nextMagic(bytes: Uint8Array, from: number): number {
  const first = magic.charCodeAt(0);
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if ([...magic].every((letter, index) => bytes[at + index] === letter.charCodeAt(0))) return at;
  }
  return bytes.length;
}
