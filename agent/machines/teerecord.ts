/**
 * What the TEE machine remembers beyond its own life: crashes, attempts and quarantine, and the
 * context saved at a crash. Ids, codes and names only: payloads never enter the machine, hence no
 * record can carry them.
 */
import type { TeeConfig } from "./teeconfig.ts";
import { type Attempt, above, type LadderConfig, ladder, type Rung } from "./teeladder.ts";

/** A service and one of its commands. */
export interface CallName {
  readonly service: string;
  readonly command: number;
}

export interface CrashRecord {
  readonly atMs: number;
  readonly epoch: number;
  /** The strongest rung that was used. */
  readonly rung: Rung;
  /** As of teesignals.ts, or `hang`. */
  readonly code: string;
  /** What was being called, where that is known. */
  readonly trigger: CallName | null;
  /** From the crash to the service being back; null while it is not. */
  readonly tookMs: number | null;
}

/** Times are monotonic ms of the boot named beside them. */
export interface TeeHistory {
  /** Goes up with every start and every recovery, never down. */
  readonly epoch: number;
  /** Crashes ever counted. */
  readonly crashes: number;
  readonly attempts: readonly Attempt[];
  readonly records: readonly CrashRecord[];
  /** When a card reset was chosen. */
  readonly resetsMs: readonly number[];
  /** Commands that crashed the TEE, and how often. */
  readonly triggers: readonly (CallName & { readonly count: number })[];
  readonly quarantined: readonly CallName[];
  /** Why the TEE was given up until an operator comes; null while it is not. */
  readonly unrecoverable: string | null;
}

/** Bounds: attempts cover every rung many times over, records are what one answer shows. */
export const attemptsMax = 32;
export const recordsMax = 16;
export const triggersMax = 32;
export const quarantinedMax = 32;

export const emptyHistory: TeeHistory = {
  epoch: 0,
  crashes: 0,
  attempts: [],
  records: [],
  resetsMs: [],
  triggers: [],
  quarantined: [],
  unrecoverable: null,
};

/** Characters of the reason that are kept. */
export const becauseMax = 200;

/** The crash whose recovery has not ended; null when the last one has. */
export function unfinished({ records }: TeeHistory): CrashRecord | null {
  const last = records.at(-1);
  return last?.tookMs === null ? last : null;
}

/** Without one quarantined command, or any, and without the blame that led there. */
export function withoutQuarantine(history: TeeHistory, name: CallName | null): TeeHistory {
  const stays = (entry: CallName): boolean => name !== null && !isSame(entry, name);
  const { triggers, quarantined } = history;
  return {
    ...history,
    triggers: triggers.filter(stays),
    quarantined: quarantined.filter(stays),
  };
}

/**
 * A history after a restart of the card, whose monotonic clock began anew: everything keeps the
 * age it had when the history was saved. The time in between is not known and not counted, so
 * that a card that keeps resetting does not outlive its own budget.
 */
export function rebased(history: TeeHistory, savedMs: number, nowMs: number): TeeHistory {
  const shift = (atMs: number): number => nowMs - Math.max(savedMs - atMs, 0);
  return {
    ...history,
    attempts: history.attempts.map((attempt) => ({ ...attempt, atMs: shift(attempt.atMs) })),
    records: history.records.map((record) => ({ ...record, atMs: shift(record.atMs) })),
    resetsMs: history.resetsMs.map(shift),
  };
}

/**
 * What is assumed when there was a history and it cannot be read: that everything was tried as
 * often as it may be, less once. A lost record is no reason for more restarts than a kept one.
 */
export function fearedHistory(config: TeeConfig, nowMs: number): TeeHistory {
  const tried = <T>(count: number, value: T): T[] => Array.from({ length: count - 1 }, () => value);
  const rungs = ladder.filter((rung) => above(rung) !== rung);
  return {
    ...emptyHistory,
    attempts: rungs.flatMap((rung) => tried(config.attemptsPerRung, { atMs: nowMs, rung })),
    resetsMs: tried(config.resetsMax, nowMs),
  };
}

export function isSame(left: CallName, right: CallName): boolean {
  return left.service === right.service && left.command === right.command;
}

export function isQuarantined(history: TeeHistory, name: CallName): boolean {
  return history.quarantined.some((entry) => isSame(entry, name));
}

/** `crypto#3`: how people see a call's name. */
export function nameOf(name: CallName | null): string {
  return name === null ? "" : `${name.service}#${name.command}`;
}

/** Counts a trigger; with `poisonCount` of them the command is quarantined. */
export function withTrigger(history: TeeHistory, name: CallName, poisonCount: number): TeeHistory {
  const count = (history.triggers.find((entry) => isSame(entry, name))?.count ?? 0) + 1;
  const others = history.triggers.filter((entry) => !isSame(entry, name));
  const { service, command } = name;
  const triggers = [...others, { service, command, count }].slice(-triggersMax);
  if (count < poisonCount || isQuarantined(history, name)) return { ...history, triggers };
  const quarantined = [...history.quarantined, { service, command }].slice(-quarantinedMax);
  return { ...history, triggers, quarantined };
}

/** A call that was sent again and answered did not bring the TEE down: one blame less. */
export function withoutBlame(history: TeeHistory, name: CallName): TeeHistory {
  const triggers = history.triggers
    .map((entry) => (isSame(entry, name) ? { ...entry, count: entry.count - 1 } : entry))
    .filter(({ count }) => count > 0);
  return { ...history, triggers };
}

export function withAttempt(history: TeeHistory, rung: Rung, atMs: number): TeeHistory {
  return { ...history, attempts: [...history.attempts, { atMs, rung }].slice(-attemptsMax) };
}

export function withRecord(history: TeeHistory, record: CrashRecord): TeeHistory {
  return { ...history, records: [...history.records, record].slice(-recordsMax) };
}

/** Completes the newest record. */
export function withOutcome(history: TeeHistory, change: Partial<CrashRecord>): TeeHistory {
  const last = history.records.at(-1);
  if (last === undefined) return history;
  return { ...history, records: [...history.records.slice(0, -1), { ...last, ...change }] };
}

/** When the oldest attempt leaves the window; Infinity when there is none. */
export function attemptEndsMs(history: TeeHistory, config: LadderConfig): number {
  return Math.min(...history.attempts.map((attempt) => attempt.atMs + config.windowMs));
}

/** Without attempts that no longer count. */
export function pruned(history: TeeHistory, config: LadderConfig, atMs: number): TeeHistory {
  const attempts = history.attempts.filter((attempt) => attempt.atMs + config.windowMs > atMs);
  return { ...history, attempts };
}

/** The REE's security context at a crash: which services were registered, what was under way. */
export interface ReeContext {
  readonly epoch: number;
  /** Those that were down at the crash are not registered again by its recovery. */
  readonly services: readonly { readonly name: string; readonly registered: boolean }[];
  readonly calls: readonly (CallName & { readonly class: string })[];
}
