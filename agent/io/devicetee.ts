/**
 * The TEE of a card: /dev/tee0 behind helper processes of ours. What it says is passed on as it is;
 * what it does not say is never made up. VERSION is no sign of life, and cancelling no timeout.
 */
import { statSync } from "node:fs";
import type { PipeRequest } from "../wire/teepipe.ts";
import type { Clock } from "./clock.ts";
import type { RunProgram } from "./program.ts";
import type {
  SessionRef,
  Tee,
  TeeFacts,
  TeeNews,
  TeeOperation,
  TeeOutcome,
  TeeWait,
} from "./tee.ts";
import {
  type Canary,
  callParams,
  canaryParams,
  type DeviceService,
  inputBytesMax,
  openParams,
  outcomeOf,
  probeCommand,
  queryParams,
} from "./teecalls.ts";
import { realTeeRoots, type TeeRoots, whyNoDevice } from "./teedrivers.ts";
import { type Heard, TeeHelpers } from "./teehelpers.ts";
import { isServed, type WatchedOpening, watchOpening } from "./teeopening.ts";
import type { LaunchHelper, TeeHelper } from "./teeprocess.ts";
import { describeProviders, powersOf, type TeeProviders } from "./teeproviders.ts";
import { TeeRestarter } from "./teerestarter.ts";
import type { SupplicantWatch } from "./teesupplicant.ts";

export interface TeeSetup {
  /** /dev/tee0. */
  readonly device: string;
  readonly clock: Clock;
  readonly launch: LaunchHelper;
  readonly runProgram: RunProgram;
  /** By the names that calls use. */
  readonly services: ReadonlyMap<string, DeviceService>;
  readonly canary: Canary;
  readonly providers: TeeProviders;
  readonly supplicant: Pick<SupplicantWatch, "now" | "atStart">;
  /** Somebody wants it called; otherwise it is reported only, and no process is started. */
  readonly isWanted: boolean;
  /** The TEE OS is a process that pretends to be one. */
  readonly simulated?: boolean;
}

type Done = (outcome: TeeOutcome) => void;
type Waits = (on: TeeWait) => void;
type Of<K extends TeeOperation["kind"]> = Extract<TeeOperation, { kind: K }>;

/** A session that is open as far as the kernel knows, and the process that has it. */
interface Opened {
  readonly helper: TeeHelper;
  readonly service: DeviceService;
}

/** Longest that a closing waits for the call inside before the helper is given up. */
const closeMaxMs = 2_000;
/** A canary that died with its helper is sent again so many times: that says nothing of the TEE. */
const canaryTriesMax = 3;
/** TEEC_ERROR_OUT_OF_MEMORY, from the TEE or an application: what a dead supplicant looks like. */
const outOfMemory = 0xffff_000c;

const success: TeeOutcome = { errno: null, ret: 0, origin: 0 };

function failure(errno: string): TeeOutcome {
  return { errno, ret: 0, origin: 0 };
}

/** An application of the TEE's own answered, be it with a refusal. */
function isAlive({ errno, ret, origin }: TeeOutcome): boolean {
  return errno === null && (ret === 0 || origin === ofApplication);
}
/** TEEC_ORIGIN_TRUSTED_APP. */
const ofApplication = 4;

function keyOf({ context, id }: SessionRef): string {
  return `${context}/${id}`;
}

