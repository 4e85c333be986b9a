/**
 * The steps of a recovery: what entering each does, in the order of `steps`. A step whose work
 * is not needed at this rung is passed without a word; one that the platform cannot do says so.
 */
import type { AgentEvent } from "../events.ts";
import type { SessionRef } from "../io/tee.ts";
import { type Step, to } from "./fsm.ts";
import { type Call, end, pump, type Service, type Settled, settle } from "./teecalls.ts";
import { recentAttempts, waitMs } from "./teeladder.ts";
import { isQuarantined, type ReeContext, unfinished, withOutcome } from "./teerecord.ts";
import {
  type Core,
  type Effect,
  type Recovering,
  type Recovery,
  type State,
  type StepName,
  steps,
} from "./teestate.ts";

export type Next = Step<State, Effect>;

export function report(event: AgentEvent): Effect {
  return { kind: "report", event };
}

/** The same step with more effects before its own. */
export function after(effects: readonly Effect[], next: Next): Next {
  return { state: next.state, effects: [...effects, ...next.effects] };
}

export function isBefore(step: StepName, other: StepName): boolean {
  return steps.indexOf(step) < steps.indexOf(other);
}

/** Whether calls to `service` are held back in this state. */
export function isFenced(state: State, service: string): boolean {
  if (!("recovery" in state)) return false;
  return isBefore(state.kind, "resume") && state.recovery.scope.includes(service);
}

/** Takes over what settling calls came to. */
export function settled(recovery: Recovery, result: Settled): Recovery {
  return {
    ...recovery,
    replayed: recovery.replayed + result.replayed,
    unknown: recovery.unknown + result.unknown,
  };
}

/** What becomes of the picked calls after a crash. */
export function settleCalls(core: Core, concerns: (call: Call) => boolean): Settled {
  return settle(core.calls, concerns, {
    replaysMax: core.config.replaysMax,
    because: "the TEE crashed while it was under way",
    isPoison: (call) => isQuarantined(core.history, call),
  });
}

export function pumpCalls(core: Core, fenced: (service: string) => boolean): Settled {
  return pump(core.calls, core.services, core.epoch, fenced);
}

interface Wait {
  readonly pending: readonly string[];
  readonly forMs?: number;
  /** What the host is told; null = nothing, it was told before. */
  readonly say?: string | null;
}

/** Stands in a step until everything pending is answered or its time is up. */
function stand(
  [kind, core, recovery, atMs]: [StepName, Core, Recovery, number],
  { pending, forMs = core.config.stepMaxMs, say = kind }: Wait,
  ...effects: Effect[]
): Next {
  const deadlineMs = atMs + forMs;
  const standing = { ...recovery, deadlineMs, pending, performMs: Infinity };
  const told = say === null ? [] : [report({ kind: "tee:step", step: say, epoch: core.epoch })];
  return to<State, Effect>({ kind, core, recovery: standing }, ...told, ...effects);
}

function saveHardware(core: Core, recovery: Recovery, atMs: number): Next {
  const { epoch } = core;
  if (!core.facts.hardwareStatus) {
    const said = report({ kind: "tee:step", step: "save_hardware (absent)", epoch });
    return after([said], enter("save_ree", core, recovery, atMs));
  }
  const key = "save_hardware";
  const operation = { kind: "save_hardware" } as const;
  return stand(
    ["save_hardware", core, recovery, atMs],
    { pending: [key] },
    { kind: "perform", epoch, key, operation },
  );
}

/** The registrations and what is under way, as of now: names and classes, no payloads. */
function contextOf(core: Core): ReeContext {
  return {
    epoch: core.epoch,
    services: core.services.map(({ name, down }) => ({ name, registered: down === null })),
    calls: core.calls.map(({ service, command, class: of }) => ({ service, command, class: of })),
  };
}

function saveRee(core: Core, recovery: Recovery, atMs: number): Next {
  const { epoch } = core;
  const key = "save_context";
  return stand(
    ["save_ree", core, { ...recovery, savedEpoch: epoch }, atMs],
    { pending: [key] },
    { kind: "save_context", epoch, key, context: contextOf(core) },
  );
}

/** Fences the scope: every call in it is settled, and none of its replies counts any more. */
export function fenceCalls(
  core: Core,
  recovery: Recovery,
): { core: Core; recovery: Recovery; effects: readonly Effect[] } {
  const result = settleCalls(core, (call) => recovery.scope.includes(call.service));
  return {
    core: { ...core, calls: result.calls },
    recovery: settled(recovery, result),
    effects: result.effects,
  };
}

function suspend(core: Core, recovery: Recovery, atMs: number): Next {
  const { epoch } = core;
  const key = "fence";
  const fenced = fenceCalls(core, recovery);
  return stand(
    ["suspend", fenced.core, fenced.recovery, atMs],
    { pending: [key] },
    { kind: "fence", epoch, key, services: recovery.scope, closed: true },
    ...fenced.effects,
  );
}

