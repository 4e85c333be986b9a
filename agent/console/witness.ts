/**
 * What the demonstration has seen of a card over its line, and nothing else: the last answers, the
 * reports, and from them the story of the day.
 */
import type { Report, ResponseOf, TeeState, WatchdogState } from "../wire/commands.ts";
import type { Timeline } from "./boot.ts";
import type { Inbox } from "./inbox.ts";
import { count, span } from "./show.ts";

/** Reports shown at a time. */
export const recentMax = 8;
/** Sentences of the story kept; a day has a handful, a week on the line may have more. */
const storyMax = 64;

const stageNames = ["power_on", "os_load", "hand_off", "adopt", "runtime"] as const;

export class Witness {
  timeline: Timeline | null = null;
  watchdog: WatchdogState | null = null;
  tee: TeeState | null = null;
  readonly recent: Report[] = [];
  /** Why the card is not to be reached right now; "" while it answers. */
  silence = "";
  /** What happened, one sentence each. */
  readonly story: string[] = [];
  private readonly stages = new Set<string>();
  readonly seen = { restored: false, watchdogReset: false, fallback: false };

  report(report: Report): void {
    this.recent.push(report);
    if (this.recent.length > recentMax) this.recent.shift();
    const { stage } = report.data;
    if (report.kind === "boot:stage" && typeof stage === "string") this.stages.add(stage);
    const sentence = this.sentence(report);
    if (sentence === "") return;
    this.story.push(sentence);
    if (this.story.length > storyMax) this.story.shift();
  }

  stagesOf(timeline: Timeline): void {
    this.timeline = timeline;
    for (const { stage } of timeline.stages) this.stages.add(stage);
  }

  /** In their order; a stage that was never seen is missing. */
  stagesSeen(): string[] {
    return stageNames.filter((stage) => this.stages.has(stage));
  }

  private sentence({ kind, data }: Report): string {
    switch (kind) {
      case "tee:restored":
        this.seen.restored = true;
        return `tee: restored in ${spanOf(data.took_ms)}, epoch ${data.epoch}`;
      case "boot:died":
        return this.death(data);
      case "boot:fallback":
        this.seen.fallback = true;
        return `fallback: slot ${data.from} failed ${data.failures} times, now slot ${data.slot}`;
      default:
        return "";
    }
  }

  private death(data: Report["data"]): string {
    const where = data.step === "" ? `${data.stage}` : `${data.stage} / ${data.step}`;
    const culprit = data.culprit === "" ? "" : `, culprit ${data.culprit}`;
    if (data.cause === "watchdog") {
      this.seen.watchdogReset = true;
      return `watchdog reset: cause watchdog, died in ${where}${culprit}`;
    }
    return `boot ended: cause ${data.cause}, in ${where}${culprit}`;
  }
}

export interface Ledger {
  readonly received: number;
  readonly sent: number;
  readonly dropped: number;
}

/** Both sides' counts of the reports of the boots that the card still remembers. */
export function compare(inbox: Inbox, { boots }: ResponseOf<"report.snapshot">): Ledger {
  const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0);
  return {
    received: sum(boots.map(({ boot }) => inbox.perBoot.get(boot) ?? 0)),
    sent: sum(boots.map(({ last_seq }) => last_seq)),
    dropped: sum(boots.map(({ dropped }) => dropped)),
  };
}

export function showLedger({ received, sent, dropped }: Ledger): string {
  const lost = dropped === 0 ? "" : ` (${count(dropped, "report")} dropped on the card)`;
  return `reports: ${received} received, ${sent} sent by the card${lost}`;
}

function spanOf(value: unknown): string {
  return typeof value === "number" ? span(value) : "?";
}
