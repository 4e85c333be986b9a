/** Boots as lanes: one line each, a letter per slice of time, and what ended it. */
import { drawnMs, type Lane } from "../answers/lanes.ts";
import { type Paint, span } from "./show.ts";

/** Columns of the longest lane. */
const columnsMax = 60;
const letters: Readonly<Record<string, string>> = {
  power_on: "p",
  os_load: "o",
  hand_off: "h",
  adopt: "a",
  runtime: "r",
};

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
