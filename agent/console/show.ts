/** How things look to a person: colours, tables, spans of time. */
import Table from "cli-table3";
import { createColors } from "picocolors";

export { span } from "../answers/span.ts";

export interface Paint {
  good(text: string): string;
  bad(text: string): string;
  warn(text: string): string;
  dim(text: string): string;
  bold(text: string): string;
}

/** Colours where wanted, the same calls without any effect elsewhere. */
export function painter(colours: boolean): Paint {
  const { green, red, yellow, dim, bold } = createColors(colours);
  return { good: green, bad: red, warn: yellow, dim, bold };
}

/** Longest text of a card shown in one piece; the rest is cut and marked. */
const textMax = 400;

/** Two spaces between columns, no lines. */
const bare = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "",
};

/** Aligned columns under a dim head; an empty head leaves the head out. */
export function table(paint: Paint, head: readonly string[], rows: readonly string[][]): string {
  const grid = new Table({
    chars: bare,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
  });
  if (head.length > 0) grid.push(head.map((title) => paint.dim(title)));
  grid.push(...rows);
  return trimmed(grid.toString());
}

/** Names at the left, what they are at the right; a second line of a value is indented. */
export function fields(paint: Paint, rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  const lines = rows.flatMap(([name, value]) =>
    value
      .split("\n")
      .map((line, at) => (at === 0 ? paint.dim(name.padEnd(width)) : " ".repeat(width)) + line),
  );
  return trimmed(lines.join("\n"));
}

function trimmed(text: string): string {
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** "1 crash", "2 crashes": `many` defaults to the word with an s. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** ", 2.5 times as fast as we live"; nothing at the pace of life. */
export function paceText(pace: number): string {
  return pace === 1 ? "" : `, ${pace.toFixed(1)} times as fast as we live`;
}

/**
 * A card's own words made safe for a terminal: control characters would let a hostile line move
 * the cursor or rename the window. Applied to whole answers before they are shown.
 */
export function harmless<T>(value: T): T {
  return scrub(value) as T;
}

function scrub(value: unknown): unknown {
  if (typeof value === "string") return harmlessText(value);
  if (Array.isArray(value)) return value.map(scrub);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [harmlessText(key), scrub(member)]),
  );
}

/** As `harmless`, and cut where it is too long to be shown. */
export function harmlessText(text: string): string {
  return withoutControls(text.length > textMax ? `${text.slice(0, textMax)}…` : text);
}

/** Control characters become readable: ESC is \\u{1b}. */
export function withoutControls(text: string): string {
  let safe = "";
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    const isControl = code < 0x20 || (code >= 0x7f && code < 0xa0);
    // Marks that turn the direction of writing can disguise what a line says.
    const isTurn = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    safe += isControl || isTurn ? `\\u{${code.toString(16)}}` : character;
  }
  return safe;
}
