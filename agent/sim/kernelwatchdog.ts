/**
 * The twin of Linux's watchdog core and of a driver under it, from the loading of the driver on:
 * what happens to a countdown that firmware left running, who refreshes while nobody has the
 * device open, and what closing it does. Follows drivers/watchdog/watchdog_dev.c and
 * watchdog_core.c of Linux 6.12; each method names the function it stands for.
 */
import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type { SimChip } from "./watchdog.ts";

/** Module parameters of the watchdog core. */
export interface CoreSettings {
  readonly handleBootEnabled: boolean;
  /** 0 = none. */
  readonly openTimeoutMs: number;
}

export interface DriverTraits {
  /** What its probe does to a running countdown; see wire/coverageplan.ts. */
  readonly atProbe: "stops" | "keeps" | "ignores";
  readonly heartbeatMs: number;
  /** max_hw_heartbeat_ms; 0 = the driver states none. */
  readonly hardwareMaxMs: number;
  readonly magicClose: boolean;
  readonly nowayout: boolean;
  readonly canStop: boolean;
  readonly stopOnReboot: boolean;
}

export class KernelWatchdog {
  private readonly chip: SimChip;
  private readonly clock: Clock;
  private readonly driver: DriverTraits;
  private timeoutMs: number;
  /** WDOG_HW_RUNNING, WDOG_ACTIVE and _WDOG_DEV_OPEN. */
  private hardwareRuns = false;
  private active = false;
  private isOpen = false;
  private openDeadlineMs: number;
  private lastKeepaliveMs = 0;
  private cancel: () => void = () => undefined;

  /** The driver's probe and watchdog_cdev_register. `clock`: timers die with the kernel. */
  constructor(chip: SimChip, clock: Clock, driver: DriverTraits, core: CoreSettings) {
    this.chip = chip;
    this.clock = clock;
    this.driver = driver;
    this.timeoutMs = driver.heartbeatMs;
    if (driver.atProbe === "stops") {
      chip.stop();
      // The driver writes its timers whatever the lock did to the stop.
      this.ping();
    }
    this.hardwareRuns = driver.atProbe === "keeps" && chip.running;
    const { openTimeoutMs } = core;
    this.openDeadlineMs = openTimeoutMs === 0 ? Infinity : clock.now() + openTimeoutMs;
    if (this.hardwareRuns && core.handleBootEnabled) this.startTimer(0);
  }

  /** watchdog_open, watchdog_start. */
  open(): void {
    if (this.isOpen) throw new Failure("watchdog.busy", "the device is open");
    this.isOpen = true;
    if (!this.active) this.start();
    // open_timeout covers the time up to the first open alone.
    this.openDeadlineMs = Infinity;
  }

  /** WDIOC_KEEPALIVE: watchdog_ping. */
  keepAlive(): void {
    if (!this.active && !this.hardwareRuns) return;
    this.lastKeepaliveMs = this.clock.now();
    this.pingAndPlan();
  }

  /** WDIOC_SETTIMEOUT: watchdog_set_timeout, then a ping. */
  setTimeout(timeoutMs: number): void {
    this.timeoutMs = timeoutMs;
    this.updateWorker();
    this.keepAlive();
  }

  /** watchdog_release of a descriptor to which nobody wrote the magic character. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    const stopped = this.active && !this.driver.magicClose && this.stop();
    if (this.active && !stopped) this.keepAlive();
    this.updateWorker();
  }

  /** watchdog_release after the magic character; false where the driver refuses. */
  disarm(): boolean {
    this.isOpen = false;
    return this.active && this.stop();
  }

  /** watchdog_reboot_notifier. */
  reboot(): void {
    const { stopOnReboot, canStop } = this.driver;
    if (stopOnReboot && canStop && (this.active || this.hardwareRuns)) this.chip.stop();
  }

  private start(): void {
    if (this.hardwareRuns) {
      this.pingAndPlan();
      this.active = true;
      return;
    }
    this.chip.start(this.beatMs);
    this.active = true;
    this.lastKeepaliveMs = this.clock.now();
    this.updateWorker();
  }

  /** watchdog_stop; false where it was refused. */
  private stop(): boolean {
    if (this.driver.nowayout) return false;
    if (this.driver.canStop) {
      this.hardwareRuns = false;
      this.chip.stop();
    } else {
      this.hardwareRuns = true;
    }
    this.active = false;
    this.updateWorker();
    return true;
  }

  /** The driver's ping reloads the hardware; one that stands still it does not start. */
  private ping(): void {
    if (this.chip.running) this.chip.start(this.beatMs);
  }

  /** What the hardware is programmed with: no more than it can hold. */
  private get beatMs(): number {
    const { hardwareMaxMs } = this.driver;
    return hardwareMaxMs === 0 ? this.timeoutMs : Math.min(this.timeoutMs, hardwareMaxMs);
  }

  /** __watchdog_ping */
  private pingAndPlan(): void {
    this.ping();
    this.updateWorker();
  }

  /** watchdog_need_worker */
  private get needsWorker(): boolean {
    const { hardwareMaxMs } = this.driver;
    const isLong = hardwareMaxMs > 0 && this.timeoutMs > hardwareMaxMs;
    return this.active ? isLong : this.hardwareRuns;
  }

  /** watchdog_update_worker, watchdog_next_keepalive */
  private updateWorker(): void {
    if (!this.needsWorker) return this.cancel();
    const virtualMs = this.active ? this.lastKeepaliveMs + this.timeoutMs : this.openDeadlineMs;
    const latestMs = virtualMs - this.beatMs - this.clock.now();
    const inMs = Math.min(latestMs, this.beatMs / 2);
    if (inMs > 0) this.startTimer(inMs);
  }

  /** hrtimer_start: a timer that is set already is set anew. */
  private startTimer(inMs: number): void {
    this.cancel();
    this.cancel = this.clock.at(this.clock.now() + inMs, () => this.work());
  }

  /** watchdog_ping_work */
  private work(): void {
    const isPast = this.clock.now() > this.openDeadlineMs;
    if (this.active || (this.hardwareRuns && !isPast)) this.pingAndPlan();
  }
}
