/** `kennel wdt explain`: which seconds of a boot are covered, and a counter-example where not. */
import { readFileSync } from "node:fs";
import { exitCodes, Failure } from "../errors.ts";
import {
  type Coverage,
  coverageOf,
  type Fate,
  gapText,
  hangNames,
  type Interval,
  longestGapMs,
} from "../machines/coverage.ts";
import { type CoveragePlan, coveragePlan } from "../wire/coverageplan.ts";
import { check } from "../wire/shape.ts";
import type { Context, Outcome } from "./context.ts";
import { harmless, type Paint, span, table } from "./show.ts";

export async function wdtExplain({ link, hello, paint }: Context): Promise<Outcome> {
  const plan = harmless(await link.request("wdt.plan", {}));
  const note = "a simulated card: its hardware would do this, and nothing real is protected";
  return explained(plan, paint, hello.simulated ? [note] : []);
}

/** The plan in a JSON file: what `wdt explain --json` says, or its plan; `config.invalid`. */
export function explainFile(path: string, paint: Paint): Outcome {
  let read: unknown;
  try {
    read = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("config.invalid", `plan ${path}: ${why}`, { cause: error });
  }
  try {
    return explained(harmless(check(coveragePlan, planIn(read), "plan")), paint, []);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure("config.invalid", `${path}: ${error.message}`, { cause: error });
  }
}

/** The plan alone, or the whole answer with it. */
function planIn(read: unknown): unknown {
  const { data } = (read ?? {}) as { data?: { plan?: unknown } };
  return data?.plan ?? read;
}

function explained(plan: CoveragePlan, paint: Paint, notes: readonly string[]): Outcome {
  const coverage = coverageOf(plan);
  const { intervals, beginsMs, gaps, wellResetMs } = coverage;
  const isCovered = gaps.length === 0 && wellResetMs === null;
  const data = {
    covered: isCovered,
    begins_ms: beginsMs,
    longest_gap_ms: longestGapMs(gaps),
    gaps: gaps.map(({ fromMs, toMs, ...rest }) => ({ from_ms: fromMs, to_ms: toMs, ...rest })),
    ...(wellResetMs === null ? {} : { well_reset_ms: wellResetMs }),
    intervals: intervals.map(({ fromMs, toMs, stage, refreshed, fates }) => ({
      from_ms: fromMs,
      to_ms: toMs,
      stage,
      refreshed_by: refreshed,
      fates: Object.fromEntries(Object.entries(fates).map(([hang, fate]) => [hang, plain(fate)])),
    })),
    plan,
  };
  const text = show(coverage, plan, paint, notes);
  return { data, text, exit: isCovered ? exitCodes.ok : exitCodes.verdict };
}

function plain(fate: Fate): { within_ms: number } | { never: string } {
  return fate.kind === "never" ? { never: fate.why } : { within_ms: Math.round(fate.withinMs) };
}

function show(
  { intervals, beginsMs, gaps, wellResetMs }: Coverage,
  plan: CoveragePlan,
  paint: Paint,
  notes: readonly string[],
): string {
  const head = ["from", "to", "stage", "refreshed by", "whole card", "all programs", "agent"];
  const rows = merged(intervals).map((interval) => {
    const { fromMs, toMs, stage, refreshed, fates } = interval;
    const agent = worse(fates.agent_loop, fates.agent_killed);
    const cells = [fates.machine, fates.programs, agent].map((fate) => cell(fate, paint));
    return [when(fromMs, plan), when(toMs, plan), stage, refreshed, ...cells];
  });
  const lines = [
    "a hang is ended by a reset after at most:",
    "",
    table(paint, head, rows),
    "",
    ...gaps.map((gap) => `${paint.bad("GAP")}  ${gapText(gap, plan).replace(": ", ":\n     ")}`),
    ...(wellResetMs === null ? [] : [`${paint.bad("RESET")}  ${tooSlow(wellResetMs)}`]),
    verdict(gaps.length === 0 && wellResetMs === null, beginsMs, longestGapMs(gaps), paint),
    ...plan.assumed.map((sentence) => paint.dim(`assumed: ${sentence}`)),
    ...notes.map((note) => paint.warn(note)),
  ];
  return lines.join("\n");
}

function tooSlow(resetMs: number): string {
  return `a card that is well is reset at ${at(resetMs)}: the next refresh comes too late`;
}

function verdict(isCovered: boolean, beginsMs: number, longestMs: number, paint: Paint): string {
  const before = beginsMs === 0 ? "" : `; nothing is armed before ${at(beginsMs)}`;
  if (isCovered) return `${paint.good("COVERED")}  from ${at(beginsMs)} on, 0 s uncovered${before}`;
  return `${paint.bad("NOT COVERED")}  for up to ${span(longestMs)} at a stretch${before}`;
}

/** Neighbours that say the same are one row: the firmware's refreshes make many. */
function merged(intervals: readonly Interval[]): Interval[] {
  const rows: Interval[] = [];
  for (const interval of intervals) {
    const last = rows.at(-1);
    const isSame =
      last !== undefined &&
      last.stage === interval.stage &&
      last.refreshed === interval.refreshed &&
      hangNames.every((hang) => last.fates[hang]?.kind === interval.fates[hang]?.kind);
    if (!isSame) rows.push(interval);
    else rows[rows.length - 1] = { ...last, toMs: interval.toMs, fates: longest(last, interval) };
  }
  return rows;
}

function longest(one: Interval, other: Interval): Interval["fates"] {
  const fates = hangNames.map((hang) => [hang, worse(one.fates[hang], other.fates[hang])]);
  return Object.fromEntries(fates.filter(([, fate]) => fate !== undefined));
}

function worse(one: Fate | undefined, other: Fate | undefined): Fate | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  if (one.kind === "never" || other.kind === "never") return one.kind === "never" ? one : other;
  return one.withinMs >= other.withinMs ? one : other;
}

function cell(fate: Fate | undefined, paint: Paint): string {
  if (fate === undefined) return "";
  return fate.kind === "never" ? paint.bad("NEVER") : span(fate.withinMs);
}

/** When a reboot comes nobody knows: from there on time is counted from it. */
function when(ms: number, { reboot }: CoveragePlan): string {
  const sinceMs = ms - (reboot?.at_ms ?? Infinity);
  return sinceMs < 0 ? at(ms) : sinceMs === 0 ? "reboot" : `+${at(sinceMs)}`;
}

function at(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
