/**
 * The twin of a hardware watchdog and of its Linux driver. The constructor's faults are what real
 * ones do to us; the contract beside each says whether the agent survives it or only reports it.
 */
import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type {
  RefreshBy,
  RefreshService,
  ServicePlan,
  ServiceStats,
  Watchdog,
  WatchdogFacts,
} from "../io/watchdog.ts";
import { nextRefresh } from "../machines/placement.ts";

export interface WatchdogModel {
  readonly identity: string;
  readonly minMs: number;
  readonly maxMs: number;
  /** Resets the card when refreshed twice within this time; 0 = never. */
  readonly minGapMs: number;
  /** The driver's own timeout, with which opening arms. */
  readonly defaultMs: number;
  /** WDIOF_* bits shown. */
  readonly options: number;
  /** GETTIMELEFT is answered. */
  readonly timeLeft: boolean;
}

/** As QEMU's and Linux's i6300esb present themselves, with a time-left register added. */
export const plainModel: WatchdogModel = {
  identity: "simulated i6300ESB",
  minMs: 1000,
  maxMs: 2_046_000,
  minGapMs: 0,
  defaultMs: 30_000,
  options: 0x8180,
  timeLeft: true,
};

export interface WatchdogFaults {
  /** Grants another timeout than asked, without a word. Reported; the promise is kept. */
  grantsMs?: number;
  /** Clamps a timeout above the maximum instead of refusing it. Survived by the service. */
  clamps?: boolean;
  /** Refuses every timeout but the present one. Survived by the service where T1 < T2. */
  refuses?: boolean;
  /** KEEPALIVE succeeds and does nothing; SETTIMEOUT refreshes. Survived: the agent uses that. */
  deafKeepAlive?: boolean;
  /** No call refreshes, though all succeed. Not survived: reported before the reset. */
  deaf?: boolean;
  /** The kernel refreshes until the device is opened, for so long; 0 = for ever. Reported. */
  openTimeoutS?: number;
  /** Once armed, always armed. Reported; disarm says it cannot stop. */
  noWayOut?: boolean;
  /** A pretimeout set earlier is kept although the timeout became shorter. Read back. */
  stalePretimeout?: boolean;
  /** A pretimeout once set cannot be cleared. Read back and reported. */
  keepsPretimeout?: boolean;
  /** Time left never changes. Never taken as proof that the watchdog is running. */
  frozenTimeLeft?: boolean;
  /** Somebody else has the device. Reported with the holder. */
  busy?: { pid: number; name: string };
  /** The Linux driver stops a running countdown when it is loaded, as i6300esb does. */
  stopsAtProbe?: boolean;
  /** There is no device. */
  absent?: boolean;
}

/** The chip: counts down, and calls `expire` at zero. Firmware and driver both reach it. */
export class SimChip {
  readonly model: WatchdogModel;
  faults: WatchdogFaults = {};
  /** Times of the latest start or refresh and of the reset, ms; null while stopped. */
  refreshedMs: number | null = null;
  timeoutMs: number;
  /** Set by an expiry until firmware or driver reads it: the "timed out" flag. */
  fired = false;
  refreshes = 0;
  /** Least and largest distance between refreshes of one countdown, for stories. */
  gapMinMs = Infinity;
  gapMaxMs = 0;
  private readonly clock: Clock;
  private readonly expire: () => void;
  private cancel: () => void = () => undefined;

  constructor(clock: Clock, model: WatchdogModel, expire: () => void) {
    this.clock = clock;
    this.model = model;
    this.timeoutMs = model.defaultMs;
    this.expire = expire;
  }

  get running(): boolean {
    return this.refreshedMs !== null;
  }

  /** Starts, or restarts with another timeout. */
  start(timeoutMs: number): void {
    this.timeoutMs = timeoutMs;
    this.gapMinMs = Infinity;
    this.gapMaxMs = 0;
    this.refreshedMs = this.clock.now();
    this.schedule();
  }

