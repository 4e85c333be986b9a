/**
 * The first head: what this boot is, how it came about, and what became of the ones before. It
 * reads the hand-off record, keeps the boot record, and runs machines/boot.ts from hand-off on.
 */
import type { AgentConfig } from "../config.ts";
import type { AgentEvent, Beginning } from "../events.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { Platform } from "../io/platform.ts";
import type { WatchdogFacts } from "../io/watchdog.ts";
import { Journal } from "../journal.ts";
import { type Arrival, counted, coverage, disagreement } from "../machines/adoption.ts";
import * as boot from "../machines/boot.ts";
import type { Hook } from "../machines/boothook.ts";
import * as record from "../machines/bootrecord.ts";
import { roundsOf } from "../machines/drivers.ts";
import { step } from "../machines/fsm.ts";
import { type Evidence, evidenceText, hardwareCause } from "../machines/resetcause.ts";
import type { StageLog } from "../machines/stagelog.ts";
import type { ResponseOf } from "../wire/commands.ts";
import type { HandOff } from "../wire/handoff.ts";
import { fromHandOff, wayTo, whatIsLeft } from "./arrival.ts";
import { bootCodec } from "./bootcodec.ts";
import {
  begunWith,
  countersOf,
  deathsOf,
  handOffTold,
  historyOf,
  stagesOf,
  timelinesOf,
} from "./boottold.ts";

export interface BootIo {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly platform: Platform;
}

export class BootHead {
  readonly journal: Journal<record.BootRecord>;
  state: boot.State;
  /** Time in which nothing is known to have counted before the agent took over, ms. */
  uncoveredMs = 0;
  /** What the early userspace hook did; null without one that can be read. */
  readonly hook: Hook | null;
  private readonly io: BootIo;
  private readonly config: AgentConfig;
  private readonly emit: (event: AgentEvent) => void;
  private readonly handOff: HandOff | null;
  private readonly handOffProblem: string | null;
  /** What firmware calls this boot, also where its record is damaged. */
  private readonly firmware: record.FirmwareBoot | null;
  private readonly hookProblem: string;
  /** The firmware began this boot; a later start of the agent has a stale hand-off record. */
  private continues = false;
  private aliveMs = 0;
  private startedMs = 0;
  /** The last check-in of the agent before this one on the same machine; null when not noted. */
  private checkedInMs: number | null = null;
  private evidence: Evidence | null = null;

  constructor(io: BootIo, config: AgentConfig, emit: (event: AgentEvent) => void) {
    this.io = io;
    this.config = config;
    this.emit = emit;
    this.journal = new Journal(io.disk, "boot", bootCodec(config.plan.attemptsMax));
    const left = whatIsLeft(io.platform);
    this.handOff = left.handOff;
    this.handOffProblem = left.handOffProblem;
    this.firmware = left.firmware;
    this.hook = left.hook;
    this.hookProblem = left.hookProblem;
    this.state = boot.initial(config.plan);
  }

  /** This boot's id: the first half of every report's identity. */
  get id(): string {
    return this.journal.value.current?.boot ?? "0-unknown";
  }

  /** What firmware calls this boot: a later agent on it has an id of its own. */
  get firmwareId(): string {
    return this.firmware?.boot ?? this.id;
  }

  get entry(): record.BootEntry | null {
    return this.journal.value.current;
  }

  /** The firmware's countdown as its record tells it; null without one. */
  get countdown(): NonNullable<HandOff["countdown"]> | null {
    return this.handOff?.countdown ?? null;
  }

  /** A loader of ours chose this boot's slot and left its record. */
  get isOfLoader(): boolean {
    return this.handOff !== null;
  }

  /**
   * The way to the watchdog's first adoption in this boot, also for a later agent. `beganMs`: the
   * kernel's uptime when its stages began; 0 where firmware tells of its own.
   */
  wayHere(): { beganMs: number; stages: ResponseOf<"boot.timeline">["stages"] } {
    const { handOff, config, entry } = this;
    const isLater = this.isRestart && entry?.arrival !== undefined;
    const log = isLater ? wayTo(entry.arrival, handOff, config.plan) : this.log;
    const isOurs = handOff === null || !(this.continues || isLater);
    const beganMs = isOurs ? (log[0]?.startMs ?? 0) : 0;
    return { beganMs, stages: stagesOf(log, config.plan, this.io.clock.now()) };
  }

