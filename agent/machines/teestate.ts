/** States, events and effects of the TEE machine; the table that joins them is in tee.ts. */
import type { AgentEvent } from "../events.ts";
import type {
  HardwareStatus,
  RestartPower,
  SessionRef,
  TeeFacts,
  TeeOperation,
  TeeResult,
  TeeWait,
} from "../io/tee.ts";
import type { TeeState } from "../wire/commands.ts";
import type { Call, CallClass, CallEffect, Purpose, Service } from "./teecalls.ts";
import { shownMax, type TeeConfig } from "./teeconfig.ts";
import { recentAttempts } from "./teeladder.ts";
import {
  attemptEndsMs,
  type CallName,
  nameOf,
  type ReeContext,
  type TeeHistory,
  unfinished,
} from "./teerecord.ts";

/** The way of a recovery, in this order and no other. */
export const steps = [
  "save_hardware",
  "save_ree",
  "suspend",
  "notify_unavailable",
  "restart",
  "restore_hardware",
  "restore_ree",
  "restore_tee",
  "verify",
  "resume",
  "notify_available",
] as const;
export type StepName = (typeof steps)[number];

/** What every state carries. */
export interface Core {
  readonly config: TeeConfig;
  readonly facts: TeeFacts;
  readonly epoch: number;
  readonly history: TeeHistory;
  readonly calls: readonly Call[];
  readonly services: readonly Service[];
  readonly canary: Canary;
}

export interface Canary {
  /** Number of the last one sent: an answer to another one counts for nothing. */
  readonly probe: number;
  /** When the one under way was sent; null when none is. */
  readonly sentMs: number | null;
  /** When the next is to be sent. */
  readonly dueMs: number;
}

export interface Recovery {
  readonly rung: RestartPower;
  /** Services that are suspended; the others go on. */
  readonly scope: readonly string[];
  /** False at the start of the agent, which registers the services by the same steps. */
  readonly crashed: boolean;
  readonly startedMs: number;
  /** End of this step's patience, and of the whole recovery's. */
  readonly deadlineMs: number;
  readonly overallMs: number;
  /** When the step's operation is to be performed (again); Infinity when it is under way. */
  readonly performMs: number;
  /** Keys of what this step still waits for. */
  readonly pending: readonly string[];
  readonly attached: boolean;
  readonly hardware: HardwareStatus | null;
  /** As read back from where it was saved; null = none, or refused. */
  readonly context: ReeContext | null;
  /** The epoch under which the context was saved; null while it was not. */
  readonly savedEpoch: number | null;
  /** The opening that was last told to wait for a supplicant; empty = none. */
  readonly waiter: string;
  /** Services whose subscribers were told `unavailable`. */
  readonly told: readonly string[];
  readonly replayed: number;
  readonly unknown: number;
}

export type Recovering = {
  [K in StepName]: { readonly kind: K; readonly core: Core; readonly recovery: Recovery };
}[StepName];

export type State =
  | { readonly kind: "ready"; readonly core: Core }
  | {
      readonly kind: "suspect";
      readonly core: Core;
      readonly because: string;
      /** Without a sign of life until then the TEE counts as dead. */
      readonly deadlineMs: number;
    }
  | Recovering
  /** Nothing milder than an operator can help, or there is nothing to help. */
  | { readonly kind: "degraded"; readonly core: Core; readonly because: string }
  /** Resets of the card did not help: only an operator ends this, no restart of anything. */
  | { readonly kind: "unrecoverable"; readonly core: Core; readonly because: string }
  /** A card reset was chosen and has to come by the deadline. */
  | {
      readonly kind: "escalate";
      readonly core: Core;
      readonly because: string;
      readonly deadlineMs: number;
    };

export type Event =
  | {
      readonly kind: "call";
      readonly atMs: number;
      readonly id: number;
      readonly service: string;
      readonly command: number;
      readonly class: CallClass;
      /** `new` when absent. */
      readonly purpose?: Purpose;
    }
  | {
      readonly kind: "reply";
      readonly atMs: number;
      readonly epoch: number;
      readonly call: number;
      readonly result: TeeResult;
      /** Of a query. */
      readonly applied: boolean;
    }
  /** Somebody else missed a sign of life. */
  | { readonly kind: "late"; readonly atMs: number; readonly what: string }
  | { readonly kind: "alive"; readonly atMs: number; readonly probe: number }
  /** A crash noticed otherwise than by a reply; `service` null = the TEE as a whole. */
  | {
      readonly kind: "crash";
      readonly atMs: number;
      /** In which epoch it happened: one of an earlier epoch is dealt with already. */
      readonly epoch: number;
      readonly service: string | null;
      readonly result: TeeResult;
    }
  | {
      readonly kind: "done";
      readonly atMs: number;
      readonly epoch: number;
      readonly key: string;
      readonly session?: SessionRef;
      readonly hardware?: HardwareStatus;
      readonly context?: ReeContext;
    }
  | {
      readonly kind: "failed";
      readonly atMs: number;
      readonly epoch: number;
      readonly key: string;
      /** Null when it was no operation of the TEE that failed. */
      readonly result: TeeResult | null;
      readonly problem: string;
    }
  /** What is awaited under this key cannot go on for want of another: its time counts from now. */
  | {
      readonly kind: "waits";
      readonly atMs: number;
      readonly epoch: number;
      readonly key: string;
      readonly on: TeeWait;
    }
  | { readonly kind: "tick"; readonly atMs: number }
  | { readonly kind: "recover"; readonly atMs: number; readonly by: string }
  /** An operator allows a quarantined command again; null = all of them. */
  | { readonly kind: "unquarantine"; readonly atMs: number; readonly name: CallName | null };

