/**
 * What comes of a script: one event per step, with the answer and how the device looks after it.
 * `perform` is the same code on both sides: in the simulator, and in a guest on a real driver.
 */
import { assertNever, Failure } from "../../errors.ts";
import type { Watchdog } from "../../io/watchdog.ts";
import { parseStep } from "./script.ts";

/** How a device looks from outside (sysfs). Times in ms; null where the driver does not say. */
export interface Look {
  readonly state: string;
  readonly timeoutMs: number | null;
  readonly pretimeoutMs: number | null;
  readonly leftMs: number | null;
  readonly bootStatus: number | null;
  readonly minMs: number | null;
  readonly maxMs: number | null;
}

export interface TraceEvent {
  /** The step, or `start` (before the first one) or `boot` (after an expiry). */
  readonly step: string;
  /** When it was done, or when the card expired during it: ms since `start`. */
  readonly atMs: number;
  /** A value, the code of a Failure, `expired`, or null. */
  readonly result: number | string | null;
  /** Null when the card expired. */
  readonly look: Look | null;
}

export const expired = "expired";

/** What all scripts begin with: closed, not counting, with a timeout every device has. */
export const startTimeoutMs = 30_000;

/** Brings a device into the state in which scripts begin, from wherever the last one left it. */
export function resync(watchdog: Watchdog): void {
  watchdog.open();
  watchdog.setTimeout(startTimeoutMs);
  if (watchdog.pretimeout() !== 0) watchdog.setPretimeout(0);
  watchdog.disarm();
}

export function lookAt(watchdog: Watchdog): Look {
  const { state, timeoutMs, pretimeoutMs, timeLeftMs, bootStatus, minMs, maxMs } = watchdog.facts();
  return { state, timeoutMs, pretimeoutMs, leftMs: timeLeftMs, bootStatus, minMs, maxMs };
}

/** Does one step, except for letting time pass. Failures are results; a defect is thrown. */
export function perform(watchdog: Watchdog, step: string): TraceEvent["result"] {
  try {
    return call(watchdog, step);
  } catch (error) {
    if (error instanceof Failure) return error.code;
    throw error;
  }
}

function call(watchdog: Watchdog, step: string): number | null {
  const { act, ms } = parseStep(step);
  switch (act) {
    case "timeout":
      return watchdog.setTimeout(ms);
    case "pretimeout":
      return watchdog.setPretimeout(ms);
    case "left":
      return watchdog.timeLeft();
    case "open":
    case "disarm":
    case "close":
      watchdog[act]();
      return null;
    case "refresh":
    case "rewrite":
      watchdog.refreshBy = act === "refresh" ? "keepalive" : "settimeout";
      watchdog.refresh();
      return null;
    case "wait":
      return null;
    default:
      return assertNever(act);
  }
}