  /**
   * Opens this boot in the record, at once as "ended for unknown cause", unless the firmware did.
   * `bootStatus`: the watchdog's own word on the last reset; null where it has none.
   */
  open(bootStatus: number | null): void {
    const { journal, io, config } = this;
    const crashRecords = io.platform.crashRecords().slice(0, record.crashRecordsMax);
    this.evidence = this.gather(bootStatus, crashRecords);
    const hardware = hardwareCause(this.evidence);
    const machine = io.platform.machineBootId();
    const { current } = journal.value;
    if (current !== null && current.machine === "" && this.isOfFirmware(current)) {
      const claimed = { ...journal.value, current: { ...current, machine }, crashRecords };
      journal.stage(this.blamed(record.amend(claimed, hardware)));
      this.continues = true;
      return;
    }
    const begin = {
      randomId: io.platform.randomId(),
      machine,
      // What ended the boot before is no word on ours, when there was one in between.
      hardware: this.wasBetween() ? ("unknown" as const) : hardware,
      attemptsMax: config.plan.attemptsMax,
    };
    if (current?.machine === machine) {
      this.checkedInMs = journal.value.closing?.checkedInMs ?? null;
    }
    const begun = record.beginBoot(journal.value, begin).record;
    const restart = current?.machine === machine;
    this.continues = !restart && this.handOff !== null;
    const claimed =
      restart || this.firmware === null
        ? begun
        : record.amend(record.claim(begun, this.firmware), hardware);
    journal.stage(this.blamed({ ...claimed, crashRecords }));
  }

  /** Tells of this start and of every ended boot the host has not been told of yet. */
  tell(rest: Pick<Beginning, "epoch" | "tee_crashes" | "crash_records">): void {
    const { value, outcome } = this.journal;
    if (outcome !== "current" && outcome !== "absent") {
      this.emit({ kind: "journal:recovered", file: "boot", outcome });
    }
    if (this.handOffProblem !== null) {
      this.emit({ kind: "boot:record_refused", problem: this.handOffProblem });
    }
    const last = value.past.at(-1);
    const restart = last?.cause === "agent_restart";
    const cause = last?.cause ?? "unknown";
    const begun = begunWith(value, this.config);
    this.emit({ kind: "agent:started", cause, restart, ...begun, ...rest });
    if (last !== undefined && !restart && this.evidence !== null) {
      this.emit({ kind: "boot:evidence", cause, evidence: evidenceText(this.evidence) });
    }
    for (const died of deathsOf(value)) this.emit(died);
    const { current } = value;
    if (last !== undefined && current !== null && last.slot !== current.slot) {
      const failures = last.slot === "safe" ? 0 : value.failures[last.slot];
      this.emit({ kind: "boot:fallback", from: last.slot, slot: current.slot, failures });
    }
  }

  /** What `tell` said counts as told once the reports are on disk: with the next flush. */
  noteTold(): void {
    this.journal.stage({ ...this.journal.value, told: this.journal.value.boots });
  }

  /** The agent runs: stage adopt begins. */
  start(): void {
    const { handOff, config } = this;
    const atMs = this.io.clock.now();
    this.startedMs = atMs;
    if (handOff !== null && this.continues) this.state = fromHandOff(handOff, config.plan);
    this.send({ kind: "start", atMs });
    this.send({ kind: "step", atMs, name: "agent_start" });
    // This boot, and what is about to be tried, are on disk before anything that can hang.
    const uptimeMs = boot.uptimeMs(this.state, atMs);
    this.journal.commit(record.mark(this.journal.value, "adopt", "take_over", uptimeMs, this.log));
  }

