/**
 * The second head: the hardware watchdog. It judges the device, arms it, and performs what
 * machines/runtime.ts decides: a refresh only while every task is on time.
 */
import type { AgentConfig } from "../config.ts";
import { assertNever, Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Clock } from "../io/clock.ts";
import type { RefreshService, ServicePlan, Watchdog } from "../io/watchdog.ts";
import {
  type Criterion,
  causedReset,
  type Judgement,
  judge,
  measure,
  type Wanted,
} from "../machines/criteria.ts";
import { step } from "../machines/fsm.ts";
import * as runtime from "../machines/runtime.ts";
import type { Probe, ResponseOf, WatchdogState } from "../wire/commands.ts";

export interface WatchdogIo {
  readonly clock: Clock;
  /** The device, or null when there is none; `problem` then says why. */
  readonly watchdog: Watchdog | null;
  readonly problem: string;
  /** Cause before reset: stores the culprit, and forgets it when the reset is off. */
  readonly noteCulprit: (culprit: string) => void;
  readonly clearCulprit: () => void;
  readonly emit: (event: AgentEvent) => void;
}

export class WatchdogHead {
  state: runtime.State;
  readonly judgement: Judgement;
  /** The device's own word that it caused the last reset; null when it has none. */
  readonly flagged: boolean | null;
  private readonly io: WatchdogIo;
  private readonly config: AgentConfig;
  private readonly identity: string;
  private readonly path: string;
  private readonly wanted: Wanted;
  /** As judged, and measured again once the device is open and tells more. */
  private criteria: readonly Criterion[];
  private service: RefreshService | null = null;
  private plan: ServicePlan | null = null;
  private refreshes = 0;
  private failures = 0;

  /** Looks at the device without opening it; a Failure when `require` is not met. */
  constructor(io: WatchdogIo, config: AgentConfig) {
    this.io = io;
    this.config = config;
    const facts = io.watchdog?.facts() ?? null;
    this.identity = facts?.identity ?? "none";
    this.path = facts?.path ?? "none";
    this.flagged = causedReset(facts?.bootStatus ?? null);
    this.wanted = {
      promiseMs: config.runtime.promiseMs,
      hardwareMaxMs: config.hardwareMaxMs,
    };
    this.judgement = judge(facts, this.wanted, io.problem);
    this.criteria = this.judgement.criteria;
    this.state = runtime.initial(config.runtime, this.judgement);
    this.demand();
  }

  /** What the device had left just before we opened it, ms; null when nothing shows it counts. */
  get runningMs(): number | null {
    const leftMs = this.io.watchdog?.facts().timeLeftMs ?? null;
    return leftMs === null || leftMs <= 0 ? null : leftMs;
  }

  /** Announces the judgement, registers the tasks and arms. */
  start(): void {
    const { backend, because } = this.judgement;
    this.io.emit({
      kind: "wdt:verdict",
      backend,
      protected: this.judgement.protected,
      because,
    });
    const atMs = this.io.clock.now();
    for (const { name, everyMs } of this.config.tasks) {
      this.send({ kind: "task", atMs, name, everyMs });
    }
    if (backend === "none") return;
    this.send({ kind: "arm", atMs, promiseMs: this.config.runtime.promiseMs });
    if (this.config.watchdogPolicy === "require" && !this.isArmed) this.refuseToStart();
  }

  get isArmed(): boolean {
    return this.state.kind !== "idle" && "deadlineMs" in this.state;
  }

  /** When the machine next wants a tick. */
  get dueMs(): number {
    return runtime.dueMs(this.state);
  }

  tick(nowMs: number): void {
    if (nowMs >= this.dueMs) this.send({ kind: "tick", atMs: nowMs });
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
    this.service?.stop();
    this.io.watchdog?.close();
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
      criteria: [...this.criteria],
    };
  }

  status(): WatchdogState {
    const { state, judgement } = this;
    const running = "deadlineMs" in state ? state : null;
    const via = running?.via ?? "none";
    const counts = this.service?.stats();
    const nowMs = this.io.clock.now();
    const real = judgement.backend === "direct" || judgement.backend === "service";
    return {
      state: state.kind,
      backend: real && running !== null && via !== "none" ? via : judgement.backend,
      via,
      protected: judgement.protected && running !== null && state.kind !== "withheld",
      protection: this.protection(),
      armed: running !== null,
      hardware_ms: running?.hardwareMs ?? 0,
      promise_ms: running?.promiseMs ?? this.config.runtime.promiseMs,
      ...(running === null ? {} : this.runningStatus(running, nowMs)),
      now_ms: Math.round(nowMs),
      refreshes: counts?.refreshes ?? this.refreshes,
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
      `a hardware watchdog is required and there is none to rely on: ${why}. ` +
        "Load its driver or free the device, or allow running without (--watchdog prefer)",
      { details: { criteria: this.criteria } },
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
        return this.attempt("open", () => {
          this.plan = { hardwareMs, promiseMs, minGapMs: 0 };
          this.service = this.io.watchdog?.serve(this.plan) ?? null;
          return null;
        });
      }
      case "refresh":
        return this.attempt("refresh", () => this.refresh());
      case "stop":
        return this.attempt("disarm", () => {
          this.disarm();
          return { kind: "disarmed", atMs, by: effect.by };
        });
      case "note_cause":
        this.io.noteCulprit(effect.culprit);
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
    this.criteria = measure({ ...watchdog.facts(), holder: null }, this.wanted);
    let grantedMs: number;
    try {
      grantedMs = watchdog.setTimeout(hardwareMs);
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "watchdog.range") throw error;
      grantedMs = watchdog.facts().timeoutMs ?? 0;
      this.io.emit({ kind: "wdt:refused", operation: "set_timeout", problem: error.message });
      if (grantedMs === 0) throw error;
    }
    return { kind: "opened", atMs: this.io.clock.now(), grantedMs, askedMs: hardwareMs };
  }

  /** A device that does not stop is refreshed as before: letting go of it would be a reset. */
  private disarm(): void {
    const { watchdog } = this.io;
    try {
      watchdog?.disarm();
      this.service = null;
    } catch (error) {
      if (this.service !== null) this.serveAgain();
      throw error;
    }
  }

  /** The refused attempt may have ended the service, or left it running. */
  private serveAgain(): void {
    const { watchdog } = this.io;
    if (watchdog === null || this.plan === null || !watchdog.isOpen) return;
    try {
      this.service = watchdog.serve(this.plan);
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "watchdog.state") throw error;
    }
  }

  private refresh(): null {
    if (this.service !== null) this.service.checkIn();
    else this.io.watchdog?.refresh();
    this.refreshes += 1;
    this.io.emit({ kind: "wdt:refreshed" });
    return null;
  }

  private attempt(
    operation: "open" | "refresh" | "disarm",
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
