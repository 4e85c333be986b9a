/**
 * What survives from boot to boot: which slot to boot, how often it failed in a row, and where
 * and why the last boots ended. Firmware and agent share it (on a card with our firmware half it
 * is a non-volatile variable, elsewhere the agent keeps it in its journal). Pure functions.
 */

import { causeOf } from "./resetcause.ts";
import type { StageLog } from "./stagelog.ts";

export const stageNames = ["power_on", "os_load", "hand_off", "adopt", "runtime"] as const;
export type Stage = (typeof stageNames)[number];
export type Slot = "a" | "b" | "safe";

/** Why a boot ended. `unknown` when nobody can say; never guessed. */
export type Cause =
  | "power"
  | "watchdog"
  | "commanded"
  | "clean"
  | "panic"
  | "agent_restart"
  | "unknown";

/** What hardware and firmware say of the previous reset, before our own notes are consulted. */
export type HardwareCause = "watchdog" | "power" | "panic" | "unknown";

/** One boot: how far it came and, once it is over, why it ended. */
export interface BootEntry {
  readonly boot: string;
  /** The kernel's boot id; equal ids mean that only the agent restarted. Empty before Linux. */
  readonly machine: string;
  readonly slot: Slot;
  readonly stage: Stage;
  readonly step: string;
  /** Milliseconds since power-on of the last mark. */
  readonly uptimeMs: number;
  readonly cause: Cause;
  /** Who or what was to blame, when that was known before the reset; else empty. */
  readonly culprit: string;
  readonly confirmed: boolean;
  /** When each stage began, ms since power-on, and who refreshed in it; absent = not noted. */
  readonly stages?: readonly StageStart[];
  /** How the first agent of this boot found the watchdog; absent until one has taken it over. */
  readonly arrival?: ArrivalNote;
}

/** Kept for later agents on the same boot, which find the watchdog as the first one left it. */
export interface ArrivalNote {
  /** When it was taken over, monotonic ms of the same machine boot. */
  readonly atMs: number;
  /** Time before that in which nothing is known to have counted, ms. */
  readonly uncoveredMs: number;
}

export interface StageStart {
  readonly stage: Stage;
  readonly startMs: number;
  readonly by: StageLog["by"];
}

/** Written before the agent or the card is ended on purpose. */
export interface Closing {
  readonly cause: Cause;
  readonly culprit: string;
  /** The last check-in of an agent that was stopped, monotonic ms of the same machine boot. */
  readonly checkedInMs?: number;
}

export interface BootRecord {
  /** Number of boots begun; numbers boot ids. */
  readonly boots: number;
  /** Number of the latest boot that has told the host of those before it. */
  readonly told: number;
  readonly active: Slot;
  /** A slot on trial gets one boot; unless it confirms, the active slot is booted again. */
  readonly trial: Slot | null;
  /** Failed boots in a row, per slot; cleared by a confirmed boot. */
  readonly failures: { readonly a: number; readonly b: number };
  readonly current: BootEntry | null;
  /** Cause written before a reset that the agent chose; consulted at the next boot. */
  readonly closing: Closing | null;
  /** Oldest first, at most `pastMax`. */
  readonly past: readonly BootEntry[];
  /** The kernel's crash records that were there at the latest start; absent = not known. */
  readonly crashRecords?: readonly string[];
  /**
   * Agents in a row on this boot of the machine that ended, unasked, before they had lived for T2;
   * absent = none.
   */
  readonly shortLives?: number;
}

/** Crash records remembered: a pstore holds a handful. */
export const crashRecordsMax = 16;

/** Ended boots remembered; one packet holds them all. */
export const pastMax = 12;

/**
 * The record of a card that has none. A record that was `lost` counts as one failure short of
 * the limit: losing the counter must not hand a failing slot a fresh set of attempts.
 */
export function emptyRecord(lost: boolean, attemptsMax: number): BootRecord {
  const failures = lost ? Math.max(attemptsMax - 1, 0) : 0;
  return {
    boots: 0,
    told: 0,
    active: "a",
    trial: null,
    failures: { a: failures, b: lost ? failures : 0 },
    current: null,
    closing: null,
    past: [],
  };
}

/**
 * A record from before things that are lost: failures since then count as one short of the limit,
 * no trial is begun anew, and the boot it calls current is over, nobody knows how.
 */
export function agedRecord(record: BootRecord, attemptsMax: number): BootRecord {
  const least = emptyRecord(true, attemptsMax).failures;
  const { a, b } = record.failures;
  const failures = { a: Math.max(a, least.a), b: Math.max(b, least.b) };
  const { current } = record;
  const past = current === null ? record.past : [...record.past, current].slice(-pastMax);
  return { ...record, trial: null, failures, current: null, closing: null, past };
}

export interface Begin {
  readonly randomId: string;
  readonly machine: string;
  readonly hardware: HardwareCause;
  /** Failed boots in a row after which the other slot is taken. At least 1. */
  readonly attemptsMax: number;
}