  /**
   * The agent has the watchdog. `leftMs`: what the device showed as left just before it was opened,
   * or null when that is no counter. `facts`: as they were then.
   */
  adopted(leftMs: number | null, facts: WatchdogFacts | null): void {
    const atMs = this.io.clock.now();
    const { countdown, hook } = this;
    const { isOneClock: oneClock } = this.io.platform;
    const isActive = facts?.state === "active";
    const rounds = roundsOf(facts?.driver ?? null);
    const arrival: Arrival = { countdown, hook, leftMs, isActive, rounds, atMs, oneClock };
    const noted = this.entry?.arrival;
    const { uncoveredMs, because } =
      noted === undefined
        ? coverage(arrival)
        : { ...noted, because: "as the first agent of this boot found it" };
    this.uncoveredMs = uncoveredMs;
    this.journal.stage(record.arrived(this.journal.value, { atMs: Math.round(atMs), uncoveredMs }));
    this.tellHook(facts);
    const remaining_ms = counted(arrival) ? Math.max(Math.round(leftMs ?? 0), 0) : 0;
    this.emit({ kind: "boot:adopted", remaining_ms, uncovered_ms: uncoveredMs, because });
    this.send({ kind: "adopted", atMs });
  }

  /** Only the agent that adopts tells: a later one finds what the hook left as well. */
  private tellHook(facts: WatchdogFacts | null): void {
    const { hook, hookProblem, handOff, countdown } = this;
    if (this.isRestart) return;
    if (hookProblem !== "" || hook !== null) {
      const { driver = "", method = "none", problem = hookProblem } = hook ?? {};
      this.emit({ kind: "boot:hook", driver, method, problem });
    }
    if (handOff === null || countdown === null || facts === null) return;
    const armed = { backend: handOff.backend, granted_ms: countdown.granted_ms };
    const problem = disagreement(armed, facts, hook !== null && hook.method !== "none");
    if (problem !== null) this.emit({ kind: "boot:disagrees", problem });
  }

  /** Another agent ran on this boot before. */
  private get isRestart(): boolean {
    return this.journal.value.past.at(-1)?.cause === "agent_restart";
  }

  /**
   * Between two agents nobody looked at the card, although the watchdog counted on. How long is
   * known from the earlier one's note, or from how far the countdown has run (`refreshedAgoMs`).
   */
  tellUnobserved(refreshedAgoMs: number | null): void {
    if (!this.isRestart) return;
    const notedMs = this.checkedInMs === null ? null : this.io.clock.now() - this.checkedInMs;
    const by = notedMs !== null ? "note" : refreshedAgoMs !== null ? "time_left" : "unknown";
    const ms = notedMs ?? refreshedAgoMs;
    const span = ms === null ? {} : { unobserved_ms: Math.max(Math.round(ms), 0) };
    this.emit({ kind: "boot:unobserved", ...span, by });
  }

  /** All readiness checks passed: the boot is confirmed, once. */
  ready(): void {
    this.send({ kind: "ready", atMs: this.io.clock.now() });
  }

  get isConfirmed(): boolean {
    return this.journal.value.current?.confirmed === true;
  }

  /** Cause before reset: stored and synced before whatever is about to end this boot. */
  noteClosing(cause: record.Cause, culprit: string, checkedInMs?: number): void {
    const noted = this.uptimeNoted(this.journal.value);
    this.journal.commit(record.closing(noted, cause, culprit, checkedInMs));
  }

  /**
   * The agent was told to end. Only with the whole machine is that a clean end of the boot; a reset
   * that was noted before is still to come then. Returns what was noted.
   */
  noteStop(isShutdown: boolean, checkedInMs?: number): record.Cause {
    const { closing } = this.journal.value;
    const isComing = closing?.cause === "commanded" || (closing !== null && !isShutdown);
    const stopped: record.Closing = isShutdown
      ? { cause: "clean", culprit: "" }
      : { cause: "unknown", culprit: "agent stopped" };
    const noted = isComing ? closing : stopped;
    this.noteClosing(noted.cause, noted.culprit, checkedInMs);
    return noted.cause;
  }

  clearClosing(): void {
    this.journal.commit(record.reopen(this.journal.value));
  }

  /** When `tick` next has something to do. */
  get dueMs(): number {
    return Math.min(this.aliveMs + this.config.aliveEveryMs, this.livedMs);
  }

  /** When this agent has lived for T2, and those before it that did not are forgotten. */
  private get livedMs(): number {
    return this.shortLives === 0 ? Infinity : this.startedMs + this.config.runtime.promiseMs;
  }

