/**
 * State machines as complete tables: one cell per state and event, so that a missing cell is a
 * compile error. Pure: a step takes a state and an event and returns the next state and the
 * effects that the agent is to perform. This file holds the only type casts of the machines.
 */

export interface Tagged {
  readonly kind: string;
}

export type Of<U extends Tagged, K extends U["kind"]> = Extract<U, { readonly kind: K }>;

export interface Step<S, F> {
  readonly state: S;
  readonly effects: readonly F[];
}

export type Cell<S, From, E, F> = (state: From, event: E) => Step<S, F>;

export type Table<S extends Tagged, E extends Tagged, F> = {
  readonly [K in S["kind"]]: {
    readonly [J in E["kind"]]: Cell<S, Of<S, K>, Of<E, J>, F>;
  };
};

/** Nothing happens, written down. */
export function stay<S>(state: S): Step<S, never> {
  return { state, effects: [] };
}

/** To `state`, performing `effects` in order. */
export function to<S, F>(state: S, ...effects: F[]): Step<S, F> {
  return { state, effects };
}

/** One step: looks up the cell of (state, event) and applies it. */
export function step<S extends Tagged, E extends Tagged, F>(
  table: Table<S, E, F>,
  state: S,
  event: E,
): Step<S, F> {
  const row = table[state.kind as S["kind"]] as unknown as Record<string, Cell<S, S, E, F>>;
  const cell = row[event.kind] as Cell<S, S, E, F>;
  return cell(state, event);
}

/**
 * The machine as text, a row per state and a column per event, from one sample of each:
 * the state a cell leads to, `!` behind it where it has effects, `.` where it stays and does
 * nothing. For reviews: a changed transition is a changed line.
 */
export function printTable<S extends Tagged, E extends Tagged, F>(
  table: Table<S, E, F>,
  states: readonly S[],
  events: readonly E[],
): string {
  const rows = [["", ...events.map((event) => event.kind)]];
  for (const state of states) {
    const cells = events.map((event) => {
      const next = step(table, state, event);
      const still = next.state.kind === state.kind && next.effects.length === 0;
      return still ? "." : `${next.state.kind}${next.effects.length > 0 ? "!" : ""}`;
    });
    rows.push([state.kind, ...cells]);
  }
  const widths = rows[0]?.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths?.[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
