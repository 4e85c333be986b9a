/**
 * The report ledger: every report has an identity (boot id, sequence), is on disk before it is
 * sent, and stays until the host acknowledged it. On disk it is a log in two segments: records are
 * appended to one; when that grows too long, what is still pending is written to the other.
 */
import { Failure } from "./errors.ts";
import type { EventClass } from "./events.ts";
import type { Disk } from "./io/disk.ts";
import { encodeMap } from "./wire/cbor.ts";
import { type Report, report as reportShape } from "./wire/commands.ts";
import { type Records, readRecords } from "./wire/records.ts";
import { seal } from "./wire/seal.ts";
import { check, cutText, map, oneOf, optional, text, uint } from "./wire/shape.ts";

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
  /** Of both classes. */
  dropped: number;
  droppedSafety: number;
}

/** Reports dropped since this was last told. */
export interface Drops {
  readonly class: Report["class"];
  readonly count: number;
}

/**
 * Telling of a drop costs a place in a full spool, and so a report: drops are told of at the first,
 * then at twice as many each time, up to this many.
 */
const tellDropsMax = 1024;

const magic = "KNLR";
const entryKind = map({ t: oneOf("begin", "count", "report", "end", "ack", "drop") });
const counted = map({
  boot: text,
  last: uint,
  acknowledged: uint,
  dropped: uint,
  dropped_safety: optional(uint),
});
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
  /** Per class, drops not told of yet, and how many of them make a telling. */
  private readonly untold = { state: 0, safety: 0 };
  private readonly tellAt = { state: 1, safety: 1 };
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
    // A cut between a report and the drop that made room for it has left one too many.
    while (this.pending.length > pendingMax) this.dropOne();
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
    // There is room again: the next drop is news.
    if (this.pending.length < pendingMax / 2) Object.assign(this.tellAt, { state: 1, safety: 1 });
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

  /** Drops that are to be told of now, per class; the exact counts are in `boots`. */
  takeDrops(): Drops[] {
    return dropOrder.flatMap((worth) => {
      const count = this.untold[worth];
      if (count < this.tellAt[worth]) return [];
      this.untold[worth] = 0;
      this.tellAt[worth] = Math.min(this.tellAt[worth] * 2, tellDropsMax);
      return [{ class: worth, count }];
    });
  }

  private noteDrop({ class: worth }: Report): void {
    this.untold[worth] += 1;
  }

  private count(boot: string): BootCount {
    let count = this.counts.get(boot);
    if (count === undefined) {
      count = { boot, lastSeq: 0, acknowledged: 0, dropped: 0, droppedSafety: 0 };
      this.counts.set(boot, count);
      this.forgetOldBoots();
    }
    return count;
  }

  /** A boot whose counts are forgotten takes its reports with it: they are drops of that boot. */
  private forgetOldBoots(): void {
    for (const boot of this.counts.keys()) {
      if (this.counts.size <= bootsMax) return;
      for (const report of this.pending) if (report.boot === boot) this.noteDrop(report);
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
    for (const lowest of dropOrder) {
      const at = this.pending.findIndex((report) => report.class === lowest);
      if (at < 0) continue;
      const [dropped] = this.pending.splice(at, 1);
      if (dropped === undefined) return;
      countDrop(this.count(dropped.boot), dropped);
      this.noteDrop(dropped);
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
      const found = readRecords(magic, bytes);
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
        const { boot, last, acknowledged, dropped, dropped_safety = 0 } = check(counted, entry, t);
        const counts = { lastSeq: last, acknowledged, dropped, droppedSafety: dropped_safety };
        Object.assign(this.count(boot), counts);
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
      const at = this.pending.findIndex((report) => report.boot === boot && report.seq === seq);
      const [dropped] = at < 0 ? [] : this.pending.splice(at, 1);
      countDrop(count, dropped ?? { class: "state" });
    }
  }
}

/** Worth least first. */
const dropOrder = ["state", "safety"] as const satisfies EventClass[];

function countDrop(count: BootCount, dropped: Pick<Report, "class">): void {
  count.dropped += 1;
  if (dropped.class === "safety") count.droppedSafety += 1;
}

function countEntry(count: BootCount): Record<string, unknown> {
  const { boot, lastSeq, acknowledged, dropped, droppedSafety } = count;
  const all = { t: "count", boot, last: lastSeq, acknowledged, dropped };
  return { ...all, dropped_safety: droppedSafety };
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

function byWorth(
  left: Records & { isComplete: boolean },
  right: Records & { isComplete: boolean },
): number {
  if (left.isComplete !== right.isComplete) return left.isComplete ? -1 : 1;
  if (left.isComplete) return right.generation - left.generation;
  return right.entries.length - left.entries.length;
}
