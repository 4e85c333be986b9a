/**
 * Calls under way, and what becomes of them when the TEE dies: each ends with exactly one verdict.
 * Exactly-once execution cannot be had across a crash; what a caller gets instead depends on the
 * class that it gave the call.
 */
import type { SessionRef, TeeResult } from "../io/tee.ts";
import { type CallName, isSame } from "./teerecord.ts";

/**
 * `idempotent`: may run more than once. `keyed`: the service remembers the keys of what it has
 * done, and is asked before anything is sent again. `once`: never sent twice.
 */
export type CallClass = "idempotent" | "keyed" | "once";

/**
 * `answered`: the TEE's own answer, success or refusal. `replayed`: the same, after a crash and
 * another sending. `unavailable`: not done, or harmless if it was. `outcome_unknown`: may have been
 * done, nobody can say. `quarantined`: this command crashed the TEE and is not sent any more.
 */
export type Verdict = "answered" | "replayed" | "unavailable" | "outcome_unknown" | "quarantined";

/**
 * `again`: it may have been sent by an agent that is gone, and a keyed one is asked after before
 * anything is sent; `ask`: a keyed one is asked after, and nothing is sent.
 */
export type Purpose = "new" | "again" | "ask";

export interface Call extends CallName {
  readonly id: number;
  readonly class: CallClass;
  readonly purpose: Purpose;
  /** In which epoch it was sent last: a reply of another epoch is not its reply. */
  readonly epoch: number;
  /**
   * `sent`: to be answered; `asked`: the service is asked whether it is done; `checked`: it was
   * refused as a stale session refuses, and the session is asked for a sign; `waiting`: to be
   * sent again after a crash.
   */
  readonly phase: "sent" | "asked" | "checked" | "waiting";
  /** The refusal that is being checked. */
  readonly refusal: TeeResult | null;
  readonly replays: number;
  /** From here on it is late; Infinity once that was noticed. */
  readonly lateMs: number;
  /** Its verdict falls at this moment at the latest. */
  readonly deadlineMs: number;
}

export interface Service {
  readonly name: string;
  /** Null while no session is open. */
  readonly session: SessionRef | null;
  /** Its closing was asked for and has not returned: that is waited for, not asked again. */
  readonly closing: boolean;
  /** Why the service cannot be had although the TEE lives; null when it can. */
  readonly down: string | null;
}

export type Send = {
  readonly kind: "send";
  readonly call: number;
  readonly epoch: number;
  readonly session: SessionRef;
  readonly command: number;
  /** What to do: invoke, or ask whether it is done already. */
  readonly how: "invoke" | "query";
  readonly keyed: boolean;
};

export type Answer = {
  readonly kind: "answer";
  readonly call: number;
  readonly verdict: Verdict;
  readonly because: string;
  /** What the TEE said, where that is not the reply being dealt with. */
  readonly result: TeeResult | null;
};

export type CallEffect = Send | Answer;

export interface Settled {
  readonly calls: readonly Call[];
  readonly effects: readonly CallEffect[];
  readonly replayed: number;
  readonly unknown: number;
}

export function answer(
  call: number,
  verdict: Verdict,
  because: string,
  result: TeeResult | null = null,
): Answer {
  return { kind: "answer", call, verdict, because, result };
}

export function send(call: Call, session: SessionRef, how: Send["how"]): Send {
  const keyed = call.class === "keyed";
  const { id, epoch, command } = call;
  return { kind: "send", call: id, epoch, session, command, how, keyed };
}

/** The verdict on a call that will not be sent (again). */
function lastVerdict(call: Call): Verdict {
  // Doing it again later does no harm, whether or not it was done.
  return call.class === "idempotent" ? "unavailable" : "outcome_unknown";
}

/**
 * Settles the calls that `concerns` picks, after a crash: those that may be sent again wait for it,
 * the others get their verdict now. `isPoison`: commands that are not sent any more.
 */
export function settle(
  calls: readonly Call[],
  concerns: (call: Call) => boolean,
  options: { replaysMax: number; because: string; isPoison: (call: Call) => boolean },
): Settled {
  const { replaysMax, because, isPoison } = options;
  const kept: Call[] = [];
  const effects: CallEffect[] = [];
  const count = { replayed: 0, unknown: 0 };
  for (const call of calls) {
    const poison = isPoison(call);
    if (!concerns(call) || (call.phase === "waiting" && !poison)) {
      kept.push(call);
    } else if (poison) {
      const verdict = call.class === "idempotent" ? "quarantined" : "outcome_unknown";
      effects.push(answer(call.id, verdict, "this command crashed the TEE repeatedly"));
      if (verdict === "outcome_unknown") count.unknown += 1;
    } else if (call.class === "once" || call.replays >= replaysMax) {
      const verdict = lastVerdict(call);
      effects.push(answer(call.id, verdict, because));
      if (verdict === "outcome_unknown") count.unknown += 1;
    } else {
      kept.push({ ...call, phase: "waiting", refusal: null });
      count.replayed += 1;
    }
  }
  return { calls: kept, effects, ...count };
}

/** Ends the calls that `concerns` picks, without another sending. */
export function end(
  calls: readonly Call[],
  concerns: (call: Call) => boolean,
  because: string,
): Settled {
  const effects = calls.filter(concerns).map((call) => answer(call.id, lastVerdict(call), because));
  const unknown = effects.filter((effect) => effect.verdict === "outcome_unknown").length;
  return { calls: calls.filter((call) => !concerns(call)), effects, replayed: 0, unknown };
}

/**
 * Sends the next waiting call, one at a time so that a second crash names its culprit. A keyed
 * call is asked after first. Calls to a service that cannot be had end here.
 */
export function pump(
  calls: readonly Call[],
  services: readonly Service[],
  epoch: number,
  isFenced: (service: string) => boolean,
): Settled {
  const isOpen = (call: Call): boolean =>
    services.some((service) => service.name === call.service && service.session !== null);
  const lost = (call: Call): boolean =>
    call.phase === "waiting" && !isFenced(call.service) && !isOpen(call);
  const ended = end(calls, lost, "its service did not come back");
  const busy = ended.calls.some(
    (call) => call.phase === "asked" || (call.phase !== "waiting" && call.replays > 0),
  );
  const next = ended.calls.find((call) => call.phase === "waiting" && !isFenced(call.service));
  const session = services.find((service) => service.name === next?.service)?.session ?? null;
  if (busy || next === undefined || session === null) return ended;
  const how = next.class === "keyed" ? "query" : "invoke";
  const phase = how === "query" ? "asked" : "sent";
  const sent: Call = { ...next, epoch, phase, replays: next.replays + 1 };
  return {
    ...ended,
    calls: ended.calls.map((call) => (call.id === sent.id ? sent : call)),
    effects: [...ended.effects, send(sent, session, how)],
  };
}

/** The one call that can have brought the TEE down, when there is exactly one. */
export function onlySuspect(calls: readonly Call[], services: readonly string[]): CallName | null {
  const inside = calls.filter(
    (call) => call.phase !== "waiting" && services.includes(call.service),
  );
  const [first] = inside;
  if (first === undefined || inside.some((call) => !isSame(call, first))) return null;
  const { service, command } = first;
  return { service, command };
}
