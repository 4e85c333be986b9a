/** A TEE head on its twin, for tests: virtual time, and everything that is said kept in order. */

import type { AgentEvent } from "../agent/events.ts";
import { type TeeAnswer, TeeHead, type TeeIo } from "../agent/heads/tee.ts";
import { TeeMemory } from "../agent/heads/teememory.ts";
import type { CallClass } from "../agent/machines/teecalls.ts";
import { type TeeConfig, teeConfig } from "../agent/machines/teeconfig.ts";
import { SimClock } from "../agent/sim/clock.ts";
import { SimDisk } from "../agent/sim/disk.ts";
import { Random } from "../agent/sim/random.ts";
import { SimTee } from "../agent/sim/tee.ts";
import { type TeeFaults, type TeeModel, teeModel } from "../agent/sim/teemodel.ts";

export interface RigOptions {
  readonly seed?: number;
  readonly services?: readonly string[];
  readonly config?: Partial<TeeConfig>;
  readonly model?: Partial<TeeModel>;
  readonly faults?: TeeFaults;
}

/** A call made on the rig, and every answer that it got. */
export interface Made {
  readonly service: string;
  readonly command: number;
  readonly class: CallClass;
  readonly madeMs: number;
  readonly answers: { readonly atMs: number; readonly answer: TeeAnswer }[];
  readonly id: number;
}

export class TeeRig {
  readonly clock = new SimClock();
  readonly random: Random;
  readonly tee: SimTee;
  readonly disk: SimDisk;
  readonly config: TeeConfig;
  readonly events: { readonly atMs: number; readonly event: AgentEvent }[] = [];
  readonly notices: string[] = [];
  readonly withheld: string[] = [];
  readonly calls: Made[] = [];
  /** Told of each event as it happens. */
  onEvent: (event: AgentEvent) => void = () => undefined;
  /** Told of notices, and of every turn that is over: for heads beside this one. */
  onNotify: (services: readonly string[], available: boolean) => void = () => undefined;
  onTurn: () => void = () => undefined;
  head: TeeHead;
  memory: TeeMemory;
  private starts = 0;
  private callsOfHead = 0;
  private wakeMs = Infinity;
  private cancelWake: () => void = () => undefined;

  constructor(options: RigOptions = {}) {
    const services = options.services ?? ["keystore", "fingerprint"];
    this.random = new Random(options.seed ?? 1);
    this.disk = new SimDisk(this.random.fork("disk"));
    this.config = teeConfig(
      services.map((name) => ({ name })),
      options.config,
    );
    const model = teeModel(services, options.model);
    this.tee = new SimTee(this.clock, this.random.fork("tee"), model, options.faults);
    [this.memory, this.head] = this.boot("machine-1");
  }

  /** Starts the head (again), on the disk as it is; `machine` is the boot id. */
  start(machine = "machine-1"): void {
    if (this.starts > 1 || this.head.state.core.epoch > 1 || this.events.length > 0) {
      this.tee.disconnect();
      [this.memory, this.head] = this.boot(machine);
    }
    this.head.start();
    this.sleep();
  }

  /** Starts it and waits until the services are there. */
  ready(): this {
    this.start();
    this.advance(2_000);
    return this;
  }

  call(service: string, command: number, callClass: CallClass, input?: Uint8Array): Made {
    this.callsOfHead += 1;
    const made: Made = {
      service,
      command,
      class: callClass,
      madeMs: this.clock.now(),
      answers: [],
      id: this.callsOfHead,
    };
    this.calls.push(made);
    const done = (answer: TeeAnswer): void => {
      made.answers.push({ atMs: this.clock.now(), answer });
    };
    this.head.call(service, command, callClass, done, input ?? null);
    this.sleep();
    return made;
  }

  /** Does something to the head from outside. */
  act(act: (head: TeeHead) => void): void {
    act(this.head);
    this.sleep();
  }

  advance(ms: number): void {
    this.clock.advance(ms);
  }

  get state(): string {
    return this.head.state.kind;
  }

  /** The steps, crashes and rungs reported since event number `from`, in short. */
  said(from = 0): string[] {
    return this.events.slice(from).map(({ event }) => shortOf(event));
  }

  private boot(machine: string): [TeeMemory, TeeHead] {
    this.starts += 1;
    this.callsOfHead = 0;
    const memory = new TeeMemory(this.disk, machine, this.config, this.clock.now());
    const io = this.io(memory, this.starts);
    return [memory, new TeeHead(io, this.config, memory.history)];
  }

  private io(memory: TeeMemory, start: number): TeeIo {
    return {
      clock: this.clock,
      tee: this.tee,
      post: (act) => {
        act();
        this.sleep();
      },
      emit: (event) => {
        this.events.push({ atMs: this.clock.now(), event });
        this.onEvent(event);
      },
      keep: (history) => memory.keep(history, this.clock.now()),
      saveContext: (context) => memory.saveContext(context),
      loadContext: () => memory.loadContext(),
      notify: (services, available) => {
        this.notices.push(`${available ? "available" : "unavailable"}: ${services.join(",")}`);
        this.onNotify(services, available);
      },
      withhold: (because) => this.withheld.push(because),
      keyPrefix: `start${start}`,
    };
  }

  /** One timer, as the agent has it. */
  private sleep(): void {
    this.onTurn();
    const { dueMs } = this.head;
    if (dueMs === this.wakeMs) return;
    this.cancelWake();
    this.wakeMs = dueMs;
    if (dueMs === Infinity) return;
    this.cancelWake = this.clock.at(dueMs, () => {
      this.wakeMs = Infinity;
      this.head.tick(this.clock.now());
      this.sleep();
    });
  }
}

/** The one verdict of a call; fails when there is none, or more than one. */
export function verdictOf(made: Made): string {
  const [first] = made.answers;
  if (first === undefined || made.answers.length > 1) {
    throw new Error(`call ${made.id} has ${made.answers.length} verdicts`);
  }
  return first.answer.verdict;
}

/** `step restart`, `crashed tee_os hang`: an event as a story tells it. */
export function shortOf(event: AgentEvent): string {
  switch (event.kind) {
    case "tee:step":
      return event.step;
    case "tee:crashed":
      return `crashed ${event.rung} ${event.code} ${event.trigger}`.trim();
    case "tee:rung":
      return `rung ${event.rung}: ${event.because}`;
    case "tee:unavailable":
    case "tee:available":
      return `${event.kind.slice(4)} ${event.service}`;
    case "tee:quarantined":
      return `quarantined ${event.service}#${event.command}`;
    case "tee:restored":
      return `restored, ${event.replayed} replayed, ${event.unknown} unknown`;
    case "tee:context_refused":
      return `context refused: ${event.problem}`;
    case "tee:degraded":
    case "tee:unrecoverable":
    case "tee:escalated":
      return `${event.kind.slice(4)}: ${event.because}`;
    default:
      return event.kind;
  }
}
