/** How a recovery begins, goes one rung up, takes in more services, and is given up. */
import type { RestartPower, TeeResult } from "../io/tee.ts";
import { stay, to } from "./fsm.ts";
import { onlySuspect } from "./teecalls.ts";
import { above, type Choice, chooseRung, type Rung, stronger } from "./teeladder.ts";
import {
  becauseMax,
  type CallName,
  isQuarantined,
  nameOf,
  type TeeHistory,
  withAttempt,
  withOutcome,
  withRecord,
  withTrigger,
} from "./teerecord.ts";
import { codeOf, ownerDead, readResult } from "./teesignals.ts";
import type { Core, Effect, Recovering, Recovery, State } from "./teestate.ts";
import {
  advance,
  after,
  endCalls,
  enter,
  fenceCalls,
  isBefore,
  type Next,
  report,
  tellUnavailable,
} from "./teesteps.ts";

/** What speaks for a crash. */
export interface Signal {
  /** The mildest rung that can help. */
  readonly rung: RestartPower;
  /** The services it is about; all of them where no one knows. */
  readonly services: readonly string[];
  readonly code: string;
  readonly trigger: CallName | null;
  /** Without a trigger: whoever was inside alone is to blame. */
  readonly blameInside: boolean;
}

export function allServices(core: Core): readonly string[] {
  return core.services.map(({ name }) => name);
}

/**
 * The signal of a result that means a crash, however unclear it would be by itself. A stale
 * session says that all are, and nothing of what was called on it; a process of ours that died
 * says nothing of that either.
 */
export function signalOf(
  core: Core,
  result: TeeResult,
  service: string | null,
  trigger: CallName | null,
): Signal {
  const reading = readResult(result);
  const code = codeOf(result);
  const services = allServices(core);
  const base = { services, code, trigger, blameInside: true };
  if (reading.kind === "stale") {
    return { ...base, rung: "session", trigger: null, blameInside: false };
  }
  if (reading.kind !== "dead") return { ...base, rung: "tee_os" };
  const { rung } = reading;
  const isOurs = result.errno === ownerDead && service !== null;
  if (isOurs) return { ...base, rung, services: [service], trigger: null, blameInside: false };
  if (service !== null) return { ...base, rung, services: [service] };
  return { ...base, rung: rung === "session" ? "tee_os" : rung };
}

/** Counts a crash and blames its trigger. */
function noteCrash(core: Core, { trigger }: Signal): { history: TeeHistory; effects: Effect[] } {
  const counted = { ...core.history, crashes: core.history.crashes + 1 };
  if (trigger === null) return { history: counted, effects: [] };
  const history = withTrigger(counted, trigger, core.config.poisonCount);
  const fresh = isQuarantined(history, trigger) && !isQuarantined(counted, trigger);
  const { service, command } = trigger;
  const effects = fresh ? [report({ kind: "tee:quarantined", service, command })] : [];
  return { history, effects };
}

function sayRungs({ rung, skipped }: Choice, because: string): Effect[] {
  const taken = rung === "card_reset" ? [] : [report({ kind: "tee:rung", rung, because })];
  return [...skipped.map((one) => report({ kind: "tee:rung", ...one })), ...taken];
}

/** The rung that is next, for this signal or simply upwards. */
export function choose(core: Core, from: Rung, atMs: number): Choice {
  return chooseRung(from, core.facts.powers, core.history.attempts, core.config, atMs);
}

function crashed(core: Core, { code, trigger }: Signal, rung: Rung): Effect {
  const { epoch } = core;
  return report({ kind: "tee:crashed", epoch, rung, code, trigger: nameOf(trigger) });
}

/**
 * From a crash to the first step, or to a card reset when every rung below it is out. `told`:
 * services whose subscribers still believe that they are unavailable.
 */
