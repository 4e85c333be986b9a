/**
 * The second head: the hardware watchdog. It judges the device, arms it, and performs what
 * machines/runtime.ts decides: a refresh only while every task is on time.
 */
import type { AgentConfig } from "../config.ts";
import { assertNever, Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Clock } from "../io/clock.ts";
import type { Watchdog, WatchdogFacts } from "../io/watchdog.ts";
import {
  type Criterion,
  type Judgement,
  judge,
  limited,
  measure,
  minGapMs,
  pretimeoutFor,
  type Wanted,
} from "../machines/criteria.ts";
import { roundsOf } from "../machines/drivers.ts";
import { step } from "../machines/fsm.ts";
import * as runtime from "../machines/runtime.ts";
import type { Probe, ResponseOf, WatchdogState } from "../wire/commands.ts";
import { Refreshing } from "./refreshing.ts";
import { askTimeout, type Granted, wholeFacts } from "./timeout.ts";

export interface WatchdogIo {
  readonly clock: Clock;
  /** The device, or null when there is none; `problem` then says why. */
  readonly watchdog: Watchdog | null;
  readonly problem: string;
  /** Cause before reset: stores the culprit, and forgets it when the reset is off. */
  readonly noteCulprit: (culprit: string) => void;
  readonly clearCulprit: () => void;
  /** The reset is near: keep what is known. Taken back by `clearCulprit`. */
  readonly lastWords: (culprit: string, checkedInMs: number, deadlineMs: number) => void;
  readonly emit: (event: AgentEvent) => void;
}

export class WatchdogHead {
  state: runtime.State;
  judgement: Judgement;
  /** The device's own word on the last reset, read before opening; null when it has none. */
  readonly bootStatus: number | null;
  private readonly io: WatchdogIo;
  private readonly config: AgentConfig;
  private readonly identity: string;
  private readonly path: string;
  private readonly wanted: Wanted;
  /** The device as it was found, before anything of ours opened it; null where there is none. */
  readonly found: WatchdogFacts | null;
  /** Read anew once the device is open and tells more; null where there is none. */
  private facts: WatchdogFacts | null;
  private readonly refreshing: Refreshing | null;
  /** T1 as asked for and as granted, ms, once the device is open. */
  private granted: Granted | null = null;
  private failures = 0;
  /** Why the latest refresh was refused; null when it was not. */
  private refusal: string | null = null;
  /** The device came open with the start of the agent. */
  private readonly handedOver: boolean;

  /** Looks at the device without opening it; a Failure when `require` is not met. */
  constructor(io: WatchdogIo, config: AgentConfig) {
    this.io = io;
    this.config = config;
    const { watchdog } = io;
    this.refreshing = watchdog === null ? null : new Refreshing({ ...io, watchdog });
    this.handedOver = watchdog?.isOpen === true;
    const found = watchdog === null ? null : wholeFacts(watchdog);
    // Handed over by the agent before us: the holder is this process.
    const facts = found !== null && this.handedOver ? { ...found, holder: null } : found;
    this.facts = facts;
    this.found = facts;
    this.identity = facts?.identity ?? "none";
    this.path = facts?.path ?? "none";
    this.bootStatus = facts?.bootStatus ?? null;
    this.wanted = {
      promiseMs: config.runtime.promiseMs,
      hardwareMaxMs: config.hardwareMaxMs,
      hardwareMinGapMs: config.hardwareMinGapMs,
    };
    this.judgement = judge(facts, this.wanted, io.problem);
    this.state = runtime.initial(config.runtime, this.judgement);
    this.demand();
  }

  /** What the device shows as left, ms; null for nothing. Some show it that stand still. */
  get leftMs(): number | null {
    const leftMs = this.io.watchdog?.facts().timeLeftMs ?? null;
    return leftMs === null || leftMs <= 0 ? null : leftMs;
  }

  /** How long ago the device was last refreshed by whoever had it before us, ms. */
  get refreshedAgoMs(): number | null {
    const { timeoutMs, timeLeftMs, state } = this.io.watchdog?.facts() ?? {};
    if (state === "inactive" || timeoutMs == null || timeLeftMs == null || timeLeftMs <= 0)
      return null;
    return Math.max(timeoutMs - timeLeftMs, 0);
  }

  /** The last check-in while a countdown runs, ms. */
  get checkedInMs(): number | undefined {
    return "checkedInMs" in this.state ? this.state.checkedInMs : undefined;
  }

  /**
   * Announces the judgement, registers the tasks and arms; with `leave`, which says why, whatever
   * counts down is left alone.
   */
  start(leave: string | null = null): void {
    const { backend, because } = this.judgement;
    this.io.emit({
      kind: "wdt:verdict",
      backend,
      protected: this.judgement.protected,
      because,
    });
    if (this.handedOver) this.io.emit({ kind: "wdt:handed_over", path: this.path });
    const atMs = this.io.clock.now();
    for (const { name, everyMs } of this.config.tasks) {
      this.send({ kind: "task", atMs, name, everyMs });
    }
    if (backend === "none") return;
    this.refusal = leave;
    if (leave !== null) return;
    this.send({ kind: "arm", atMs, promiseMs: this.config.runtime.promiseMs });
    if (this.config.watchdogPolicy === "require" && !this.isArmed) this.refuseToStart();
  }