  /** Sets the timeout of a running countdown, and refreshes it unless the chip is deaf. */
  retime(timeoutMs: number): void {
    if (this.faults.deaf !== true || this.refreshedMs === null) return this.start(timeoutMs);
    this.timeoutMs = timeoutMs;
    this.schedule();
  }

  refresh(): void {
    if (this.refreshedMs === null || this.faults.deaf === true) return;
    const now = this.clock.now();
    const gap = now - this.refreshedMs;
    this.gapMinMs = Math.min(this.gapMinMs, gap);
    this.gapMaxMs = Math.max(this.gapMaxMs, gap);
    this.refreshes += 1;
    this.refreshedMs = now;
    this.schedule();
  }

  stop(): void {
    this.refreshedMs = null;
    this.cancel();
  }

  /** Milliseconds until the reset; null while stopped. */
  leftMs(): number | null {
    return this.refreshedMs === null ? null : this.refreshedMs + this.timeoutMs - this.clock.now();
  }

  private schedule(): void {
    this.cancel();
    this.cancel = this.clock.at((this.refreshedMs ?? 0) + this.timeoutMs, () => {
      this.refreshedMs = null;
      this.fired = true;
      this.expire();
    });
  }
}

/** The driver: what /dev/watchdog0 of a card with this chip does. Dies with its process. */
export class SimWatchdog implements Watchdog {
  private readonly chip: SimChip;
  private readonly clock: Clock;
  private readonly bootStatus: number;
  refreshBy: RefreshBy = "keepalive";
  private opened = false;
  private pretimeoutMs = 0;
  private service: SimRefreshService | null = null;

  /** Loading the driver reads and clears the chip's flag, and may stop the countdown. */
  constructor(chip: SimChip, clock: Clock) {
    this.chip = chip;
    this.clock = clock;
    this.bootStatus = chip.fired ? 0x20 : 0;
    chip.fired = false;
    if (chip.faults.stopsAtProbe === true) chip.stop();
  }

  get isOpen(): boolean {
    return this.opened;
  }

  facts(): WatchdogFacts {
    const { model, faults } = this.chip;
    return {
      path: "sim",
      identity: model.identity,
      kind: "simulated",
      options: model.options,
      state: this.opened ? "active" : "inactive",
      minMs: model.minMs,
      maxMs: model.maxMs,
      timeoutMs: this.chip.timeoutMs,
      timeLeftMs: this.timeLeft(),
      bootStatus: this.bootStatus,
      nowayout: faults.noWayOut === true,
      holder: faults.busy ?? null,
      openTimeoutS: faults.openTimeoutS ?? null,
      handleBootEnabled: faults.openTimeoutS === undefined ? null : true,
      stopOnReboot: null,
      pretimeoutMs: this.pretimeoutMs,
      governor: null,
      governors: [],
      driver: null,
      driverSettings: {},
      minGapMs: model.minGapMs,
    };
  }

  open(): void {
    const { faults, model } = this.chip;
    if (faults.absent === true) throw new Failure("watchdog.missing", "no watchdog device found");
    if (faults.busy !== undefined) {
      const { name, pid } = faults.busy;
      throw new Failure("watchdog.busy", `watchdog busy: held by pid ${pid} (${name})`);
    }
    this.opened = true;
    if (!this.chip.running) this.chip.start(model.defaultMs);
  }

  setTimeout(timeoutMs: number): number {
    this.mustBeOpen();
    const { faults, model } = this.chip;
    let granted = timeoutMs;
    if (faults.refuses === true) this.refuse(timeoutMs);
    if (timeoutMs > model.maxMs) {
      if (faults.clamps !== true) this.refuse(timeoutMs);
      granted = model.maxMs;
    }
    if (timeoutMs < model.minMs) this.refuse(timeoutMs);
    this.chip.retime(faults.grantsMs ?? granted);
    if (faults.stalePretimeout !== true && this.pretimeoutMs >= this.chip.timeoutMs) {
      this.pretimeoutMs = 0;
    }
    return this.chip.timeoutMs;
  }

