/** What the TEE machine is told: services and times, each number with its reason. */
import type { LadderConfig } from "./teeladder.ts";

/** A call that makes a freshly opened service whole again: nothing in it is secret. */
export interface RehydrateStep {
  readonly command: number;
  readonly input: Uint8Array | null;
}

export interface ServiceConfig {
  /** The name by which calls, reports and commands know the service; at most 64 characters. */
  readonly name: string;
  /** Called in this order after each opening; only then can the service be had. */
  readonly rehydrate?: readonly RehydrateStep[];
}

export interface TeeConfig extends LadderConfig {
  /** In the order in which their sessions are opened: what others depend on comes first. */
  readonly services: readonly ServiceConfig[];
  /** Calls under way at once; one more is answered `unavailable`. */
  readonly callsMax: number;
  /** A call this old is worth a look at the TEE, and no more than a look. */
  readonly callLateMs: number;
  /** A call this old has its verdict, whatever the TEE does; its service counts as hung. */
  readonly callMaxMs: number;
  /** How often one call may be sent again after crashes. */
  readonly replaysMax: number;
  /** Crashes that one command of one service may trigger before it is quarantined. */
  readonly poisonCount: number;
  readonly canaryEveryMs: number;
  /** A canary this old makes the TEE suspect. */
  readonly canaryLateMs: number;
  /** How long a suspect TEE has to answer before it counts as dead: the false-alarm threshold. */
  readonly suspectMs: number;
  /** For each step that is neither a restart nor a re-registration. */
  readonly stepMaxMs: number;
  readonly restartMaxMs: number;
  readonly reattachMaxMs: number;
  /** For opening one session. */
  readonly openMaxMs: number;
  /** Between attempts to reattach while somebody else holds the device. */
  readonly retryMs: number;
  /** From the crash to the end of recovery; later than this the card is reset. */
  readonly recoveryMaxMs: number;
  /** The card may be reset when nothing milder helped. Otherwise: degraded, and an operator. */
  readonly cardReset: boolean;
  readonly resetsMax: number;
  readonly resetWindowMs: number;
  /** How long a card reset that was chosen may take to come. */
  readonly escalateMaxMs: number;
}

/** Bound on services, each of which has a session: what opens one after another within a minute. */
export const servicesMax = 64;
/** So many are shown with the state, in one frame; `tee.sessions` has all. */
export const shownMax = 32;

/**
 * The usual configuration for these services. The measured values behind it are of OP-TEE on a
 * slow emulated machine; each limit leaves at least a factor of four above the slowest seen.
 */
export function teeConfig(
  services: readonly ServiceConfig[],
  change: Partial<TeeConfig> = {},
): TeeConfig {
  // Saving, restoring and notifying take milliseconds; a journal's sync on worn flash takes longer.
  const stepMaxMs = 1_000;
  // A TEE OS restart took 0.3 to 1.1 s, a dead supplicant was back after 1.2 to 2.2 s.
  const restartMaxMs = 5_000;
  // A driver's reload took 0.1 to 0.2 s, a loaded machine's whole cycle 3.3 s.
  const reattachMaxMs = 5_000;
  // The first opening of a service loads it from storage: 312 ms, or 2.2 s without a supplicant;
  // with the start of the process that makes it, 5 s on an emulated card of a busy machine.
  const openMaxMs = 15_000;
  const backoffMs = [100, 1_000, 10_000];
  // Seven steps, a restart, a re-registration and the sessions: one try, each part at its limit,
  // and the longest wait before it. Sessions open one after another, but not all at their limit.
  const opensMs = openMaxMs * Math.min(Math.max(services.length, 1), 4);
  const oneTryMs = 7 * stepMaxMs + restartMaxMs + reattachMaxMs + opensMs + 10_000;
  return {
    services,
    // Sixteen times the threads of a usual TEE OS (2): more would only queue in the driver.
    callsMax: 32,
    // Storage without a supplicant takes 2.2 s, eight callers on two threads up to 3.6 s.
    callLateMs: 5_000,
    // The longest that a client of a security service (an unlock, a payment) plausibly waits.
    callMaxMs: 30_000,
    replaysMax: 2,
    // Once may be the hardware's fault; twice is the command's.
    poisonCount: 2,
    canaryEveryMs: 5_000,
    // A healthy canary takes 2 ms; a second is slow, not dead.
    canaryLateMs: 1_000,
    // With the second before it, well above the 3.6 s that eight callers waited on two threads.
    suspectMs: 6_000,
    stepMaxMs,
    restartMaxMs,
    reattachMaxMs,
    openMaxMs,
    retryMs: 100,
    // One try that fails at its very end, and one that works.
    recoveryMaxMs: 2 * oneTryMs,
    attemptsPerRung: 3,
    windowMs: 600_000,
    backoffMs,
    cardReset: true,
    // As SmartNIC supervisors do: two resets that did not help will not be helped by a third.
    resetsMax: 2,
    resetWindowMs: 3_600_000,
    // Twice the usual promise (60 s) of the runtime watchdog.
    escalateMaxMs: 120_000,
    ...change,
  };
}
