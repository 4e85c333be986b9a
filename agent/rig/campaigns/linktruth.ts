/**
 * What the campaign against the line knows for certain: read off the disks of the card and of the
 * hosts as it is written and synced, not asked of the programs that are judged.
 */
import type { SimDisk } from "../../sim/disk.ts";
import type { Report } from "../../wire/commands.ts";
import { readRecords } from "../../wire/records.ts";
import { Violation } from "./campaign.ts";

const cardMagic = "KNLR";
const storeMagic = "KNLS";

/** Of one boot, what the card counts as dropped; `dropped` is of both classes. */
export interface Dropped {
  readonly boot: string;
  readonly dropped: number;
  readonly droppedSafety: number;
}

type Entry = Record<string, unknown>;

export class Truth {
  /** Reports that were on the card's disk, and so may be seen: their content by `boot:seq`. */
  private readonly made = new Map<string, string>();
  /** Synced on the card and in no store yet: class by sequence, per boot. */
  private readonly owed = new Map<string, Map<number, Report["class"]>>();
  private readonly stored = new Set<string>();
  /** What the card counts at this moment; null while no agent runs. */
  private readonly counts: () => readonly Dropped[] | null;
  /** The first promise seen broken: what runs at that moment may be what catches errors. */
  private broken: Violation | null = null;

  constructor(counts: () => readonly Dropped[] | null) {
    this.counts = counts;
  }

  get reportCount(): number {
    return this.made.size;
  }

  get storedCount(): number {
    return this.stored.size;
  }

  /** Reports that are on the card's disk and in no store. */
  get owedCount(): number {
    return [...this.owed.values()].reduce((sum, { size }) => sum + size, 0);
  }

  watchCard(disk: SimDisk): void {
    this.watch(disk, cardMagic, {
      written: (entries) => {
        for (const entry of entries) if (entry.t === "ack") this.acked(entry);
      },
      synced: (entries) => {
        for (const { t, report } of entries) if (t === "report") this.owe(report as Report);
      },
    });
  }

  watchStore(disk: SimDisk): void {
    this.watch(disk, storeMagic, {
      written: () => undefined,
      synced: (entries) => {
        for (const { t, report } of entries) if (t === "report") this.keep(report as Report);
      },
    });
  }

  /** Fails unless what is in no store was counted as dropped, class by class. */
  mustBeCounted(boot: string, upTo: number, promise: string): void {
    const counts = this.counts();
    const owed = this.owed.get(boot);
    if (counts === null || owed === undefined) return;
    const missing = [...owed].filter(([seq]) => seq <= upTo);
    if (missing.length === 0) return;
    const { dropped = 0, droppedSafety = 0 } = counts.find((one) => one.boot === boot) ?? {};
    const safety = missing.filter(([, worth]) => worth === "safety").length;
    if (missing.length <= dropped && safety <= droppedSafety) return;
    const which = missing.slice(0, 5).map(([seq]) => seq);
    throw new Violation(
      promise,
      `of boot ${boot}, ${missing.length} reports (${safety} safety) up to ${upTo} are in no ` +
        `store, ${dropped} (${droppedSafety} safety) counted as dropped; the first: ${which}`,
    );
  }

  /** The same of every boot that the card still counts. */
  allMustBeCounted(): void {
    for (const { boot } of this.counts() ?? []) this.mustBeCounted(boot, Infinity, "lost");
  }

  mustBeMade(report: Report): void {
    const made = this.made.get(keyOf(report));
    const said = contentOf(report);
    if (made === said) return;
    throw new Violation("invented", `a store has ${said}, the card made ${made ?? "none such"}`);
  }

  private owe(report: Report): void {
    this.made.set(keyOf(report), contentOf(report));
    const isStored = this.stored.has(keyOf(report));
    let owed = this.owed.get(report.boot);
    if (owed === undefined) {
      owed = new Map();
      this.owed.set(report.boot, owed);
    }
    if (!isStored) owed.set(report.seq, report.class);
  }

  private keep(report: Report): void {
    this.note(() => this.mustBeMade(report));
    this.stored.add(keyOf(report));
    this.owed.get(report.boot)?.delete(report.seq);
  }

  private acked({ boot, seq }: Entry): void {
    this.note(() => {
      this.mustBeCounted(String(boot), Number(seq), "acknowledged and not stored");
    });
  }

  private note(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.broken ??= error;
    }
  }

  /** Throws the first promise that was broken so far. */
  mustHold(): void {
    if (this.broken !== null) throw this.broken;
  }

  /** Sees every record that goes to `disk`, and again when it is synced. */
  private watch(
    disk: SimDisk,
    magic: string,
    on: { written: (entries: Entry[]) => void; synced: (entries: Entry[]) => void },
  ): void {
    const waiting = new Map<string, Entry[]>();
    const [append, write, sync] = [disk.append, disk.write, disk.sync].map((act) => {
      return act.bind(disk) as (name: string, bytes?: Uint8Array) => void;
    });
    const give =
      (act: typeof append) =>
      (name: string, bytes: Uint8Array): void => {
        if (!name.startsWith("reports.")) return act?.(name, bytes);
        const { entries } = readRecords(magic, bytes);
        // Also what a cut lets through in part may be there afterwards.
        for (const { t, report } of entries)
          if (t === "report") this.mayBe(magic, report as Report);
        waiting.set(name, [...(waiting.get(name) ?? []), ...entries]);
        on.written(entries);
        act?.(name, bytes);
      };
    disk.append = give(append);
    disk.write = give(write);
    disk.sync = (name) => {
      sync?.(name);
      on.synced(waiting.get(name) ?? []);
      waiting.delete(name);
    };
    const powerLoss = disk.powerLoss.bind(disk);
    disk.powerLoss = () => {
      waiting.clear();
      powerLoss();
      // What was not synced and survived all the same is there for good.
      for (const name of disk.names().filter((one) => one.startsWith("reports."))) {
        on.synced(readRecords(magic, disk.read(name) ?? new Uint8Array(0)).entries);
      }
    };
  }

  private mayBe(magic: string, report: Report): void {
    const key = keyOf(report);
    if (magic === cardMagic && !this.made.has(key)) this.made.set(key, contentOf(report));
  }
}

function keyOf({ boot, seq }: Pick<Report, "boot" | "seq">): string {
  return `${boot}:${seq}`;
}

/** A pushed one says of which card it is; one that was read does not. */
function contentOf(report: Report & { readonly device?: string }): string {
  const { device: _device, ...content } = report;
  return JSON.stringify(content);
}
