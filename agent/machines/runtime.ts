/**
 * The runtime watchdog: refreshed only while every task that checks in is on time; otherwise the
 * refresh is withheld, the culprit is named and noted, and the hardware does its work at the
 * promised deadline. Pure: see the table at the end.
 */
import type { Code } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import { hardwareFor, type Judgement, type Via } from "./criteria.ts";
import { type Step, stay, type Table, to } from "./fsm.ts";
import { promiseRangeMs, type RuntimeConfig } from "./runtimeconfig.ts";
import type { Effect, Event, Operation, Running, State } from "./runtimestate.ts";
import { slackAfter } from "./slack.ts";
import { overdue, rebased, withCheckIn, withLate, withTask } from "./tasks.ts";

export type { Effect, Event, Operation, Running, State } from "./runtimestate.ts";

type Next = Step<State, Effect>;

export function initial(config: RuntimeConfig, judgement: Judgement): State {
  if (judgement.backend === "none") {
    return { kind: "unprotected", config, judgement, tasks: [], because: judgement.because };
  }
  return { kind: "idle", config, judgement, tasks: [] };
}

/** When the machine next wants a tick, ms; Infinity when only an event can change it. */
export function dueMs(state: State): number {
  switch (state.kind) {
    case "armed":
      return Math.min(refreshDueMs(state), ...state.tasks.map((task) => task.dueMs));
    case "holding":
      return Math.min(refreshDueMs(state), state.untilMs);
    case "withheld":
      return state.warned ? Infinity : preResetAtMs(state);
    default:
      return Infinity;
  }
}

/** The internal pretimeout, for every hardware alike: its own one, if any, stops the kernel. */
function preResetAtMs({ deadlineMs, promiseMs, config }: Running): number {
  return deadlineMs - Math.min(config.preResetMs, promiseMs / 4);
}

function refreshDueMs(state: Running): number {
  return state.checkedInMs + state.promiseMs * state.config.refreshFraction;
}

function report(event: AgentEvent): Effect {
  return { kind: "report", event };
}

function refuse<S extends State>(state: S, code: Code, message: string): Next {
  return to(state, { kind: "refuse", code, message });
}

/** Asks for T2, or for as much of it as the hardware is judged to hold. */
function arm(state: State, event: { promiseMs: number }): Next {
  const { config, judgement, tasks } = state;
  const { promiseMs } = event;
  const { min, max } = promiseRangeMs;
  if (!(promiseMs >= min && promiseMs <= max)) {
    const message = `a promise of ${promiseMs} ms was asked; ${min} to ${max} ms can be had`;
    return refuse(state, "watchdog.range", message);
  }
  return to<State, Effect>(
    { kind: "arming", config, judgement, tasks, promiseMs },
    { kind: "open", hardwareMs: hardwareFor(judgement, promiseMs) },
  );
}

function opened(
  state: Extract<State, { kind: "arming" }>,
  event: { atMs: number; grantedMs: number; askedMs: number },
): Next {
  const { config, judgement } = state;
  const { atMs, grantedMs, askedMs } = event;
  // Hardware that holds longer than was promised resets later: then that is the promise.
  const promiseMs = Math.max(state.promiseMs, grantedMs);
  const via: Via = grantedMs < promiseMs ? "service" : "direct";
  const armed: State = {
    kind: "armed",
    config,
    judgement,
    tasks: rebased(state.tasks, atMs),
    via,
    hardwareMs: grantedMs,
    promiseMs,
    checkedInMs: atMs,
    deadlineMs: atMs + promiseMs,
    slack: { minMs: promiseMs, windowEndsMs: atMs + config.slackWindowMs, warned: false },
  };
  const backend = judgement.backend === "simulated" ? "simulated" : via;
  const effects: Effect[] = [];
  if (via === "service") effects.push({ kind: "serve", hardwareMs: grantedMs, promiseMs });
  effects.push({ kind: "refresh" });
  if (grantedMs !== askedMs) {
    effects.push(report({ kind: "wdt:granted", asked_ms: askedMs, granted_ms: grantedMs }));
  }
  effects.push(
    report({ kind: "wdt:armed", backend, hardware_ms: grantedMs, promise_ms: promiseMs }),
  );
  return to(armed, ...effects);
}

function openFailed(
  state: Extract<State, { kind: "arming" }>,
  event: { operation: string; problem: string },
): Next {
  const { config, judgement, tasks } = state;
  const because = event.problem;
  return to<State, Effect>(
    { kind: "unprotected", config, judgement, tasks, because },
    report({ kind: "wdt:refused", operation: event.operation, problem: event.problem }),
  );
}

/**
 * A refused refresh or disarm leaves the countdown as it is: never let go (DESIGN, rule 6). Without
 * the service T1 is all that can be promised, and the agent refreshes as often as that takes.
 */
