/** What benchmarks print: figures, tables of figures, and targets with a verdict. */

/** One figure, or a line as it is. */
export type Line = Row | string;

export interface Row {
  readonly name: string;
  readonly value: string;
  readonly note?: string;
}

/** A table whose first column is text and whose other columns are right-aligned. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  const aligned = (cell: string, at: number): string =>
    at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0);
  return rows.map((row) => `  ${row.map(aligned).join("  ").trimEnd()}`);
}

/** One target and how it was met; `because` is for what a reader must know about a miss. */
export function target(what: string, isMet: boolean, value: string, because = ""): string {
  const why = isMet || because === "" ? "" : ` (${because})`;
  return `  measured ${what}: ${isMet ? "met" : "missed"}, ${value}${why}`;
}

/** What could not be measured here, with its reason. */
export function untold(what: string, because: string): string {
  return `  measured ${what}: not measured, ${because}`;
}

/** Nearest-rank quantile of ascending values; NaN of none. */
export function quantile(ascending: readonly number[], part: number): number {
  const index = Math.min(ascending.length - 1, Math.floor(part * ascending.length));
  return ascending[index] ?? Number.NaN;
}
