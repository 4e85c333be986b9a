/**
 * When a boot counts as good: after a settling time every approved check must pass at once, before
 * a deadline. Passed, the boot is confirmed, once; a check that fails later withdraws readiness and
 * no more. Checks may run outside the agent and hang: one that does is a reason to let the watchdog
 * end the boot. Pure: see the table at the end.
 */
import { type Step, type Table, to } from "./fsm.ts";

/** One approved check. */
export interface CheckPlan {
  readonly name: string;
  /** Asked of a program outside the agent; the others are looked at with every tick. */
  readonly isProgram: boolean;
  /** A program that has not answered for so long hangs, ms. */
  readonly withinMs: number;
  /** From one answer of a program to its next start, ms. */
  readonly everyMs: number;
}

export interface ReadinessPlan {
  readonly checks: readonly CheckPlan[];
  /** From the start to the earliest confirmation, ms. */
  readonly settleMs: number;
  /** From the start to the latest confirmation, ms. */
  readonly deadlineMs: number;
}

/** Most checks that can be approved: their results fit one packet. */
export const checksMax = 16;

export interface Check {
  readonly plan: CheckPlan;
  readonly ok: boolean;
  readonly value: string;
  /** When the program was started that has not answered yet. */
  readonly startedMs: number | null;
  /** When it is to be started next. */
  readonly nextMs: number;
}

interface Common {
  readonly plan: ReadinessPlan;
  readonly startMs: number;
  readonly checks: readonly Check[];
}

export type State =
  | ({ kind: "settling" } & Common)
  /** All passed and the boot is confirmed. */
  | ({ kind: "ready" } & Common)
  /** It is confirmed, and a check fails now. */
  | ({ kind: "withdrawn" } & Common)
  /** The deadline passed: this boot is never confirmed. */
  | ({ kind: "late" } & Common);

export type Event =
  | { kind: "result"; atMs: number; name: string; ok: boolean; value: string }
  | { kind: "tick"; atMs: number }
  /** The boot is to be ready by then, counted from the start, ms. */
  | { kind: "deadline"; atMs: number; deadlineMs: number };

export type Effect =
  | { kind: "run"; name: string }
  | { kind: "give_up"; name: string }
  | { kind: "confirm" }
  | { kind: "withhold"; name: string }
  | { kind: "not_ready"; name: string; value: string }
  | { kind: "withdrawn"; name: string; value: string }
  | { kind: "ready_again" };

type Next = Step<State, Effect>;
type At<K extends Event["kind"]> = Extract<Event, { kind: K }>;

/** `confirmed`: an agent before this one confirmed the boot. */
export function initial(plan: ReadinessPlan, startMs: number, confirmed: boolean): State {
  const checks = plan.checks.map((check): Check => {
    return { plan: check, ok: false, value: "not asked yet", startedMs: null, nextMs: startMs };
  });
  return { kind: confirmed ? "withdrawn" : "settling", plan, startMs, checks };
}

/** When a tick is next due; Infinity when only a result can change anything. */
export function dueMs(state: State): number {
  const { startMs, plan, checks } = state;
  const programs = checks.filter((check) => check.plan.isProgram);
  const times = programs.map(({ startedMs, nextMs, plan: { withinMs } }) =>
    startedMs === null ? nextMs : startedMs + withinMs,
  );
  if (state.kind === "settling") times.push(startMs + plan.deadlineMs);
  return Math.min(...times, Infinity);
}

/** The first check that does not pass, in the order in which they were approved. */
export function failing(checks: readonly Check[]): Check | null {
  return checks.find(({ ok }) => !ok) ?? null;
}

function answered(state: State, event: At<"result">): readonly Check[] {
  const { name, ok, value, atMs } = event;
  return state.checks.map((check) => {
    const isStale = check.plan.isProgram && check.startedMs === null;
    if (check.plan.name !== name || isStale) return check;
    return { ...check, ok, value, startedMs: null, nextMs: atMs + check.plan.everyMs };
  });
}

