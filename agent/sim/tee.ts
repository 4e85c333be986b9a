/**
 * The twin of a TEE behind its Linux driver, as measured on OP-TEE. What the kernel knows (open
 * sessions, the registration with the TEE OS) and what the secure world knows are kept apart: a
 * restart loses only the latter. VERSION is answered by the kernel and proves nothing; cancelling
 * is accepted and cancels nothing; a call inside cannot be killed.
 */
import { assertNever } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type { SessionRef, Tee, TeeFacts, TeeOperation, TeeOutcome } from "../io/tee.ts";
import { teeOrigin, teeRet } from "../machines/teesignals.ts";
import type { Random } from "./random.ts";
import { type Done, refused, SecureWorld, success } from "./secureworld.ts";
import { SimHelper } from "./simhelper.ts";
import type { Injected, TeeFaults, TeeModel } from "./teemodel.ts";

const communication = refused(teeRet.communication, teeOrigin.communication);
/** Made by firmware or by the agent itself; the canary has a process of its own. */
const notOfHelper: readonly TeeOperation["kind"][] = [
  ...(["save_hardware", "restore_hardware", "restart", "reattach", "canary"] as const),
];
/** Registers that firmware saves at a crash; values stay there. */
const savedNames = ["CNTPS_CTL_EL1", "CNTPS_CVAL_EL1", "GICD_ISENABLER", "TZASC_REGION"];

function failure(errno: string): TeeOutcome {
  return { errno, ret: 0, origin: 0 };
}

export class SimTee implements Tee {
  /** What lives behind the driver; its ledgers are for tests to look at. */
  readonly world: SecureWorld;
  /** Restarts of the TEE OS; attempts at one while another went on. */
  restarts = 0;
  overlaps = 0;
  /** Restorations of the hardware status beyond one per restart. */
  doubleRestores = 0;
  /** No CPU of the card runs any more: the panic stopped them all. */
  coresHalted = false;
  private readonly clock: Clock;
  private readonly model: TeeModel;
  /** Sessions as the kernel lists them, by context and id. */
  private readonly listed = new Map<string, SessionRef>();
  /** The driver's registration is of an earlier life of the TEE OS. */
  private stale = false;
  private restarting = false;
  /** A secure timer was armed at the crash and nobody has put that right. */
  private dirty = false;
  private handle = 0;
  private restored = 0;
  /** Goes up with every power cycle, and with every death of the client process. */
  private life = 0;
  private client = 0;
  private readonly helper = new SimHelper(() => this.closeAll());
  /** An unbinding that will never return: no device, and no other registration. */
  private unbinding = false;
  private unloaded = false;

  constructor(clock: Clock, random: Random, model: TeeModel, faults: TeeFaults = {}) {
    this.clock = clock;
    this.model = model;
    this.world = new SecureWorld(clock, random, model);
    this.faults = faults;
  }

  get faults(): TeeFaults {
    return this.world.faults;
  }

  set faults(faults: TeeFaults) {
    this.world.faults = faults;
  }

  facts(): TeeFacts {
    const { powers, hardwareStatus } = this.model;
    return {
      present: true,
      usable: true,
      simulated: true,
      name: "sim",
      powers,
      hardwareStatus,
      because: "a simulated TEE: it protects nothing",
    };
  }

  perform(operation: TeeOperation, done: Done): void {
    const { client } = this;
    const end: Done = (outcome) => {
      if (client === this.client && !this.coresHalted) done(outcome);
    };
    const isAsked = !notOfHelper.includes(operation.kind);
    this.go(operation, isAsked ? this.helper.ask(operation.kind, end) : end);
  }

  private go(operation: TeeOperation, end: Done | null): void {
    if (end === null) return;
    if (this.faults.crashesAt === operation.kind) {
      this.faults = { ...this.faults, crashesAt: undefined };
      this.inject("core_panic");
    }
    const { times } = this.model;
    switch (operation.kind) {
      case "save_hardware":
        return this.later(times.firmwareMs, () => end(this.saveHardware()));
      case "restore_hardware":
        return this.later(times.firmwareMs, () => end(this.restoreHardware(operation.handle)));
      case "restart":
        return operation.rung === "tee_os" ? this.restartOs(end) : this.restartSupplicant(end);
      case "reattach":
        if (this.unbinding) return;
        return this.later(times.reattachMs, () => end(this.reattach()));
      case "cancel":
        this.world.cancel(operation.call);
        return this.later(times.kernelMs, () => end(success));
      case "version":
        return this.later(times.kernelMs, () => end(success));
      default:
        return this.enter(operation, end);
    }
  }

  /** Sessions that the kernel lists, whether or not the secure world knows them. */
  get listedSessions(): number {
    return this.listed.size;
  }

  /** Makes something go wrong at this moment. `service`: whose instances panic. */
  inject(fault: Injected, service = ""): void {
    switch (fault) {
      case "panic":
        return this.world.panic(service);
      case "core_panic":
        this.coresHalted ||= this.faults.haltsCores === true;
        this.world.isDead = true;
        return;
      case "hang":
        this.world.isDead = true;
        return;
      case "silent_restart":
        return this.newOs();
      case "supplicant_death":
        return this.world.killSupplicant();
      case "helper_death":
        return this.helper.die();
      case "unbind":
        this.unbinding ||= this.listed.size > 0;
        return;
      case "unload":
        this.unloaded ||= this.listed.size === 0;
        return;
      default:
        return assertNever(fault);
    }
  }

