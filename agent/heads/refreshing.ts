/**
 * The refreshing of an open device, by the agent or by the refresh service, and the proof that it
 * does refresh. Where KEEPALIVE is dead it goes on by setting the timeout, and says so.
 */
import { Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Clock } from "../io/clock.ts";
import type { RefreshService, ServicePlan, Watchdog } from "../io/watchdog.ts";
import { nextRefresh } from "../machines/placement.ts";
import {
  apartMs,
  beginProof,
  contradicts,
  looked,
  type Proof,
  refreshedBetween,
  wantsLook,
} from "../machines/proof.ts";

export interface RefreshingIo {
  readonly clock: Clock;
  readonly watchdog: Watchdog;
  readonly emit: (event: AgentEvent) => void;
}

export class Refreshing {
  /** null until the device is armed. */
  proof: Proof | null = null;
  service: RefreshService | null = null;
  /** Refreshes asked for since the agent started. */
  count = 0;
  private readonly io: RefreshingIo;
  private plan: ServicePlan | null = null;
  private hardwareMs = 0;
  private refreshedMs = 0;
  private lookMs = Infinity;
  /** Refreshes of this service that the device has refused, as far as they were told. */
  private refusals = 0;
  private minGapMs = 0;
  /** The service was lost and is not known to be back: told once. */
  private isLost = false;
  /** When a refresh that would have come too soon is made up for, ms; Infinity = none. */
  private owedMs = Infinity;

  constructor(io: RefreshingIo) {
    this.io = io;
  }

  /** The device was armed just now with `hardwareMs`; no two refreshes within `minGapMs`. */
  begin(hardwareMs: number, minGapMs: number): void {
    const { watchdog } = this.io;
    const nowMs = this.io.clock.now();
    this.hardwareMs = hardwareMs;
    this.minGapMs = minGapMs;
    this.owedMs = Infinity;
    this.refreshedMs = nowMs;
    this.proof = beginProof(watchdog.refreshBy, nowMs, this.timeLeft());
    this.plan = null;
  }

  /** Failure when it cannot be had: the agent then refreshes by itself. */
  serve(plan: ServicePlan): void {
    this.refusals = 0;
    this.service = this.io.watchdog.serve(plan);
    this.plan = plan;
  }

  /** When a reading of time left is wanted between refreshes; Infinity = never. */
  get dueMs(): number {
    return Math.min(this.lookMs, this.owedMs);
  }

  tick(nowMs: number): void {
    if (nowMs >= this.owedMs) this.refresh();
    if (nowMs < this.lookMs) return;
    this.lookMs = Infinity;
    const leftMs = this.timeLeft();
    if (this.proof === null || leftMs === null) return;
    this.proof = looked(this.proof, nowMs, leftMs, this.service === null);
  }

  /** One refresh, or one check-in with the service. Failure when the device refuses. */
  refresh(): void {
    const nowMs = this.io.clock.now();
    // A chip that bears no two refreshes close together gets one a little late.
    const isHasty = this.service !== null && this.minGapMs > 0;
    if (this.service === null && nowMs < this.refreshedMs + this.minGapMs) {
      this.owedMs = this.refreshedMs + this.minGapMs;
      return;
    }
    this.owedMs = Infinity;
    this.doubt(nowMs);
    if (this.proof?.works === "open" && !isHasty) this.prove(nowMs);
    else if (this.service === null) this.io.watchdog.refresh();
    this.watchService(nowMs);
    this.service?.checkIn();
    this.tellRefusal();
    this.count += 1;
    this.refreshedMs = nowMs;
    this.lookMs = this.proof !== null && wantsLook(this.proof) ? nowMs + apartMs : Infinity;
  }

  /** A service cannot tell by itself. Failure when it was refused since the last check-in. */
  private tellRefusal(): void {
    if (this.service === null) return;
    const { failures, problem } = this.service.stats();
    const isNew = failures > this.refusals;
    this.refusals = failures;
    if (isNew) throw new Failure("watchdog.device", `the device refuses refreshes: ${problem}`);
  }