/** Effects with a key are answered by `done` or `failed` with that key and epoch. */
export type Effect =
  | CallEffect
  | {
      readonly kind: "perform";
      readonly epoch: number;
      readonly key: string;
      readonly operation: TeeOperation;
    }
  /** Answered by `alive`, or by `failed` with the key `canary <probe>`. */
  | { readonly kind: "canary"; readonly epoch: number; readonly probe: number }
  /** Calls of these services pass no longer, or again. */
  | {
      readonly kind: "fence";
      readonly epoch: number;
      readonly key: string;
      readonly services: readonly string[];
      readonly closed: boolean;
    }
  | {
      readonly kind: "notify";
      readonly epoch: number;
      readonly key: string;
      readonly services: readonly string[];
      readonly available: boolean;
    }
  | {
      readonly kind: "save_context";
      readonly epoch: number;
      readonly key: string;
      readonly context: ReeContext;
    }
  | { readonly kind: "load_context"; readonly epoch: number; readonly key: string }
  | { readonly kind: "journal"; readonly history: TeeHistory }
  | { readonly kind: "report"; readonly event: AgentEvent }
  /** Stop refreshing the watchdog for good: the cause is `tee`. */
  | { readonly kind: "withhold"; readonly because: string };

/**
 * The machine before its first tick: services are registered by the last steps of a recovery.
 * Without a TEE that can be used it is degraded from the start; one that was given up for good
 * stays so. A recovery that the last life did not finish is finished by these steps too.
 */
export function initial(
  config: TeeConfig,
  facts: TeeFacts,
  history: TeeHistory,
  atMs: number,
): State {
  const epoch = history.epoch + 1;
  const services = config.services.map(({ name }) => {
    return { name, session: null, closing: false, down: null };
  });
  const canary = { probe: 0, sentMs: null, dueMs: Infinity };
  const core: Core = {
    config,
    facts,
    epoch,
    history: { ...history, epoch },
    calls: [],
    services,
    canary,
  };
  if (!facts.present || !facts.usable) return { kind: "degraded", core, because: facts.because };
  if (history.unrecoverable !== null) {
    return { kind: "unrecoverable", core, because: history.unrecoverable };
  }
  const scope = config.services.map(({ name }) => name);
  const recovery: Recovery = {
    rung: "session",
    scope,
    crashed: false,
    startedMs: atMs,
    deadlineMs: atMs + config.reattachMaxMs,
    overallMs: atMs + config.recoveryMaxMs,
    performMs: atMs,
    pending: [],
    attached: false,
    hardware: null,
    context: null,
    savedEpoch: unfinished(history)?.epoch ?? null,
    waiter: "",
    told: scope,
    replayed: 0,
    unknown: 0,
  };
  return { kind: "restore_ree", core, recovery };
}

/** When the machine next wants a tick, ms; Infinity when only an event can change it. */
export function dueMs(state: State): number {
  const { core } = state;
  const callsMs = Math.min(...core.calls.map((call) => Math.min(call.lateMs, call.deadlineMs)));
  switch (state.kind) {
    case "ready":
      return Math.min(callsMs, canaryDueMs(core), attemptEndsMs(core.history, core.config));
    case "suspect":
      return Math.min(state.deadlineMs, endOfCallsMs(core));
    case "degraded":
    case "unrecoverable":
      return Infinity;
    case "escalate":
      return state.deadlineMs;
    default: {
      const { deadlineMs, overallMs, performMs } = state.recovery;
      return Math.min(deadlineMs, overallMs, performMs, endOfCallsMs(core));
    }
  }
}

/** When the canary wants something: to be sent, or to be missed. */
export function canaryDueMs({ canary, config }: Core): number {
  return canary.sentMs === null ? canary.dueMs : canary.sentMs + config.canaryLateMs;
}

function endOfCallsMs(core: Core): number {
  return Math.min(...core.calls.map((call) => call.deadlineMs));
}

/** The state as the wire shows it. */
export function statusOf(state: State, atMs: number): TeeState {
  const { core } = state;
  const { config, facts, history } = core;
  const restarts = facts.powers.map((rung) => recentAttempts(history.attempts, rung, config, atMs));
  const hardware = facts.hardwareStatus ? ["hardware_status"] : [];
  return {
    state: !facts.present ? "absent" : !facts.usable ? "unusable" : state.kind,
    simulated: facts.simulated,
    epoch: core.epoch,
    crashes: history.crashes,
    restarts_in_window: restarts.reduce((sum, count) => sum + count, 0),
    in_flight: core.calls.length,
    powers: [...facts.powers, ...hardware],
    sessions: core.services.slice(0, shownMax).map(({ name, session }) => {
      return { service: name, open: session !== null };
    }),
    quarantined: history.quarantined.map(nameOf),
  };
}
