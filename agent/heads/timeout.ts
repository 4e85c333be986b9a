/** Asking an open device for a timeout: what it refuses is followed by what it takes. */
import { Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Watchdog, WatchdogFacts } from "../io/watchdog.ts";
import { roundsOf } from "../machines/drivers.ts";
import { anyTaken, nearestTaken } from "../machines/limits.ts";

export interface Granted {
  readonly askedMs: number;
  readonly grantedMs: number;
  /** Asked for more, or less, than the device takes: `grantedMs` is its limit, found by trying. */
  readonly isLimit: boolean;
}

/** What Linux counts at least: a device that tells nothing at all is refreshed for this. */
const leastMs = 1000;

/**
 * The device is armed and stays so, whatever it answers. Failures other than a refusal pass. The
 * times are those to the reset, which comes after so many `rounds` of what the device counts.
 */
export function askTimeout(
  watchdog: Watchdog,
  askedMs: number,
  emit: (event: AgentEvent) => void,
  rounds: number,
): Granted {
  const { grantedMs, isLimit } = askRound(watchdog, askedMs / rounds, emit);
  return { askedMs, grantedMs: grantedMs * rounds, isLimit };
}

function askRound(watchdog: Watchdog, askedMs: number, emit: (event: AgentEvent) => void): Granted {
  const first = attempt(watchdog, askedMs);
  if (typeof first === "number" && first < leastMs) {
    const problem = `The driver says that it runs with ${first} ms: it is taken for ${leastMs} ms.`;
    emit({ kind: "wdt:refused", operation: "set_timeout", problem });
    return { askedMs, grantedMs: leastMs, isLimit: false };
  }
  if (typeof first === "number") return { askedMs, grantedMs: first, isLimit: false };
  const emitRefused = (more: string): void => {
    emit({ kind: "wdt:refused", operation: "set_timeout", problem: first.message + more });
  };
  const known = first.evidence.grantedMs ?? watchdog.facts().timeoutMs;
  const runsMs = typeof known === "number" ? known : 0;
  const tries = (ms: number): number | null => {
    const answer = attempt(watchdog, ms);
    return typeof answer === "number" ? answer : null;
  };
  const startMs = runsMs > 0 ? runsMs : anyTaken(askedMs, tries);
  if (startMs === null) {
    emitRefused(` What it runs with is not known: it is refreshed as if it were ${leastMs} ms.`);
    return { askedMs, grantedMs: leastMs, isLimit: false };
  }
  const grantedMs = nearestTaken(askedMs, startMs, tries);
  emitRefused(grantedMs === runsMs ? "" : ` By trying, it takes ${grantedMs / 1000} s.`);
  return { askedMs, grantedMs, isLimit: true };
}

/** The timeout as granted, or the refusal. */
function attempt(watchdog: Watchdog, ms: number): number | Failure {
  try {
    return watchdog.setTimeout(ms);
  } catch (error) {
    if (error instanceof Failure && error.code === "watchdog.range") return error;
    throw error;
  }
}

/**
 * Facts with the timeouts from a refresh to the reset, which is what T1 means: some drivers count
 * to the first of two expiries, and only the second one resets. Time left stays that of a round.
 */
export function wholeFacts(watchdog: Watchdog): WatchdogFacts {
  const facts = watchdog.facts();
  const rounds = roundsOf(facts.driver);
  const whole = (ms: number | null): number | null => (ms === null ? null : ms * rounds);
  const { minMs, maxMs, timeoutMs } = facts;
  return { ...facts, minMs: whole(minMs), maxMs: whole(maxMs), timeoutMs: whole(timeoutMs) };
}
