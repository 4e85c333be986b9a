/**
 * The boot loading environment of a simulated card: installs the watchdog API, arms it, loads the
 * OS step by step, and hands off with one last refresh. It runs machines/boot.ts as the real
 * firmware's twin does, and stores what survives in the same boot record.
 */
import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type { Journal } from "../journal.ts";
import * as boot from "../machines/boot.ts";
import {
  type BootRecord,
  beginBoot,
  type HardwareCause,
  mark,
  type Slot,
  type Stage,
} from "../machines/bootrecord.ts";
import { step } from "../machines/fsm.ts";
import { encodeHandOff, type HandOff, handOffVersion } from "../wire/handoff.ts";
import type { SimChip } from "./watchdog.ts";

/**
 * The API that the boot environment installs at power-on: four calls on the hardware watchdog,
 * with the truth table of the published runtime watchdog protocol. Revoking it drops the only
 * reference to the hardware, so that a stale pointer cannot reach it by any path.
 */
export class BootApi {
  private chip: SimChip | null;
  private readonly rearm: boolean;

  /** `rearm`: the device can be restarted with another timeout while it runs. */
  constructor(chip: SimChip, rearm: boolean) {
    this.chip = chip;
    this.rearm = rearm;
  }

  /** Device limits, ms, and whether it is counting. */
  info(): boot.Limits & { running: boolean } {
    const chip = this.device("info");
    return { minMs: chip.model.minMs, maxMs: chip.model.maxMs, running: chip.running };
  }

  /**
   * nonzero while stopped: arms; nonzero while running: restarts with the new timeout; zero while
   * stopped: nothing; zero while running: disarms. Returns the granted timeout, ms.
   * Errors: boot.revoked, boot.range, boot.unsupported (cannot restart or stop).
   */
  set(timeoutMs: number): number {
    const chip = this.device("set");
    if (timeoutMs === 0) {
      if (chip.running) this.disable();
      return 0;
    }
    const { minMs, maxMs } = chip.model;
    if (timeoutMs < minMs || timeoutMs > maxMs) {
      throw new Failure("boot.range", `timeout ${timeoutMs} ms: ${minMs} to ${maxMs} ms possible`);
    }
    if (chip.running && timeoutMs !== chip.timeoutMs && !this.rearm) {
      throw new Failure("boot.unsupported", "this device cannot restart with another timeout");
    }
    chip.start(chip.faults.grantsMs ?? timeoutMs);
    return chip.timeoutMs;
  }

  refresh(): void {
    this.device("refresh").refresh();
  }

  disable(): void {
    const chip = this.device("disable");
    if (chip.faults.noWayOut === true) {
      throw new Failure("boot.unsupported", "this device cannot be stopped");
    }
    chip.stop();
  }

  /** Hand-off: from here on every call fails, and the countdown goes on. */
  revoke(): void {
    this.chip = null;
  }

  private device(call: string): SimChip {
    if (this.chip !== null) return this.chip;
    throw new Failure("boot.revoked", `${call}: the boot API ended at hand-off`);
  }
}

/** What goes wrong in a simulated boot. */
export interface BootFaults {
  /** Hangs inside this step of this stage, for ever. */
  hang?: { stage: Stage; step: string };
  /** Extra milliseconds that each step of os_load takes. */
  slowStepMs?: number;
  /** The device refuses to restart with another timeout. */
  noRearm?: boolean;
  /** A person stops at the boot menu for so long before the load goes on. */
  menuMs?: number;
  /** The hand-off record is damaged on its way to Linux. */
  damagedRecord?: boolean;
}

export interface FirmwareEnv {
  readonly clock: Clock;
  readonly chip: SimChip | null;
  readonly record: Journal<BootRecord>;
  readonly plan: boot.BootPlan;
  readonly policy: "prefer" | "require";
  readonly hardware: HardwareCause;
  readonly randomId: string;
  /** What goes wrong in a boot of each slot. */
  readonly faults: Readonly<Record<Slot, BootFaults>>;
  /** Milliseconds a step takes when nothing is wrong. */
  readonly stepMs: number;
  /** The kernel's boot loader takes over, with the hand-off record. */
  readonly handOver: (record: Uint8Array) => void;
  readonly stopped: (because: string) => void;
}

/** How often the firmware refreshes during a maintenance hold, as a fraction of the timeout. */
const holdRefreshFraction = 0.5;

export class Firmware {
  /** The API as installed; kept by whoever had a pointer to it, also after hand-off. */
  api: BootApi | null = null;
  state: boot.State;
  private readonly env: FirmwareEnv;
  private readonly slot: Slot;

  /** Power-on: counts the attempt before anything that can hang, and chooses the slot. */
  constructor(env: FirmwareEnv) {
    this.env = env;
    this.state = boot.initial(env.plan);
    const { randomId, hardware, plan } = env;
    const { attemptsMax } = plan;
    const begin = { randomId, machine: "", hardware, attemptsMax };
    const { entry, record } = beginBoot(env.record.value, begin);
    env.record.commit(record);
    this.slot = entry.slot;
    const failures = entry.slot === "safe" ? attemptsMax : record.failures[entry.slot];
    this.send({
      kind: "power",
      atMs: env.clock.now(),
      boot: entry.boot,
      slot: entry.slot,
      failures,
    });
    this.run("power_on", () => this.installed());
  }

  /** As they are now: a card can be healed while it boots. */
  private get faults(): BootFaults {
    return this.env.faults[this.slot];
  }

