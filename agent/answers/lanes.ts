/** Boots as lanes, one each, for whoever shows them: the console as text, the card as a drawing. */
import type { ResponseOf } from "../wire/commands.ts";

type Past = ResponseOf<"boot.timelines">["boots"][number];
type Stage = Past["stages"][number];

export interface Lane {
  readonly boot: string;
  readonly slot: string;
  readonly stages: readonly Stage[];
  /** What ended it: `watchdog in os_load / verify`; "" for the boot that runs. */
  readonly ended: string;
  /** The boot came to a bad end. */
  readonly isBad: boolean;
}

/** Runtime goes on for days: so much of it is drawn, as a part of the time before. */
export const runtimeShare = 0.15;

export function laneOfPresent({ boot, slot, stages }: ResponseOf<"boot.timeline">): Lane {
  const told = stages.map(({ steps: _steps, end_ms, start_ms, ...stage }) => {
    const from = Math.max(start_ms, 0);
    return { ...stage, start_ms: from, end_ms: Math.max(end_ms ?? from, from) };
  });
  return { boot, slot, stages: told, ended: "", isBad: false };
}

export function laneOfPast(past: Past): Lane {
  const { boot, slot, stages, cause, culprit, ended_in, step } = past;
  const where = step === "" ? ended_in : `${ended_in} / ${step}`;
  const whom = culprit === "" ? "" : `, ${culprit}`;
  const isBad = isBadEnd(cause);
  return { boot, slot, stages, ended: `${cause} in ${where}${whom}`, isBad };
}

/** What is drawn of each lane, ms: up to runtime, and a little of that. */
export function drawnMs(lanes: readonly Lane[]): number {
  const bootMs = lanes.map(({ stages }) => {
    const ends = stages.map(({ stage, start_ms, end_ms }) =>
      stage === "runtime" ? start_ms : end_ms,
    );
    return Math.max(1, ...ends);
  });
  return Math.max(1, ...bootMs) * (1 + runtimeShare);
}

/** Nobody asked for an end like this. */
export function isBadEnd(cause: Past["cause"]): boolean {
  return !["power", "clean", "commanded", "agent_restart"].includes(cause);
}
