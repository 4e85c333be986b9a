/** A TEE head on its twin in virtual time; everything that is said is kept in order. */
import type { AgentEvent } from "../../events.ts";
import { type TeeAnswer, TeeHead, type TeeIo } from "../../heads/tee.ts";
import { TeeMemory } from "../../heads/teememory.ts";
import type { SessionRef, Tee } from "../../io/tee.ts";
import type { CallClass } from "../../machines/teecalls.ts";
import { type TeeConfig, teeConfig } from "../../machines/teeconfig.ts";
import { SimClock } from "../../sim/clock.ts";
import { SimDisk } from "../../sim/disk.ts";
import { Random } from "../../sim/random.ts";
import { SimTee } from "../../sim/tee.ts";
import { type TeeFaults, type TeeModel, teeModel } from "../../sim/teemodel.ts";

export interface RigOptions {
  readonly seed?: number;
  readonly services?: readonly string[];
  readonly config?: Partial<TeeConfig>;
  readonly model?: Partial<TeeModel>;
  readonly faults?: TeeFaults;
  /** A defect that is planted, so that what looks for defects can be seen to find one. */
  readonly bug?: TeeBug;
}

/**
 * `replays_once`: what must not be sent twice is. `stale_sessions`: calls go on in the sessions of
 * before a restart. `silent_loss`: every seventh answer is dropped. `impatient`: a TEE that is slow
 * counts as dead. `no_clock`: deadlines stand still from the first crash on.
 */
export const teeBugs = [
  "replays_once",
  "stale_sessions",
  "silent_loss",
  "impatient",
  "no_clock",
] as const;
export type TeeBug = (typeof teeBugs)[number];
const impatience: Partial<TeeConfig> = { canaryLateMs: 5, suspectMs: 20 };

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
  private readonly bug: TeeBug | null;
  private answersDue = 0;
  private readonly firstSessions = new Map<string, SessionRef>();

  constructor(options: RigOptions = {}) {
    const services = options.services ?? ["keystore", "fingerprint"];
    this.random = new Random(options.seed ?? 1);
    this.bug = options.bug ?? null;
    this.disk = new SimDisk(this.random.fork("disk"));
    this.config = teeConfig(
      services.map((name) => ({ name })),
      this.bug === "impatient" ? { ...options.config, ...impatience } : options.config,
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
      this.answersDue += 1;
      if (this.bug === "silent_loss" && this.answersDue % 7 === 0) return;
      made.answers.push({ atMs: this.clock.now(), answer });
    };
    const isTwice = this.bug === "replays_once" && callClass === "once";
    this.head.call(service, command, isTwice ? "idempotent" : callClass, done, input ?? null);
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
      tee: this.bug === "stale_sessions" ? this.withOldSessions() : this.tee,
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

  /** The planted defect: each service is called in the first session that it ever had. */
  private withOldSessions(): Tee {
    const { tee, firstSessions } = this;
    const opened = new Map<string, string>();
    const keyOf = ({ context, id }: SessionRef): string => `${context}/${id}`;
    return {
      facts: () => tee.facts(),
      perform: (operation, done) => {
        if (operation.kind === "open") {
          return tee.perform(operation, (outcome) => {
            const { session } = outcome;
            const { service } = operation;
            if (session !== undefined) opened.set(keyOf(session), service);
            if (session !== undefined && !firstSessions.has(service)) {
              firstSessions.set(service, session);
            }
            done(outcome);
          });
        }
        // Never closed for the kernel either: else it would know them no more.
        if (operation.kind === "close") return tee.perform({ kind: "version" }, done);
        if (operation.kind !== "invoke") return tee.perform(operation, done);
        const service = opened.get(keyOf(operation.session)) ?? "";
        const session = firstSessions.get(service) ?? operation.session;
        tee.perform({ ...operation, session }, done);
      },
    };
  }

  /** One timer, as the agent has it. */
  private sleep(): void {
    this.onTurn();
    if (this.bug === "no_clock" && this.head.status().crashes > 0) return this.cancelWake();
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
