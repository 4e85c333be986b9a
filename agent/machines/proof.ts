/**
 * Does a refresh refresh? Judged by the device's own time left: it must fall with monotonic time
 * and rise with a refresh. Drivers count whole seconds, so a difference is exact to less than one.
 * Pure: readings in, verdicts out.
 */
import type { RefreshBy } from "../io/watchdog.ts";

/** `open`: not decided yet. `untold`: the readings never sufficed. */
export type Works = "open" | "yes" | "no" | "untold";

export interface Proof {
  readonly by: RefreshBy;
  readonly works: Works;
  /** The highest time left read since arming, ms; null where the driver offers none. */
  readonly fullMs: number | null;
  readonly last: { readonly atMs: number; readonly leftMs: number } | null;
  /** How far it fell within the longest span so far; null until two readings were far apart. */
  readonly fell: { readonly byMs: number; readonly inMs: number } | null;
  /** Pairs of readings, far enough apart, between which nothing changed. */
  readonly still: number;
  /** Refreshes observed while undecided. */
  readonly tries: number;
}

/** Two whole-second readings differ by the true span to within less than this. */
const resolutionMs = 1000;
/** Between asking the clock and asking the device. */
const slopMs = 200;
/** Readings this far apart show the difference between a fall, half a fall and none. */
export const apartMs = 2500;
/** So many still pairs are a frozen counter: one or two may be a refresh by someone else. */
const stillMax = 3;
/** After so many refreshes without an answer there will be none. */
const triesMax = 16;

/** From the reading just after arming; null = the driver offers none. */
export function beginProof(by: RefreshBy, atMs: number, leftMs: number | null): Proof {
  const last = leftMs === null ? null : { atMs, leftMs };
  const works = leftMs === null ? "untold" : "open";
  return { by, works, fullMs: leftMs, last, fell: null, still: 0, tries: 0 };
}

export function isFrozen(proof: Proof): boolean {
  return proof.still >= stillMax && proof.fell === null;
}

/** Whether a reading between two refreshes would still tell something. */
export function wantsLook(proof: Proof): boolean {
  return proof.works === "open" && proof.fell === null && !isFrozen(proof);
}

/**
 * One more reading. `alone`: nobody refreshed since the one before; else only what a refresh in
 * between cannot explain counts.
 */
export function looked(proof: Proof, atMs: number, leftMs: number, alone: boolean): Proof {
  const { last } = proof;
  if (proof.fullMs === null || last === null) return proof;
  const fullMs = Math.max(proof.fullMs, leftMs);
  const inMs = atMs - last.atMs;
  const byMs = last.leftMs - leftMs;
  // Nothing but a refresh raises it.
  const works = byMs < 0 && !alone && proof.works === "open" ? "yes" : proof.works;
  const next = { ...proof, works, fullMs, last: { atMs, leftMs } };
  // The longest span tells most: over a short one half a fall looks like a whole one.
  if (inMs < apartMs - slopMs || inMs <= (proof.fell?.inMs ?? 0)) return next;
  if (byMs === 0 && proof.fell === null) return { ...next, still: proof.still + 1 };
  const isTrue = Math.abs(byMs - inMs) <= resolutionMs + slopMs;
  const isExplained = !alone && byMs < inMs;
  return isTrue || !isExplained ? { ...next, fell: { byMs, inMs } } : next;
}

/** A refresh with the readings just before and just after it. */
export function refreshedBetween(
  proof: Proof,
  atMs: number,
  reading: { beforeMs: number; afterMs: number; alone: boolean },
): Proof {
  const { beforeMs, afterMs } = reading;
  const before = looked(proof, atMs, beforeMs, reading.alone);
  const after = looked(before, atMs, afterMs, false);
  if (after.fullMs === null || proof.works !== "open") return after;
  if (after.works === "yes") return after;
  const tries = proof.tries + 1;
  // So far below the top a refresh must show, unless the counter does not count.
  if (beforeMs <= after.fullMs - apartMs + slopMs && !isFrozen(after)) {
    return { ...after, tries, works: "no" };
  }
  const isOver = tries >= triesMax || isFrozen(after);
  return { ...after, tries, works: isOver ? "untold" : "open" };
}

/**
 * Whether a reading contradicts that the refreshes so far worked: less is left than a refresh no
 * longer than `sinceMs` ago can have become.
 */
export function contradicts(proof: Proof, leftMs: number, sinceMs: number): boolean {
  if (proof.works !== "yes" || proof.fullMs === null) return false;
  return leftMs < proof.fullMs - sinceMs - apartMs;
}

/** Whether time left fell as fast as time passed; false as long as that is not known. */
export function fellTrue(proof: Proof): boolean {
  const { fell } = proof;
  return fell !== null && Math.abs(fell.byMs - fell.inMs) <= resolutionMs + slopMs;
}
