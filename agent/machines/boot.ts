/**
 * The stages of a boot: power_on -> os_load -> hand_off -> adopt -> runtime. Firmware runs it up
 * to the hand-off, the agent from there; the hand-off record carries the state across. Pure: see
 * the table at the end.
 */
import type { Code } from "../errors.ts";
import type { Slot, Stage } from "./bootrecord.ts";
import { type Step, stay, type Table, to } from "./fsm.ts";
import { enter, noted, type StageLog } from "./stagelog.ts";

/** boot/stages.json: one truth for firmware, early-userspace hook and agent. */
export interface BootPlan {
  /** Timeout the boot loader arms with, ms; 0 = the device's maximum. */
  readonly watchdogMs: number;
  /** Longest maintenance hold of a person at the boot menu, ms. */
  readonly holdMaxMs: number;
  /** Failed boots in a row after which the other slot is taken. */
  readonly attemptsMax: number;
  /** In order. A budget of 0 means unlimited. */
  readonly stages: readonly { name: string; budgetMs: number; steps: readonly string[] }[];
}

export interface Limits {
  readonly minMs: number;
  readonly maxMs: number;
}

interface Boot {
  readonly plan: BootPlan;
  readonly boot: string;
  readonly slot: Slot;
  /** Failed boots of this slot in a row, this one not counted. */
  readonly failures: number;
  /** The last one is the stage we are in. */
  readonly log: readonly StageLog[];
}

/** The countdown of a loader that found a watchdog; null where it boots on without one. */
export interface Countdown {
  readonly limits: Limits;
  readonly grantedMs: number;
  readonly refreshedMs: number;
}

/** A maintenance hold in force, and all the time held: it does not count against the budget. */
interface Hold {
  readonly holdUntilMs: number | null;
  readonly heldMs: number;
}
const noHold: Hold = { holdUntilMs: null, heldMs: 0 };

export type State =
  | { kind: "off"; plan: BootPlan }
  | ({ kind: "power_on" } & Boot)
  /** Still stage power_on: the watchdog API stands, or there is no watchdog (limits null). */
  | ({ kind: "installed"; limits: Limits | null } & Boot)
  | ({ kind: "os_load"; countdown: Countdown | null } & Hold & Boot)
  | ({ kind: "hand_off"; countdown: Countdown | null } & Boot)
  | ({ kind: "adopt"; countdown: Countdown | null } & Boot)
  | ({ kind: "runtime"; confirmed: boolean } & Boot)
  | { kind: "stopped"; plan: BootPlan; because: string };

export type Event =
  | { kind: "power"; atMs: number; boot: string; slot: Slot; failures: number }
  | { kind: "install"; atMs: number; limits: Limits | null; policy: "prefer" | "require" }
  | { kind: "enable"; atMs: number; timeoutMs: number }
  | { kind: "granted"; atMs: number; grantedMs: number }
  | { kind: "step"; atMs: number; name: string }
  | { kind: "hold"; atMs: number; forMs: number }
  | { kind: "tick"; atMs: number }
  | { kind: "hand_off"; atMs: number }
  | { kind: "start"; atMs: number }
  | { kind: "adopted"; atMs: number }
  | { kind: "ready"; atMs: number };

export type Effect =
  | { kind: "arm"; timeoutMs: number }
  | { kind: "refresh" }
  | { kind: "revoke" }
  /** A stage began: to be stored, so that a dead boot can name the stage it died in. */
  | { kind: "mark"; stage: Stage; step: string; atMs: number }
  | { kind: "entered"; stage: Stage; budgetMs: number; marginMs: number }
  | { kind: "confirm" }
  | { kind: "over_budget"; stage: Stage; overMs: number }
  | { kind: "refuse"; code: Code; message: string };

type Next = Step<State, Effect>;
type In<K extends State["kind"]> = Extract<State, { kind: K }>;
type At<K extends Event["kind"]> = Extract<Event, { kind: K }>;

export function initial(plan: BootPlan): State {
  return { kind: "off", plan };
}

/** Stage budget in ms; Infinity where the plan has 0. */
export function budgetMs(plan: BootPlan, stage: Stage): number {
  const found = plan.stages.find((candidate) => candidate.name === stage)?.budgetMs ?? 0;
  return found === 0 ? Infinity : found;
}

/** Milliseconds since power-on. */
export function uptimeMs(state: State, atMs: number): number {
  const startMs = "log" in state ? (state.log[0]?.startMs ?? atMs) : atMs;
  return Math.max(Math.round(atMs - startMs), 0);
}

/** When the watchdog resets the card unless it is refreshed; null while nothing counts. */
export function expiresMs(state: State): number | null {
  if (!("countdown" in state) || state.countdown === null) return null;
  return state.countdown.refreshedMs + state.countdown.grantedMs;
}

function refuse<S extends State>(state: S, code: Code, message: string): Next {
  return to(state, { kind: "refuse", code, message });
}

function outOfOrder<S extends State>(state: S, event: Event): Next {
  return refuse(state, "boot.out_of_order", `${event.kind} is not possible in ${state.kind}`);
}

