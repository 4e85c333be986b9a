/**
 * What a store tells of its card at any moment: the state that the reports up to then add up to,
 * or an earlier one that the card gave, and what is missing in between. Pure.
 */
import { Failure } from "../errors.ts";
import { beginning, fold } from "../machines/cardstate.ts";
import type { CardState } from "../wire/cardstate.ts";
import type { Gap, Position } from "./inbox.ts";
import type { Entry } from "./store.ts";

/** A moment: of the host's clock, ms since 1970, or after a report. Absent: the last one known. */
export type Moment = { readonly atMs: number } | Position | null;

export interface Past {
  readonly state: CardState;
  /** When the last thing that is in the state happened, on the host's clock. */
  readonly asOfMs: number;
  /** When the card was last heard of at all, on the host's clock. */
  readonly heardMs: number;
  /** Reports that should be in the state and are not; empty: it is the true one. */
  readonly missing: readonly Gap[];
  /** The identity that the card last gave. */
  readonly card: Extract<Entry, { t: "card" }> | null;
}

/** What the entries say of one boot. */
interface BootTimes {
  /** The host's time at which the card's clock was 0: the earliest that all arrivals allow. */
  zeroMs: number;
}

type Entries = () => Iterable<Entry>;

/** `entries` is gone through a few times. Failure `store.missing`: nothing is known of then. */
export function stateAt(entries: Entries, moment: Moment): Past {
  const times = new Map<string, BootTimes>();
  let heardMs = 0;
  let card: Past["card"] = null;
  for (const entry of entries()) {
    const { boot, sinceMs, atMs } = placeOf(entry);
    heardMs = Math.max(heardMs, atMs);
    if (entry.t === "card") card = entry;
    if (boot === null || sinceMs === null) continue;
    const zeroMs = Math.min(times.get(boot)?.zeroMs ?? Infinity, atMs - sinceMs);
    times.set(boot, { zeroMs });
  }
  const position = positionOf(entries, moment, times);
  if (position === null) throw new Failure("store.missing", nothing(moment));
  const { state, missing } = sumUp(entries, position);
  const asOfMs = (times.get(state.boot)?.zeroMs ?? heardMs) + state.at_ms;
  return { state, missing, heardMs, asOfMs, card };
}

function nothing(moment: Moment): string {
  if (moment === null) return "nothing is stored of this card yet.";
  const then = "atMs" in moment ? new Date(moment.atMs).toISOString() : positionText(moment);
  return `nothing is stored of this card as of ${then}.`;
}

function positionText({ boot, seq }: Position): string {
  return `${boot}:${seq}`;
}

/** Whose clock an entry tells of, what it showed, and when that was heard here. */
function placeOf(entry: Entry): { boot: string | null; sinceMs: number | null; atMs: number } {
  const atMs = "at" in entry ? entry.at : 0;
  if (entry.t === "report") return { boot: entry.report.boot, sinceMs: entry.report.at_ms, atMs };
  if (entry.t === "card") return { boot: entry.boot, sinceMs: entry.uptime_ms, atMs };
  return { boot: null, sinceMs: null, atMs };
}

/** The last report, or state, that happened up to the moment. */
function positionOf(
  entries: Entries,
  moment: Moment,
  times: ReadonlyMap<string, BootTimes>,
): Position | null {
  if (moment !== null && "boot" in moment) return moment;
  let found: (Position & { happenedMs: number }) | null = null;
  for (const entry of entries()) {
    const at = entry.t === "report" ? entry.report : entry.t === "state" ? entry.state : null;
    if (at === null) continue;
    const zeroMs = times.get(at.boot)?.zeroMs ?? entryTime(entry) - at.at_ms;
    const happenedMs = zeroMs + at.at_ms;
    const isLater = found === null || happenedMs >= found.happenedMs;
    const isBefore = moment === null || happenedMs <= moment.atMs;
    // Of two at the same time the higher counts.
    const isBack = found?.boot === at.boot && at.seq < found.seq;
    if (isBefore && isLater && !isBack) found = { boot: at.boot, seq: at.seq, happenedMs };
  }
  return found;
}

function entryTime(entry: Entry): number {
  return "at" in entry ? entry.at : 0;
}

/** From the latest state that the card gave up to there, else from the beginning of the boot. */
function sumUp(entries: Entries, position: Position): { state: CardState; missing: Gap[] } {
  const { boot, seq } = position;
  let state = beginning(boot);
  let isKnown = seq === 0;
  for (const entry of entries()) {
    if (entry.t !== "state" || entry.state.boot !== boot || entry.state.seq > seq) continue;
    if (entry.state.seq < state.seq) continue;
    state = entry.state;
    isKnown = true;
  }
  const missing: Gap[] = [];
  for (const entry of entries()) {
    if (entry.t !== "report" || entry.report.boot !== boot) continue;
    const { report } = entry;
    if (report.seq <= state.seq || report.seq > seq) continue;
    if (report.seq > state.seq + 1) {
      missing.push({ boot, from: state.seq + 1, to: report.seq - 1 });
    }
    state = fold(state, report);
    isKnown = true;
  }
  if (!isKnown) throw new Failure("store.missing", nothing(position));
  if (state.seq < seq) missing.push({ boot, from: state.seq + 1, to: seq });
  return { state, missing };
}
