/** The cells of a recovery: what came of an operation, and of the time it was given. */
import type { SessionRef } from "../io/tee.ts";
import { stay, to } from "./fsm.ts";
import { type EventOf, expired, hangOf } from "./teeanswers.ts";
import { above } from "./teeladder.ts";
import { choose, climb, crashedAgain, giveUp, type Signal, widen } from "./teerecovery.ts";
import { codeOf, ownerDead, type Reading, readResult } from "./teesignals.ts";
import type { Core, Effect, Recovering, State, StepName } from "./teestate.ts";
import {
  advance,
  after,
  closeKey,
  continueRee,
  enter,
  isBefore,
  type Next,
  openNext,
  performRestart,
  report,
} from "./teesteps.ts";

/** Steps that are not the TEE's to delay: when one takes too long the recovery goes on. */
const ownSteps: readonly StepName[] = [
  "save_ree",
  "suspend",
  "notify_unavailable",
  "resume",
  "notify_available",
];
/** The provider cannot do it at all: trying again would be of no use. */
const impossible: readonly string[] = ["ENOSYS", "EOPNOTSUPP", "EPERM"];
/** Somebody else holds the device. */
const heldByOthers: readonly string[] = ["EAGAIN", "EBUSY"];

/** Outcomes of an earlier epoch count for nothing, but a session opened then must not stay. */
export function leftOver<S extends State>(state: S, event: EventOf<"done" | "failed">): Next {
  if (event.kind === "failed" || event.session === undefined) return stay(state);
  const { session } = event;
  const { epoch } = state.core;
  return to<State, Effect>(state, {
    kind: "perform",
    epoch,
    key: `left over ${event.key}`,
    operation: { kind: "close", session },
  });
}

function isAwaited(state: Recovering, event: EventOf<"done" | "failed">): boolean {
  return event.epoch === state.core.epoch && state.recovery.pending.includes(event.key);
}

/** A closing returned, however it went: neither the kernel nor the TEE knows the session. */
function closed(state: Recovering, event: EventOf<"done" | "failed">): Next {
  const service = state.core.services.find(
    ({ name, session, closing }) => closing && closeKey(name, session) === event.key,
  );
  if (service === undefined) return stay<State>(state);
  const next = { ...state, core: withSession(state.core, service.name, null) };
  if (!state.recovery.pending.includes(event.key)) return to<State, Effect>(next);
  return proceed(next, event.key, event.atMs);
}

/** `open crypto` is about crypto. */
function subjectOf(key: string): { verb: string; name: string } {
  const [verb = ""] = key.split(" ", 1);
  return { verb, name: key.slice(verb.length + 1) };
}

function withSession(core: Core, name: string, session: SessionRef | null): Core {
  const services = core.services.map((service) => {
    return service.name === name ? { ...service, session, closing: false } : service;
  });
  return { ...core, services };
}

/** One thing less to wait for; with the last, on to the next step. */
function proceed(state: Recovering, key: string, atMs: number): Next {
  const pending = state.recovery.pending.filter((waiting) => waiting !== key);
  const next = { ...state, recovery: { ...state.recovery, pending } };
  return pending.length > 0 ? to<State, Effect>(next) : advance(next, atMs);
}

/** What came of an operation is kept where later steps look for it. */
export function done(state: Recovering, event: EventOf<"done">): Next {
  const { recovery } = state;
  const { key, atMs, hardware = null, context, session = null } = event;
  const { verb, name } = subjectOf(key);
  if (verb === "close") return closed(state, event);
  if (!isAwaited(state, event)) return leftOver(state, event);
  if (verb === "open") return opened(state, event, name, session);
  switch (key) {
    case "save_hardware":
      return proceed({ ...state, recovery: { ...recovery, hardware } }, key, atMs);
    case "reattach":
      return proceed({ ...state, recovery: { ...recovery, attached: true } }, key, atMs);
    case "load_context": {
      if (!recovery.crashed) return recalled(state, event);
      if (context === undefined) return refuseContext(state, event, "none was saved");
      const own = context.epoch === recovery.savedEpoch;
      if (!own) return refuseContext(state, event, `it is of epoch ${context.epoch}`);
      return proceed({ ...state, recovery: { ...recovery, context } }, key, atMs);
    }
    default:
      return proceed(state, key, atMs);
  }
}

/**
 * An open session that gets an id which another one has is proof that the TEE OS was restarted
 * behind our back: all of them are closed before any is used.
 */
function opened(
  state: Recovering,
  { key, atMs }: EventOf<"done">,
  name: string,
  session: SessionRef | null,
): Next {
  const next = { ...state, core: withSession(state.core, name, session) };
  const services = next.core.services;
  const isAlias = services.some((one) => one.name !== name && one.session?.id === session?.id);
  if (session === null || !isAlias) return proceed(next, key, atMs);
  const because = `${key}: session id ${session.id} was given twice`;
  const signal: Signal = {
    rung: "session",
    services: services.map((service) => service.name),
    code: "alias",
    trigger: null,
    blameInside: false,
  };
  return climb(next, { because, signal, again: true }, atMs);
}

/**
 * The context of a recovery that an earlier life did not finish: its callers are gone, and what
 * became of their calls nobody can say. Everything is registered anew from the configuration.
 */
function recalled(state: Recovering, { key, atMs, context }: EventOf<"done">): Next {
  const { recovery } = state;
  const isOfIt = context?.epoch === recovery.savedEpoch;
  const lost = isOfIt ? (context?.calls ?? []) : [];
  const unknown = recovery.unknown + lost.filter((call) => call.class !== "idempotent").length;
  return proceed({ ...state, recovery: { ...recovery, unknown } }, key, atMs);
}