function notInstalled<S extends State>(state: S, event: Event): Next {
  const message = `${event.kind}: the watchdog API is not installed yet`;
  return refuse(state, "boot.not_installed", message);
}

function notArmed<S extends State>(state: S, event: Event): Next {
  return refuse(state, "boot.not_armed", `${event.kind}: the watchdog was not enabled first`);
}

function revoked<S extends State>(state: S, event: Event): Next {
  return refuse(state, "boot.revoked", `${event.kind}: the boot API ended at hand-off`);
}

/** What entering a stage tells: its budget, and how much of the last one's was left. */
function entered(
  state: In<"installed" | "os_load" | "hand_off" | "adopt">,
  stage: Stage,
  atMs: number,
): Effect {
  const last = state.log.at(-1);
  const budget = last === undefined ? Infinity : budgetMs(state.plan, last.stage);
  const spent = last === undefined ? 0 : atMs - last.startMs;
  const marginMs = Number.isFinite(budget) ? Math.round(budget - spent) : 0;
  const next = budgetMs(state.plan, stage);
  return {
    kind: "entered",
    stage,
    budgetMs: Number.isFinite(next) ? next : 0,
    marginMs,
  };
}

function power(state: In<"off">, event: At<"power">): Next {
  const { boot, slot, failures, atMs } = event;
  const log = enter([], "power_on", atMs, "nobody");
  const { plan } = state;
  return to<State, Effect>(
    { kind: "power_on", plan, boot, slot, failures, log },
    { kind: "mark", stage: "power_on", step: "", atMs },
  );
}

/** Without a watchdog: `prefer` boots on unprotected, `require` stops before anything is armed. */
function install(state: In<"power_on">, event: At<"install">): Next {
  const { limits, policy, atMs } = event;
  if (limits === null && policy === "require") {
    const because = "no watchdog was found and the boot policy requires one";
    return to<State, Effect>(
      { kind: "stopped", plan: state.plan, because },
      { kind: "refuse", code: "boot.no_watchdog", message: because },
    );
  }
  const log = noted(state.log, "api_install", atMs);
  return to({ ...state, kind: "installed", limits, log });
}

/** Arms for the loading of the OS: outside the device's range is refused, never clamped. */
function enable(state: In<"installed">, event: At<"enable">): Next {
  const { limits, ...boot } = state;
  const { atMs } = event;
  const by = limits === null ? "nobody" : "firmware";
  const log = enter(state.log, "os_load", atMs, by);
  const told: Effect[] = [
    entered(state, "os_load", atMs),
    { kind: "mark", stage: "os_load", step: "", atMs },
  ];
  if (limits === null) {
    return to({ ...boot, kind: "os_load", countdown: null, ...noHold, log }, ...told);
  }
  const timeoutMs = event.timeoutMs === 0 ? limits.maxMs : event.timeoutMs;
  if (timeoutMs < limits.minMs || timeoutMs > limits.maxMs) {
    const range = `${limits.minMs} to ${limits.maxMs} ms`;
    return refuse(state, "boot.range", `timeout ${timeoutMs} ms: the device takes ${range}`);
  }
  const countdown = { limits, grantedMs: timeoutMs, refreshedMs: atMs };
  return to<State, Effect>(
    { ...boot, kind: "os_load", countdown, ...noHold, log },
    { kind: "arm", timeoutMs },
    ...told,
  );
}

/** The record is to show what the device really holds, not what was asked. */
function granted(state: In<"os_load">, event: At<"granted">): Next {
  if (state.countdown === null) return notArmed(state, event);
  const { grantedMs, atMs } = event;
  return to({ ...state, countdown: { ...state.countdown, grantedMs, refreshedMs: atMs } });
}

/** A completed step is progress and earns a refresh, within the stage's budget. */
function loadStep(state: In<"os_load">, event: At<"step">): Next {
  const { name, atMs } = event;
  const next: In<"os_load"> = { ...state, log: noted(state.log, name, atMs) };
  const startMs = state.log.at(-1)?.startMs ?? atMs;
  const overMs = atMs - startMs - state.heldMs - budgetMs(state.plan, "os_load");
  if (overMs > 0) {
    return to<State, Effect>(next, { kind: "over_budget", stage: "os_load", overMs });
  }
  return refreshed(next, atMs);
}

function refreshed(state: In<"os_load">, atMs: number): Next {
  if (state.countdown === null) return to(state);
  const countdown = { ...state.countdown, refreshedMs: atMs };
  return to<State, Effect>({ ...state, countdown }, { kind: "refresh" });
}

/** A person at the boot menu: explicit, bounded, and it expires back to protected. */
function hold(state: In<"os_load">, event: At<"hold">): Next {
  const { holdMaxMs } = state.plan;
  if (!(event.forMs > 0 && event.forMs <= holdMaxMs)) {
    return refuse(state, "boot.range", `hold of ${event.forMs} ms: 1 to ${holdMaxMs} ms allowed`);
  }
  const { atMs, forMs } = event;
  const unusedMs = Math.max((state.holdUntilMs ?? atMs) - atMs, 0);
  const heldMs = state.heldMs - unusedMs + forMs;
  return refreshed({ ...state, holdUntilMs: atMs + forMs, heldMs }, atMs);
}

