/**
 * What a host keeps of one card: an append-only log of its reports, its states and its identity,
 * synced before anything in it is acknowledged. Segments in a ring of files; a new one takes the
 * place of the oldest, and what goes with that is counted first. Whatever a crash or a power cut
 * leaves can be read: damaged records are skipped, those behind them are found again.
 */
import { Failure } from "../errors.ts";
import type { Disk } from "../io/disk.ts";
import { type CardState, cardState } from "../wire/cardstate.ts";
import { encodeMap } from "../wire/cbor.ts";
import { type Report, report as reportShape } from "../wire/commands.ts";
import { generationOf, readRecords } from "../wire/records.ts";
import { seal } from "../wire/seal.ts";
import { check, type Infer, int, list, map, oneOf, text, uint } from "../wire/shape.ts";
import type { Gap, Position } from "./inbox.ts";

/** Segments kept of one card, and the length at which the next one begins. */
export interface StoreLimits {
  readonly segments: number;
  readonly segmentBytes: number;
}

/** 32 MiB: some 200 000 reports. A card in trouble makes a few thousand a day. */
export const storeLimits: StoreLimits = { segments: 32, segmentBytes: 1_048_576 };
/** Boots whose last report is remembered from segment to segment. */
const bootsMax = 64;

const magic = "KNLS";
const shapes = {
  /** Begins a segment: what is known from those before, and what rotation has cost so far. */
  begin: map({
    lost: uint,
    boots: list(map({ boot: text, seq: uint }), bootsMax),
  }),
  /** Who was at the other end of the line. */
  card: map({ at: int, device: text, name: text, version: text, boot: text, uptime_ms: uint }),
  report: map({ at: int, report: reportShape }),
  state: map({ at: int, state: cardState }),
  /** Reports that the card no longer had. */
  gap: map({ at: int, boot: text, from: uint, to: uint }),
  /** A segment with so many reports is about to go. */
  rotated: map({ at: int, reports: uint }),
};
type Shapes = typeof shapes;
const tagged = map({ t: oneOf("begin", "card", "report", "state", "gap", "rotated") });

/** One thing that was stored; `at` is the host's time, ms since 1970. */
export type Entry = {
  [T in keyof Shapes]: { readonly t: T } & Infer<Shapes[T]>;
}[keyof Shapes];

export class Store {
  /** Something in it could not be read and was skipped. */
  damaged = false;
  /** Reports that rotation has taken. */
  lost = 0;
  private readonly disk: Disk;
  private readonly wallMs: () => number;
  private readonly limits: StoreLimits;
  private generation = 0;
  private written = 0;
  private buffered: Entry[] = [];
  /** The last report of each boot, the boot heard of last behind: taken, and on stable storage. */
  private readonly taken = new Map<string, number>();
  private readonly stored = new Map<string, number>();
  /** The segment that is about to go, and the reports in it: a failed attempt may have cut it. */
  private going = { generation: 0, reports: 0 };

  /** Opens the store of one card. Failure `store.failed` when the folder cannot be read. */
  constructor(disk: Disk, wallMs: () => number, limits: StoreLimits = storeLimits) {
    this.disk = disk;
    this.wallMs = wallMs;
    this.limits = limits;
    const newest = this.generations().at(-1);
    if (newest === undefined) return;
    this.generation = newest;
    this.written = this.readSegment(newest).length;
    for (const entry of this.entriesOf(newest)) {
      this.note(entry, this.stored);
      this.note(entry, this.taken);
      if (entry.t === "begin") this.lost = entry.lost;
      else if (entry.t === "rotated") this.lost += entry.reports;
    }
  }

  /** The last report stored; null when there is none. */
  get position(): Position | null {
    const [boot, seq] = [...this.taken].at(-1) ?? [];
    return boot === undefined || seq === undefined ? null : { boot, seq };
  }

  /** The last report of a boot on stable storage; 0 without any. */
  lastOf(boot: string): number {
    return this.stored.get(boot) ?? 0;
  }

  isKnown({ boot, seq }: Position): boolean {
    return seq <= (this.taken.get(boot) ?? 0);
  }

  card(card: Omit<Infer<Shapes["card"]>, "at">): void {
    this.take({ t: "card", at: this.wallMs(), ...card });
  }

  /** Reports in the card's order; one that is there already is not taken again. */
  reports(reports: readonly Report[]): void {
    for (const report of reports) {
      if (!this.isKnown(report)) this.take({ t: "report", at: this.wallMs(), report });
    }
  }

  gap(gap: Gap): void {
    this.take({ t: "gap", at: this.wallMs(), ...gap });
  }

