/**
 * Restarts of the supplicant and of the TEE OS, the driver's registration with a restarted one, and
 * the hardware status, by the providers that this platform has. One at a time.
 */
import { existsSync } from "node:fs";
import type { Clock } from "./clock.ts";
import { nameHolder, sharers } from "./holder.ts";
import type { RunProgram } from "./program.ts";
import type { TeeOperation, TeeOutcome, TeeWait } from "./tee.ts";
import { firmwareCommand, type RunStep, stepRunner, type TeeProviders } from "./teeproviders.ts";

/** After its driver was loaded the device may take a moment to appear. */
const deviceMaxMs = 3_000;
const deviceEveryMs = 20;

const success: TeeOutcome = { errno: null, ret: 0, origin: 0 };

function failure(errno: string): TeeOutcome {
  return { errno, ret: 0, origin: 0 };
}

type Done = (outcome: TeeOutcome) => void;
type Waits = (on: TeeWait) => void;

/** What the restarter needs of the device besides its own providers. */
export interface Restartable {
  readonly device: string;
  readonly clock: Clock;
  readonly runProgram: RunProgram;
  readonly providers: TeeProviders;
  readonly say: (because: string) => void;
  /** Closes everything of ours; tells how many processes that still hold it were given up. */
  readonly release: (done: (lost: number) => void) => void;
  /** Asks the kernel for VERSION: a way to see that the driver is there, and no sign of life. */
  readonly version: (done: Done, waits: Waits) => void;
}

export class TeeRestarter {
  private readonly on: Restartable;
  private readonly step: RunStep;
  private busy = false;
  /** Who held the driver when that was last told: it is asked for ten times a second. */
  private heldBy = "";
  private handle = 0;

  constructor(on: Restartable) {
    this.on = on;
    this.step = stepRunner(on.clock, on.runProgram, (because) => on.say(`failed: ${because}`));
  }

  /** EBUSY while another one goes on; ENOSYS without a provider; EIO when it failed. */
  restart(rung: Extract<TeeOperation, { kind: "restart" }>["rung"], done: Done): void {
    this.alone(done, (end) => {
      const { firmware, supplicant } = this.on.providers;
      const ended = (isGood: boolean): void => end(isGood ? success : failure("EIO"));
      if (rung === "supplicant") {
        if (supplicant === undefined) return end(failure("ENOSYS"));
        this.on.say("restarting the supplicant");
        // One that is dead already cannot be stopped, and is started all the same.
        this.step(supplicant.stop, () =>
          this.step(supplicant.start, (said) => ended(said !== null)),
        );
        return;
      }
      if (firmware === undefined) return end(failure("ENOSYS"));
      this.on.say("firmware restarts the TEE OS");
      this.step(firmwareCommand(firmware), (said) => ended(said !== null));
    });
  }

  /** EAGAIN, without harm, while anybody has the device open. */
  reattach(done: Done, waits: Waits): void {
    this.alone(done, (end) => {
      this.on.release((lost) => {
        if (lost > 0) {
          this.sayHeld(String(lost), `held by ${lost} of our helpers that were given up`);
          return end(failure("EAGAIN"));
        }
        this.reload((errno) => {
          if (errno !== null) return end(failure(errno));
          this.awaitDevice(this.on.clock.now() + deviceMaxMs, end, waits);
        });
      });
    });
  }

  saveHardware(done: Done): void {
    const { hardware } = this.on.providers;
    if (hardware === undefined) return done(failure("ENOSYS"));
    this.step(hardware.save, (said) => {
      if (said === null) return done(failure("EIO"));
      this.handle += 1;
      const names = said.split(/\s+/).filter((name) => name !== "");
      done({ ...success, hardware: { handle: this.handle, names } });
    });
  }

  /** ENOENT for another than the last one saved. */
  restoreHardware(handle: number, done: Done): void {
    const { hardware } = this.on.providers;
    if (hardware === undefined) return done(failure("ENOSYS"));
    if (handle !== this.handle) return done(failure("ENOENT"));
    this.step(hardware.restore, (said) => done(said === null ? failure("EIO") : success));
  }

  private alone(done: Done, act: (end: Done) => void): void {
    if (this.busy) return done(failure("EBUSY"));
    this.busy = true;
    act((outcome) => {
      this.busy = false;
      done(outcome);
    });
  }

  /**
   * The supplicant holds the driver too, so it is stopped for it; but only once nobody else does,
   * and started again whatever comes of it.
   */
  private reload(done: (errno: string | null) => void): void {
    const { device, providers, say } = this.on;
    const { driver, supplicant } = providers;
    if (driver === undefined) {
      say("no driver reload is configured: a driver that knows only the old TEE OS stays useless");
      return done(null);
    }
    const others = existsSync(device) ? sharers(device) : [];
    if (others.length > 0) {
      const pids = others.map(({ pid }) => `pid ${pid}`).join();
      this.sayHeld(pids, `held by ${others.map(nameHolder).join(", ")}`);
      return done("EAGAIN");
    }
    const stop = supplicant === undefined ? null : supplicant.stop;
    const start = supplicant === undefined ? null : supplicant.start;
    this.optional(stop, () => {
      this.step(driver.unload, (unloaded) => {
        if (unloaded === null) return this.optional(start, () => done("EAGAIN"));
        this.heldBy = "";
        say("reloading the driver, which does not restart the TEE");
        this.step(driver.load, (loaded) => {
          this.optional(start, () => done(loaded === null ? "ENODEV" : null));
        });
      });
    });
  }

  private sayHeld(who: string, how: string): void {
    if (who !== this.heldBy) this.on.say(`the driver cannot be reloaded, ${how}`);
    this.heldBy = who;
  }

  private optional(command: readonly string[] | null, then: () => void): void {
    if (command === null) return then();
    this.step(command, () => then());
  }

  private awaitDevice(deadlineMs: number, end: Done, waits: Waits): void {
    const { clock, device, version } = this.on;
    if (existsSync(device)) return version(end, waits);
    if (clock.now() >= deadlineMs) return end(failure("ENODEV"));
    clock.at(clock.now() + deviceEveryMs, () => this.awaitDevice(deadlineMs, end, waits));
  }
}
