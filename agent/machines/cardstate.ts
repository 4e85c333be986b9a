/**
 * What a card's reports add up to: the same sum on the card, which hands it to a host that comes
 * late, and on the host, which goes on from there. Each start of an agent begins anew. Pure.
 */
import type { CardState } from "../wire/cardstate.ts";
import type { Report } from "../wire/commands.ts";
import { stageNames } from "./bootrecord.ts";

/** Before the first report of a boot. */
export function beginning(boot: string): CardState {
  return {
    boot,
    seq: 0,
    at_ms: 0,
    confirmed: false,
    ready: false,
    protected: false,
    armed: false,
    tee: { unavailable: [] },
    dropped: { safety: 0, state: 0 },
  };
}

type Data = Report["data"];
type Change = (state: CardState, data: Data) => Partial<CardState>;

/** A text where there is one, else nothing. */
function textOf(value: Data[string] | undefined): string {
  return typeof value === "string" ? value : "";
}

/** A count or a time where there is one. */
function countOf(value: Data[string] | undefined): number {
  return typeof value === "number" && Number.isFinite(value) ? Math.max(Math.round(value), 0) : 0;
}

function oneOf<const W extends readonly string[]>(words: W, value: Data[string] | undefined) {
  return words.find((word) => word === value) as W[number] | undefined;
}

const causes = [
  "power",
  "watchdog",
  "commanded",
  "clean",
  "panic",
  "agent_restart",
  "unknown",
] as const;
const slots = ["a", "b", "safe"] as const;
const backends = ["direct", "service", "simulated", "none"] as const;

function tee(state: CardState, change: Partial<CardState["tee"]>): Partial<CardState> {
  return { tee: { ...state.tee, ...change } };
}

function restored(state: CardState, data: Data): Partial<CardState> {
  const { trouble: _trouble, ...rest } = state.tee;
  return { tee: { ...rest, epoch: countOf(data.epoch) } };
}

function died({ boot, stage, step, cause, culprit }: Data): Partial<CardState> {
  return {
    previous: {
      boot: textOf(boot),
      cause: oneOf(causes, cause) ?? "unknown",
      stage: oneOf(stageNames, stage) ?? "runtime",
      step: textOf(step),
      culprit: textOf(culprit),
    },
  };
}

/** `previous` with `absent` taken out: a member that is not known is not there. */
function without<K extends keyof CardState>(state: CardState, ...absent: K[]): CardState {
  const gone = new Set<string>(absent);
  return Object.fromEntries(
    Object.entries(state).filter(([key]) => !gone.has(key)),
  ) as unknown as CardState;
}

