/**
 * The third head's decisions: a TEE dies, what was at stake is saved, its services are suspended
 * and their users told, it is restarted as mildly as helps, everything is registered anew, and
 * the calls under way get exactly one verdict each. Pure: see the table at the end.
 */
import { stay, type Table, to } from "./fsm.ts";
import {
  answered,
  call,
  callOf,
  check,
  type EventOf,
  expired,
  hangOf,
  pumped,
  readReply,
  unanswered,
  withCore,
} from "./teeanswers.ts";
import { done, failed, leftOver, tick, waits } from "./teeoutcomes.ts";
import { attemptEndsMs, nameOf, pruned, withoutQuarantine } from "./teerecord.ts";
import {
  allServices,
  begin,
  byOperator,
  crashedAgain,
  type Signal,
  signalOf,
  widen,
} from "./teerecovery.ts";
import { codeOf, readResult } from "./teesignals.ts";
import {
  type Core,
  canaryDueMs,
  type Effect,
  type Event,
  type Recovering,
  type State,
} from "./teestate.ts";
import { after, isBefore, type Next, report } from "./teesteps.ts";

type Ready = Extract<State, { kind: "ready" }>;
type Suspect = Extract<State, { kind: "suspect" }>;
type Degraded = Extract<State, { kind: "degraded" }>;
type Unrecoverable = Extract<State, { kind: "unrecoverable" }>;
type Escalate = Extract<State, { kind: "escalate" }>;

function reply(state: Ready | Suspect, event: EventOf<"reply">): Next {
  const { core } = state;
  const { atMs, result } = event;
  const made = callOf(core, event);
  if (made === undefined) return stay(state);
  const { service, command } = made;
  const reading = readReply(made, result);
  switch (reading.kind) {
    case "ok":
    case "answer":
      return answered(trusted(state, atMs), made, event);
    case "stale":
      return check(state, made, result);
    case "dead":
      return begin(core, signalOf(core, result, service, { service, command }), atMs);
    default: {
      const next = unanswered(state, made);
      if (state.kind === "suspect") return next;
      return after(next.effects, suspectOf(next.state.core, `reply ${reading.code}`, atMs));
    }
  }
}

/** An answer is a sign of life: a TEE that is busy with long calls is slow, not dead. */
function trusted(state: Ready | Suspect, atMs: number): Ready | Suspect {
  if (state.kind === "ready") return state;
  return { ...state, deadlineMs: atMs + state.core.config.suspectMs };
}

/** Replies during a recovery: of calls that go on, or of another victim of the same crash. */
function replyMeanwhile(state: Recovering, event: EventOf<"reply">): Next {
  const { core, recovery, kind } = state;
  const { result } = event;
  const made = callOf(core, event);
  if (made === undefined) return stay(state);
  const { service, command } = made;
  const reading = readReply(made, result);
  if (reading.kind === "ok" || reading.kind === "answer") return answered(state, made, event);
  const early = isBefore(kind, "restart");
  const known = early && recovery.scope.includes(service);
  if (reading.kind === "unclear" || known) return unanswered(state, made);
  if (reading.kind === "stale") return check(state, made, result);
  const signal = signalOf(core, result, service, { service, command });
  if (early && signal.rung === "session") return widen(state, signal);
  return crashedAgain(state, signal, event.atMs);
}

/** Looks at a TEE that somebody doubts: a canary, unless one is under way. */
function suspectOf(core: Core, because: string, atMs: number): Next {
  const { canary, config, epoch } = core;
  const suspect = { kind: "suspect", because, deadlineMs: atMs + config.suspectMs } as const;
  if (canary.sentMs !== null) return to({ ...suspect, core });
  const probe = canary.probe + 1;
  const sent = { ...canary, probe, sentMs: atMs };
  return to<State, Effect>(
    { ...suspect, core: { ...core, canary: sent } },
    { kind: "canary", epoch, probe },
  );
}

const late = (state: Ready, event: EventOf<"late">): Next =>
  suspectOf(state.core, `late: ${event.what}`, event.atMs);

function alive(state: Ready | Suspect, event: EventOf<"alive">): Next {
  const { canary, config } = state.core;
  if (canary.sentMs === null || event.probe !== canary.probe) return stay(state);
  const next = { ...canary, sentMs: null, dueMs: event.atMs + config.canaryEveryMs };
  return pumped<State>({ kind: "ready", core: { ...state.core, canary: next } });
}

/** A canary whose helper is only starting has not been sent: that is no silence of the TEE's. */
function canaryWaits(state: Ready | Suspect, { atMs, key }: EventOf<"waits">): Next {
  const { canary, config } = state.core;
  if (canary.sentMs === null || key !== `canary ${canary.probe}`) return stay(state);
  const next = withCore(state, { canary: { ...canary, sentMs: atMs } });
  if (next.kind === "ready") return to<State, Effect>(next);
  return to<State, Effect>({ ...next, deadlineMs: atMs + config.suspectMs });
}

/** A canary that failed: one doubt is looked at again, a second is a crash. */
function canaryFailed(state: Ready | Suspect, event: EventOf<"failed">): Next {
  const { canary } = state.core;
  if (canary.sentMs === null || event.key !== `canary ${canary.probe}`)
    return leftOver(state, event);
  const { result, atMs } = event;
  if (result === null) return stay(state);
  if (readResult(result).kind === "answer") {
    return alive(state, { kind: "alive", atMs, probe: canary.probe });
  }
  const core = { ...state.core, canary: { ...canary, sentMs: null } };
  if (state.kind === "ready") return suspectOf(core, `canary ${codeOf(result)}`, atMs);
  return begin(core, signalOf(core, result, null, null), atMs);
}

