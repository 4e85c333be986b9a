/** The cells that deal with calls: sending, answering, and what time does to them. */
import type { SessionRef, TeeResult } from "../io/tee.ts";
import { stay, to } from "./fsm.ts";
import { answer, type Call, type CallEffect, end, send } from "./teecalls.ts";
import { isQuarantined, nameOf, withoutBlame } from "./teerecord.ts";
import type { Signal } from "./teerecovery.ts";
import { codeOf, type Reading, readResult } from "./teesignals.ts";
import type { Core, Effect, Event, State } from "./teestate.ts";
import { after, isFenced, type Next, pumpCalls, settleCalls } from "./teesteps.ts";

export type EventOf<K extends Event["kind"]> = Extract<Event, { kind: K }>;

export function withCore<S extends State>(state: S, change: Partial<Core>): S {
  return { ...state, core: { ...state.core, ...change } };
}

/** Nothing is sent in these, and nothing will be without an operator or a reset. */
const gone: readonly State["kind"][] = ["degraded", "unrecoverable", "escalate"];

/** Sends a call, or says at once why not. A call that was not sent has a certain outcome. */
export function call<S extends State>(state: S, event: EventOf<"call">): Next {
  const { core } = state;
  const refuse = (because: string): Next => to(state, answer(event.id, "unavailable", because));
  const { service, command, id } = event;
  if (isQuarantined(core.history, { service, command })) {
    const name = nameOf({ service, command });
    const because = `${name} crashed the TEE ${core.config.poisonCount} times`;
    return to(state, answer(id, "quarantined", because));
  }
  const session = sessionOf(core, service);
  const away = awayBecause(state, service);
  if (away !== null || session === null) return refuse(away ?? "");
  if (core.calls.length >= core.config.callsMax) {
    return refuse(`${core.config.callsMax} calls are under way already`);
  }
  const { atMs } = event;
  const { callLateMs, callMaxMs } = core.config;
  const { purpose = "new" } = event;
  const how = event.class === "keyed" && purpose !== "new" ? "query" : "invoke";
  const made: Call = {
    id,
    service,
    command,
    class: event.class,
    purpose,
    epoch: core.epoch,
    phase: how === "query" ? "asked" : "sent",
    refusal: null,
    replays: 0,
    lateMs: atMs + callLateMs,
    deadlineMs: atMs + callMaxMs,
  };
  const calls = [...core.calls, made];
  return to<State, Effect>(withCore(state, { calls }), send(made, session, how));
}

/** Why a service cannot be called now; null when it can. */
export function awayBecause(state: State, service: string): string | null {
  if (gone.includes(state.kind) && "because" in state) return state.because;
  if (state.kind === "suspect") return "the TEE is being looked at";
  if (isFenced(state, service)) return "the TEE is being restored";
  if (sessionOf(state.core, service) === null) return `no session with ${service} is open`;
  return null;
}

/** The call that a reply belongs to; none when the reply is of another epoch or comes too late. */
export function callOf(core: Core, event: EventOf<"reply">): Call | undefined {
  return core.calls.find(
    (one) => one.id === event.call && one.epoch === event.epoch && one.phase !== "waiting",
  );
}

/**
 * What a reply says. The same refusal of a session that was asked for a sign of its own is no
 * fault of the caller's any more: the session is of an earlier TEE OS.
 */
export function readReply(made: Call, result: TeeResult): Reading {
  const reading = readResult(result);
  if (reading.kind !== "stale" || made.phase === "sent") return reading;
  return { kind: "dead", rung: "session", code: reading.code };
}

/** Refused as a stale session refuses: before anybody is blamed, the session is asked. */
export function check<S extends State>(state: S, made: Call, refusal: TeeResult): Next {
  const session = sessionOf(state.core, made.service);
  if (session === null) return stay<State>(state);
  const checked: Call = { ...made, phase: "checked", refusal };
  return to<State, Effect>(withCall(state, checked), send(checked, session, "query"));
}

function withCall<S extends State>(state: S, made: Call): S {
  const calls = state.core.calls.map((one) => (one.id === made.id ? made : one));
  return withCore(state, { calls });
}

function sessionOf(core: Core, service: string): SessionRef | null {
  return core.services.find(({ name }) => name === service)?.session ?? null;
}

/** A reply of a living TEE: the verdict, or the next sending of a call that was asked after. */
export function answered<S extends State>(state: S, made: Call, event: EventOf<"reply">): Next {
  const session = sessionOf(state.core, made.service);
  const { result } = event;
  const ok = result.errno === null && result.ret === 0;
  const isUndone = made.phase === "asked" && ok && !event.applied;
  if (isUndone && made.purpose !== "ask" && session !== null) {
    const sent: Call = { ...made, phase: "sent" };
    return to<State, Effect>(withCall(state, sent), send(sent, session, "invoke"));
  }
  const calls = state.core.calls.filter((one) => one.id !== made.id);
  const innocent = made.phase === "sent" && made.replays > 0 && ok;
  const history = innocent ? withoutBlame(state.core.history, made) : state.core.history;
  const rest = withCore(state, { calls, history });
  const said = isUndone ? answer(made.id, "unavailable", "it was not done") : null;
  return after([said ?? verdictOn(made, result)], pumped(rest));
}

function verdictOn(made: Call, result: TeeResult): CallEffect {
  const { id, phase, refusal, replays } = made;
  const ok = result.errno === null && result.ret === 0;
  const code = codeOf(refusal ?? result);
  if (phase === "asked" && !ok) {
    return answer(id, "outcome_unknown", `the service could not be asked: ${code}`);
  }
  // Asked after and found done: it was not sent again.
  const again = phase !== "asked" && replays > 0;
  return answer(id, again ? "replayed" : "answered", code, refusal);
}

/** Sends the next waiting call, if there is one and it may. */
export function pumped<S extends State>(state: S): Next {
  const result = pumpCalls(state.core, (service) => isFenced(state, service));
  return to<State, Effect>(withCore(state, { calls: result.calls }), ...result.effects);
}

/** A reply that is no answer: the call waits to be sent again, or has its verdict. */
export function unanswered<S extends State>(state: S, made: Call): Next {
  const result = settleCalls(state.core, (one) => one.id === made.id);
  return to<State, Effect>(withCore(state, { calls: result.calls }), ...result.effects);
}

/** Calls past their deadline have their verdict now; which of them were inside the TEE. */
export function expired<S extends State>(
  state: S,
  atMs: number,
): { next: Next; hung: readonly Call[] } {
  const isOver = (one: Call): boolean => one.deadlineMs <= atMs;
  const hung = state.core.calls.filter((one) => isOver(one) && one.phase !== "waiting");
  const ended = end(state.core.calls, isOver, `no answer within ${state.core.config.callMaxMs} ms`);
  return {
    next: to<State, Effect>(withCore(state, { calls: ended.calls }), ...ended.effects),
    hung,
  };
}

export function hangOf(hung: readonly Call[]): Signal {
  const services = [...new Set(hung.map(({ service }) => service))];
  const [first] = hung;
  const blamed = hung.length === 1 && first !== undefined ? first : null;
  const trigger = blamed && { service: blamed.service, command: blamed.command };
  return { rung: "session", services, code: "hang", trigger, blameInside: false };
}
