/**
 * One boot of a card as a coverage plan has it, run on the virtual clock: firmware, kernel, hook
 * and owner as so many processes on one chip. Something is made to hang, and the chip decides
 * whether a reset comes. It knows nothing of machines/coverage.ts, whose claims it checks.
 */
import type { Clock } from "../io/clock.ts";
import { nextRefresh } from "../machines/placement.ts";
import type { CoveragePlan } from "../wire/coverageplan.ts";
import { SimClock } from "./clock.ts";
import { BootApi } from "./firmware.ts";
import { KernelWatchdog } from "./kernelwatchdog.ts";
import { LifeClock } from "./life.ts";
import { SimChip } from "./watchdog.ts";
import { plainModel } from "./watchdogmodels.ts";

/** What hangs: see hangNames of machines/coverage.ts. */
export interface Hanging {
  readonly what: "machine" | "programs" | "agent_loop" | "agent_killed";
  readonly atMs: number;
}

/** Timeouts beyond any plan: the chip itself refuses none. */
/** Any timeout, and half of it, to the half millisecond: the chip may count it down twice. */
const anyModel = { ...plainModel, minMs: 1, maxMs: Infinity, ticksPerS: 2000, tickMs: 0.5 };

export class ColdBoot {
  /** When the card was reset, ms since power-on; null while it was not. */
  resetMs: number | null = null;
  private readonly plan: CoveragePlan;
  private readonly clock = new SimClock();
  private readonly chip: SimChip;
  private readonly machine = new LifeClock(this.clock);
  private readonly programs = new LifeClock(this.clock);
  private readonly loop = new LifeClock(this.clock);
  private readonly thread = new LifeClock(this.clock);
  private kernel: KernelWatchdog | null = null;
  private ownerHasOpened = false;
  private lastMs = -Infinity;
  private checkInMs = 0;

  /** `hanging`: what hangs and when; null for a card that stays well, and does not reboot. */
  constructor(plan: CoveragePlan, hanging: Hanging | null) {
    this.plan = plan;
    const expiries = plan.driver?.expiries ?? 1;
    const life = plan.driver?.software === true ? this.machine : this.clock;
    this.chip = new SimChip(life, { ...anyModel, rounds: expiries }, () => this.reset());
    if (plan.firmware !== undefined) this.boot(plan.firmware);
    if (plan.driver !== undefined) this.load(plan.driver);
    if (plan.hook !== undefined) this.at(this.programs, plan.hook.open_ms, () => this.hook());
    if (plan.owner !== undefined) {
      const life = plan.owner.name === "agent" ? this.loop : this.programs;
      this.at(life, plan.owner.open_ms, () => this.own());
    }
    if (plan.reboot !== undefined && hanging !== null && hanging.atMs >= plan.reboot.at_ms) {
      this.reboot(plan.reboot);
    }
    if (plan.disarmed_ms !== undefined) this.at(this.loop, plan.disarmed_ms, () => this.disarm());
    if (hanging !== null) this.clock.at(hanging.atMs, () => this.hang(hanging.what));
  }

  /** Lets time pass up to `untilMs`; returns when the card was reset, or null. */
  run(untilMs: number): number | null {
    for (let next = this.clock.next(); next !== null && next <= untilMs; next = this.clock.next()) {
      this.clock.advanceTo(next);
      if (this.resetMs !== null) break;
    }
    return this.resetMs;
  }

  private at(clock: Clock, atMs: number, act: () => void): void {
    clock.at(atMs, act);
  }

  private reset(): void {
    this.resetMs ??= this.clock.now();
  }

  private boot(firmware: NonNullable<CoveragePlan["firmware"]>): void {
    const api = new BootApi(this.chip, true);
    const timeoutMs = firmware.timeout_ms / (this.plan.driver?.expiries ?? 1);
    this.at(this.machine, firmware.arms_ms, () => void api.set(timeoutMs));
    for (const time of firmware.refreshes_ms) this.at(this.machine, time, () => api.refresh());
    this.at(this.machine, firmware.leaves_ms, () => {
      this.chip.locked = firmware.locks;
      if (firmware.stops) api.disable();
      api.revoke();
    });
  }

