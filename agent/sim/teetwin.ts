/**
 * The secure world for clients in other processes: every connection is a client process, its
 * contexts are the opens of the device. What the kernel does at a client's end is done here too:
 * its sessions are closed, each once nobody is inside any more.
 */
import { assertNever } from "../errors.ts";
import type { TeeOutcome } from "../io/tee.ts";
import type { PipeParam, PipeReply, PipeRequest } from "../wire/teepipe.ts";
import { type TwinControl, twinCaps } from "../wire/teetwin.ts";
import { hash32 } from "./random.ts";
import type { Job, SecureWorld } from "./secureworld.ts";
import { type SimService, simCommand } from "./teemodel.ts";

/** TEE_IMPL_ID_OPTEE. */
export const opTee = 1;
/** OP-TEE's list of devices, built in: what the proof of life asks (teesettings.ts). */
export const deviceList = { name: "devices", uuid: "7011a688ddde4053a5a97b3c4ddf13b8" };
/** Contexts that one client process may have had open; keeps clients apart in one number. */
const contextsMax = 1_000_000;

/** The UUID of a simulated service: made of its name, 16 bytes as hex. */
export function simUuid(name: string): string {
  const part = (index: number): string => hash32(`${index}/${name}`).toString(16).padStart(8, "0");
  return [0, 1, 2, 3].map(part).join("");
}

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, at) => {
    return Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16);
  });
}

function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The services that a twin with these names has. */
export function twinServices(names: readonly string[]): SimService[] {
  const own = names.map((name) => ({ name, singleInstance: true }));
  return [...own, { name: deviceList.name, singleInstance: false, builtIn: true }];
}

type Reply = (reply: PipeReply) => void;

export class TwinWorld {
  readonly world: SecureWorld;
  private readonly names: ReadonlyMap<string, string>;
  private clients = 0;

  constructor(world: SecureWorld, services: readonly SimService[]) {
    this.world = world;
    const named = services.map(({ name }): [string, string] => [simUuid(name), name]);
    this.names = new Map([...named, [deviceList.uuid, deviceList.name]]);
  }

  /** TEE_IOC_VERSION's generic capabilities. */
  get caps(): number {
    const isStatic = this.world.faults.staticSharedMemory === true;
    return twinCaps.globalPlatform | (isStatic ? 0 : twinCaps.registeredMemory);
  }

  /** A client process; `reply` is told what came of its calls. */
  client(reply: Reply): TwinClient {
    this.clients += 1;
    return new TwinClient(this.world, this.names, this.clients * contextsMax, reply);
  }

  /** What is done to the TEE from outside. */
  control(control: TwinControl): void {
    const { world } = this;
    switch (control.control) {
      case "faults": {
        const { slowness, staticSharedMemory, poison } = control;
        world.faults = {
          ...(slowness === undefined ? {} : { slowness }),
          ...(staticSharedMemory === undefined ? {} : { staticSharedMemory }),
          ...(poison === undefined ? {} : { poison }),
        };
        return;
      }
      case "supplicant":
        return control.isUp === true ? world.startSupplicant() : world.killSupplicant();
      case "inject":
        if (control.fault === "panic") world.panic(control.service ?? "");
        else if (control.fault === "supplicant_death") world.killSupplicant();
        else world.isDead = true;
        return;
      default:
        return assertNever(control.control);
    }
  }
}

export class TwinClient {
  private readonly world: SecureWorld;
  private readonly names: ReadonlyMap<string, string>;
  private readonly firstContext: number;
  private readonly reply: Reply;
  private readonly sessions = new Set<number>();
  private readonly jobs = new Set<Job>();
  private isGone = false;

  constructor(
    world: SecureWorld,
    names: ReadonlyMap<string, string>,
    firstContext: number,
    reply: Reply,
  ) {
    this.world = world;
    this.names = names;
    this.firstContext = firstContext;
    this.reply = reply;
  }

  perform(request: PipeRequest): void {
    const { world } = this;
    const { id, op, session = 0, cancel = 0 } = request;
    const context = this.firstContext + (request.context ?? 0);
    const end = (outcome: TeeOutcome): void => this.answer(id, outcome);
    switch (op) {
      case "open": {
        const name = this.names.get(hexOf(request.uuid ?? new Uint8Array(0))) ?? "";
        return this.enter((done) => {
          return world.open(name, context, (outcome) => {
            done();
            this.opened(id, outcome);
          });
        });
      }
      case "invoke":
        return this.invoke(request, { context, id: session }, end);
      case "close":
        this.sessions.delete(session);
        return world.close(session, end);
      case "cancel":
        world.cancel(cancel);
        return end({ errno: null, ret: 0, origin: 0 });
      case "version":
      case "canary":
        // The first is the kernel's to answer, the second is made of the others.
        return end({ errno: "EINVAL", ret: 0, origin: 0 });
      default:
        return assertNever(op);
    }
  }

  /** The client process ended: its calls are over, and the kernel closes what it had open. */
  end(): void {
    this.isGone = true;
    this.world.hurry([...this.jobs]);
    for (const session of this.sessions) this.world.close(session, () => undefined);
  }

  private invoke(
    { command = 0, cancel = 0, params = [] }: PipeRequest,
    session: { context: number; id: number },
    end: (outcome: TeeOutcome) => void,
  ): void {
    const { world } = this;
    const key = params[3]?.bytes === undefined ? null : new TextDecoder().decode(params[3].bytes);
    if (command === simCommand.query) {
      return this.enter((done) => {
        return world.query(session, key ?? "", (outcome) => {
          done();
          end({ ...outcome, value: outcome.applied === true ? 1 : 0 });
        });
      });
    }
    const input = params[0]?.bytes ?? null;
    const operation = { kind: "invoke", session, command, call: cancel, key, input } as const;
    this.enter((done) => {
      return world.invoke(operation, (outcome) => {
        done();
        end(outcome);
      });
    });
  }

  /** Lets a job in and knows of it until it is `done`. */
  private enter(make: (done: () => void) => Job): void {
    const job = make(() => this.jobs.delete(job));
    this.jobs.add(job);
    this.world.enter(job);
  }

  private opened(id: number, outcome: TeeOutcome): void {
    const session = outcome.session?.id;
    if (session !== undefined && this.isGone) {
      return this.world.close(session, () => undefined);
    }
    if (session !== undefined) this.sessions.add(session);
    this.answer(id, outcome);
  }

  private answer(id: number, { errno, ret, origin, session, value, output }: TeeOutcome): void {
    if (this.isGone) return;
    const params: PipeParam[] = [
      { attr: 0 },
      { attr: 6, bytes: output ?? new Uint8Array(0) },
      { attr: 2, a: value ?? 0, b: 0 },
      { attr: 0 },
    ];
    this.reply({
      id,
      ret,
      origin,
      ...(errno === null ? {} : { errno }),
      ...(session === undefined ? {} : { session: session.id }),
      ...(value === undefined && output === undefined ? {} : { params }),
    });
  }
}