export function begin(core: Core, found: Signal, atMs: number, told: readonly string[] = []): Next {
  const inside = found.blameInside ? onlySuspect(core.calls, found.services) : null;
  const trigger = found.trigger ?? inside;
  const signal = { ...found, trigger };
  const noted = noteCrash(core, signal);
  const epoch = core.epoch + 1;
  const counted: Core = { ...core, epoch, history: { ...noted.history, epoch } };
  const choice = choose(counted, signal.rung, atMs);
  const { rung } = choice;
  const { code } = signal;
  const record = { atMs, epoch, rung, code, trigger, tookMs: null };
  const recorded = { ...counted, history: withRecord(counted.history, record) };
  const said = [
    crashed(recorded, signal, rung),
    ...noted.effects,
    ...sayRungs(choice, `crash ${code}`),
  ];
  if (rung === "card_reset") {
    const because = `crash ${code}, and no milder restart is left`;
    return after(said, giveUp(recorded, told, because, atMs));
  }
  const history = withAttempt(recorded.history, rung, atMs);
  const current = { ...recorded, history };
  const scope = rung === "tee_os" ? allServices(core) : signal.services;
  const made = fresh(current, rung, scope, atMs);
  const recovery = { ...made, told: merged(made.told, told) };
  return after(
    [...said, { kind: "journal", history }],
    enter("save_hardware", current, recovery, atMs),
  );
}

/** A recovery at its beginning. */
function fresh(core: Core, rung: RestartPower, scope: readonly string[], atMs: number): Recovery {
  const { config } = core;
  return {
    rung,
    scope,
    crashed: true,
    startedMs: atMs,
    deadlineMs: atMs + config.stepMaxMs,
    overallMs: atMs + config.recoveryMaxMs,
    performMs: Infinity,
    pending: [],
    attached: false,
    hardware: null,
    context: null,
    savedEpoch: null,
    waiter: "",
    // Services that are down were announced as such before.
    told: core.services.filter(({ session }) => session === null).map(({ name }) => name),
    replayed: 0,
    unknown: 0,
  };
}

/**
 * An operator takes it on: everything counted against the TEE is forgiven. A degraded TEE is
 * restarted as strongly as the platform can; a ready one has its missing services registered.
 */
export function byOperator(
  state: Extract<State, { kind: "ready" | "degraded" | "unrecoverable" }>,
  atMs: number,
): Next {
  const { facts, services } = state.core;
  const rung = strongest(facts.powers);
  const missing = services.filter(({ session }) => session === null).map(({ name }) => name);
  const blameless = { triggers: [], quarantined: [] };
  const forgiven = { attempts: [], resetsMs: [], unrecoverable: null, ...blameless };
  const history = { ...state.core.history, ...forgiven };
  if (state.kind === "ready" && missing.length === 0) {
    return to<State, Effect>(
      { ...state, core: { ...state.core, history } },
      { kind: "journal", history },
    );
  }
  if (!facts.usable || rung === null) return stay<State>(state);
  const epoch = state.core.epoch + 1;
  const used = state.kind === "ready" ? "session" : rung;
  const record = { atMs, epoch, rung: used, code: "operator", trigger: null, tookMs: null };
  const noted = withAttempt(withRecord({ ...history, epoch }, record), used, atMs);
  // What was being closed long ago may have gone with a reset: it is closed again.
  const again = services.map((service) => ({ ...service, closing: false, down: null }));
  const core: Core = { ...state.core, epoch, history: noted, services: again };
  const scope = state.kind === "ready" ? missing : allServices(core);
  const recovery = { ...fresh(core, used, scope, atMs), told: scope };
  return after(
    [
      report({ kind: "tee:rung", rung: used, because: "asked for by an operator" }),
      { kind: "journal", history: noted },
    ],
    enter("save_hardware", core, recovery, atMs),
  );
}

/** The strongest restart that the platform can do. */
function strongest(powers: readonly RestartPower[]): RestartPower | null {
  const known: readonly RestartPower[] = ["tee_os", "supplicant", "session"];
  return known.find((rung) => powers.includes(rung)) ?? null;
}

