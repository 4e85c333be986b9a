/**
 * When the hardware is next refreshed on the OS's behalf. With T1 the hardware's timeout and D
 * the promised deadline: refreshes are at most T1/2 apart and the last one is placed at D - T1,
 * so that the hardware expires at D and not up to a T1 later (DESIGN, rule 5). The one before it
 * leaves room for it. The native thread computes the same (native/refresher.h).
 */

export interface Placement {
  /** Time of the latest hardware refresh. */
  readonly last: number;
  /** Time of the OS's latest check-in; no refresh is owed before it. */
  readonly checkIn: number;
  /** The promised deadline: checkIn + T2. */
  readonly deadline: number;
  /** T1, the hardware's timeout, in the same unit as the times. */
  readonly hardware: number;
  /** Least distance between two refreshes that the chip stands; 0 = any. */
  readonly minGap: number;
}

/**
 * Time of the next refresh, or null when none may come before the next check-in. A result in the
 * past means at once. No two are closer than `minGap`; room is left for the final one, which is
 * pushed behind its place, by less than `minGap`, only where check-ins come closer than that.
 */
export function nextRefresh(p: Placement): number | null {
  const final = Math.max(p.deadline - p.hardware, p.checkIn);
  if (p.last >= final) return null;
  const half = p.hardware / 2;
  const next = final - p.last <= half ? final : Math.min(p.last + half, final - p.minGap);
  return Math.max(next, p.last + p.minGap);
}