  /** The TEE OS panics: the usual thing to show. */
  crash(): void {
    this.inject("core_panic");
  }

  /** The client process died: its calls end for nobody, and the kernel closes its sessions. */
  disconnect(): void {
    this.client += 1;
    this.helper.forget();
    this.closeAll();
  }

  private closeAll(): void {
    const open = [...this.listed.values()];
    this.listed.clear();
    if (!this.stale) for (const ref of open) this.world.close(ref.id, () => undefined);
  }

  /** The whole card was reset: nobody is left to be answered; secure storage stays. */
  powerCycle(): void {
    this.life += 1;
    this.client += 1;
    this.helper.forget();
    this.listed.clear();
    this.world.powerCycle();
    this.stale = false;
    this.restarting = false;
    this.dirty = false;
    this.coresHalted = false;
    this.unbinding = false;
    this.unloaded = false;
  }

  private later(ms: number, act: () => void): void {
    const { life } = this;
    this.clock.at(this.clock.now() + ms, () => {
      if (life === this.life) act();
    });
  }

  /** Into the secure world, past the kernel's list and the driver's registration. */
  private enter(
    operation: Extract<TeeOperation, { kind: "open" | "invoke" | "query" | "close" | "canary" }>,
    end: Done,
  ): void {
    const { kernelMs } = this.model.times;
    if ("session" in operation) {
      const key = keyOf(operation.session);
      if (!this.listed.has(key)) return this.later(kernelMs, () => end(failure("EINVAL")));
      if (operation.kind === "close") this.listed.delete(key);
    }
    const isOpening = operation.kind === "open" || operation.kind === "canary";
    if (isOpening && (this.unbinding || this.unloaded)) {
      return this.later(kernelMs, () => end(failure("ENOENT")));
    }
    if (this.stale && !this.world.isDead) {
      return this.later(kernelMs, () => end(communication));
    }
    switch (operation.kind) {
      case "open": {
        const { client } = this;
        const listing: Done = (outcome) => {
          const { session } = outcome;
          const isOurs = client === this.client;
          if (session !== undefined && isOurs) this.listed.set(keyOf(session), session);
          else if (session !== undefined) this.world.close(session.id, () => undefined);
          end(outcome);
        };
        return this.world.enter(this.world.open(operation.service, operation.context, listing));
      }
      case "invoke":
        return this.world.enter(this.world.invoke(operation, end));
      case "query":
        return this.world.enter(this.world.query(operation.session, operation.key, end));
      case "close":
        return this.world.close(operation.session.id, end);
      case "canary":
        return this.world.enter(this.world.canary(end));
      default:
        return assertNever(operation);
    }
  }

  private saveHardware(): TeeOutcome {
    this.handle += 1;
    return { ...success, hardware: { handle: this.handle, names: savedNames } };
  }

  private restoreHardware(handle: number): TeeOutcome {
    if (handle !== this.handle) return failure("ENOENT");
    if (this.restored > 0) this.doubleRestores += 1;
    this.restored += 1;
    this.dirty = false;
    return success;
  }

  private restartOs(end: Done): void {
    const { times } = this.model;
    if (this.restarting) {
      this.overlaps += 1;
      return this.later(times.kernelMs, () => end(failure("EBUSY")));
    }
    this.world.isDead = true;
    if (this.faults.restartHangs === true) {
      this.restarting = true;
      return;
    }
    const fails = this.faults.restartFails ?? 0;
    if (fails > 0) {
      this.faults = { ...this.faults, restartFails: fails - 1 };
      return this.later(times.restartMs, () => end(failure("EIO")));
    }
    this.restarting = true;
    this.later(times.restartMs, () => {
      this.restarting = false;
      this.newOs();
      end(success);
    });
  }

  /** A new TEE OS under the old driver. */
  private newOs(): void {
    this.dirty = this.faults.timerArmed === true;
    this.restarts += 1;
    this.restored = 0;
    this.stale = this.faults.staticSharedMemory !== true;
    this.world.restart();
    if (!this.dirty) return;
    this.later(this.model.times.staleTimerMs, () => {
      // The stale interrupt comes before its handler exists.
      if (this.dirty) this.world.isDead = true;
    });
  }

  private restartSupplicant(end: Done): void {
    this.world.killSupplicant();
    this.later(this.model.times.supplicantMs, () => {
      this.world.startSupplicant();
      end(success);
    });
  }

  private reattach(): TeeOutcome {
    if (this.listed.size > 0 || this.faults.heldByOthers === true) return failure("EAGAIN");
    if (this.world.isDead) return failure("ENODEV");
    this.stale = false;
    this.unloaded = false;
    this.world.startSupplicant();
    return success;
  }
}

function keyOf({ context, id }: SessionRef): string {
  return `${context}/${id}`;
}