/** Tells the subscribers of the scope, once each. */
export function tellUnavailable(
  core: Core,
  recovery: Recovery,
): { recovery: Recovery; effects: readonly Effect[] } {
  const services = recovery.scope.filter((service) => !recovery.told.includes(service));
  if (services.length === 0) return { recovery, effects: [] };
  const { epoch } = core;
  return {
    recovery: { ...recovery, told: [...recovery.told, ...services] },
    effects: [
      ...services.map((service) => report({ kind: "tee:unavailable", service })),
      { kind: "notify", epoch, key: "notify", services, available: false },
    ],
  };
}

function notifyUnavailable(core: Core, recovery: Recovery, atMs: number): Next {
  const told = tellUnavailable(core, recovery);
  if (told.effects.length === 0) return enter("restart", core, recovery, atMs);
  return stand(
    ["notify_unavailable", core, told.recovery, atMs],
    { pending: ["notify"] },
    ...told.effects,
  );
}

function restart(core: Core, recovery: Recovery, atMs: number): Next {
  const { rung } = recovery;
  if (rung === "session") return enter("restore_hardware", core, recovery, atMs);
  const { config, history } = core;
  const forMs = waitMs(rung, recentAttempts(history.attempts, rung, config, atMs) - 1, config);
  if (forMs === 0) return performRestart(core, recovery, atMs);
  const performMs = atMs + forMs;
  const deadlineMs = performMs + config.restartMaxMs;
  return to({
    kind: "restart",
    core,
    recovery: { ...recovery, pending: [], performMs, deadlineMs },
  });
}

/** The wait before the restart is over. */
export function performRestart(core: Core, recovery: Recovery, atMs: number): Next {
  const { rung } = recovery;
  if (rung === "session") return enter("restore_hardware", core, recovery, atMs);
  const key = "restart";
  const operation = { kind: "restart", rung } as const;
  return stand(
    ["restart", core, recovery, atMs],
    { pending: [key], forMs: core.config.restartMaxMs },
    { kind: "perform", epoch: core.epoch, key, operation },
  );
}

function restoreHardware(core: Core, recovery: Recovery, atMs: number): Next {
  const { epoch } = core;
  const { hardware, rung } = recovery;
  if (rung !== "tee_os") return enter("restore_ree", core, recovery, atMs);
  if (hardware === null) {
    const said = report({ kind: "tee:step", step: "restore_hardware (absent)", epoch });
    return after([said], enter("restore_ree", core, recovery, atMs));
  }
  const key = "restore_hardware";
  const operation = { kind: "restore_hardware", handle: hardware.handle } as const;
  return stand(
    ["restore_hardware", core, recovery, atMs],
    { pending: [key] },
    { kind: "perform", epoch, key, operation },
  );
}

/** Names one closing of one session: a late one must not pass for another's. */
export function closeKey(service: string, session: SessionRef | null): string {
  return `close ${service} ${session?.context}/${session?.id}`;
}

/**
 * Every old session of the scope is closed before any new one is opened: an old id must never
 * reach somebody else's session. A closing waits for the call inside, if there is one, so that
 * nothing is sent again while its first sending may still have its effect.
 */
function restoreRee(core: Core, recovery: Recovery, atMs: number): Next {
  const { epoch } = core;
  const isOld = ({ name, session }: Service): boolean =>
    session !== null && recovery.scope.includes(name);
  const old = core.services.filter(isOld);
  const effects: Effect[] = [];
  const saved = recovery.savedEpoch !== null;
  if (saved) effects.push({ kind: "load_context", epoch, key: "load_context" });
  for (const { name, session, closing } of old) {
    if (session === null || closing) continue;
    const operation = { kind: "close", session } as const;
    effects.push({ kind: "perform", epoch, key: closeKey(name, session), operation });
  }
  const services = core.services.map((service) => {
    return isOld(service) ? { ...service, closing: true } : service;
  });
  const closings = old.map(({ name, session }) => closeKey(name, session));
  const pending = [...(saved ? ["load_context"] : []), ...closings];
  const forMs = core.config.reattachMaxMs;
  const fresh = { ...recovery, attached: false, context: null };
  const current = { ...core, services };
  const next = stand(["restore_ree", current, fresh, atMs], { pending, forMs }, ...effects);
  if (pending.length > 0) return next;
  return after(next.effects, continueRee(current, fresh, atMs));
}

/** The old sessions are closed: a restarted TEE OS needs the driver registered anew. */
export function continueRee(core: Core, recovery: Recovery, atMs: number): Next {
  if (recovery.rung !== "tee_os" || recovery.attached) {
    return enter("restore_tee", core, recovery, atMs);
  }
  const { epoch } = core;
  const key = "reattach";
  // Tried again and again while others hold the device, but within the patience of one step.
  const recent = recovery.performMs === Infinity ? core.config.reattachMaxMs : null;
  const forMs = recent ?? recovery.deadlineMs - atMs;
  return stand(
    ["restore_ree", core, recovery, atMs],
    { pending: [key], forMs, say: null },
    { kind: "perform", epoch, key, operation: { kind: "reattach" } },
  );
}