/** A context that cannot be believed is not restored: everything is registered anew. */
function refuseContext(
  state: Recovering,
  event: EventOf<"done" | "failed">,
  problem: string,
): Next {
  const said = report({ kind: "tee:context_refused", problem });
  return after([said], proceed(state, event.key, event.atMs));
}

export function failed(state: Recovering, event: EventOf<"failed">): Next {
  const { key, atMs, result, problem } = event;
  const { verb, name } = subjectOf(key);
  if (verb === "close") return closed(state, event);
  if (!isAwaited(state, event)) return stay(state);
  if (key === "load_context") return refuseContext(state, event, problem);
  if (key === "save_context") return refuseContext(state, event, `not saved: ${problem}`);
  if (result === null) return proceed(state, key, atMs);
  const { errno } = result;
  const code = codeOf(result);
  const because = `${key} failed: ${code}`;
  if (key === "reattach" && errno !== null && heldByOthers.includes(errno)) {
    const performMs = atMs + state.core.config.retryMs;
    return to({ ...state, recovery: { ...state.recovery, pending: [], performMs } });
  }
  const { kind } = readResult(result);
  if (key === "verify" && kind === "answer") return proceed(state, key, atMs);
  const isAnswer = kind === "answer" || (verb === "open" && errno === "EINVAL");
  if (isAnswer && key === "save_hardware") {
    const { epoch } = state.core;
    const said = report({ kind: "tee:step", step: `save_hardware (failed: ${code})`, epoch });
    return after([said], proceed(state, key, atMs));
  }
  if (verb === "open" && (isAnswer || isHopeless(state, kind, atMs))) {
    return serviceDown(state, name, code, atMs);
  }
  const again = key === "restart" || isAnswer || errno === ownerDead;
  const hopeless = errno !== null && impossible.includes(errno);
  return climb(state, { because, again: again && !hopeless }, atMs);
}

/** One service that stays dead in a living TEE is no reason to reset the card. */
function isHopeless(state: Recovering, kind: Reading["kind"], atMs: number): boolean {
  if (kind !== "dead") return false;
  return choose(state.core, above(state.recovery.rung), atMs).rung === "card_reset";
}

/** The TEE lives and will not open this one service: the others need not suffer for it. */
function serviceDown(state: Recovering, name: string, code: string, atMs: number): Next {
  const services = state.core.services.map((service) => {
    return service.name === name ? { ...service, down: code } : service;
  });
  const because = `service ${name} cannot be opened: ${code}`;
  const next = openNext({ ...state.core, services }, state.recovery, atMs, null);
  return after([report({ kind: "tee:degraded", because })], next);
}

/**
 * What this step asked for stands before the TEE, not inside: its time begins anew, and so does the
 * whole recovery's. An opening that waits for a supplicant is told once; a TEE that was seen alive
 * meanwhile is no reason for a stronger restart, and one that is not has no more such signs.
 */
export function waits(state: Recovering, { atMs, epoch, key, on }: EventOf<"waits">): Next {
  const { core, recovery } = state;
  if (epoch !== core.epoch || !recovery.pending.includes(key)) return stay<State>(state);
  const { openMaxMs, suspectMs, reattachMaxMs, recoveryMaxMs } = core.config;
  const { verb, name } = subjectOf(key);
  const forMs = verb === "open" ? openMaxMs : verb === "verify" ? suspectMs : reattachMaxMs;
  const isNews = on === "supplicant" && recovery.waiter !== key;
  const waiter = on === "supplicant" ? key : recovery.waiter;
  const patient = { deadlineMs: atMs + forMs, overallMs: atMs + recoveryMaxMs, waiter };
  const next: Recovering = { ...state, recovery: { ...recovery, ...patient } };
  if (!isNews) return to<State, Effect>(next);
  const because = `service ${name} waits: no supplicant is there to load it`;
  return to<State, Effect>(next, report({ kind: "tee:degraded", because, epoch }));
}

export function tick(state: Recovering, { atMs }: EventOf<"tick">): Next {
  const { next, hung } = expired(state, atMs);
  const { core } = next.state;
  const { recovery, kind } = state;
  const current: Recovering = { kind, core, recovery };
  if (atMs >= recovery.overallMs) {
    const tookMs = Math.round(atMs - recovery.startedMs);
    const because = `recovery not finished after ${tookMs} ms, in ${kind}`;
    return after(next.effects, giveUp(core, recovery.told, because, atMs));
  }
  if (atMs >= recovery.deadlineMs) {
    if (ownSteps.includes(kind)) return after(next.effects, advance(current, atMs));
    return after(next.effects, climb(current, { because: `${kind} did not end in time` }, atMs));
  }
  if (hung.length > 0) {
    const signal = hangOf(hung);
    if (isBefore(kind, "restart")) return after(next.effects, widen(current, signal));
    return after(next.effects, crashedAgain(current, signal, atMs));
  }
  if (atMs < recovery.performMs) return next;
  return after(next.effects, performDue(current, atMs));
}

/** What was put off is performed now: a restart after its wait, a registration, the start. */
function performDue({ kind, core, recovery }: Recovering, atMs: number): Next {
  if (kind === "restart") return performRestart(core, recovery, atMs);
  if (recovery.crashed) return continueRee(core, recovery, atMs);
  return enter("restore_ree", core, recovery, atMs);
}
