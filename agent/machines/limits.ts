/**
 * The limits of a device that states none, or other ones than it has: found by trying, on the open
 * device, between a timeout it refused and one it took. Nothing outside of these two is ever set,
 * so that at no moment it runs with less than was asked for or than it had. Pure.
 */

/** A timeout as granted, ms; null when it was refused and the device runs on with what it had. */
export type Try = (timeoutMs: number) => number | null;

/**
 * The granted timeout nearest to `refusedMs`, which the device then runs with; `takenMs` is what it
 * runs with before. Whole seconds, as Linux counts; at most 17 tries for a day.
 */
export function nearestTaken(refusedMs: number, takenMs: number, attempt: Try): number {
  let refused = Math.floor(refusedMs / 1000);
  let taken = Math.floor(takenMs / 1000);
  let grantedMs = takenMs;
  while (Math.abs(refused - taken) > 1) {
    const middle = Math.floor((refused + taken) / 2);
    const answerMs = attempt(middle * 1000);
    if (answerMs === null) {
      refused = middle;
    } else {
      taken = middle;
      grantedMs = answerMs;
    }
  }
  return grantedMs;
}

/**
 * For a device that refused `refusedMs` and does not say what it runs with: the longest of the
 * timeouts from half of that down that it takes; null when it takes none at all.
 */
export function anyTaken(refusedMs: number, attempt: Try): number | null {
  for (let ms = refusedMs / 2; ms >= 1000; ms /= 2) {
    const answerMs = attempt(Math.floor(ms / 1000) * 1000);
    if (answerMs !== null) return answerMs;
  }
  return null;
}