  get isArmed(): boolean {
    return this.state.kind !== "idle" && "deadlineMs" in this.state;
  }

  /**
   * The verdict for whoever supervises the agent. One that withholds the refresh is well until the
   * promised reset is overdue: restarted before, it would revive a card that is to be reset.
   */
  get isWell(): boolean {
    return this.state.kind !== "withheld" || this.io.clock.now() < this.state.deadlineMs;
  }

  /** When the machine next wants a tick. */
  get dueMs(): number {
    return Math.min(runtime.dueMs(this.state), this.refreshing?.dueMs ?? Infinity);
  }

  tick(nowMs: number): void {
    this.refreshing?.tick(nowMs);
    if (nowMs >= runtime.dueMs(this.state)) this.send({ kind: "tick", atMs: nowMs });
  }

  /** Sends one event and performs what follows. Throws the Failure with which it was refused. */
  send(event: runtime.Event): void {
    const waiting: runtime.Event[] = [event];
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { state, effects } = step(runtime.table, this.state, next);
      this.state = state;
      for (const effect of effects) {
        const outcome = this.perform(effect);
        if (outcome !== null) waiting.push(outcome);
      }
    }
  }

  /** A check-in from inside the card; one of an unknown task changes nothing. */
  checkIn(task: string): void {
    if (!this.state.tasks.some(({ name }) => name === task)) return;
    this.send({ kind: "check_in", atMs: this.io.clock.now(), task });
  }

  /** Ends the refresh on purpose, with the countdown left running: closing never disarms. */
  close(): void {
    this.refreshing?.close();
  }

  probe(): Probe {
    const { backend, via, because } = this.judgement;
    const { identity, path } = this;
    const isProtected = this.judgement.protected;
    return {
      backend,
      via,
      because,
      protected: isProtected,
      identity,
      path,
      criteria: this.measured(),
    };
  }

  status(): WatchdogState {
    const { state, judgement } = this;
    const running = "deadlineMs" in state ? state : null;
    const via = running?.via ?? "none";
    const counts = this.refreshing?.service?.stats();
    const nowMs = this.io.clock.now();
    const real = judgement.backend === "direct" || judgement.backend === "service";
    return {
      state: state.kind,
      backend: real && running !== null && via !== "none" ? via : judgement.backend,
      via,
      protected:
        judgement.protected &&
        running !== null &&
        state.kind !== "withheld" &&
        this.refusal === null,
      protection: this.protection(),
      armed: running !== null,
      hardware_ms: running?.hardwareMs ?? 0,
      promise_ms: running?.promiseMs ?? this.config.runtime.promiseMs,
      ...(running === null ? {} : this.runningStatus(running, nowMs)),
      now_ms: Math.round(nowMs),
      refreshes: counts?.refreshes ?? this.refreshing?.count ?? 0,
      failures: (counts?.failures ?? 0) + this.failures,
      ...(counts === undefined
        ? {}
        : { scheduling: counts.scheduling, late_max_ms: counts.lateMaxMs }),
      ...(state.kind === "withheld" ? { culprit: state.culprit } : {}),
      ...(state.kind === "holding" ? { hold_until_ms: Math.round(state.untilMs) } : {}),
    };
  }

  tasks(): ResponseOf<"wdt.tasks"> {
    const nowMs = this.io.clock.now();
    return {
      tasks: this.state.tasks.map(({ name, everyMs, dueMs, late }) => ({
        name,
        every_ms: everyMs,
        due_in_ms: Math.round(dueMs - nowMs),
        late,
      })),
    };
  }

  /** Every criterion as it stands now: what only time shows is measured while the card runs. */
  private measured(): Criterion[] {
    if (this.facts === null) return [...this.judgement.criteria];
    const proof = this.refreshing?.proof ?? null;
    const opened = this.granted === null ? null : { ...this.granted, proof };
    return measure(this.facts, this.wanted, opened);
  }

  private runningStatus(running: runtime.Running, nowMs: number): Partial<WatchdogState> {
    return {
      remaining_ms: Math.round(running.deadlineMs - nowMs),
      last_check_in_ms: Math.round(running.checkedInMs),
      slack_min_ms: Math.round(running.slack.minMs),
    };
  }

  private protection(): string {
    if (this.state.kind === "unprotected" && this.judgement.backend !== "none") {
      return `unprotected: ${this.state.because}`;
    }
    if (this.refusal !== null) return `unprotected: ${this.refusal}`;
    if (this.state.kind === "idle") return "unprotected: disarmed";
    return this.judgement.protection;
  }

  private demand(): void {
    if (this.config.watchdogPolicy === "require" && !this.judgement.protected) this.refuseToStart();
  }

  private refuseToStart(): never {
    const why = this.state.kind === "unprotected" ? this.state.because : this.judgement.protection;
    const held = this.judgement.protection.startsWith("other-owner");
    throw new Failure(
      held ? "watchdog.busy" : "watchdog.missing",
      `a hardware watchdog is required and there is none to rely on: ${why.replace(/\.$/, "")}. ` +
        "Load its driver or free the device, or allow running without (--watchdog prefer)",
      { evidence: { criteria: this.measured() } },
    );
  }

  /** Performs one effect; what came of it, when the machine has to know, is the next event. */
  private perform(effect: runtime.Effect): runtime.Event | null {
    const atMs = this.io.clock.now();
    switch (effect.kind) {
      case "open":
        return this.attempt("open", () => this.open(effect.hardwareMs));
      case "serve": {
        const { hardwareMs, promiseMs } = effect;
        return this.attempt("serve", () => {
          this.refreshing?.serve({ hardwareMs, promiseMs, minGapMs: this.minGapMs(hardwareMs) });
          return null;
        });
      }
      case "refresh":
        return this.refresh();
      case "stop":
        return this.attempt("disarm", () => {
          this.refreshing?.disarm();
          return { kind: "disarmed", atMs, by: effect.by };
        });
      case "note_cause":
        this.io.noteCulprit(effect.culprit);
        return null;
      case "last_words":
        this.io.lastWords(effect.culprit, effect.checkedInMs, effect.deadlineMs);
        return null;
      case "clear_cause":
        this.io.clearCulprit();
        return null;
      case "report":
        this.io.emit(effect.event);
        return null;
      case "refuse":
        throw new Failure(effect.code, effect.message);
      default:
        return assertNever(effect);
    }
  }

  /** A refused timeout leaves the device armed with its own; it is then held by the service. */
  private open(hardwareMs: number): runtime.Event {
    const watchdog = this.io.watchdog;
    if (watchdog === null) throw new Failure("watchdog.missing", this.io.problem);
    if (!watchdog.isOpen) watchdog.open();
    const rounds = roundsOf(this.facts?.driver ?? null);
    const granted = askTimeout(watchdog, hardwareMs, this.io.emit, rounds);
    const { grantedMs } = granted;
    const roundMs = grantedMs / rounds;
    this.keepPretimeout(watchdog, roundMs);
    const pretimeoutMs = watchdog.pretimeout();
    this.facts = limited({ ...wholeFacts(watchdog), pretimeoutMs, holder: null }, granted);
    this.granted = granted;
    this.judgeAnew();
    this.refreshing?.begin(roundMs, this.minGapMs(roundMs));
    return { kind: "opened", atMs: this.io.clock.now(), grantedMs, askedMs: hardwareMs };
  }

  /** What the open device showed may tell against what it stated. */
  private judgeAnew(): void {
    const { backend, because } = this.judgement;
    this.judgement = judge(this.facts, this.wanted, this.io.problem);
    const now = this.judgement;
    if (now.backend === backend && now.because === because) return;
    const { protected: isProtected } = now;
    this.io.emit({
      kind: "wdt:verdict",
      backend: now.backend,
      protected: isProtected,
      because: now.because,
    });
  }

  /** Each change of the timeout may leave a pretimeout that no longer fits it. */
  private keepPretimeout(watchdog: Watchdog, hardwareMs: number): void {
    const was_ms = watchdog.pretimeout();
    if (was_ms === 0) return;
    const set_ms = pretimeoutFor(was_ms, hardwareMs);
    try {
      const read_ms = watchdog.setPretimeout(set_ms);
      if (read_ms !== was_ms || set_ms !== was_ms) {
        this.io.emit({ kind: "wdt:pretimeout", was_ms, set_ms, read_ms });
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.io.emit({ kind: "wdt:refused", operation: "pretimeout", problem: error.message });
    }
  }

  /** What the chip is known to need, within what a service can keep. */
  private minGapMs(hardwareMs: number): number {
    return this.facts === null ? 0 : Math.min(minGapMs(this.facts, this.wanted), hardwareMs / 2);
  }

  /** A device that refuses is told of once, and protects nothing while it does. */
  private refresh(): runtime.Event | null {
    const before = this.refusal;
    this.refusal = null;
    const outcome = this.attempt("refresh", () => {
      this.refreshing?.refresh();
      this.io.emit({ kind: "wdt:refreshed" });
      return null;
    });
    if (outcome?.kind !== "failed") return outcome;
    this.refusal = outcome.problem;
    return outcome.problem === before ? null : outcome;
  }

  private attempt(
    operation: runtime.Operation,
    act: () => runtime.Event | null,
  ): runtime.Event | null {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.failures += 1;
      return { kind: "failed", atMs: this.io.clock.now(), operation, problem: error.message };
    }
  }
}