  /** Runs the steps of a stage one after the other, then `done`. A hang stops here for ever. */
  private run(stage: Stage, done: () => void): void {
    const names = this.env.plan.stages.find((found) => found.name === stage)?.steps ?? [];
    const next = (at: number): void => {
      const name = names[at];
      if (name === undefined) return done();
      if (name === "api_install") return next(at + 1);
      this.note(stage, name);
      const { hang, slowStepMs = 0 } = this.faults;
      if (hang?.stage === stage && hang.step === name) return;
      const takesMs = this.env.stepMs + (stage === "os_load" ? slowStepMs : 0);
      this.env.clock.at(this.env.clock.now() + takesMs, () => {
        this.send({ kind: "step", atMs: this.env.clock.now(), name });
        next(at + 1);
      });
    };
    next(0);
  }

  private installed(): void {
    const { chip, policy, plan, clock } = this.env;
    const { faults } = this;
    const absent = chip === null || chip.faults.absent === true;
    this.api = absent ? null : new BootApi(chip, faults.noRearm !== true);
    const limits = this.api === null ? null : this.api.info();
    this.send({ kind: "install", atMs: clock.now(), limits, policy });
    if (this.state.kind === "stopped") return this.env.stopped(this.state.because);
    this.send({ kind: "enable", atMs: clock.now(), timeoutMs: plan.watchdogMs });
    if (this.state.kind === "installed") this.enableAtMost();
    this.menu(() => this.run("os_load", () => this.handOff()));
  }

  /** The device refused the plan's timeout: its maximum is asked for, and the log says so. */
  private enableAtMost(): void {
    const { clock } = this.env;
    this.send({ kind: "step", atMs: clock.now(), name: "timeout_refused" });
    this.send({ kind: "enable", atMs: clock.now(), timeoutMs: 0 });
  }

  /** A person at the boot menu: an explicit, bounded hold. */
  private menu(then: () => void): void {
    const { clock } = this.env;
    const { menuMs = 0 } = this.faults;
    if (menuMs === 0) return then();
    const endMs = clock.now() + menuMs;
    this.send({
      kind: "hold",
      atMs: clock.now(),
      forMs: Math.min(menuMs, this.env.plan.holdMaxMs),
    });
    const everyMs = this.holdEveryMs();
    const wait = (): void => {
      if (clock.now() >= endMs) return then();
      clock.at(Math.min(clock.now() + everyMs, endMs), () => {
        this.send({ kind: "tick", atMs: clock.now() });
        wait();
      });
    };
    wait();
  }

  private holdEveryMs(): number {
    const { state } = this;
    const countdown = state.kind === "os_load" ? state.countdown : null;
    return (countdown?.grantedMs ?? 1000) * holdRefreshFraction;
  }

  private handOff(): void {
    const { clock } = this.env;
    this.send({ kind: "hand_off", atMs: clock.now() });
    const bytes = encodeHandOff(handOffRecord(this.state, this.env));
    const middle = bytes.length >> 1;
    if (this.faults.damagedRecord === true) bytes[middle] = ~(bytes[middle] ?? 0);
    this.env.handOver(bytes);
  }

  private send(event: boot.Event): void {
    const next = step(boot.table, this.state, event);
    this.state = next.state;
    for (const effect of next.effects) this.perform(effect);
  }

  private perform(effect: boot.Effect): void {
    switch (effect.kind) {
      case "arm": {
        const grantedMs = this.api?.set(effect.timeoutMs) ?? 0;
        return this.send({ kind: "granted", atMs: this.env.clock.now(), grantedMs });
      }
      case "refresh":
        return this.api?.refresh();
      case "revoke":
        return this.api?.revoke();
      case "mark":
        return this.note(effect.stage, effect.step);
      default:
        return;
    }
  }

  /** The step about to be run, so that a hang inside it is found by name at the next boot. */
  private note(stage: Stage, name: string): void {
    const { record, clock } = this.env;
    const log = "log" in this.state ? this.state.log : [];
    const uptimeMs = boot.uptimeMs(this.state, clock.now());
    record.commit(mark(record.value, stage, name, uptimeMs, log));
  }
}

/** The record as the last refresh left the card: what the hardware granted, not what was asked. */
function handOffRecord(state: boot.State, env: FirmwareEnv): HandOff {
  if (state.kind !== "hand_off") throw new Failure("boot.out_of_order", "no hand-off yet");
  const { countdown } = state;
  const leftMs = env.chip?.leftMs() ?? 0;
  return {
    version: handOffVersion,
    boot: state.boot,
    slot: state.slot,
    failures: state.failures,
    backend: countdown === null ? "none" : (env.chip?.model.identity ?? "none"),
    ...(countdown === null
      ? {}
      : {
          countdown: {
            min_ms: countdown.limits.minMs,
            max_ms: countdown.limits.maxMs,
            granted_ms: countdown.grantedMs,
            remaining_ms: Math.round(leftMs),
            refreshed_ms: Math.round(countdown.refreshedMs),
          },
        }),
    hardware_cause: env.hardware,
    stages: state.log.map(({ stage, startMs, endMs, by, steps }) => ({
      stage,
      start_ms: Math.round(startMs),
      ...(endMs === null ? {} : { end_ms: Math.round(endMs) }),
      by,
      steps: steps.map(({ name, atMs }) => ({ name, at_ms: Math.round(atMs) })),
    })),
  };
}