  /** A device that does not stop is refreshed as before: letting go of it would be a reset. */
  disarm(): void {
    try {
      this.io.watchdog.disarm();
      this.service = null;
      this.proof = null;
      this.lookMs = Infinity;
      this.owedMs = Infinity;
    } catch (error) {
      if (this.service !== null) this.serveAgain();
      throw error;
    }
  }

  close(): void {
    this.service?.stop();
    this.io.watchdog.close();
  }

  /** A device that worked and has run lower than its refreshes explain is to prove itself anew. */
  private doubt(nowMs: number): void {
    if (this.proof?.works !== "yes") return;
    const leftMs = this.timeLeft();
    if (leftMs === null) return;
    const sinceMs = this.service === null ? nowMs - this.refreshedMs : this.hardwareMs / 2;
    if (contradicts(this.proof, leftMs, sinceMs)) this.proof = { ...this.proof, works: "open" };
  }

  /**
   * A service that is late by more than a thread can be is taken for dead and started anew, which
   * refreshes at once. Where T1 is shorter than the way to a check-in, the reset comes first.
   */
  private watchService(nowMs: number): void {
    const { service, plan, refreshedMs: checkIn } = this;
    if (service === null || plan === null) return;
    const { refreshedMs: last, failures, refreshes } = service.stats();
    const { hardwareMs: hardware, minGapMs: minGap, promiseMs } = plan;
    const due = nextRefresh({ last, checkIn, deadline: checkIn + promiseMs, hardware, minGap });
    // One that the device refuses is alive, and a new one would be refused as well.
    const isLost = due !== null && nowMs > due + hardware / 8 && failures === this.refusals;
    if (isLost && !this.isLost) {
      const late_ms = Math.round(nowMs - due);
      this.io.emit({ kind: "wdt:service_lost", late_ms, failures });
    }
    // One that was started anew is back once it has come past its first refresh.
    this.isLost = isLost || (this.isLost && refreshes <= 1);
    if (isLost) this.serveAnew();
  }

  /** One refresh between two readings; a dead KEEPALIVE is left for good. */
  private prove(nowMs: number): void {
    const { watchdog, emit } = this.io;
    const after = this.between(nowMs);
    if (after?.works !== "no") return;
    if (watchdog.refreshBy === "keepalive") {
      watchdog.refreshBy = "settimeout";
      this.proof = { ...after, by: "settimeout", works: "open" };
      const again = this.between(nowMs);
      if (again?.works === "yes") {
        const because = "KEEPALIVE succeeds and leaves time left as it is";
        emit({ kind: "wdt:refresh_by", by: "settimeout", because });
        if (this.service !== null) this.serveAnew();
        return;
      }
    }
    const left = Math.max(this.proof?.last?.leftMs ?? 0, 0) / 1000;
    const problem =
      "refreshes do not refresh: neither KEEPALIVE nor SETTIMEOUT raises the time left; " +
      `expect a reset in ${Math.round(left)} s`;
    emit({ kind: "wdt:refused", operation: "refresh", problem });
  }

  private between(nowMs: number): Proof | null {
    const alone = this.service === null;
    const beforeMs = this.timeLeft();
    this.io.watchdog.refresh();
    const afterMs = this.timeLeft();
    if (this.proof === null || beforeMs === null || afterMs === null) return null;
    this.proof = refreshedBetween(this.proof, nowMs, { beforeMs, afterMs, alone });
    return this.proof;
  }

  /** A reading that fails is none: it must never cost a refresh. */
  private timeLeft(): number | null {
    try {
      return this.io.watchdog.timeLeft();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return null;
    }
  }

  /** The service begins with a refresh of its own, so the change leaves no gap. */
  private serveAnew(): void {
    if (this.plan === null) return;
    try {
      this.service?.stop();
    } catch (error) {
      // It is stuck in the driver and keeps a descriptor of its own: another one may get through.
      if (!(error instanceof Failure)) throw error;
    }
    this.refusals = 0;
    this.service = this.io.watchdog.serve(this.plan);
  }

  /** The refused attempt may have ended the service, or left it running. */
  private serveAgain(): void {
    if (this.plan === null || !this.io.watchdog.isOpen) return;
    try {
      this.refusals = 0;
      this.service = this.io.watchdog.serve(this.plan);
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "watchdog.state") throw error;
    }
  }
}