/**
 * It did not go well: one rung up, under a new epoch. Before the restart that means a stronger
 * restart, but no card reset yet, since the rung chosen has not been tried; after it the restart
 * is done once more, stronger. `again`: the same rung may be tried once more, if it is not used up.
 */
export function climb(
  state: Recovering,
  why: { because: string; signal?: Signal; again?: boolean },
  atMs: number,
): Next {
  const { core, recovery, kind } = state;
  const { because, signal } = why;
  const early = isUntried(state);
  const noted = signal === undefined ? null : noteCrash(core, signal);
  const epoch = core.epoch + 1;
  const counted = { ...core, epoch, history: { ...(noted?.history ?? core.history), epoch } };
  const next = why.again === true ? recovery.rung : above(recovery.rung);
  const choice = choose(counted, stronger(next, signal?.rung ?? "session"), atMs);
  const kept = early && choice.rung === "card_reset";
  const used = kept ? recovery.rung : choice.rung;
  const said: Effect[] = [
    ...(signal === undefined ? [] : [crashed(counted, signal, used)]),
    ...(noted?.effects ?? []),
  ];
  if (choice.rung === "card_reset" && !kept) {
    const skips = sayRungs(choice, because);
    return after([...said, ...skips], giveUp(counted, recovery.told, because, atMs));
  }
  const rung = choice.rung === "card_reset" ? recovery.rung : choice.rung;
  const history = kept ? counted.history : withAttempt(counted.history, rung, atMs);
  const current = { ...counted, history: withOutcome(history, { rung }) };
  const scope = rung === "tee_os" ? allServices(core) : merged(recovery.scope, signal?.services);
  const moved: Recovering = {
    kind,
    core: current,
    recovery: { ...recovery, rung, scope, crashed: true },
  };
  const effects: Effect[] = [
    ...said,
    ...(kept ? [] : sayRungs(choice, because)),
    { kind: "journal", history: current.history },
  ];
  const wider = widened(moved);
  const place = { ...moved, core: wider.core, recovery: wider.recovery };
  const onward = isBefore(kind, "restart")
    ? advance(place, atMs)
    : enter("restart", wider.core, wider.recovery, atMs);
  return after([...effects, ...wider.effects], onward);
}

/** The rung chosen has not been tried: the restart is still to come, or waits for its time. */
function isUntried({ kind, recovery }: Recovering): boolean {
  return isBefore(kind, "restart") || (kind === "restart" && recovery.performMs < Infinity);
}

/**
 * Another crash while this one is dealt with: the recovery has to be a stronger one. Once all is
 * restored and calls pass again, it is a crash like any other.
 */
export function crashedAgain(state: Recovering, signal: Signal, atMs: number): Next {
  const { kind, core, recovery } = state;
  if (!isBefore(kind, "resume")) return begin(core, signal, atMs, recovery.told);
  const isOthers = !signal.services.some((service) => recovery.scope.includes(service));
  if (signal.rung === "session" && isOthers) return alongside(state, signal, atMs);
  return climb(state, { because: `crash ${signal.code} in ${kind}`, signal }, atMs);
}

/**
 * Another service died, and nothing of what is being restored: that is no second crash of the TEE.
 * It is restored along, by the session's own rung, which it uses up as it would by itself. What
 * was restarted stays so: from the closing of old sessions on everything is done again.
 */
function alongside(state: Recovering, signal: Signal, atMs: number): Next {
  const { kind, core, recovery } = state;
  const choice = choose(core, "session", atMs);
  const because = `crash ${signal.code} of another service in ${kind}`;
  if (choice.rung !== "session") return climb(state, { because, signal }, atMs);
  const noted = noteCrash(core, signal);
  const isReopened = !isBefore(kind, "restore_ree");
  const epoch = core.epoch + (isReopened ? 1 : 0);
  const history = withAttempt({ ...noted.history, epoch }, "session", atMs);
  const scope = merged(recovery.scope, signal.services);
  const current: Core = { ...core, epoch, history };
  const wider = widened({ kind, core: current, recovery: { ...recovery, scope, crashed: true } });
  const said: Effect[] = [
    crashed(current, signal, "session"),
    ...noted.effects,
    ...sayRungs(choice, because),
    { kind: "journal", history },
    ...wider.effects,
  ];
  const place = { ...state, core: wider.core, recovery: wider.recovery };
  if (!isReopened) return to<State, Effect>(place, ...said);
  return after(said, enter("restore_ree", wider.core, wider.recovery, atMs));
}