/** Looks for the driver's device node without opening it. */
export function detectTee(
  path: string,
  providers: TeeProviders = {},
  roots: TeeRoots = realTeeRoots,
): TeeFacts {
  const hardwareStatus = providers.hardware !== undefined;
  const base = { simulated: false, name: path, hardwareStatus };
  const absent = (because: string): TeeFacts => {
    return { ...base, powers: [], present: false, usable: false, because };
  };
  try {
    if (!statSync(path).isCharacterDevice()) return absent(`${path} is not a character device`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "an unknown error";
    if (code !== "ENOENT") return absent(`${path} cannot be looked at: ${code}`);
    return absent(`no ${path}: ${whyNoDevice(roots)}`);
  }
  const because = `${path}; ${describeProviders(providers)}`;
  return { ...base, powers: powersOf(providers), present: true, usable: true, because };
}

/** A pretended device is there once it is asked for. */
function twinFacts(name: string, providers: TeeProviders): TeeFacts {
  const because = `a simulated TEE in a process of its own: ${describeProviders(providers)}`;
  const hardwareStatus = providers.hardware !== undefined;
  const powers = powersOf(providers);
  return { present: true, usable: true, simulated: true, name, powers, hardwareStatus, because };
}

/** A TEE that nobody has named services of is left alone. */
function wantedFacts(facts: TeeFacts, isWanted: boolean): TeeFacts {
  if (isWanted || !facts.present) return facts;
  const because = `${facts.name} is there and not called: neither it nor a service is named`;
  return { ...facts, usable: false, powers: [], because };
}

export class DeviceTee implements Tee {
  private readonly setup: TeeSetup;
  private readonly found: TeeFacts;
  private readonly helpers: TeeHelpers;
  private readonly restarter: TeeRestarter;
  private readonly sessions = new Map<string, Opened>();
  /** Which session a call is inside, for `cancel`. */
  private readonly inside = new Map<number, SessionRef>();
  private tell: (news: TeeNews) => void = () => undefined;

  constructor(setup: TeeSetup) {
    this.setup = setup;
    const { clock, launch, device, runProgram, providers } = setup;
    const { isWanted, simulated = false } = setup;
    const found = simulated ? twinFacts(device, providers) : detectTee(device, providers);
    this.found = wantedFacts(found, isWanted);
    const say = (about: TeeNews["about"]) => (because: string) => this.tell({ about, because });
    this.helpers = new TeeHelpers(clock, launch, say("helper"), (helper) => this.forget(helper));
    this.restarter = new TeeRestarter({
      device,
      clock,
      runProgram,
      providers,
      say: say("provider"),
      release: (done) => this.helpers.shut(() => done(this.helpers.lost)),
      version: (done, waits) => {
        // The canary is next: its helper starts beside the other one.
        this.helpers.warm();
        this.version(done, waits);
      },
    });
  }

  facts(): TeeFacts {
    return this.found;
  }

  listen(tell: (news: TeeNews) => void): void {
    this.tell = tell;
  }

  prepare(): void {
    if (this.found.usable) this.helpers.warm();
  }

  /** Helpers that were given up and have not ended. */
  get lostHelpers(): number {
    return this.helpers.lost;
  }

  /** Nothing is answered before this returns. */
  perform(operation: TeeOperation, done: Done, waits: Waits = () => undefined): void {
    setImmediate(() => this.operate(operation, done, waits));
  }

  private operate(operation: TeeOperation, done: Done, waits: Waits): void {
    if (!this.found.usable) return done(failure("ENOENT"));
    switch (operation.kind) {
      case "save_hardware":
        return this.restarter.saveHardware(done);
      case "restore_hardware":
        return this.restarter.restoreHardware(operation.handle, done);
      case "restart":
        if (operation.rung === "tee_os") this.helpers.prepare();
        return this.restarter.restart(operation.rung, done);
      case "reattach":
        return this.restarter.reattach(done, waits);
      case "open":
        return this.open(operation, done, waits);
      case "invoke":
        return this.invoke(operation, done);
      case "query":
        return this.query(operation, done);
      case "cancel":
        return this.cancel(operation.call, done);
      case "close":
        return this.close(operation.session, done);
      case "canary":
        return this.canary(canaryTriesMax, done, waits);
      case "version":
        return this.version(done, waits);
    }
  }

  /** The process has ended, and the kernel has closed what it had open. */
  private forget(helper: TeeHelper): void {
    for (const [key, opened] of this.sessions) {
      if (opened.helper === helper) this.sessions.delete(key);
    }
  }

  private open({ service: name, context }: Of<"open">, done: Done, waits: Waits): void {
    const service = this.setup.services.get(name);
    if (service === undefined) return done(failure("ENOSYS"));
    const helper = this.helpers.caller();
    const before = this.setup.supplicant.atStart();
    const { uuid, login } = service;
    const params = openParams(service.openParams ?? []);
    const given = params.length === 0 ? {} : { params };
    const request = { op: "open", context, uuid, login, ...given } as const;
    const watched = this.watched(waits);
    const patience = { waits, isHeld: () => watched?.isHeld() === true };
    const ended = (heard: Heard): void => {
      watched?.end();
      const outcome = this.judged(outcomeOf(heard), before);
      const id = typeof heard === "string" ? undefined : heard.session;
      const isOpen = outcome.errno === null && outcome.ret === 0;
      if (!isOpen || id === undefined || helper === null) return done(outcome);
      const session = { context, id };
      this.sessions.set(keyOf(session), { helper, service });
      done({ ...outcome, session });
    };
    this.helpers.ask(helper, request, ended, patience);
  }

  /** Where we can start the supplicant ourselves, one that is missing is no reason to wait. */
  private watched(waits: Waits): WatchedOpening | null {
    const { clock, device, providers, supplicant, simulated = false } = this.setup;
    if (simulated || providers.supplicant !== undefined) return null;
    return watchOpening({
      clock,
      isSupplied: () => supplicant.now() !== null || isServed(device),
      askAlive: (alive) => {
        if (!this.helpers.isWatcherFree) return;
        const ended = (outcome: TeeOutcome): void => {
          if (isAlive(outcome)) alive();
        };
        this.canary(1, ended, () => undefined);
      },
      waits,
    });
  }

  private invoke(operation: Of<"invoke">, done: Done): void {
    const { session, command, call, key, input } = operation;
    if (input !== null && input.length > inputBytesMax) return done(failure("E2BIG"));
    this.inside.set(call, session);
    this.into(session, command, callParams(input, key), call, (outcome) => {
      this.inside.delete(call);
      done(outcome);
    });
  }

  /**
   * An application that keeps no keys cannot say what it has done; a command that none has shows at
   * least whether the session is alive, by who refuses it.
   */
  private query({ session, key }: Of<"query">, done: Done): void {
    const command = this.sessions.get(keyOf(session))?.service.queryCommand ?? null;
    if (command === null) {
      // An application that takes even this command says nothing by it.
      const isTaken = ({ errno, ret }: TeeOutcome): boolean => errno === null && ret === 0;
      return this.into(session, probeCommand, [], 0, (outcome) => {
        done(isTaken(outcome) ? failure("ENOSYS") : outcome);
      });
    }
    this.into(session, command, queryParams(key), 0, (outcome) => {
      done({ ...outcome, applied: outcome.value !== undefined && outcome.value !== 0 });
    });
  }

  private into(
    session: SessionRef,
    command: number,
    params: NonNullable<PipeRequest["params"]>,
    call: number,
    done: Done,
  ): void {
    const opened = this.sessions.get(keyOf(session));
    // Closed with its descriptor: the kernel knows it no longer.
    if (opened === undefined) return done(failure("EINVAL"));
    const { context, id } = session;
    const before = this.setup.supplicant.atStart();
    const cancel = call >>> 0;
    const request = { op: "invoke", context, session: id, command, cancel, params } as const;
    this.helpers.ask(opened.helper, request, (heard) => {
      done(this.judged(outcomeOf(heard), before));
    });
  }

  /** A lack of memory is the supplicant's death when it is not the one it was. */
  private judged(outcome: TeeOutcome, before: string | null): TeeOutcome {
    const { errno, ret, origin } = outcome;
    if (errno !== null || ret !== outOfMemory || origin < 3) return outcome;
    // Who did not know of one cannot say that it is another.
    if (this.setup.supplicant.now() === before || before === null) return outcome;
    return { ...outcome, supplicantLost: true };
  }

  private cancel(call: number, done: Done): void {
    const session = this.inside.get(call);
    const opened = session === undefined ? undefined : this.sessions.get(keyOf(session));
    if (session === undefined || opened === undefined) return done(success);
    const { context, id } = session;
    const request = { op: "cancel", context, session: id, cancel: call >>> 0 } as const;
    this.helpers.ask(opened.helper, request, (heard) => done(outcomeOf(heard)));
  }

  /**
   * Done when nothing of the session can have an effect any more: the closing returned, or the
   * process that had it has ended, which the kernel allows only when its calls are over.
   */
  private close(session: SessionRef, done: Done): void {
    const key = keyOf(session);
    const opened = this.sessions.get(key);
    if (opened === undefined) return done(failure("EINVAL"));
    const { context, id } = session;
    const patience = { forMs: closeMaxMs, what: "a closing", untilGone: true };
    const ended = (outcome: TeeOutcome): void => {
      this.sessions.delete(key);
      done(outcome);
    };
    this.helpers.ask(
      opened.helper,
      { op: "close", context, session: id },
      (heard) => ended(heard === "died" ? success : outcomeOf(heard)),
      patience,
    );
  }

  private canary(tries: number, done: Done, waits: Waits): void {
    const { uuid, command } = this.setup.canary;
    const params = canaryParams(this.setup.canary);
    const request = { op: "canary", uuid, command, params } as const;
    const ended = (heard: Heard): void => {
      if (heard === "died" && tries > 1) return this.canary(tries - 1, done, waits);
      done(outcomeOf(heard));
    };
    this.helpers.ask(this.helpers.watcher(), request, ended, { waits });
  }

  private version(done: Done, waits: Waits): void {
    const helper = this.helpers.caller();
    const ended = (heard: Heard): void => done(outcomeOf(heard));
    this.helpers.ask(helper, { op: "version" }, ended, { waits });
  }
}
