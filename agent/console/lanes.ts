/** Boots as lanes: one line each, a letter per slice of time, and what ended it. */
import type { ResponseOf } from "../wire/commands.ts";
import type { Timeline } from "./boot.ts";
import { type Paint, span } from "./show.ts";

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

/** Columns of the longest lane. */
const columnsMax = 60;
/** Runtime goes on for days: so much of it is drawn, as a part of the time before. */
export const runtimeShare = 0.15;

const letters: Readonly<Record<string, string>> = {
  power_on: "p",
  os_load: "o",
  hand_off: "h",
  adopt: "a",
  runtime: "r",
};

export function laneOfPresent({ boot, slot, stages }: Timeline): Lane {
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
  const isBad = !["power", "clean", "commanded", "agent_restart"].includes(cause);
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

/** One line per boot, and what the letters mean. */
export function showLanes(lanes: readonly Lane[], paint: Paint): string {
  const wholeMs = drawnMs(lanes);
  const nameWidth = Math.max(...lanes.map(({ boot }) => boot.length));
  const rows = lanes.map((lane) => {
    const bar = barOf(lane, wholeMs);
    const ended = lane.ended === "" ? paint.good("running") : lane.ended;
    const end = lane.isBad ? paint.bad(ended) : ended;
    const drawn = bar === "" ? paint.dim("no stage was noted") : bar;
    return `${lane.boot.padEnd(nameWidth)}  ${lane.slot.padEnd(4)}  ${drawn}  ${end}`;
  });
  const key = Object.entries(letters).map(([stage, letter]) => `${letter} ${stage}`);
  const scale = `one letter is ${span(wholeMs / columnsMax)}; capitals: over budget`;
  return [...rows, paint.dim(`${key.join(", ")}; ${scale}`)].join("\n");
}

/** Each stage takes at least one column, however short it was. */
function barOf({ stages, ended }: Lane, wholeMs: number): string {
  const columns = stages.map((stage) => {
    const { start_ms, end_ms } = stage;
    const untilMs = stage.stage === "runtime" && ended === "" ? wholeMs : Math.min(end_ms, wholeMs);
    const count = Math.max(Math.round(((untilMs - start_ms) / wholeMs) * columnsMax), 1);
    const letter = letters[stage.stage] ?? "?";
    const isOver = stage.margin_ms !== undefined && stage.margin_ms < 0;
    return (isOver ? letter.toUpperCase() : letter).repeat(count);
  });
  return columns.join("");
}