/** Only a hold refreshes by time; a hang inside a step is never masked. */
function loadTick(state: In<"os_load">, event: At<"tick">): Next {
  if (state.holdUntilMs === null) return stay(state);
  if (event.atMs >= state.holdUntilMs) {
    return refreshed({ ...state, holdUntilMs: null }, event.atMs);
  }
  return refreshed(state, event.atMs);
}

/** One last refresh, so that the kernel has the whole period; then the API is gone. */
function handOff(state: In<"os_load">, event: At<"hand_off">): Next {
  const { holdUntilMs: _until, heldMs: _held, ...boot } = state;
  const { atMs } = event;
  const by = state.countdown === null ? "nobody" : "countdown";
  const countdown = state.countdown === null ? null : { ...state.countdown, refreshedMs: atMs };
  const effects: Effect[] = [
    entered(state, "hand_off", atMs),
    { kind: "mark", stage: "hand_off", step: "", atMs },
  ];
  if (countdown !== null) effects.push({ kind: "refresh" });
  effects.push({ kind: "revoke" });
  const log = enter(state.log, "hand_off", atMs, by);
  return to({ ...boot, kind: "hand_off", countdown, log }, ...effects);
}

/** A completed step of a stage in which nobody refreshes: noted, no more. */
function logStep<S extends In<"power_on" | "installed" | "hand_off" | "adopt">>(
  state: S,
  event: At<"step">,
): Next {
  return to({ ...state, log: noted(state.log, event.name, event.atMs) });
}

function start(state: In<"hand_off">, event: At<"start">): Next {
  const { atMs } = event;
  const by = state.countdown === null ? "nobody" : "countdown";
  return to<State, Effect>(
    { ...state, kind: "adopt", log: enter(state.log, "adopt", atMs, by) },
    entered(state, "adopt", atMs),
    { kind: "mark", stage: "adopt", step: "", atMs },
  );
}

/** An agent on a card without our firmware: there is nothing before it to tell of. */
function startAlone(state: In<"off">, event: At<"start">): Next {
  const { plan } = state;
  const log = enter([], "adopt", event.atMs, "nobody");
  return to<State, Effect>(
    { kind: "adopt", plan, boot: "", slot: "a", failures: 0, log, countdown: null },
    { kind: "mark", stage: "adopt", step: "", atMs: event.atMs },
  );
}

function adopted(state: In<"adopt">, event: At<"adopted">): Next {
  const { countdown: _countdown, ...boot } = state;
  const { atMs } = event;
  const log = enter(noted(state.log, "take_over", atMs), "runtime", atMs, "agent");
  return to<State, Effect>(
    { ...boot, kind: "runtime", confirmed: false, log },
    entered(state, "runtime", atMs),
    { kind: "mark", stage: "runtime", step: "", atMs },
  );
}

/** Confirms once: clears the failure counter and any pending slot swap. */
function ready(state: In<"runtime">, event: At<"ready">): Next {
  if (state.confirmed) return stay(state);
  const { atMs } = event;
  return to<State, Effect>(
    { ...state, confirmed: true, log: noted(state.log, "ready", atMs) },
    { kind: "confirm" },
    { kind: "mark", stage: "runtime", step: "ready", atMs },
  );
}

const before = {
  granted: notArmed,
  hold: notArmed,
  tick: stay,
  hand_off: notArmed,
} as const;
const afterHandOff = {
  power: outOfOrder,
  install: revoked,
  enable: revoked,
  granted: revoked,
  hold: revoked,
  tick: stay,
  hand_off: revoked,
} as const;
const early = { start: outOfOrder, adopted: outOfOrder, ready: outOfOrder } as const;

/** The whole machine: a row per state, a column per event. */
export const table: Table<State, Event, Effect> = {
  off: {
    power,
    install: outOfOrder,
    enable: notInstalled,
    ...before,
    step: outOfOrder,
    start: startAlone,
    adopted: outOfOrder,
    ready: outOfOrder,
  },
  power_on: {
    power: outOfOrder,
    install,
    enable: notInstalled,
    ...before,
    step: logStep,
    ...early,
  },
  installed: {
    power: outOfOrder,
    install: outOfOrder,
    enable,
    ...before,
    step: logStep,
    ...early,
  },
  os_load: {
    power: outOfOrder,
    install: outOfOrder,
    enable: outOfOrder,
    granted,
    step: loadStep,
    hold,
    tick: loadTick,
    hand_off: handOff,
    ...early,
  },
  hand_off: { ...afterHandOff, step: logStep, start, adopted: outOfOrder, ready: outOfOrder },
  adopt: { ...afterHandOff, step: logStep, start: outOfOrder, adopted, ready: outOfOrder },
  runtime: { ...afterHandOff, step: stay, start: outOfOrder, adopted: outOfOrder, ready },
  stopped: {
    power: outOfOrder,
    install: outOfOrder,
    enable: outOfOrder,
    ...before,
    step: outOfOrder,
    ...early,
  },
};
