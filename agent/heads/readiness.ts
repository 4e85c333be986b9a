/**
 * The fourth head: whether this boot is good. It asks the approved checks, confirms the boot once
 * with the platform's firmware and in the boot record, and withdraws readiness when a check fails.
 */
import type { AgentEvent } from "../events.ts";
import type { Clock } from "../io/clock.ts";
import type { RunProgram } from "../io/program.ts";
import { step } from "../machines/fsm.ts";
import * as readiness from "../machines/readiness.ts";
import type { ResponseOf } from "../wire/commands.ts";
import { controlRetryMs, controlTriesMax } from "./bootcontrols.ts";

export interface ReadinessIo {
  readonly clock: Clock;
  readonly runProgram: RunProgram;
  readonly commands: ReadonlyMap<string, readonly string[]>;
  /** The agent's own checks as they stand now, by name. */
  readonly look: (name: string) => { ok: boolean; value: string };
  /** Runs `act` as one input of the agent. */
  readonly post: (act: () => void) => void;
  readonly emit: (event: AgentEvent) => void;
  /** Clears what the platform's firmware has pending; false when that did not work. */
  readonly clearPlatform: () => boolean;
  readonly confirm: () => void;
  readonly withhold: (culprit: string) => void;
}

export class ReadinessHead {
  state: readiness.State;
  private readonly io: ReadinessIo;
  private readonly running = new Map<string, () => void>();
  /** Tries left to clear the platform's controls, and when the next is due. */
  private confirming: { triesLeft: number; atMs: number } | null = null;
  private lookedMs = 0;

  constructor(io: ReadinessIo, plan: readiness.ReadinessPlan, confirmed: boolean) {
    this.io = io;
    this.state = readiness.initial(plan, io.clock.now(), confirmed);
  }

  /** When `tick` next has something to do. */
  get dueMs(): number {
    return Math.min(readiness.dueMs(this.state), this.confirming?.atMs ?? Infinity, this.lookMs());
  }

  tick(nowMs: number): void {
    this.lookedMs = nowMs;
    for (const { plan } of this.state.checks) {
      if (plan.isProgram) continue;
      this.send({ kind: "result", atMs: nowMs, name: plan.name, ...this.io.look(plan.name) });
    }
    this.send({ kind: "tick", atMs: nowMs });
    if (this.confirming !== null && nowMs >= this.confirming.atMs) this.confirm(this.confirming);
  }

  /** Every program that still runs is ended. */
  stop(): void {
    for (const cancel of this.running.values()) cancel();
    this.running.clear();
  }

  report(isConfirmed: boolean): ResponseOf<"card.readiness"> {
    const checks = this.state.checks.map(({ plan: { name, isProgram }, ok, value }) => {
      return { name, ...(isProgram ? { ok, value } : this.io.look(name)) };
    });
    const isLate = this.state.kind === "late";
    return { ready: isConfirmed && !isLate && checks.every(({ ok }) => ok), checks };
  }

  /** Own checks are looked at with every tick; while they settle, at these times at least. */
  private lookMs(): number {
    if (this.state.kind !== "settling") return Infinity;
    const { startMs, plan } = this.state;
    return Math.max(startMs + plan.settleMs, this.lookedMs + Math.min(plan.settleMs, 1000));
  }

  /** The time this boot has to become ready, from its start, ms; too late it changes nothing. */
  allow(deadlineMs: number): void {
    this.send({ kind: "deadline", atMs: this.io.clock.now(), deadlineMs });
  }

  private send(event: readiness.Event): void {
    const next = step(readiness.table, this.state, event);
    this.state = next.state;
    for (const effect of next.effects) this.perform(effect, event.atMs);
  }

  private perform(effect: readiness.Effect, atMs: number): void {
    const { emit } = this.io;
    switch (effect.kind) {
      case "run":
        return this.run(effect.name);
      case "give_up":
        this.running.get(effect.name)?.();
        this.running.delete(effect.name);
        return;
      case "withhold":
        return this.io.withhold(`check ${effect.name}`);
      case "confirm":
        this.confirming = { triesLeft: controlTriesMax, atMs };
        return;
      case "not_ready":
        return emit({ kind: "boot:not_ready", check: effect.name, value: effect.value });
      case "withdrawn":
        return emit({ kind: "boot:readiness", ready: false, check: effect.name });
      case "ready_again":
        return emit({ kind: "boot:readiness", ready: true, check: "" });
    }
  }

  private run(name: string): void {
    const command = this.io.commands.get(name) ?? [];
    const cancel = this.io.runProgram(command, (answer) => {
      this.io.post(() => {
        this.running.delete(name);
        this.send({ kind: "result", atMs: this.io.clock.now(), name, ...answer });
      });
    });
    this.running.set(name, cancel);
  }

  /**
   * The platform first, the record last: an agent that dies between the two does both again, and
   * what is cleared already is left alone. A control that does not obey is told of and left.
   */
  private confirm({ triesLeft }: { triesLeft: number }): void {
    this.confirming = null;
    if (this.io.clearPlatform() || triesLeft <= 1) return this.io.confirm();
    const atMs = this.io.clock.now() + controlRetryMs;
    this.confirming = { triesLeft: triesLeft - 1, atMs };
  }
}
