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
import { roundMs, type WatchdogModel } from "./watchdogmodels.ts";

const gone = "ENODEV: no such device";

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
  /** The driver was taken away from the open device, and stopped it. Reported: nothing guards. */
  gone?: boolean;
}

/** The chip: counts down, and calls `expire` at zero. Firmware and driver both reach it. */
export class SimChip {
  readonly model: WatchdogModel;
  faults: WatchdogFaults = {};
  /** Times of the latest start or refresh and of the reset, ms; null while stopped. */
  refreshedMs: number | null = null;
  timeoutMs: number;
  /** The hardware's lock: nothing stops the countdown before the next reset. */
  locked = false;
  /** Set by an expiry until firmware or driver reads it: the "timed out" flag. */
  fired = false;
  refreshes = 0;
  /** Least and largest distance between refreshes of one countdown, for stories. */
  gapMinMs = Infinity;
  gapMaxMs = 0;
  private readonly clock: Clock;
  private readonly expire: () => void;
  private cancel: () => void = () => undefined;
  /** The time-left register. */
  private registerMs = 0;

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
    if (this.locked) return;
    this.refreshedMs = null;
    this.cancel();
  }

  /** Milliseconds until the reset; null while stopped. */
  leftMs(): number | null {
    if (this.refreshedMs === null) return null;
    const { model, timeoutMs } = this;
    return this.refreshedMs + model.rounds * roundMs(model, timeoutMs) - this.clock.now();
  }

  /**
   * What GETTIMELEFT tells: what is left of this round, in whole ticks and then in whole steps of
   * the driver. The register of a stopped chip keeps what was read from it or loaded into it last.
   */
  shownLeftMs(): number | null {
    const left = this.leftMs();
    if (left === null && !this.model.leftWhenStopped) return null;
    const round = roundMs(this.model, this.timeoutMs);
    if (left !== null) this.registerMs = left % round || Math.min(left, round);
    const { tickMs, ticksPerS, stepMs } = this.model;
    const ms = (Math.floor(this.registerMs / tickMs + 1e-6) / ticksPerS) * 1000;
    return Math.floor(ms / stepMs + 1e-6) * stepMs;
  }

  private schedule(): void {
    this.cancel();
    const round = roundMs(this.model, this.timeoutMs);
    const atMs = (this.refreshedMs ?? 0) + this.model.rounds * round;
    this.registerMs = round;
    this.cancel = this.clock.at(atMs, () => {
      this.refreshedMs = null;
      this.locked = false;
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
  /** As Linux has it: from the first opening to a disarm, also while nobody has it open. */
  private active = false;
  /** With which it arms, and which it shows: the last one that was granted. */
  private timeoutMs: number;
  private pretimeoutMs = 0;
  private service: SimRefreshService | null = null;

  /** Loading the driver reads and clears the chip's flag, and may stop the countdown. */
  constructor(chip: SimChip, clock: Clock) {
    this.chip = chip;
    this.clock = clock;
    this.bootStatus = chip.fired && chip.model.tellsReset ? 0x20 : 0;
    chip.fired = false;
    if (chip.faults.stopsAtProbe === true) chip.stop();
    this.timeoutMs = chip.running ? chip.timeoutMs : chip.model.defaultMs;
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
      state: this.active ? "active" : "inactive",
      minMs: model.statesRange ? model.minMs : null,
      maxMs: model.statesRange ? model.maxMs : null,
      timeoutMs: this.timeoutMs,
      timeLeftMs: this.shownLeft(),
      bootStatus: this.bootStatus,
      nowayout: faults.noWayOut === true,
      holder: faults.busy ?? null,
      openTimeoutS: null,
      handleBootEnabled: null,
      stopOnReboot: null,
      pretimeoutMs: this.pretimeoutMs,
      governor: null,
      governors: [],
      driver: model.driver,
      driverSettings: {},
      minGapMs: model.minGapMs,
    };
  }

  /** Does nothing when this object has it open already. */
  open(): void {
    const { faults } = this.chip;
    if (this.opened) return;
    if (faults.absent === true) throw new Failure("watchdog.missing", "no watchdog device found");
    if (faults.busy !== undefined) {
      const { name, pid } = faults.busy;
      throw new Failure("watchdog.busy", `watchdog busy: held by pid ${pid} (${name})`);
    }
    this.opened = true;
    this.active = true;
    if (!this.chip.running) this.chip.start(this.timeoutMs);
  }

  setTimeout(timeoutMs: number): number {
    this.mustBeOpen();
    const { faults, model } = this.chip;
    let granted = Math.ceil(timeoutMs / model.stepMs) * model.stepMs;
    if (faults.refuses === true) this.refuse(timeoutMs);
    if (granted > model.maxMs) {
      if (faults.clamps !== true) this.refuse(timeoutMs);
      granted = model.maxMs;
    }
    if (granted < model.minMs) this.refuse(timeoutMs);
    this.chip.retime(faults.grantsMs ?? granted);
    this.timeoutMs = this.chip.timeoutMs;
    const keepsStale = model.keepsStalePretimeout || faults.stalePretimeout === true;
    if (!keepsStale && this.pretimeoutMs >= this.timeoutMs) this.pretimeoutMs = 0;
    return this.timeoutMs;
  }

  setPretimeout(pretimeoutMs: number): number {
    this.mustBeOpen();
    const { faults, model } = this.chip;
    const granted = Math.floor(pretimeoutMs / model.stepMs) * model.stepMs;
    if (granted < 0 || (granted !== 0 && granted >= this.timeoutMs)) this.refuse(pretimeoutMs);
    if (granted !== 0 || faults.keepsPretimeout !== true) this.pretimeoutMs = granted;
    return this.pretimeoutMs;
  }

  pretimeout(): number {
    this.mustBeOpen();
    return this.pretimeoutMs;
  }

  timeLeft(): number | null {
    this.mustBeOpen();
    return this.shownLeft();
  }

  /** Shown without opening as well. */
  private shownLeft(): number | null {
    const { model, faults } = this.chip;
    if (!model.timeLeft) return null;
    if (faults.frozenTimeLeft === true) return model.defaultMs;
    return this.chip.shownLeftMs();
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
    this.service?.stop();
    this.service = null;
    // The magic character is written, and whatever is written refreshes.
    this.chip.refresh();
    this.chip.stop();
    this.active = false;
    this.opened = false;
  }

  /** The kernel refreshes once more when the last descriptor goes, also at the process's death. */
  close(): void {
    if (this.opened) this.chip.refresh();
    this.halt();
  }

  /** Nothing runs any more that could refresh or close: the kernel stands still. */
  halt(): void {
    this.service?.stop();
    this.service = null;
    this.opened = false;
  }

  private mustBeOpen(): void {
    if (!this.opened) throw new Failure("watchdog.closed", "the watchdog is not open");
    if (this.chip.faults.gone === true) throw new Failure("watchdog.missing", gone);
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
  private failures = 0;
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
    const { refreshes, failures, lateMaxMs } = this;
    const problem = failures === 0 ? "" : gone;
    const scheduling = "virtual";
    return { refreshes, failures, problem, lateMinMs: 0, lateMaxMs, scheduling, lockedBytes: 0 };
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
    if (this.chip.faults.gone === true) this.failures += 1;
    else {
      this.refreshes += 1;
      refreshDevice(this.chip, this.by);
    }
    this.place();
  }
}