/** Services to open, in the order of the configuration: all of the scope without a context. */
function wanted(core: Core, { scope, context }: Recovery): readonly string[] {
  const isWanted = (name: string): boolean =>
    context === null || context.services.some((entry) => entry.name === name && entry.registered);
  return core.services
    .filter(({ name, session, down }) => {
      return scope.includes(name) && session === null && down === null && isWanted(name);
    })
    .map(({ name }) => name);
}

function restoreTee(core: Core, recovery: Recovery, atMs: number): Next {
  // A clean registration from the configuration tries those again that could not be had before.
  const again = (name: string): boolean =>
    recovery.context === null && recovery.scope.includes(name);
  const services = core.services.map((service) => {
    return again(service.name) ? { ...service, down: null } : service;
  });
  return openNext({ ...core, services }, recovery, atMs, "restore_tee");
}

/** Opens the next session; when there is none left, the services resume. */
export function openNext(core: Core, recovery: Recovery, atMs: number, say: string | null): Next {
  const [service] = wanted(core, recovery);
  const { epoch, config } = core;
  const place: [StepName, Core, Recovery, number] = ["restore_tee", core, recovery, atMs];
  if (service === undefined) {
    const next = stand(place, { pending: [], say });
    return after(next.effects, enter("verify", core, recovery, atMs));
  }
  const key = `open ${service}`;
  const operation = { kind: "open", service, context: epoch } as const;
  return stand(
    place,
    { pending: [key], forMs: config.openMaxMs, say },
    { kind: "perform", epoch, key, operation },
  );
}

/** Open sessions are the TEE's word; before anybody relies on it, it has to pass a canary. */
function verify(core: Core, recovery: Recovery, atMs: number): Next {
  if (recovery.scope.length === 0) return enter("resume", core, recovery, atMs);
  const key = "verify";
  return stand(
    ["verify", core, recovery, atMs],
    { pending: [key], forMs: core.config.suspectMs },
    { kind: "perform", epoch: core.epoch, key, operation: { kind: "canary" } },
  );
}

function resume(core: Core, recovery: Recovery, atMs: number): Next {
  const { epoch } = core;
  const key = "fence";
  const pumped = pumpCalls(core, () => false);
  return stand(
    ["resume", { ...core, calls: pumped.calls }, settled(recovery, pumped), atMs],
    { pending: [key] },
    { kind: "fence", epoch, key, services: recovery.scope, closed: false },
    ...pumped.effects,
  );
}

function notifyAvailable(core: Core, recovery: Recovery, atMs: number): Next {
  const { epoch } = core;
  const key = "notify";
  const services = core.services
    .filter(({ name, session }) => session !== null && recovery.told.includes(name))
    .map(({ name }) => name);
  return stand(
    ["notify_available", core, recovery, atMs],
    { pending: [key] },
    ...services.map((service) => report({ kind: "tee:available", service })),
    { kind: "notify", epoch, key, services, available: true },
  );
}

const entries: {
  readonly [K in StepName]: (core: Core, recovery: Recovery, atMs: number) => Next;
} = {
  save_hardware: saveHardware,
  save_ree: saveRee,
  suspend,
  notify_unavailable: notifyUnavailable,
  restart,
  restore_hardware: restoreHardware,
  restore_ree: restoreRee,
  restore_tee: restoreTee,
  verify,
  resume,
  notify_available: notifyAvailable,
};

/** Enters a step, passing it where there is nothing to do. */
export function enter(step: StepName, core: Core, recovery: Recovery, atMs: number): Next {
  return entries[step](core, recovery, atMs);
}

/** The step after this one; after the last, the TEE is ready. */
export function advance(state: Recovering, atMs: number): Next {
  const { kind, core, recovery } = state;
  if (kind === "restore_ree") return continueRee(core, recovery, atMs);
  if (kind === "restore_tee") return openNext(core, recovery, atMs, null);
  const following = steps[steps.indexOf(kind) + 1];
  return following === undefined ? finish(state, atMs) : enter(following, core, recovery, atMs);
}

/** Recovered: what it took goes into the record. */
function finish({ core, recovery }: Recovering, atMs: number): Next {
  const { epoch, config } = core;
  const canary = { ...core.canary, sentMs: null, dueMs: atMs + config.canaryEveryMs };
  const { replayed, unknown, crashed, rung, waiter } = recovery;
  const tookMs = Math.round(atMs - recovery.startedMs);
  const isFirst = !crashed && unfinished(core.history) === null;
  const history = isFirst ? core.history : withOutcome(core.history, { tookMs, rung });
  const restored = { kind: "tee:restored", epoch, took_ms: tookMs, replayed, unknown } as const;
  return to<State, Effect>(
    { kind: "ready", core: { ...core, history, canary } },
    // A first registration is news only where it was told to wait.
    ...(isFirst && waiter === "" ? [] : [report(restored)]),
    { kind: "journal", history },
  );
}

/** Ends every call without another sending: nobody will be there to answer. */
export function endCalls(core: Core, because: string): { core: Core; effects: readonly Effect[] } {
  const ended = end(core.calls, () => true, because);
  return { core: { ...core, calls: ended.calls }, effects: ended.effects };
}