  private load(driver: NonNullable<CoveragePlan["driver"]>): void {
    const { core, user_ms } = this.plan;
    const traits = {
      atProbe: driver.at_probe,
      heartbeatMs: driver.heartbeat_ms,
      hardwareMaxMs: driver.hardware_max_ms ?? 0,
      magicClose: driver.magic_close,
      nowayout: driver.nowayout,
      canStop: driver.can_stop,
      stopOnReboot: driver.stop_on_reboot,
    };
    const settings = {
      handleBootEnabled: core.handle_boot_enabled,
      openTimeoutMs: core.open_timeout_ms,
    };
    const loader = driver.probe_ms < user_ms ? this.machine : this.programs;
    this.at(loader, driver.probe_ms, () => {
      this.kernel = new KernelWatchdog(this.chip, this.machine, traits, settings);
    });
  }

  private hook(): void {
    this.kernel?.open();
    this.kernel?.keepAlive();
    if (this.plan.hook?.passes !== true) this.kernel?.close();
  }

  /** The owner opens, sets its timeout, and refreshes or checks in from then on. */
  private own(): void {
    const { owner, hook } = this.plan;
    if (this.kernel === null || owner === undefined) return;
    if (hook?.passes !== true) this.kernel.open();
    this.ownerHasOpened = true;
    this.kernel.setTimeout(owner.timeout_ms);
    this.lastMs = this.clock.now();
    const life = owner.name === "agent" ? this.loop : this.programs;
    const beat = (): void => {
      if (owner.service) this.checkIn(owner);
      else if (this.ownerHasOpened) this.kernel?.keepAlive();
      life.at(life.now() + owner.every_ms, beat);
    };
    if (owner.service) this.checkIn(owner);
    life.at(life.now() + owner.every_ms, beat);
  }

  private checkIn(owner: NonNullable<CoveragePlan["owner"]>): void {
    // A promise that has lapsed is not revived.
    const isLapsed = this.clock.now() >= this.checkInMs + owner.promise_ms;
    if (isLapsed && this.checkInMs > 0) return;
    this.checkInMs = this.clock.now();
    this.place(owner, this.checkInMs);
  }

  /** The refresh thread, as native/refresher.h places it. */
  private place(owner: NonNullable<CoveragePlan["owner"]>, checkIn: number): void {
    const { promise_ms, timeout_ms: hardware } = owner;
    const deadline = checkIn + promise_ms;
    const next = nextRefresh({ last: this.lastMs, checkIn, deadline, hardware, minGap: 0 });
    if (next === null) return;
    this.thread.at(next, () => {
      // A later check-in has placed refreshes of its own.
      if (checkIn !== this.checkInMs) return;
      this.lastMs = this.clock.now();
      this.kernel?.keepAlive();
      this.place(owner, checkIn);
    });
  }

  private reboot({ at_ms, kernel_ms, end_ms }: NonNullable<CoveragePlan["reboot"]>): void {
    this.at(this.programs, at_ms, () => {
      if (this.plan.owner?.name === "agent") this.killAgent();
      this.at(this.programs, kernel_ms, () => {
        this.kernel?.reboot();
        this.programs.kill();
        this.at(this.machine, end_ms, () => this.reset());
      });
    });
  }

  private disarm(): void {
    this.loop.kill();
    this.thread.kill();
    this.kernel?.disarm();
  }

  private killAgent(): void {
    this.loop.kill();
    this.thread.kill();
    if (this.ownerHasOpened && this.plan.hook?.passes !== true) this.kernel?.close();
    this.ownerHasOpened = false;
  }

  private hang(what: Hanging["what"]): void {
    if (what === "agent_killed") return this.killAgent();
    this.loop.kill();
    if (what === "agent_loop") return;
    this.thread.kill();
    this.programs.kill();
    if (what === "machine") this.machine.kill();
  }
}
