/** The log of a boot: which stage ran when, by whose refreshes, with which steps. Pure. */
import type { Stage } from "./bootrecord.ts";

/** What happened in one stage; times are ms on the clock of whoever ran it. */
export interface StageLog {
  readonly stage: Stage;
  readonly startMs: number;
  readonly endMs: number | null;
  /** Who kept the watchdog in this stage. */
  readonly by: "nobody" | "firmware" | "countdown" | "agent";
  readonly steps: readonly { name: string; atMs: number }[];
}

/** The log with the stage we are in ended at `atMs` and `stage` begun. */
export function enter(log: readonly StageLog[], stage: Stage, atMs: number, by: StageLog["by"]) {
  const closed = log.map((entry, at) =>
    at === log.length - 1 && entry.endMs === null ? { ...entry, endMs: atMs } : entry,
  );
  return [...closed, { stage, startMs: atMs, endMs: null, by, steps: [] }];
}

/** The log with a completed step added to the stage we are in. */
export function noted(log: readonly StageLog[], name: string, atMs: number): StageLog[] {
  return log.map((entry, at) =>
    at === log.length - 1 ? { ...entry, steps: [...entry.steps, { name, atMs }] } : entry,
  );
}