export interface Begun {
  readonly record: BootRecord;
  readonly entry: BootEntry;
  /** The boot before, with its cause settled; null for the first. */
  readonly previous: BootEntry | null;
  /** Set when this boot takes another slot because the one before failed too often. */
  readonly fallback: { from: Slot; slot: Slot; failures: number } | null;
}

/**
 * Opens a boot: settles why the previous one ended, counts it as failed or not, and chooses the
 * slot. To be stored before anything that can hang. Power cycles, commanded and clean resets and
 * restarts of the agent alone are not failures; an unconfirmed boot that ended in any other way is.
 */
export function beginBoot(record: BootRecord, begin: Begin): Begun {
  const previous = record.current === null ? null : settle(record, begin);
  const restart = previous?.cause === "agent_restart";
  const failed = previous !== null && !previous.confirmed && isFailure(previous.cause);
  const failures = failed ? countFailure(record, previous.slot) : record.failures;
  const choice = choose({ ...record, failures }, failed, begin.attemptsMax);
  const boots = record.boots + 1;
  const entry: BootEntry = {
    boot: `${boots}-${begin.randomId}`,
    machine: begin.machine,
    slot: restart ? previous.slot : choice.slot,
    stage: "power_on",
    step: "",
    uptimeMs: 0,
    cause: "unknown",
    culprit: "",
    confirmed: restart ? previous.confirmed : false,
    ...(restart && previous.arrival !== undefined ? { arrival: previous.arrival } : {}),
  };
  const past = previous === null ? record.past : [...record.past, previous].slice(-pastMax);
  const next: BootRecord = {
    boots,
    told: record.told,
    active: choice.active,
    trial: restart ? record.trial : null,
    failures,
    current: entry,
    closing: null,
    past,
    ...(record.crashRecords === undefined ? {} : { crashRecords: record.crashRecords }),
    ...(restart && endedUnasked(record) ? { shortLives: (record.shortLives ?? 0) + 1 } : {}),
  };
  const from = previous?.slot ?? entry.slot;
  const fallback =
    failed && from !== entry.slot && from !== "safe"
      ? { from, slot: entry.slot, failures: failures[from] }
      : null;
  return { record: next, entry, previous, fallback };
}

/** Firmware counts boots and chooses the slot in a store of its own: its word stands. */
export interface FirmwareBoot {
  readonly boot: string;
  readonly slot: Slot;
  /** Failed boots of that slot in a row, this one not counted. */
  readonly failures: number;
  /** With so many of them a slot is given up. */
  readonly attempts_max?: number | undefined;
  /** The boot before as firmware settled it; the agent may never have run in it. */
  readonly previous?: FirmwarePrevious | undefined;
}

export interface FirmwarePrevious {
  readonly boot: string;
  readonly slot: Slot;
  readonly stage: Stage;
  readonly step: string;
  readonly uptime_ms: number;
  readonly confirmed: boolean;
  readonly cause: Exclude<Cause, "agent_restart">;
}

/** The boot just begun is the one that firmware counted: it gets that one's id, slot and count. */
export function claim(record: BootRecord, firmware: FirmwareBoot): BootRecord {
  const { boot, slot, failures } = firmware;
  if (record.current === null) return record;
  const number = Number.parseInt(boot, 10);
  const boots = Number.isSafeInteger(number) && number > 0 ? number : record.boots;
  const counted = slot === "safe" ? {} : { [slot]: failures };
  return {
    ...record,
    boots,
    // A store of firmware's that was lost counts from the start again.
    told: Math.min(record.told, boots),
    failures: { ...record.failures, ...givenUp(record, firmware), ...counted },
    current: { ...record.current, boot, slot },
    past: withPrevious(record.past, firmware.previous),
  };
}

/** Another slot than before, after a boot that failed: that one's attempts are used up. */
function givenUp(record: BootRecord, firmware: FirmwareBoot): { a?: number; b?: number } {
  const { previous, slot, attempts_max: attemptsMax = 0 } = firmware;
  if (previous === undefined || previous.slot === "safe" || previous.slot === slot) return {};
  if (previous.confirmed || !isFailure(previous.cause)) return {};
  return { [previous.slot]: Math.max(record.failures[previous.slot], attemptsMax) };
}

/** A boot in which no agent came as far as its journal is known from firmware alone. */
function withPrevious(
  past: readonly BootEntry[],
  previous: FirmwarePrevious | undefined,
): readonly BootEntry[] {
  if (previous === undefined || past.some(({ boot }) => boot === previous.boot)) return past;
  const { boot, slot, stage, step, uptime_ms: uptimeMs, confirmed, cause } = previous;
  const entry = { boot, slot, stage, step, uptimeMs, confirmed, cause, machine: "", culprit: "" };
  return [...past, entry].slice(-pastMax);
}

/**
 * The ids that the current boot of the machine has had: each agent on it gives one, and firmware
 * knows the first. null where there is no boot, or more agents than are remembered.
 */
export function idsOfCurrent({ current, past }: BootRecord): string[] | null {
  if (current === null) return null;
  const isFirst = past.findLastIndex(({ cause }) => cause !== "agent_restart");
  if (isFirst < 0 && past.length === pastMax) return null;
  return [current, ...past.slice(isFirst + 1)].map(({ boot }) => boot);
}

