/** At which instants a boot is stopped, and what follows from which of them were caught. Pure. */

/** A part of a boot in which all went well, ms after the loader's arming. */
export interface Phase {
  readonly name: string;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface Instant {
  readonly phase: string;
  /** After the beginning of the phase, ms: boots differ in how long they take to get there. */
  readonly afterMs: number;
  /** After the arming, in the boot that was measured, ms. */
  readonly planMs: number;
}

/**
 * `count` instants, earliest first. Each phase gets one as far as they last, the longest first;
 * each further one goes where they would lie farthest apart.
 */
export function instantsOf(phases: readonly Phase[], count: number): Instant[] {
  const shares = phases.map((phase) => ({ phase, lengthMs: phase.toMs - phase.fromMs, share: 0 }));
  for (let given = 0; given < count; given++) {
    const apart = (one: (typeof shares)[number]): number => one.lengthMs / (one.share + 1);
    const without = shares.filter(({ share }) => share === 0);
    const among = without.length > 0 ? without : shares;
    const [next] = among.toSorted((one, other) => apart(other) - apart(one));
    if (next !== undefined) next.share += 1;
  }
  return shares.flatMap(({ phase, lengthMs, share }) =>
    Array.from({ length: share }, (_, at): Instant => {
      const afterMs = (lengthMs * (at + 0.5)) / share;
      return { phase: phase.name, afterMs, planMs: phase.fromMs + afterMs };
    }),
  );
}

/** The longest time in which no hang ended in a reset, between which bounds, ms. */
export interface Uncovered {
  /** From the first to the last of the hangs in a row that did not. */
  readonly atLeastMs: number;
  /** Between the hangs around them that did. */
  readonly atMostMs: number;
}

/** `hangs`: earliest first. */
export function uncovered(hangs: readonly { planMs: number; ends: boolean }[]): Uncovered {
  let [atLeastMs, atMostMs] = [0, 0];
  for (const [at, { planMs, ends }] of hangs.entries()) {
    if (ends) continue;
    const firstAt = hangs.findLastIndex((one, before) => before < at && one.ends) + 1;
    const first = hangs[firstAt]?.planMs ?? planMs;
    const caughtMs = hangs[firstAt - 1]?.planMs ?? first;
    const nextMs = hangs.find((one, after) => after > at && one.ends)?.planMs;
    atLeastMs = Math.max(atLeastMs, planMs - first);
    atMostMs = Math.max(atMostMs, (nextMs ?? planMs) - caughtMs);
  }
  return { atLeastMs, atMostMs };
}
