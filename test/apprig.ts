/** The head for programs of the card on a simulated TEE: virtual time, and all that is said. */
import { ApplicationsHead } from "../agent/heads/applications.ts";
import type { Peer } from "../agent/io/applications.ts";
import type { CallClass } from "../agent/machines/teecalls.ts";
import { type RigOptions, TeeRig } from "../agent/rig/campaigns/teecard.ts";
import { SimApplications, type SimProgram } from "../agent/sim/applications.ts";
import { LifeClock } from "../agent/sim/life.ts";
import { policyOf, type ServicePolicy } from "../agent/teeservices.ts";
import type { Ask, AskOf, Telling, TellingOf } from "../agent/wire/teeapi.ts";

export const root: Peer = { pid: 10, uid: 0, gid: 0, groups: [] };
export const user: Peer = { pid: 11, uid: 1000, gid: 1000, groups: [50] };
export const stranger: Peer = { pid: 12, uid: 1001, gid: 1001, groups: [] };

export interface AppRigOptions extends RigOptions {
  readonly policies?: readonly ServicePolicy[];
}

/** A program and all that it was told. */
export interface Guest {
  readonly program: SimProgram;
  readonly said: Telling[];
  isClosed: boolean;
  ask(what: Ask): void;
}

export class AppRig {
  readonly tee: TeeRig;
  head!: ApplicationsHead;
  server!: SimApplications;
  private life!: LifeClock;
  private readonly policies: readonly ServicePolicy[];
  private starts = 0;
  private nextId = 1;
  private wakeMs = Infinity;
  private cancelWake: () => void = () => undefined;

  constructor(options: AppRigOptions = {}) {
    const services = options.services ?? ["keystore", "fingerprint"];
    this.policies = options.policies ?? services.map((name) => policyOf(name));
    this.tee = new TeeRig({ ...options, services });
    this.begin();
    this.tee.onNotify = (names, available) => this.head.notify(names, available);
    this.tee.onTurn = () => this.turn();
    this.tee.ready();
  }

  /** kill -9 of the agent, and the next one: nobody is told anything, programs are cut off. */
  restart(machine = "machine-1"): void {
    this.life.kill();
    this.cancelWake();
    this.wakeMs = Infinity;
    this.begin();
    this.tee.start(machine);
  }

  advance(ms: number): void {
    this.tee.advance(ms);
  }

  /** A program that has said hello. */
  join(peer: Peer = root): Guest {
    const said: Telling[] = [];
    const program = this.server.connect(peer, {
      heard: (one) => said.push(one),
      closed: () => {
        guest.isClosed = true;
      },
    });
    const guest: Guest = { program, said, isClosed: false, ask: (what) => program.ask(what) };
    guest.ask({ op: "hello", id: 0, version: 1 });
    this.advance(0);
    return guest;
  }

  /** Sends a call; its verdict is found by the request's id, which is returned. */
  call(
    guest: Guest,
    command: number,
    of: CallClass | null,
    more: Partial<AskOf<"call">> = {},
  ): number {
    const id = this.nextId++;
    const base = { op: "call", id, call: `call-${id}`, service: "keystore", command } as const;
    guest.ask({ ...base, ...(of === null ? {} : { class: of }), ...more });
    this.advance(0);
    return id;
  }

  private begin(): void {
    this.starts += 1;
    const { clock, disk, tee, config, events } = this.tee;
    this.life = new LifeClock(clock);
    this.server = new SimApplications(this.life);
    const rig = this.tee;
    this.head = new ApplicationsHead(
      { clock, disk, tee },
      { services: this.policies, tee: config },
      {
        call: (...asked) => this.tee.act((head) => head.call(...asked)),
        awayBecause: (service) => this.tee.head.awayBecause(service),
        get epoch() {
          return rig.head.epoch;
        },
      },
      `boot-${this.starts}`,
      (event) => events.push({ atMs: clock.now(), event }),
    );
    const { head, life } = this;
    head.serve(this.server, (act) => {
      life.run(() => {
        act();
        this.turn();
      });
    });
  }

  private turn(): void {
    const { clock } = this.tee;
    this.head.tick(clock.now());
    const { dueMs } = this.head;
    if (dueMs === this.wakeMs) return;
    this.cancelWake();
    this.wakeMs = dueMs;
    if (dueMs === Infinity) return;
    this.cancelWake = clock.at(Math.max(dueMs, clock.now()), () => {
      this.wakeMs = Infinity;
      this.turn();
    });
  }
}

/** The one verdict of a request; throws when there is none, or more than one. */
export function verdictOf(guest: Guest, id: number): TellingOf<"verdict"> {
  const all = guest.said.filter((one) => one.kind === "verdict" && one.id === id);
  if (all.length !== 1) throw new Error(`request ${id} has ${all.length} verdicts`);
  return all[0] as TellingOf<"verdict">;
}

export function toldOf(guest: Guest, id: number): Telling | undefined {
  return guest.said.find((one) => "id" in one && one.id === id);
}