function refusedByDevice<S extends Extract<State, Running>>(
  state: S,
  event: { operation: Operation; problem: string },
): Next {
  const { operation, problem } = event;
  if (operation !== "serve") {
    return to<State, Effect>(state, report({ kind: "wdt:refused", operation, problem }));
  }
  const { hardwareMs: promiseMs, checkedInMs, slack } = state;
  const why = `${problem}; only what the hardware holds itself is promised: ${promiseMs} ms`;
  const minMs = Math.min(slack.minMs, promiseMs);
  const deadlineMs = checkedInMs + promiseMs;
  const alone: S = { ...state, via: "direct", promiseMs, deadlineMs, slack: { ...slack, minMs } };
  return to<State, Effect>(alone, report({ kind: "wdt:refused", operation, problem: why }));
}

function addTask<S extends State>(
  state: S,
  event: { atMs: number; name: string; everyMs: number },
): Next {
  const tasks = withTask(state.tasks, event, state.config.tasksMax);
  if (tasks !== null) return to({ ...state, tasks });
  return refuse(state, "queue.full", `no room for ${event.name}: ${state.tasks.length} tasks`);
}

function checkIn<S extends State>(state: S, event: { atMs: number; task: string }): Next {
  const tasks = withCheckIn(state.tasks, event);
  if (tasks !== null) return to({ ...state, tasks });
  return refuse(state, "watchdog.state", `no task named ${event.task} is registered`);
}

/** The verdict: refresh while nobody is late, else withhold and name the culprit. */
function tick(state: Extract<State, { kind: "armed" }>, event: { atMs: number }): Next {
  const late = overdue(state.tasks, event.atMs);
  if (late !== undefined) return withhold(state, { ...event, culprit: late.name }, false);
  if (event.atMs < refreshDueMs(state)) return stay(state);
  return refreshed(state, event.atMs);
}

function refreshed<S extends Extract<State, Running>>(state: S, atMs: number): Next {
  const { config, promiseMs } = state;
  const slackMs = state.deadlineMs - atMs;
  const { slack, isWorthWarning } = slackAfter(state.slack, {
    slackMs,
    atMs,
    warnBelowMs: promiseMs * config.slackWarnFraction,
    windowMs: config.slackWindowMs,
  });
  const effects: Effect[] = [{ kind: "refresh" }];
  if (isWorthWarning) {
    effects.push(
      report({ kind: "wdt:slack", slack_ms: Math.round(slackMs), promise_ms: promiseMs }),
    );
  }
  return to<State, Effect>(
    { ...state, checkedInMs: atMs, deadlineMs: atMs + promiseMs, slack },
    ...effects,
  );
}

/** Cause before reset (DESIGN, rule 7): note it, tell the host, and then do nothing more. */
function withhold(
  state: Extract<State, Running>,
  event: { atMs: number; culprit: string },
  final: boolean,
): Next {
  const { culprit, atMs } = event;
  const { config, judgement, via, hardwareMs, promiseMs, checkedInMs, deadlineMs, slack } = state;
  const running = { config, judgement, via, hardwareMs, promiseMs, checkedInMs, deadlineMs, slack };
  const tasks = withLate(state.tasks, culprit);
  return to<State, Effect>(
    { kind: "withheld", culprit, sinceMs: atMs, final, warned: false, tasks, ...running },
    { kind: "note_cause", culprit },
    report({
      kind: "wdt:withheld",
      culprit,
      reset_in_ms: Math.max(Math.round(deadlineMs - atMs), 0),
    }),
  );
}

/** The reset is near: what is known of it is stored and told while the card still runs. */
function withheldTick(state: Extract<State, { kind: "withheld" }>, event: { atMs: number }): Next {
  if (event.atMs < dueMs(state)) return stay(state);
  const { culprit, checkedInMs, deadlineMs } = state;
  return to<State, Effect>(
    { ...state, warned: true },
    { kind: "last_words", culprit, checkedInMs, deadlineMs },
    report({
      kind: "wdt:pre_reset",
      cause: "watchdog",
      culprit,
      deadline_ms: Math.round(deadlineMs),
      reset_in_ms: Math.max(Math.round(deadlineMs - event.atMs), 0),
    }),
  );
}