  state(state: CardState): void {
    this.take({ t: "state", at: this.wallMs(), state });
  }

  /**
   * On return everything taken is on stable storage, and may be acknowledged. Failure
   * `store.failed` when it is not: it stays taken, and the next `flush` tries again.
   */
  flush(): void {
    if (this.buffered.length === 0) return;
    try {
      if (this.generation === 0 || this.written >= this.limits.segmentBytes) this.rotate();
      // What an earlier attempt has left of these in the file is skipped, or read twice.
      this.append(this.buffered);
      for (const entry of this.buffered) this.note(entry, this.stored);
      this.buffered = [];
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const message = `reports cannot be stored: ${error.message}. Nothing was acknowledged.`;
      throw new Failure("store.failed", message, { cause: error, evidence: error.evidence });
    }
  }

  /** Everything stored, oldest first. */
  *entries(): Generator<Entry> {
    for (const generation of this.generations()) yield* this.entriesOf(generation);
  }

  private take(entry: Entry): void {
    this.buffered.push(entry);
    this.note(entry, this.taken);
  }

  private note(entry: Entry, last: Map<string, number>): void {
    if (entry.t === "begin") for (const { boot, seq } of entry.boots) hear(last, boot, seq);
    else if (entry.t === "report") hear(last, entry.report.boot, entry.report.seq);
  }

  /** Begins a segment. What its place held is counted, on disk, before it goes. */
  private rotate(): void {
    const next = this.generation + 1;
    const gone = next - this.limits.segments;
    if (gone > 0 && this.going.generation !== gone) {
      const reports = [...this.entriesOf(gone)].filter(({ t }) => t === "report").length;
      this.going = { generation: gone, reports };
      this.append([{ t: "rotated", at: this.wallMs(), reports }]);
      this.lost += reports;
    }
    const boots = [...this.stored].map(([boot, seq]) => ({ boot, seq }));
    const file = fileOf(next, this.limits);
    const bytes = sealed({ t: "begin", lost: this.lost, boots }, next);
    this.disk.write(file, bytes);
    this.disk.sync(file);
    this.generation = next;
    this.written = bytes.length;
  }

  private append(entries: readonly Entry[]): void {
    const file = fileOf(this.generation, this.limits);
    const bytes = Buffer.concat(entries.map((entry) => sealed(entry, this.generation)));
    this.disk.append(file, bytes);
    this.disk.sync(file);
    this.written += bytes.length;
  }

  private readSegment(generation: number): Uint8Array {
    return this.disk.read(fileOf(generation, this.limits)) ?? new Uint8Array(0);
  }

  /** Of the segments that are there, lowest first. */
  private generations(): number[] {
    const places = Array.from({ length: this.limits.segments }, (_, at) => at);
    const found = places.flatMap((at) => {
      const bytes = this.disk.read(nameOf(at));
      if (bytes === undefined || bytes.length === 0) return [];
      // One that was being begun when the power failed holds nothing that was acknowledged.
      const generation = generationOf(magic, bytes) ?? salvaged(bytes);
      this.damaged ||= generation === null;
      return generation === null ? [] : [generation];
    });
    return found.sort((left, right) => left - right);
  }

  private *entriesOf(generation: number): Generator<Entry> {
    const { entries, damaged } = readRecords(magic, this.readSegment(generation));
    this.damaged ||= damaged;
    for (const entry of entries) {
      const known = entryOf(entry);
      if (known !== null) yield known;
      else this.damaged = true;
    }
  }
}

/** Of a segment whose beginning is damaged; null when nothing in it can be read. */
function salvaged(bytes: Uint8Array): number | null {
  const { entries, generation } = readRecords(magic, bytes);
  return entries.length === 0 ? null : generation;
}

function hear(last: Map<string, number>, boot: string, seq: number): void {
  last.delete(boot);
  last.set(boot, seq);
  const [oldest] = last.keys();
  if (last.size > bootsMax && oldest !== undefined) last.delete(oldest);
}

/** Null for what is none: of a later version, or not ours. */
function entryOf(value: Record<string, unknown>): Entry | null {
  try {
    const { t } = check(tagged, value, "entry");
    return { t, ...check<object>(shapes[t], value, t) } as Entry;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return null;
  }
}

function sealed(entry: Entry, generation: number): Uint8Array {
  return seal(magic, encodeMap({ ...entry }), generation);
}

function fileOf(generation: number, { segments }: StoreLimits): string {
  return nameOf(generation % segments);
}

function nameOf(place: number): string {
  return `reports.${String(place).padStart(2, "0")}`;
}