  /** Notes now and then how long this boot has lived, for the history of a sudden death. */
  tick(nowMs: number): void {
    if (nowMs >= this.livedMs) this.journal.stage(record.lived(this.journal.value));
    if (nowMs < this.aliveMs + this.config.aliveEveryMs) return;
    this.aliveMs = nowMs;
    this.journal.stage(this.uptimeNoted(this.journal.value));
  }

  timeline(): ResponseOf<"boot.timeline"> {
    const { id, log, config, entry } = this;
    const stages = stagesOf(log, config.plan, this.io.clock.now());
    return { boot: id, slot: entry?.slot ?? "a", stages };
  }

  /** Boots before this one, newest first, without their first `skip`. */
  timelines(skip: number): ResponseOf<"boot.timelines"> {
    return timelinesOf(this.journal.value.past, this.config.plan, skip);
  }

  /** Stages of this boot so far; the last one is where we are. */
  private get log(): readonly StageLog[] {
    return "log" in this.state ? this.state.log : [];
  }

  history(): ResponseOf<"boot.history"> {
    const { past, current } = this.journal.value;
    return historyOf(current === null ? past : [...past, current]);
  }

  counters(): ResponseOf<"boot.counters"> {
    return countersOf(this.journal.value, this.config.plan);
  }

  handOffReport(): ResponseOf<"boot.record"> {
    return handOffTold(this.handOff, this.handOffProblem);
  }

  /** Agents in a row before this one that ended, unasked, before they had lived for T2. */
  get shortLives(): number {
    return this.journal.value.shortLives ?? 0;
  }

  /** A damaged hand-off record may hide which boot it tells of: the one no Linux has claimed. */
  private isOfFirmware({ boot }: record.BootEntry): boolean {
    return boot === this.firmware?.boot || (this.handOffProblem !== null && this.firmware === null);
  }

  private blamed(next: record.BootRecord): record.BootRecord {
    const known = this.journal.value.crashRecords ?? [];
    const isNew = (name: string): boolean => !known.includes(name);
    return record.blame(next, this.io.platform.panicText(next.crashRecords?.filter(isNew) ?? []));
  }

  /** A crash record that was there at the start before is not of this reset. */
  private gather(bootStatus: number | null, found: readonly string[]): Evidence {
    const known = this.journal.value.crashRecords;
    const crashed = known === undefined ? null : found.some((name) => !known.includes(name));
    const firmware = this.handOff?.hardware_cause ?? this.io.platform.resetCause();
    return { bootStatus, crashed, firmware };
  }

  /** Firmware knows of a boot after the one that our record calls current: no agent came in it. */
  private wasBetween(): boolean {
    const before = this.firmware?.previous?.boot;
    const ids = record.idsOfCurrent(this.journal.value);
    return before !== undefined && ids !== null && !ids.includes(before);
  }

  private uptimeNoted(value: record.BootRecord): record.BootRecord {
    const { current } = value;
    if (current === null) return value;
    const uptimeMs = boot.uptimeMs(this.state, this.io.clock.now());
    return record.mark(value, current.stage, current.step, uptimeMs, this.log);
  }

  private send(event: boot.Event): void {
    const next = step(boot.table, this.state, event);
    this.state = next.state;
    for (const effect of next.effects) this.perform(effect);
  }

  private perform(effect: boot.Effect): void {
    const { journal } = this;
    switch (effect.kind) {
      case "mark": {
        const uptimeMs = boot.uptimeMs(this.state, effect.atMs);
        const { stage, step } = effect;
        journal.stage(record.mark(journal.value, stage, step, uptimeMs, this.log));
        return;
      }
      case "entered": {
        const { stage, budgetMs, marginMs } = effect;
        this.emit({ kind: "boot:stage", stage, budget_ms: budgetMs, margin_ms: marginMs });
        return;
      }
      case "confirm": {
        journal.commit(record.confirm(journal.value));
        journal.keepAsGood();
        const { slot } = journal.value.current ?? { slot: "a" };
        this.emit({ kind: "boot:confirmed", slot, failures: 0 });
        return;
      }
      default:
        return;
    }
  }
}