function merged(scope: readonly string[], more: readonly string[] = []): readonly string[] {
  return [...scope, ...more.filter((service) => !scope.includes(service))];
}

/** What a scope that grew has to catch up on: the fence, and telling the subscribers. */
function widened({ kind, core, recovery }: Recovering): {
  core: Core;
  recovery: Recovery;
  effects: readonly Effect[];
} {
  if (isBefore(kind, "suspend")) return { core, recovery, effects: [] };
  const fenced = fenceCalls(core, recovery);
  if (isBefore(kind, "notify_unavailable")) return fenced;
  const told = tellUnavailable(fenced.core, fenced.recovery);
  return { ...fenced, recovery: told.recovery, effects: [...fenced.effects, ...told.effects] };
}

/** Another service died at the same time, before the restart: it is restored along. */
export function widen(state: Recovering, signal: Signal): Next {
  const noted = noteCrash(state.core, signal);
  const core = { ...state.core, history: noted.history };
  const recovery = { ...state.recovery, scope: merged(state.recovery.scope, signal.services) };
  const wider = widened({ ...state, core, recovery });
  return to<State, Effect>(
    { ...state, core: wider.core, recovery: wider.recovery },
    crashed(core, signal, recovery.rung),
    ...noted.effects,
    ...wider.effects,
  );
}

/** Cause before reset: every caller has its verdict and every record is kept, then let go. */
export function giveUp(core: Core, told: readonly string[], because: string, atMs: number): Next {
  const { config } = core;
  const ended = endCalls(core, "the TEE could not be restored");
  const untold = allServices(core).filter((service) => !told.includes(service));
  const services = core.services
    .filter(({ name, session }) => session !== null && untold.includes(name))
    .map(({ name }) => name);
  const effects: Effect[] = [
    ...ended.effects,
    ...services.map((service) => report({ kind: "tee:unavailable", service })),
    { kind: "notify", epoch: core.epoch, key: "notify", services, available: false },
  ];
  const recent = core.history.resetsMs.filter((ms) => ms > atMs - config.resetWindowMs);
  const spent = recent.length >= config.resetsMax;
  if (config.cardReset && spent) {
    const resets = `the card was reset ${recent.length} times already, an operator is needed`;
    const unrecoverable = `${because.slice(0, becauseMax - resets.length - 2)}; ${resets}`;
    const lost = { ...core.history, unrecoverable };
    return to<State, Effect>(
      {
        kind: "unrecoverable",
        core: { ...ended.core, history: lost },
        because: unrecoverable,
      },
      ...effects,
      report({ kind: "tee:unrecoverable", because: unrecoverable }),
      { kind: "journal", history: lost },
    );
  }
  if (!config.cardReset) {
    const why = `${because}; a card reset is not allowed here, an operator is needed`;
    return to<State, Effect>(
      { kind: "degraded", core: ended.core, because: why },
      ...effects,
      report({ kind: "tee:degraded", because: why, epoch: core.epoch }),
      { kind: "journal", history: core.history },
    );
  }
  const history = {
    ...withOutcome(core.history, { rung: "card_reset" }),
    resetsMs: [...recent, atMs],
  };
  return to<State, Effect>(
    {
      kind: "escalate",
      core: { ...ended.core, history },
      because,
      deadlineMs: atMs + config.escalateMaxMs,
    },
    ...effects,
    report({ kind: "tee:rung", rung: "card_reset", because }),
    report({ kind: "tee:escalated", because, epoch: core.epoch }),
    { kind: "journal", history },
    { kind: "withhold", because },
  );
}
