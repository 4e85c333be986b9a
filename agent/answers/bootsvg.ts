/** Boots as a drawing: a lane each, stages as boxes, budgets as marks. */
import { drawnMs, type Lane, runtimeShare } from "./lanes.ts";
import { span } from "./span.ts";

/** Characters that fit beside a lane. */
const textsMax = { name: 22, end: 48 };
/** Times told above the lanes, as parts of the longest boot. */
const ticks = [0, 0.25, 0.5, 0.75, 1];

/** Sizes in pixels. */
const size = { left: 170, lane: 960, right: 330, top: 60, row: 44, box: 26 };

const colours: Readonly<Record<string, string>> = {
  power_on: "#8d99ae",
  os_load: "#4c78a8",
  hand_off: "#f2a541",
  adopt: "#9d6db0",
  runtime: "#54a868",
};

/** A whole SVG file. Texts of the card are escaped: it may say anything. */
export function drawBoots(lanes: readonly Lane[], title: string): string {
  const wholeMs = drawnMs(lanes);
  const width = size.left + size.lane + size.right;
  const height = size.top + lanes.length * size.row + 50;
  const rows = lanes.map((lane, at) => drawLane(lane, size.top + at * size.row, wholeMs));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}"`,
    `  font-family="sans-serif" font-size="13">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    text(16, 30, title, 'font-size="17" font-weight="bold"'),
    ...scale(wholeMs),
    ...rows.flat(),
    ...legend(size.top + lanes.length * size.row + 18),
    "</svg>",
    "",
  ].join("\n");
}

function drawLane({ boot, slot, stages, ended, isBad }: Lane, y: number, wholeMs: number) {
  const at = (ms: number): number => size.left + (Math.min(ms, wholeMs) / wholeMs) * size.lane;
  const isOpen = ended === "";
  const boxes = stages.flatMap((stage, index) => {
    const { start_ms, budget_ms, margin_ms } = stage;
    const end_ms = stage.stage === "runtime" && isOpen ? wholeMs : stage.end_ms;
    const x = at(start_ms);
    const wide = Math.max(at(end_ms) - x, 2);
    const isOver = margin_ms !== undefined && margin_ms < 0;
    const stroke = isOver ? ' stroke="#c0392b" stroke-width="2"' : "";
    const fill = colours[stage.stage] ?? "#cccccc";
    const box = `x="${tenth(x)}" y="${y}" width="${tenth(wide)}" height="${size.box}"`;
    const told = `<title>${escaped(words(stage, isOpen && index === stages.length - 1))}</title>`;
    const limit = at(start_ms + budget_ms);
    const isShown = budget_ms > 0 && start_ms + budget_ms < wholeMs;
    const [from, to] = [`x1="${tenth(limit)}" y1="${y - 4}"`, `x2="${tenth(limit)}"`];
    const mark = `<line ${from} ${to} y2="${y + size.box + 4}"`;
    return [
      `<rect ${box} fill="${fill}"${stroke}>${told}</rect>`,
      ...(isShown ? [`${mark} stroke="${fill}" stroke-dasharray="3 2"/>`] : []),
    ];
  });
  const middle = y + size.box / 2 + 5;
  const ink = isBad ? 'fill="#c0392b"' : 'fill="#333333"';
  return [
    text(16, middle, short(`${boot} ${slot}`, textsMax.name), 'fill="#333333"'),
    ...boxes,
    text(size.left + size.lane + 12, middle, isOpen ? "running" : short(ended, textsMax.end), ink),
  ];
}

/** Time from power-on, over all lanes. */
function scale(wholeMs: number): string[] {
  return ticks.map((part) => {
    const ms = part * (wholeMs / (1 + runtimeShare));
    const x = size.left + (ms / wholeMs) * size.lane;
    return text(x, size.top - 8, span(ms), 'fill="#888888" font-size="11"');
  });
}

function short(content: string, most: number): string {
  return content.length <= most ? content : `${content.slice(0, most - 1)}…`;
}

function words(stage: Lane["stages"][number], isRunning: boolean): string {
  const { start_ms, end_ms, budget_ms, margin_ms, refreshed_by } = stage;
  const took = isRunning ? "running" : `took ${span(end_ms - start_ms)}`;
  const budget = budget_ms === 0 ? "no budget" : `budget ${span(budget_ms)}`;
  const margin = margin_ms === undefined ? "" : `, margin ${span(margin_ms)}`;
  const start = `from ${span(start_ms)}`;
  return `${stage.stage}: ${start}, ${took}, ${budget}${margin}, refreshed by ${refreshed_by}`;
}

function legend(y: number): string[] {
  return Object.entries(colours).flatMap(([stage, fill], at) => {
    const x = size.left + at * 120;
    const box = `<rect x="${x}" y="${y}" width="12" height="12" fill="${fill}"/>`;
    return [box, text(x + 18, y + 11, stage, 'fill="#333333"')];
  });
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${tenth(x)}" y="${tenth(y)}" ${attributes}>${escaped(content)}</text>`;
}

function tenth(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(content: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return content.replace(/[&<>"]/g, (character) => names[character] ?? character);
}