/** Starts what is due, and gives up on what hangs. */
function programs(state: State, atMs: number): { checks: readonly Check[]; effects: Effect[] } {
  const effects: Effect[] = [];
  const checks = state.checks.map((check) => {
    const { plan, startedMs, nextMs } = check;
    if (!plan.isProgram) return check;
    if (startedMs === null) {
      if (atMs < nextMs) return check;
      effects.push({ kind: "run", name: plan.name });
      return { ...check, startedMs: atMs };
    }
    if (atMs < startedMs + plan.withinMs) return check;
    effects.push({ kind: "give_up", name: plan.name }, { kind: "withhold", name: plan.name });
    const value = `no answer within ${plan.withinMs} ms`;
    return { ...check, ok: false, value, startedMs: null, nextMs: atMs + plan.everyMs };
  });
  return { checks, effects };
}

/** Not confirmed yet: everything must pass at once, after settling and before the deadline. */
function settle(
  state: Extract<State, { kind: "settling" }>,
  checks: readonly Check[],
  atMs: number,
  effects: readonly Effect[],
): Next {
  const bad = failing(checks);
  const sinceMs = atMs - state.startMs;
  if (bad === null && sinceMs >= state.plan.settleMs && sinceMs <= state.plan.deadlineMs) {
    return to<State, Effect>({ ...state, kind: "ready", checks }, ...effects, { kind: "confirm" });
  }
  if (sinceMs < state.plan.deadlineMs) return to<State, Effect>({ ...state, checks }, ...effects);
  const { name } = bad?.plan ?? { name: "settle" };
  const value = bad?.value ?? "the settling time is longer than the deadline";
  const told: Effect = { kind: "not_ready", name, value };
  return to<State, Effect>({ ...state, kind: "late", checks }, ...effects, told);
}

/** Confirmed: readiness comes and goes, the confirmation stays. */
function watch(
  state: Extract<State, { kind: "ready" | "withdrawn" }>,
  checks: readonly Check[],
  effects: readonly Effect[],
): Next {
  const bad = failing(checks);
  if (bad === null && state.kind === "withdrawn") {
    const again: Effect = { kind: "ready_again" };
    return to<State, Effect>({ ...state, kind: "ready", checks }, ...effects, again);
  }
  if (bad !== null && state.kind === "ready") {
    const told: Effect = { kind: "withdrawn", name: bad.plan.name, value: bad.value };
    return to<State, Effect>({ ...state, kind: "withdrawn", checks }, ...effects, told);
  }
  return to<State, Effect>({ ...state, checks }, ...effects);
}

/** An answer counts with the next tick. */
function noted<S extends State>(state: S, event: At<"result">): Next {
  return to<State, Effect>({ ...state, checks: answered(state, event) });
}

function replanned<S extends State>(state: S, { deadlineMs }: At<"deadline">): Next {
  return to<State, Effect>({ ...state, plan: { ...state.plan, deadlineMs } });
}

function settleTick(state: Extract<State, { kind: "settling" }>, { atMs }: At<"tick">): Next {
  const { checks, effects } = programs(state, atMs);
  return settle(state, checks, atMs, effects);
}

function watchTick(
  state: Extract<State, { kind: "ready" | "withdrawn" }>,
  { atMs }: At<"tick">,
): Next {
  const { checks, effects } = programs(state, atMs);
  return watch(state, checks, effects);
}

/** The checks go on, for whoever asks; nothing of this boot is confirmed any more. */
function lateTick(state: Extract<State, { kind: "late" }>, { atMs }: At<"tick">): Next {
  const { checks, effects } = programs(state, atMs);
  return to<State, Effect>({ ...state, checks }, ...effects);
}

/** The whole machine: a row per state, a column per event. */
export const table: Table<State, Event, Effect> = {
  settling: { result: noted, tick: settleTick, deadline: replanned },
  ready: { result: noted, tick: watchTick, deadline: replanned },
  withdrawn: { result: noted, tick: watchTick, deadline: replanned },
  late: { result: noted, tick: lateTick, deadline: replanned },
};
