/**
 * The ladder of restarts: which rung a crash is answered with. Each rung is tried a bounded number
 * of times in a window; what the platform cannot do is skipped, and said. Restart with restraint:
 * a TEE that keeps dying is not restarted for ever.
 */
import type { RestartPower } from "../io/tee.ts";

export type Rung = RestartPower | "card_reset";

/** Mildest first. The last is not a restart of the TEE: the watchdog resets the whole card. */
export const ladder: readonly Rung[] = ["session", "supplicant", "tee_os", "card_reset"];

export interface Attempt {
  /** Monotonic ms of this start of the card. */
  readonly atMs: number;
  readonly rung: Rung;
}

export interface LadderConfig {
  /** N: attempts at one rung within the window; the next crash goes one rung up. */
  readonly attemptsPerRung: number;
  /** W, ms. */
  readonly windowMs: number;
  /** Waits before the 1st, 2nd, ... attempt at a rung within the window, ms; the last repeats. */
  readonly backoffMs: readonly number[];
}

export interface Choice {
  readonly rung: Rung;
  readonly skipped: readonly { readonly rung: Rung; readonly because: string }[];
}

/** Attempts at `rung` in the window that ends at `atMs`. */
export function recentAttempts(
  attempts: readonly Attempt[],
  rung: Rung,
  config: LadderConfig,
  atMs: number,
): number {
  return attempts.filter((attempt) => {
    return attempt.rung === rung && attempt.atMs + config.windowMs > atMs;
  }).length;
}

/** The mildest rung from `from` upwards that is possible and not used up. */
export function chooseRung(
  from: Rung,
  powers: readonly RestartPower[],
  attempts: readonly Attempt[],
  config: LadderConfig,
  atMs: number,
): Choice {
  const skipped: { rung: Rung; because: string }[] = [];
  for (const rung of ladder.slice(ladder.indexOf(from))) {
    if (rung === "card_reset") break;
    const count = recentAttempts(attempts, rung, config, atMs);
    if (!powers.includes(rung)) {
      skipped.push({ rung, because: "skipped: this platform has no such power" });
    } else if (count >= config.attemptsPerRung) {
      const because = `skipped: tried ${count} times within ${config.windowMs} ms`;
      skipped.push({ rung, because });
    } else {
      return { rung, skipped };
    }
  }
  return { rung: "card_reset", skipped };
}

/** The rung above, card_reset above all. */
export function above(rung: Rung): Rung {
  return ladder[ladder.indexOf(rung) + 1] ?? "card_reset";
}

/** The stronger of two rungs. */
export function stronger(left: Rung, right: Rung): Rung {
  return ladder.indexOf(left) >= ladder.indexOf(right) ? left : right;
}

/** How long to wait before attempt number `index` (from 0) at a rung. A session needs no wait:
 * reopening one disturbs nobody else. */
export function waitMs(rung: Rung, index: number, config: LadderConfig): number {
  if (rung === "session") return 0;
  return config.backoffMs[Math.min(index, config.backoffMs.length - 1)] ?? 0;
}
