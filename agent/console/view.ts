/** The live view of the demonstration: redrawn in place on a terminal, else plain lines. */

import type { Report, WatchdogState } from "../wire/commands.ts";
import { margin, type Timeline } from "./boot.ts";
import { reportLine } from "./reports.ts";
import { count, harmless, type Paint, span, table } from "./show.ts";
import { countdown, teeLine } from "./status.ts";
import type { Terminal } from "./terminal.ts";
import type { Witness } from "./witness.ts";

export interface View {
  /** New reports, and at intervals without any: `witness` has the rest. */
  update(reports: readonly Report[]): Promise<void>;
  /** A sentence about the line. */
  note(text: string): void;
  /** Leaves the last picture standing. */
  end(): Promise<void>;
}

export interface Scene {
  readonly terminal: Terminal;
  readonly paint: Paint;
  readonly witness: Witness;
  /** Such as `simulated card on /dev/pts/3`, and how to attach as well. */
  readonly title: readonly string[];
  /** Milliseconds since the start, and in all (Infinity: until stopped). */
  readonly elapsedMs: () => number;
  readonly forMs: number;
}

export const quietView: View = {
  update: () => Promise.resolve(),
  note: () => {},
  end: () => Promise.resolve(),
};

/** A countdown is told this often where lines cannot be redrawn, ms. */
const plainEveryMs = 5000;

export function plainView({ terminal, paint, witness, title, elapsedMs }: Scene): View {
  const told = new Map<string, string>();
  let countdownAtMs = 0;
  const changed = (what: string, text: string): string[] => {
    if (told.get(what) === text) return [];
    told.set(what, text);
    return [text];
  };
  const begun = terminal.out(`${title.join("\n")}\n`);
  const stages = (): string[] =>
    harmless(witness.timeline?.stages ?? []).flatMap((stage) => {
      const tookMs = stage.end_ms === undefined ? null : stage.end_ms - stage.start_ms;
      const budget = stage.budget_ms === 0 ? "no budget" : `budget ${span(stage.budget_ms)}`;
      const left = stage.margin_ms === undefined ? "" : `, margin ${span(stage.margin_ms)}`;
      const took = tookMs === null ? "entered" : `took ${span(tookMs)}`;
      const key = `${witness.timeline?.boot} ${stage.stage}`;
      return changed(key, `stage ${stage.stage}: ${took}, ${budget}${tookMs === null ? "" : left}`);
    });
  const watchdog = (): string[] => {
    const state = witness.watchdog === null ? null : harmless(witness.watchdog);
    if (state === null) return [];
    const changes = changed("watchdog", `watchdog: ${state.backend}, ${state.state}`);
    if (changes.length === 0 && elapsedMs() < countdownAtMs) return [];
    countdownAtMs = elapsedMs() + plainEveryMs;
    return [`watchdog: ${countdown(state, paint)}, ${refreshes(state)} so far`];
  };
  const tee = (): string[] => {
    if (witness.tee === null) return [];
    return changed("tee", `tee: ${teeLine(harmless(witness.tee), paint)}`);
  };
  const lines = (reports: readonly Report[]): string[] => [
    ...reports.map((report) => `report ${reportLine(report, paint)}`),
    ...stages(),
    ...watchdog(),
    ...tee(),
  ];
  return {
    update: async (reports) => {
      await begun;
      const news = lines(reports);
      if (news.length > 0) await terminal.out(`${news.join("\n")}\n`);
    },
    note: (text) => void terminal.out(`line: ${text}\n`).catch(() => {}),
    end: () => begun,
  };
}

export function liveView(scene: Scene): View {
  const { terminal } = scene;
  let drawn = 0;
  let noted = "";
  return {
    update: async () => {
      const lines = picture(scene, noted).slice(0, Math.max(terminal.rows - 1, 1));
      const up = drawn === 0 ? hideCursor : `\x1b[${drawn}A\r`;
      const body = lines.map((line) => `${fit(line, terminal.columns)}\x1b[K\n`).join("");
      drawn = lines.length;
      await terminal.out(`${up}${body}\x1b[J`);
    },
    note: (text) => {
      noted = text;
    },
    end: () => terminal.out(showCursor),
  };
}

const hideCursor = "\x1b[?25l";
export const showCursor = "\x1b[?25h";

function picture({ paint, witness, title, elapsedMs, forMs }: Scene, noted: string): string[] {
  const { timeline, watchdog, tee, silence, recent, story } = witness;
  const [name = "", ...more] = title;
  const of = forMs === Infinity ? "" : ` of ${span(forMs)}`;
  return [
    `${paint.bold(name)} · ${span(elapsedMs())}${of}`,
    ...more.map((line) => paint.dim(line)),
    "",
    ...(timeline === null ? ["waiting for the card"] : stageTable(harmless(timeline), paint)),
    "",
    `${paint.dim("watchdog ")} ${watchdog === null ? "" : countdown(harmless(watchdog), paint)}`,
    `${paint.dim("         ")} ${watchdog === null ? "" : gauge(watchdog, paint)}`,
    `${paint.dim("tee      ")} ${tee === null ? "" : teeLine(harmless(tee), paint)}`,
    `${paint.dim("line     ")} ${silence === "" ? noted : paint.warn(silence)}`,
    "",
    ...recent.map((report) => reportLine(report, paint)),
    "",
    ...story.slice(-storyLines).map((sentence) => paint.good(harmless(sentence))),
  ];
}

/** Sentences of the story under the reports. */
const storyLines = 5;

function stageTable({ boot, slot, stages }: Timeline, paint: Paint) {
  const rows = stages.map((stage) => [
    stage.stage,
    stage.end_ms === undefined ? "running" : span(stage.end_ms - stage.start_ms),
    stage.budget_ms === 0 ? "none" : span(stage.budget_ms),
    margin(stage.margin_ms, stage.budget_ms, paint),
    stage.refreshed_by,
  ]);
  const head = ["stage", "took", "budget", "margin", "refreshed by"];
  return [`boot ${boot}, slot ${slot}`, ...table(paint, head, rows).split("\n")];
}

/** Columns of the bar. */
const gaugeColumns = 30;

/** What is left of the promised time, as a bar. */
function gauge(state: WatchdogState, paint: Paint): string {
  const left = state.remaining_ms ?? 0;
  const share = state.promise_ms > 0 ? Math.min(Math.max(left / state.promise_ms, 0), 1) : 0;
  const full = Math.round(share * gaugeColumns);
  const bar = "#".repeat(full) + ".".repeat(gaugeColumns - full);
  const shown = share < 0.25 ? paint.bad(bar) : share < 0.5 ? paint.warn(bar) : paint.good(bar);
  return `[${shown}] ${refreshes(state)}`;
}

function refreshes({ refreshes }: WatchdogState): string {
  return count(refreshes, "refresh", "refreshes");
}

/** Cuts a line to the screen's width; colour codes take no room and are closed at the cut. */
export function fit(line: string, columns: number): string {
  let width = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the colour codes
  const parts = line.match(/\x1b\[[0-9;]*m|[\s\S]/gu) ?? [];
  const kept: string[] = [];
  for (const part of parts) {
    if (!part.startsWith("\x1b")) width += 1;
    if (width > columns) return `${kept.join("")}${line.includes("\x1b") ? "\x1b[0m" : ""}`;
    kept.push(part);
  }
  return line;
}