/** A late task that checks in again before the deadline has proved the card alive after all. */
function resume(
  state: Extract<State, { kind: "withheld" }>,
  event: { atMs: number; task: string },
): Next {
  const tasks = withCheckIn(state.tasks, event);
  if (tasks === null) return checkIn(state, event);
  const late = overdue(tasks, event.atMs);
  const { atMs } = event;
  const isBack = event.task === state.culprit;
  if (state.final || (late !== undefined && !isBack)) return to({ ...state, tasks });
  // Another one is still away: from now on that one is to be named.
  if (late !== undefined) return withhold({ ...state, tasks }, { atMs, culprit: late.name }, false);
  const { culprit, sinceMs, final: _final, warned: _warned, ...rest } = state;
  const step = refreshed({ ...rest, kind: "armed", tasks }, atMs);
  const withheld_ms = Math.round(atMs - sinceMs);
  return to<State, Effect>(
    step.state,
    ...step.effects,
    { kind: "clear_cause" },
    report({ kind: "wdt:resumed", culprit, withheld_ms }),
  );
}

function hold(
  state: Extract<State, { kind: "armed" | "holding" }>,
  event: { atMs: number; forMs: number; by: string },
): Next {
  const { holdMaxMs } = state.config;
  if (!(event.forMs > 0 && event.forMs <= holdMaxMs)) {
    const message = `a hold of ${event.forMs} ms was asked; 1 to ${holdMaxMs} ms can be had`;
    return refuse(state, "watchdog.range", message);
  }
  const untilMs = event.atMs + event.forMs;
  const { by } = event;
  const step = refreshed({ ...state, kind: "holding", untilMs, by }, event.atMs);
  const until_ms = Math.round(untilMs);
  return to(step.state, ...step.effects, report({ kind: "wdt:hold", until_ms, by }));
}

function holdTick(state: Extract<State, { kind: "holding" }>, event: { atMs: number }): Next {
  if (event.atMs < state.untilMs) {
    return event.atMs < refreshDueMs(state) ? stay(state) : refreshed(state, event.atMs);
  }
  const { untilMs: _until, by, ...rest } = state;
  const tasks = rebased(state.tasks, event.atMs);
  const step = refreshed({ ...rest, kind: "armed", tasks }, event.atMs);
  return to(step.state, ...step.effects, report({ kind: "wdt:hold_ended", by }));
}

function disarm(state: Extract<State, Running>, event: { by: string }): Next {
  if (!state.config.disarmAllowed) {
    const message = "this card's configuration does not allow disarming (watchdog.disarm)";
    return refuse(state, "safety.unconfirmed", message);
  }
  return to<State, Effect>(state, { kind: "stop", by: event.by });
}

function disarmed(
  state: Extract<State, { kind: "armed" | "holding" | "withheld" }>,
  event: { by: string },
): Next {
  const { config, judgement, tasks } = state;
  // No reset will come of what was withheld: it is not the cause of whatever ends this boot.
  const forget: Effect[] = state.kind === "withheld" ? [{ kind: "clear_cause" }] : [];
  return to<State, Effect>(
    { kind: "idle", config, judgement, tasks },
    ...forget,
    report({ kind: "wdt:disarmed", by: event.by }),
  );
}

/** A pre-reset report that was told stays told. */
function configure<S extends State>(
  state: S,
  { preResetMs, holdMaxMs }: { preResetMs: number; holdMaxMs: number },
): Next {
  return to<State, Effect>({ ...state, config: { ...state.config, preResetMs, holdMaxMs } });
}

function notArmed<S extends State>(state: S): Next {
  return refuse(state, "watchdog.state", "the watchdog is not armed");
}

function unprotectedArm(
  state: Extract<State, { kind: "unprotected" }>,
  event: { promiseMs: number },
): Next {
  if (state.judgement.backend === "none") {
    return refuse(state, "watchdog.missing", `nothing to arm: ${state.because}`);
  }
  return arm(state, event);
}

const notTwice = (state: State): Next =>
  refuse(state, "watchdog.state", "already armed; disarm before arming anew");
const finalWithhold = (
  state: Extract<State, Running>,
  event: { atMs: number; culprit: string },
): Next => withhold(state, event, true);

/** Cells that several rows share; each row still has every column, or it does not compile. */
const common = {
  opened: stay,
  failed: stay,
  task: addTask,
  check_in: checkIn,
  configure,
} as const;
const stopped = {
  ...common,
  tick: stay,
  hold: notArmed,
  withhold: stay,
  disarm: notArmed,
  disarmed: stay,
} as const;
const running = {
  ...common,
  arm: notTwice,
  failed: refusedByDevice,
  withhold: finalWithhold,
  disarm,
  disarmed,
} as const;

/** The whole machine: a row per state, a column per event. */
export const table: Table<State, Event, Effect> = {
  idle: { ...stopped, arm },
  arming: { ...stopped, arm: notTwice, opened, failed: openFailed },
  armed: { ...running, tick, hold },
  holding: { ...running, tick: holdTick, hold },
  withheld: { ...running, check_in: resume, tick: withheldTick, hold: notArmed },
  unprotected: { ...stopped, arm: unprotectedArm },
};