function tickReady(state: Ready, { atMs }: EventOf<"tick">): Next {
  const { config, canary, epoch } = state.core;
  const { next, hung } = expired(state, atMs);
  const { core } = next.state;
  if (hung.length > 0) return after(next.effects, begin(core, hangOf(hung), atMs));
  const tardy = core.calls.filter((one) => one.lateMs <= atMs);
  if (tardy.length > 0) {
    const calls = core.calls.map((one) =>
      one.lateMs <= atMs ? { ...one, lateMs: Infinity } : one,
    );
    const because = `late: ${tardy.map(nameOf).join(", ")}`;
    return after(next.effects, suspectOf({ ...core, calls }, because, atMs));
  }
  if (canary.sentMs !== null && canaryDueMs(core) <= atMs) {
    return after(next.effects, suspectOf(core, "late: canary", atMs));
  }
  if (canaryDueMs(core) <= atMs) {
    const probe = canary.probe + 1;
    const sent = withCore(next.state, { canary: { ...canary, probe, sentMs: atMs } });
    return to<State, Effect>(sent, ...next.effects, { kind: "canary", epoch, probe });
  }
  if (attemptEndsMs(core.history, config) > atMs) return next;
  // A window without crashes is over: what is forgotten is forgotten in the journal as well.
  const history = pruned(core.history, config, atMs);
  return to<State, Effect>(withCore(next.state, { history }), ...next.effects, {
    kind: "journal",
    history,
  });
}

function tickSuspect(state: Suspect, { atMs }: EventOf<"tick">): Next {
  const { next, hung } = expired(state, atMs);
  const { core } = next.state;
  if (atMs >= state.deadlineMs) {
    const canary = { ...core.canary, sentMs: null };
    const trigger = hung.length > 0 ? hangOf(hung).trigger : null;
    const services = allServices(core);
    const signal: Signal = { rung: "tee_os", services, code: "hang", trigger, blameInside: true };
    return after(next.effects, begin({ ...core, canary }, signal, atMs));
  }
  return hung.length === 0 ? next : after(next.effects, begin(core, hangOf(hung), atMs));
}

function crash(state: Ready | Suspect, event: EventOf<"crash">): Next {
  const { core } = state;
  if (event.epoch !== core.epoch) return stay(state);
  return begin(core, signalOf(core, event.result, event.service, null), event.atMs);
}

/** A crash of this epoch: what was being done has failed. One of an earlier epoch is the same. */
function crashAgain(state: Recovering, event: EventOf<"crash">): Next {
  if (event.epoch !== state.core.epoch) return stay(state);
  return crashedAgain(state, signalOf(state.core, event.result, event.service, null), event.atMs);
}

/** The operator takes it on: what was counted and quarantined is forgiven. */
const recover = (state: Ready | Degraded | Unrecoverable, event: EventOf<"recover">): Next =>
  byOperator(state, event.atMs);

/** Allowed again, in whatever state: the next crash of it counts from nothing. */
function unquarantine<S extends State>(state: S, { name }: EventOf<"unquarantine">): Next {
  const history = withoutQuarantine(state.core.history, name);
  return to<State, Effect>(withCore(state, { history }), { kind: "journal", history });
}

/** The reset that was chosen has not come: then at least nobody is to believe in it. */
function tickEscalate(state: Escalate, { atMs }: EventOf<"tick">): Next {
  if (atMs < state.deadlineMs) return stay(state);
  const because = `${state.because}; the card reset did not come`;
  return to<State, Effect>(
    { kind: "degraded", core: state.core, because },
    report({ kind: "tee:degraded", because }),
  );
}

/** A recovery's row: the step differs by what `advance` does with it. */
const recovering = {
  call,
  reply: replyMeanwhile,
  late: stay,
  alive: stay,
  crash: crashAgain,
  done,
  failed,
  waits,
  tick,
  recover: stay,
  unquarantine,
};

/** The whole machine: a row per state, a column per event. */
export const table: Table<State, Event, Effect> = {
  ready: {
    call,
    reply,
    late,
    alive,
    crash,
    done: leftOver,
    failed: canaryFailed,
    waits: canaryWaits,
    tick: tickReady,
    recover,
    unquarantine,
  },
  suspect: {
    call,
    reply,
    late: stay,
    alive,
    crash,
    done: leftOver,
    failed: canaryFailed,
    waits: canaryWaits,
    tick: tickSuspect,
    recover: stay,
    unquarantine,
  },
  save_hardware: recovering,
  save_ree: recovering,
  suspend: recovering,
  notify_unavailable: recovering,
  restart: recovering,
  restore_hardware: recovering,
  restore_ree: recovering,
  restore_tee: recovering,
  verify: recovering,
  resume: recovering,
  notify_available: recovering,
  degraded: {
    call,
    reply: stay,
    late: stay,
    alive: stay,
    crash: stay,
    done: leftOver,
    failed: stay,
    waits: stay,
    tick: stay,
    recover,
    unquarantine,
  },
  unrecoverable: {
    call,
    reply: stay,
    late: stay,
    alive: stay,
    crash: stay,
    done: leftOver,
    failed: stay,
    waits: stay,
    tick: stay,
    recover,
    unquarantine,
  },
  escalate: {
    call,
    reply: stay,
    late: stay,
    alive: stay,
    crash: stay,
    done: leftOver,
    failed: stay,
    waits: stay,
    tick: tickEscalate,
    recover: stay,
    unquarantine,
  },
};