/** What each kind of report changes; one that is not here changes nothing but the position. */
const changes: Readonly<Record<string, Change>> = {
  "agent:started": (_state, { version, name, slot, confirmed, failures, epoch, ...data }) => ({
    version: textOf(version),
    name: textOf(name),
    slot: oneOf(slots, slot) ?? "a",
    confirmed: confirmed === true,
    failures: countOf(failures),
    crash_records: countOf(data.crash_records),
    tee: { epoch: countOf(epoch), crashes: countOf(data.tee_crashes), unavailable: [] },
  }),
  "boot:stage": (_state, { stage }) => ({ stage: oneOf(stageNames, stage) ?? "runtime" }),
  "boot:died": (_state, data) => died(data),
  "boot:recovered": (_state, { outage_ms }) => ({ outage_ms: countOf(outage_ms) }),
  "boot:fallback": (_state, { slot }) => ({ slot: oneOf(slots, slot) ?? "a" }),
  "boot:confirmed": (state, { slot, failures }) => ({
    ...without(state, "not_ready"),
    confirmed: true,
    ready: true,
    slot: oneOf(slots, slot) ?? "a",
    failures: countOf(failures),
  }),
  "boot:not_ready": (_state, { check }) => ({ ready: false, not_ready: textOf(check) }),
  "boot:readiness": (state, { ready, check }) =>
    ready === true
      ? { ...without(state, "not_ready"), ready: true }
      : { ready: false, not_ready: textOf(check) },
  "card:protection": (_state, { protected: isProtected, weak }) => ({
    protected: isProtected === true,
    weak: textOf(weak),
  }),
  "wdt:verdict": (_state, { backend }) => ({ backend: oneOf(backends, backend) ?? "none" }),
  "wdt:armed": (state, { hardware_ms, promise_ms }) => ({
    ...without(state, "withheld", "hold_until_ms"),
    armed: true,
    hardware_ms: countOf(hardware_ms),
    promise_ms: countOf(promise_ms),
  }),
  "wdt:disarmed": (state) => ({
    ...without(state, "withheld", "hold_until_ms", "reset"),
    armed: false,
  }),
  "wdt:withheld": (state, { culprit }) => ({
    ...without(state, "hold_until_ms"),
    withheld: textOf(culprit),
  }),
  "wdt:pre_reset": (_state, { cause, culprit, deadline_ms }) => ({
    reset: {
      cause: oneOf(causes, cause) ?? "unknown",
      culprit: textOf(culprit),
      deadline_ms: countOf(deadline_ms),
    },
  }),
  "wdt:reset_held": (state, { until_ms }) =>
    state.reset === undefined ? {} : { reset: { ...state.reset, deadline_ms: countOf(until_ms) } },
  "wdt:resumed": (state) => without(state, "withheld", "reset"),
  "wdt:hold": (_state, { until_ms }) => ({ hold_until_ms: countOf(until_ms) }),
  "wdt:hold_ended": (state) => without(state, "hold_until_ms"),
  "tee:step": (state, { step, epoch }) => tee(state, { step: textOf(step), epoch: countOf(epoch) }),
  "tee:crashed": (state, { epoch }) =>
    tee(state, {
      trouble: "crashed",
      epoch: countOf(epoch),
      crashes: (state.tee.crashes ?? 0) + 1,
    }),
  "tee:restored": restored,
  "tee:degraded": (state, { epoch }) =>
    tee(state, { trouble: "degraded", ...(epoch === undefined ? {} : { epoch: countOf(epoch) }) }),
  "tee:escalated": (state, { epoch }) =>
    tee(state, { trouble: "escalated", epoch: countOf(epoch) }),
  "tee:unavailable": (state, { service }) => {
    const others = state.tee.unavailable.filter((name) => name !== service);
    return tee(state, { unavailable: [...others, textOf(service)].slice(-servicesMax) });
  },
  "tee:available": (state, { service }) =>
    tee(state, { unavailable: state.tee.unavailable.filter((name) => name !== service) }),
  "crash:kept": (state) => ({ crash_records: (state.crash_records ?? 0) + 1 }),
  "crash:dropped": (state) => ({ crash_records: Math.max((state.crash_records ?? 0) - 1, 0) }),
  "crash:confirmed": (state) => ({ crash_records: Math.max((state.crash_records ?? 0) - 1, 0) }),
  "journal:degraded": (_state, { problem }) => ({ journal: textOf(problem) }),
  "report:dropped": ({ dropped }, { class: worth, count }) => {
    const key = worth === "safety" ? "safety" : "state";
    return { dropped: { ...dropped, [key]: dropped[key] + countOf(count) } };
  },
};

const servicesMax = 32;

/** The state after `report`, which is the next one of its boot. */
export function fold(state: CardState, report: Report): CardState {
  const base = report.boot === state.boot ? state : beginning(report.boot);
  const change = Object.hasOwn(changes, report.kind) ? changes[report.kind] : undefined;
  const changed = change?.(base, report.data) ?? {};
  // A change that leaves members out is a whole state; any other is what differs.
  const whole = "seq" in changed ? (changed as CardState) : { ...base, ...changed };
  return { ...whole, seq: report.seq, at_ms: report.at_ms };
}
