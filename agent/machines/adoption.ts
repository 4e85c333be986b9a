/**
 * How well the way from the firmware's last refresh to the agent was covered: what the early
 * userspace hook says it did, what the hand-off record promised, and what the hardware shows.
 * Nothing is taken for covered that nothing shows. Pure.
 */
import type { WatchdogFacts } from "../io/watchdog.ts";
import type { Hook } from "./boothook.ts";

/** The firmware's countdown at its last refresh, on this clock. */
export interface Countdown {
  readonly refreshed_ms: number;
  readonly remaining_ms: number;
  readonly granted_ms: number;
  /** Firmware set the hardware's lock; absent where it does not say. */
  readonly locked?: boolean | undefined;
}

export interface Arrival {
  readonly countdown: Countdown | null;
  readonly hook: Hook | null;
  /** What the device showed as left of a round just before it was opened; null = nothing. */
  readonly leftMs: number | null;
  /** Linux knows of somebody who opened it, and of nobody who disarmed it since. */
  readonly isActive: boolean;
  /** The countdown reaches zero so often before the reset. */
  readonly rounds: number;
  readonly atMs: number;
  /**
   * Firmware and Linux read one clock. Where they do not, Linux' begins at some time after the
   * last refresh: less may be left than the record says, and never more.
   */
  readonly oneClock: boolean;
}

export interface Coverage {
  /** The longest time in which a hang would not have ended in a reset, as far as is known, ms. */
  readonly uncoveredMs: number;
  readonly because: string;
}

/** Device and record differ by at most this when they mean one countdown: drivers count seconds. */
const agreementMs = 2000;

/** The gap between the firmware's last refresh and the agent's first. */
export function coverage(found: Arrival): Coverage {
  const { countdown, atMs } = found;
  const lastMs = found.hook?.openedMs ?? found.hook?.loadedMs ?? found.hook?.beganMs ?? 0;
  // What is said to have happened later than now did not happen.
  const hook = lastMs > atMs + agreementMs ? null : found.hook;
  const arrival = { ...found, hook };
  if (countdown === null) return unarmed(arrival);
  const sinceMs = (ms: number): number => Math.max(Math.round(ms - countdown.refreshed_ms), 0);
  const armedUntilMs = countdown.refreshed_ms + countdown.remaining_ms;
  if (hook === null || hook.method === "none" || hook.loadedMs === null) {
    if (kept(arrival)) return { uncoveredMs: 0, because: "the countdown never stopped" };
    return { uncoveredMs: sinceMs(atMs), because: "nothing shows that it counted" };
  }
  if (hook.beganMs > armedUntilMs + agreementMs) {
    // It outlived its own reset, so it did not count.
    const untilMs = hook.openedMs ?? atMs;
    return { uncoveredMs: sinceMs(untilMs), because: "it did not end the boot when it was due" };
  }
  if (hook.before && hook.method !== "leave") return unknownBefore(hook, sinceMs, atMs);
  return covered(hook, arrival, sinceMs);
}

function covered(hook: Hook, arrival: Arrival, sinceMs: (ms: number) => number): Coverage {
  const { atMs, countdown } = arrival;
  switch (hook.method) {
    case "lock": {
      if (countdown?.locked === false) {
        return {
          uncoveredMs: sinceMs(atMs),
          because: "the hook counts on a lock, firmware set none",
        };
      }
      const dueMs = (hook.loadedMs ?? hook.beganMs) + hook.adoptWithinMs;
      if (atMs <= dueMs + agreementMs) {
        return { uncoveredMs: 0, because: "firmware locked the countdown" };
      }
      return { uncoveredMs: sinceMs(atMs), because: "it did not end the boot when it was due" };
    }
    case "hold": {
      if (hook.openedMs === null) {
        return { uncoveredMs: sinceMs(atMs), because: "the hook could not open the device" };
      }
      const uncoveredMs = Math.max(Math.round(hook.openedMs - hook.beganMs), 0);
      return { uncoveredMs, because: "from loading the driver to opening the device" };
    }
    default:
      if (kept(arrival)) return { uncoveredMs: 0, because: "the driver kept the countdown" };
      return {
        uncoveredMs: sinceMs(atMs),
        because: "nothing shows that the driver kept the countdown",
      };
  }
}

/** The driver was there before the hook: built in, or loaded by somebody else. */
function unknownBefore(hook: Hook, sinceMs: (ms: number) => number, atMs: number): Coverage {
  const untilMs = hook.openedMs ?? (hook.method === "open_timeout" ? hook.beganMs : atMs);
  return { uncoveredMs: sinceMs(untilMs), because: "the driver was loaded before the hook" };
}

/** No countdown of firmware's: nothing was armed until somebody opened the device. */
function unarmed({ hook, atMs }: Arrival): Coverage {
  const openedMs = hook?.openedMs ?? null;
  if (openedMs === null) {
    return { uncoveredMs: Math.round(atMs), because: "nothing was armed before the agent" };
  }
  return { uncoveredMs: Math.round(openedMs), because: "the hook armed it, firmware did not" };
}

/** Whether the device was counting just before it was opened. */
export function counted(arrival: Arrival): boolean {
  return arrival.leftMs !== null && (arrival.isActive || kept(arrival));
}

/**
 * Whether it has counted ever since the firmware armed it. A time left does not show that: TCO
 * timers and others that stand still go on showing what was loaded or read last. It has to have
 * changed since the hook looked, or to have fallen as the firmware's record promised.
 */
function kept(arrival: Arrival): boolean {
  const { leftMs, isActive, hook } = arrival;
  // Whoever opened it in between may have started it anew.
  if (leftMs === null || isActive) return false;
  const beforeMs = hook?.leftMs ?? null;
  return beforeMs === null ? agrees(arrival) : leftMs !== beforeMs;
}

/** Drivers tell whole seconds. */
const stepMs = 1000;

function agrees({ countdown, leftMs, rounds, atMs, oneClock }: Arrival): boolean {
  if (leftMs === null || countdown === null) return false;
  const { refreshed_ms, remaining_ms } = countdown;
  const roundMs = remaining_ms / rounds;
  // As much as it began with: it may stand still since then.
  if (leftMs >= Math.floor(roundMs / stepMs) * stepMs) return false;
  return Array.from({ length: rounds }, (_, round) => leftMs + round * roundMs).some((wholeMs) => {
    const overMs = wholeMs - (refreshed_ms + remaining_ms - atMs);
    return overMs <= agreementMs && (!oneClock || overMs >= -agreementMs);
  });
}

/** Words that the firmware's and the Linux driver's name of one device have in common. */
const families = ["i6300esb", "tco", "sbsa"] as const;

/**
 * Why the device that Linux has is not the one that the record tells of; null when it may well be.
 * `isHeld`: a hook has set a timeout of its own since.
 */
export function disagreement(
  record: { backend: string; granted_ms: number },
  facts: Pick<WatchdogFacts, "identity" | "timeLeftMs">,
  isHeld: boolean,
): string | null {
  const identity = facts.identity.toLowerCase();
  const backend = record.backend.toLowerCase();
  const family = families.find((word) => backend.includes(word)) ?? backend;
  if (!identity.includes(family)) {
    return `firmware armed ${record.backend}, Linux has ${facts.identity}`;
  }
  const { timeLeftMs } = facts;
  if (isHeld || timeLeftMs === null || timeLeftMs <= record.granted_ms + agreementMs) return null;
  return `${timeLeftMs} ms are left of the ${record.granted_ms} ms that firmware was granted`;
}
