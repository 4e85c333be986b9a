/**
 * What the host knows of a card's reports: each is taken once, in the card's order, and holes are
 * noticed. A report's identity is (boot id, sequence); sequences of a boot begin at 1.
 */
import type { Report } from "../wire/commands.ts";

export interface Position {
  readonly boot: string;
  readonly seq: number;
}

/** Reports of `boot` from `from` to `to` that the card no longer had when it was asked. */
export interface Gap {
  readonly boot: string;
  readonly from: number;
  readonly to: number;
}

/** Boots and holes remembered; a console that follows for years must not grow. */
export const bootsMax = 64;
export const gapsMax = 64;

export class Inbox {
  /** Distinct reports taken. */
  received = 0;
  /** The latest ones; `gapCount`: all of them. */
  readonly gaps: Gap[] = [];
  gapCount = 0;
  /** Distinct reports taken per boot, oldest boot first. */
  readonly perBoot = new Map<string, number>();
  private at: Position | null;
  /** The last sequence taken of each boot. */
  private readonly lastSeq = new Map<string, number>();

  /** Takes up behind `since`; null: from the first report the card offers. */
  constructor(since: Position | null) {
    this.at = since;
    if (since !== null) this.lastSeq.set(since.boot, since.seq);
  }

  /** The last report taken. */
  get position(): Position | null {
    return this.at;
  }

  /** Whether a pushed report is the very next one; any other means that some must be read. */
  isNext(report: Position): boolean {
    return this.at !== null && report.boot === this.at.boot && report.seq === this.at.seq + 1;
  }

  isKnown(report: Position): boolean {
    return report.seq <= (this.lastSeq.get(report.boot) ?? 0);
  }

  /** Takes a report that was read in the card's order; false when it is known already. */
  take(report: Report): boolean {
    if (this.isKnown(report)) return false;
    this.notice(report);
    this.at = { boot: report.boot, seq: report.seq };
    this.received += 1;
    this.lastSeq.set(report.boot, report.seq);
    this.perBoot.set(report.boot, (this.perBoot.get(report.boot) ?? 0) + 1);
    forgetOldest(this.lastSeq);
    forgetOldest(this.perBoot);
    return true;
  }

  /** The first report ever seen may have any number: earlier ones went to an earlier host. */
  private notice({ boot, seq }: Position): void {
    if (this.at === null) return;
    const from = this.at.boot === boot ? this.at.seq + 1 : 1;
    if (seq <= from) return;
    this.gapCount += 1;
    this.gaps.push({ boot, from, to: seq - 1 });
    if (this.gaps.length > gapsMax) this.gaps.shift();
  }
}

function forgetOldest(map: Map<string, number>): void {
  const [oldest] = map.keys();
  if (map.size > bootsMax && oldest !== undefined) map.delete(oldest);
}

/** "reports 118 to 121 of boot 7 never arrived" */
export function showGap({ boot, from, to }: Gap): string {
  const which = from === to ? `report ${from}` : `reports ${from} to ${to}`;
  return `${which} of boot ${boot} never arrived: the card no longer had them`;
}