  setPretimeout(pretimeoutMs: number): number {
    this.mustBeOpen();
    const { faults } = this.chip;
    if (pretimeoutMs !== 0 && pretimeoutMs >= this.chip.timeoutMs) this.refuse(pretimeoutMs);
    if (pretimeoutMs !== 0 || faults.keepsPretimeout !== true) this.pretimeoutMs = pretimeoutMs;
    return this.pretimeoutMs;
  }

  pretimeout(): number {
    return this.pretimeoutMs;
  }

  timeLeft(): number | null {
    const { model, faults } = this.chip;
    if (!model.timeLeft) return null;
    if (faults.frozenTimeLeft === true) return model.defaultMs;
    return this.chip.leftMs();
  }

  refresh(): void {
    this.mustBeOpen();
    refreshDevice(this.chip, this.refreshBy);
  }

  serve(plan: ServicePlan): RefreshService {
    this.mustBeOpen();
    this.service?.stop();
    this.service = new SimRefreshService(this.chip, this.clock, plan, this.refreshBy);
    return this.service;
  }

  disarm(): void {
    this.mustBeOpen();
    if (this.chip.faults.noWayOut === true) {
      throw new Failure("watchdog.nowayout", "the driver was told never to stop (nowayout)");
    }
    this.chip.stop();
    this.close();
  }

  close(): void {
    this.service?.stop();
    this.service = null;
    this.opened = false;
  }

  private mustBeOpen(): void {
    if (!this.opened) throw new Failure("watchdog.closed", "the watchdog is not open");
  }

  private refuse(timeoutMs: number): never {
    const { minMs, maxMs } = this.chip.model;
    const range = `${minMs} to ${maxMs} ms`;
    throw new Failure("watchdog.range", `${timeoutMs} ms refused; the device takes ${range}`);
  }
}

/** What KEEPALIVE or SETTIMEOUT does to this chip. */
function refreshDevice(chip: SimChip, by: RefreshBy): void {
  if (by === "settimeout") chip.retime(chip.timeoutMs);
  else if (chip.faults.deafKeepAlive !== true) chip.refresh();
}

/** The twin of the native refresh thread: the same placement, on the virtual clock. */
export class SimRefreshService implements RefreshService {
  private readonly chip: SimChip;
  private readonly clock: Clock;
  private readonly plan: ServicePlan;
  private readonly by: RefreshBy;
  private lastMs = -Infinity;
  private checkInMs: number;
  private refreshes = 0;
  private lateMaxMs = 0;
  private cancel: () => void = () => undefined;
  private stopped = false;

  constructor(chip: SimChip, clock: Clock, plan: ServicePlan, by: RefreshBy = "keepalive") {
    this.chip = chip;
    this.clock = clock;
    this.plan = plan;
    this.by = by;
    this.checkInMs = clock.now();
    this.refreshAt(clock.now());
  }

  checkIn(): void {
    this.checkInMs = this.clock.now();
    if (!this.stopped) this.place();
  }

  stats(): ServiceStats {
    const { refreshes, lateMaxMs } = this;
    const scheduling = "virtual";
    return { refreshes, failures: 0, lateMinMs: 0, lateMaxMs, scheduling, lockedBytes: 0 };
  }

  stop(): void {
    this.stopped = true;
    this.cancel();
  }

  private place(): void {
    this.cancel();
    const { hardwareMs: hardware, promiseMs, minGapMs: minGap } = this.plan;
    const { lastMs: last, checkInMs: checkIn } = this;
    const deadline = checkIn + promiseMs;
    const next = nextRefresh({ last, checkIn, deadline, hardware, minGap });
    // A thread that was held up past the deadline does not revive a promise that has lapsed.
    if (next === null || this.clock.now() >= deadline) return;
    this.cancel = this.clock.at(next, () => this.refreshAt(next));
  }

  private refreshAt(dueMs: number): void {
    this.lastMs = this.clock.now();
    this.lateMaxMs = Math.max(this.lateMaxMs, this.lastMs - dueMs);
    this.refreshes += 1;
    refreshDevice(this.chip, this.by);
    this.place();
  }
}
