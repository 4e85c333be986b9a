/** What a sweep has shown, in words, and whether it is what the card says of itself. */
import { expect, type Rig, toleranceMs } from "../rig.ts";
import type { Hung, Swept } from "./run.ts";

/** Throws CardFailed where the card did not do what explain says of it. */
export function mustAgree(swept: Swept, rig: Rig): void {
  for (const { told, tookMs, before, stages, ...hung } of swept.hangs) {
    const line = lineOf({ told, tookMs, before, stages, ...hung });
    if (tookMs === null) {
      expect(told.hasGap, `explain knows no gap: ${line}`);
      continue;
    }
    const isNamed = stages.some((stage) => before.startsWith(`watchdog, in ${stage} `));
    expect(isNamed, `the next boot does not tell what happened: ${line}`);
    // Explain assumes the worst of what nothing shows: a gap may turn out to be a shorter one.
    if (told.hasGap) continue;
    const isInTime = tookMs <= told.withinMs + toleranceMs(rig, told.withinMs);
    expect(isInTime, `later than explain tells: ${line}`);
  }
}

/** One line of the table. */
export function lineOf({ instant, phase, atMs, place, tookMs, told, before }: Hung): string {
  const within = told.hasReset ? `within ${seconds(told.withinMs)}` : "never";
  return [
    `${seconds(instant.planMs).padStart(8)}: stopped ${seconds(atMs)} after arming`,
    `${phase}, in a ${place}`,
    tookMs === null ? "NO RESET" : `reset after ${seconds(tookMs)}`,
    `explain: ${within}${told.hasGap ? " or never" : ""}`,
    ...(before === "" ? [] : [`next boot: ${before}`]),
  ].join("; ");
}

/** The last line: what the sweep shows as a whole. */
export function sumOf({ hangs, toldMs, atLeastMs, atMostMs }: Swept): string {
  const resets = hangs.filter(({ tookMs }) => tookMs !== null).length;
  const isAll = resets === hangs.length;
  const measured = isAll ? "0 s" : `${seconds(atLeastMs)} to ${seconds(atMostMs)}`;
  return [
    `${hangs.length} hangs, ${resets} resets`,
    `longest uncovered time: measured ${measured}, by explain ${seconds(toldMs)}`,
  ].join("; ");
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