/** What the kernel said at the panic that ended the boot before, where nothing else is blamed. */
export function blame(record: BootRecord, culprit: string): BootRecord {
  const last = record.past.at(-1);
  if (last?.cause !== "panic" || last.culprit !== "" || culprit === "") return record;
  return { ...record, past: [...record.past.slice(0, -1), { ...last, culprit }] };
}

/** Notes how far the current boot came. */
export function mark(
  record: BootRecord,
  stage: Stage,
  step: string,
  uptimeMs: number,
  log: readonly StageLog[] = [],
): BootRecord {
  if (record.current === null) return record;
  const zeroMs = log[0]?.startMs ?? 0;
  const stages = log.slice(-stagesMax).map(({ stage, startMs, by }) => {
    return { stage, startMs: Math.max(Math.round(startMs - zeroMs), 0), by };
  });
  const noted = stages.length === 0 ? {} : { stages };
  return { ...record, current: { ...record.current, stage, step, uptimeMs, ...noted } };
}

/** Notes how the watchdog was found, unless an agent before this one did. */
export function arrived(record: BootRecord, arrival: ArrivalNote): BootRecord {
  const { current } = record;
  if (current === null || current.arrival !== undefined) return record;
  return { ...record, current: { ...current, arrival } };
}

/** A boot has five. */
export const stagesMax = 5;

/** The current boot proved healthy: its slot is the active one, its failures are forgotten. */
export function confirm(record: BootRecord): BootRecord {
  if (record.current === null || record.current.confirmed) return record;
  const { slot } = record.current;
  const failures = slot === "safe" ? record.failures : { ...record.failures, [slot]: 0 };
  const active = slot === "safe" ? record.active : slot;
  return { ...record, active, failures, current: { ...record.current, confirmed: true } };
}

/** Cause before reset: to be stored before whatever is about to end this boot. */
export function closing(
  record: BootRecord,
  cause: Cause,
  culprit: string,
  checkedInMs?: number,
): BootRecord {
  const at = checkedInMs === undefined ? {} : { checkedInMs: Math.round(checkedInMs) };
  return { ...record, closing: { cause, culprit, ...at } };
}

/** The agent has lived for T2: whatever ended those before it is over. */
export function lived({ shortLives: _over, ...record }: BootRecord): BootRecord {
  return record;
}

/** The reset that was announced did not come after all. */
export function reopen(record: BootRecord): BootRecord {
  return { ...record, closing: null };
}

/** Asks for one boot of `slot`; it becomes active only by confirming. */
export function startTrial(record: BootRecord, slot: "a" | "b"): BootRecord {
  return { ...record, trial: slot, failures: { ...record.failures, [slot]: 0 } };
}

/**
 * Firmware settles a boot before the kernel can tell what it knows: what it left as `unknown` the
 * kernel's word completes, and a watchdog that ended a crashed kernel was not what killed it. All
 * of these count as failures, so nothing else changes.
 */
export function amend(record: BootRecord, hardware: HardwareCause): BootRecord {
  const last = record.past.at(-1);
  const completes = last?.cause === "unknown" && hardware === "watchdog";
  const crashed = hardware === "panic" && (last?.cause === "unknown" || last?.cause === "watchdog");
  if (last === undefined || (!completes && !crashed)) return record;
  return { ...record, past: [...record.past.slice(0, -1), { ...last, cause: hardware }] };
}

/** Nobody told the agent to end. One that withholds the refresh was not told to either. */
function endedUnasked({ closing: noted }: BootRecord): boolean {
  return noted === null || noted.cause === "watchdog";
}

function isFailure(cause: Cause): boolean {
  return cause === "watchdog" || cause === "panic" || cause === "unknown";
}

function settle(record: BootRecord, begin: Begin): BootEntry | null {
  const { current, closing: noted } = record;
  if (current === null) return null;
  if (begin.machine !== "" && current.machine === begin.machine) {
    return { ...current, cause: "agent_restart" };
  }
  const cause = causeOf(begin.hardware, noted?.cause ?? null);
  const isNoted = noted !== null && (cause !== "power" || noted.cause === "power");
  return { ...current, cause, culprit: isNoted ? noted.culprit : "" };
}

function countFailure(record: BootRecord, slot: Slot): BootRecord["failures"] {
  if (slot === "safe") return record.failures;
  return { ...record.failures, [slot]: record.failures[slot] + 1 };
}

/** A trial boots once; the active slot until it failed too often; then the other; then safe. */
function choose(
  record: BootRecord,
  failed: boolean,
  attemptsMax: number,
): { slot: Slot; active: Slot } {
  if (record.trial !== null) return { slot: record.trial, active: record.active };
  const { active, failures } = record;
  if (active === "safe" || !failed || failures[active] < attemptsMax) {
    return { slot: active, active };
  }
  const other = active === "a" ? "b" : "a";
  if (failures[other] < attemptsMax) return { slot: other, active: other };
  return { slot: "safe", active: "safe" };
}
