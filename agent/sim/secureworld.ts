/**
 * The secure world of the simulated TEE: a few threads, sessions by id, instances whose counters
 * are in RAM, and secure storage that outlives everything. It knows nothing of the kernel above
 * it: which is why an id that begins again after a restart can reach somebody else's session.
 */
import type { Clock } from "../io/clock.ts";
import type { SessionRef, TeeOperation, TeeOutcome } from "../io/tee.ts";
import { teeOrigin, teeRet } from "../machines/teesignals.ts";
import type { Random } from "./random.ts";
import { type SimService, simCommand, type TeeFaults, type TeeModel } from "./teemodel.ts";

export type Done = (outcome: TeeOutcome) => void;
type Invoke = Extract<TeeOperation, { kind: "invoke" }>;

/** An instance of a trusted application: what it holds in RAM dies with it. */
interface Instance {
  counter: number;
  dead: boolean;
  /** Somebody is inside for ever: whoever else wants in waits as long. */
  stuck: boolean;
}

/** A session as the secure world knows it. */
export interface Session {
  readonly service: SimService;
  readonly context: number;
  readonly instance: Instance;
  inside: number;
  /** Closings that wait until nobody is inside. */
  closing: (() => void)[];
}

/** What a service keeps in secure storage. */
interface Vault {
  objects: number;
  readonly keys: Set<string>;
}

/** A call inside the secure world, or on its way there. */
export interface Job {
  /** Infinity: it never ends. */
  readonly takesMs: number;
  readonly session: Session | null;
  readonly instance: Instance | null;
  /** Of an invocation, for `cancel`. */
  readonly call: number | null;
  /** It waits outside (TEE_Wait): a restart does not end that, and it can be cancelled. */
  readonly isParked: boolean;
  /** Its effect, half way through, and what it comes to. */
  readonly work: () => TeeOutcome;
  readonly done: Done;
  /** What the supplicant's death makes of it; null when it needs no supplicant. */
  readonly orphaned: TeeOutcome | null;
  result: TeeOutcome | null;
  cancelled: boolean;
  /** When it returns at the latest; Infinity while that is not known. */
  endsMs: number;
  cancel: () => void;
}

/** What lets secure storage and a witness outlive this process. */
export interface Kept {
  /** A service has one object more, or with a key one key more. */
  stored(service: string, key: string | null): void;
  /** An invocation was executed. */
  ran(service: string, command: number, call: number, key: string | null): void;
}
const nowhere: Kept = { stored: () => undefined, ran: () => undefined };

export function refused(ret: number, origin: number): TeeOutcome {
  return { errno: null, ret, origin };
}

export const success: TeeOutcome = refused(teeRet.success, teeOrigin.application);
const dead = refused(teeRet.target_dead, teeOrigin.tee);
const communication = refused(teeRet.communication, teeOrigin.communication);
/** Of a call that could be cancelled and was: at its usual end, not before. */
const cancelled = refused(teeRet.cancelled, teeOrigin.application);
/** Of the TEE itself: for a session it does not know, or parameters it does not take. */
const badParameters = refused(teeRet.bad_parameters, teeOrigin.tee);
/** The death of the supplicant looks like a lack of memory, to openings and to storage. */
const openOrphaned = { ...refused(teeRet.out_of_memory, teeOrigin.tee), supplicantLost: true };
const storeOrphaned = {
  ...refused(teeRet.out_of_memory, teeOrigin.application),
  supplicantLost: true,
};

export class SecureWorld {
  faults: TeeFaults = {};
  /** Panicked or hung: nothing inside ever returns. */
  isDead = false;
  /** Invocations executed, by call id; effects of keyed ones, by key. */
  readonly executed = new Map<number, number>();
  readonly applied = new Map<string, number>();
  /** Invocations that ran in a session which somebody else had opened. */
  staleServed = 0;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly model: TeeModel;
  private readonly kept: Kept;
  private readonly vaults = new Map<string, Vault>();
  private sessions = new Map<number, Session>();
  private instances = new Map<string, Instance>();
  private nextId = 1;
  private supplicantUp = true;
  private inside = new Set<Job>();
  private queue: Job[] = [];

  constructor(clock: Clock, random: Random, model: TeeModel, kept: Kept = nowhere) {
    this.clock = clock;
    this.random = random;
    this.model = model;
    this.kept = kept;
  }

  session(id: number): Session | undefined {
    return this.sessions.get(id);
  }

  /** What a service has in secure storage. */
  vault(service: string): Vault {
    const vault = this.vaults.get(service) ?? { objects: 0, keys: new Set<string>() };
    this.vaults.set(service, vault);
    return vault;
  }

  /** More callers than threads wait in line; a dead world swallows everybody. */
  enter(job: Job): void {
    if (this.isDead || this.inside.size >= this.model.threads) this.queue.push(job);
    else this.run(job);
  }

  /**
   * Ends these at once, with their effects, wherever they stand: of a process that is gone, which
   * the kernel lets go only once its calls are over.
   */
  hurry(jobs: Iterable<Job>): void {
    if (this.isDead) return;
    for (const job of jobs) {
      const at = this.queue.indexOf(job);
      if (at >= 0) {
        this.queue.splice(at, 1);
        this.inside.add(job);
        if (job.session !== null) job.session.inside += 1;
      }
      if (!this.inside.has(job) || job.takesMs === Infinity) continue;
      job.cancel();
      job.result ??= job.session?.instance.dead === true ? dead : job.work();
      this.leave(job, job.result);
    }
  }

  canary(done: Done): Job {
    return this.job(this.model.times.canaryMs, null, () => success, done);
  }

  open(name: string, context: number, done: Done): Job {
    const { services, times } = this.model;
    const service = services.find((one) => one.name === name);
    if (service === undefined) {
      const missing = refused(teeRet.item_not_found, teeOrigin.tee);
      return this.job(times.invokeMs, null, () => missing, done);
    }
    const isBuiltIn = service.builtIn === true;
    const loadMs = isBuiltIn ? times.invokeMs : times.loadMs * (0.5 + this.random.next());
    const takesMs = this.instances.has(name) ? times.openMs : loadMs;
    const work = (): TeeOutcome => {
      if (this.faults.keepsCrashed === name) return dead;
      const session = { context, id: this.nextId++ };
      const instance = this.instanceOf(service);
      this.sessions.set(session.id, { service, context, instance, inside: 0, closing: [] });
      return { ...success, session };
    };
    const shared = service.singleInstance ? (this.instances.get(name) ?? null) : null;
    const instance = shared?.dead === true ? null : shared;
    const orphaned = isBuiltIn ? null : openOrphaned;
    return { ...this.job(takesMs, null, work, done, orphaned), instance };
  }

  invoke(operation: Invoke, done: Done): Job {
    const { times } = this.model;
    const { command } = operation;
    const session = this.sessions.get(operation.session.id);
    if (session === undefined) return this.job(times.kernelMs, null, () => badParameters, done);
    if (command === simCommand.malformed) {
      return this.job(times.invokeMs, null, () => badParameters, done);
    }
    const takesMs =
      command === simCommand.spin
        ? Infinity
        : command === simCommand.slow
          ? times.slowMs
          : times.invokeMs;
    const orphaned = command === simCommand.store ? storeOrphaned : null;
    const work = (): TeeOutcome => this.execute(operation, session);
    const made = this.job(takesMs, session, work, done, orphaned);
    return { ...made, call: operation.call, isParked: command === simCommand.slow };
  }

  /** Taken note of by a call that waits outside; every other one goes on as if nothing was said. */
  cancel(call: number): void {
    for (const job of this.inside) if (job.call === call && job.isParked) job.cancelled = true;
  }

  query(ref: SessionRef, key: string, done: Done): Job {
    const { times } = this.model;
    const session = this.sessions.get(ref.id);
    if (session === undefined) return this.job(times.kernelMs, null, () => badParameters, done);
    const vault = this.vault(session.service.name);
    const work = (): TeeOutcome => ({ ...success, applied: vault.keys.has(key) });
    return this.job(times.invokeMs, session, work, done);
  }

  /** Ends the session of this id, whoever opened it, once nobody is inside any more. */
  close(id: number, done: Done): void {
    const session = this.sessions.get(id);
    const work = (): TeeOutcome => {
      if (session === undefined) return badParameters;
      if (this.sessions.get(id) === session) this.sessions.delete(id);
      return success;
    };
    const job = this.job(this.model.times.closeMs, null, work, done);
    if (session !== undefined && session.inside > 0) session.closing.push(() => this.enter(job));
    else this.enter(job);
  }

  /** A service's instances panic: all sessions with them are dead until they are closed. */
  panic(service: string): void {
    for (const session of this.sessions.values()) {
      if (session.service.name === service) session.instance.dead = true;
    }
  }

  /** A new TEE OS: RAM is gone, ids begin again, and whoever was inside is let go. */
  restart(): void {
    const lost = [...this.inside, ...this.queue];
    for (const job of lost) job.cancel();
    const waiting = [...this.sessions.values()].flatMap(({ closing }) => closing.splice(0));
    this.forget();
    for (const job of lost) {
      const leftMs = job.endsMs - this.clock.now();
      // Who waits outside learns of it when its wait is over (measured).
      if (!job.isParked || !Number.isFinite(leftMs)) job.done(communication);
      else this.clock.at(job.endsMs, () => job.done(communication));
    }
    // Their sessions are no more: there is nothing left to wait for.
    for (const close of waiting) close();
  }

  /** The whole card was reset: nobody is left to be told. */
  powerCycle(): void {
    for (const job of this.inside) job.cancel();
    this.forget();
    this.supplicantUp = true;
  }

  private forget(): void {
    this.inside = new Set();
    this.queue = [];
    this.sessions = new Map();
    this.instances = new Map();
    this.nextId = 1;
    this.isDead = false;
  }

  /** Requests that the supplicant holds are aborted; later ones wait for another supplicant. */
  killSupplicant(): void {
    const held = [...this.inside].filter((job) => job.orphaned !== null && job.result === null);
    const aborted = this.supplicantUp ? held : [];
    this.supplicantUp = false;
    for (const job of aborted) {
      job.cancel();
      this.leave(job, job.orphaned ?? dead);
    }
  }

  startSupplicant(): void {
    if (this.supplicantUp) return;
    this.supplicantUp = true;
    for (const job of [...this.inside]) {
      if (job.orphaned !== null && job.result === null) this.proceed(job);
    }
  }

  private job(
    takesMs: number,
    session: Session | null,
    work: () => TeeOutcome,
    done: Done,
    orphaned: TeeOutcome | null = null,
  ): Job {
    return {
      takesMs: takesMs * (this.faults.slowness ?? 1),
      session,
      instance: session?.instance ?? null,
      call: null,
      isParked: false,
      work,
      done,
      orphaned,
      result: null,
      cancelled: false,
      endsMs: Infinity,
      cancel: () => undefined,
    };
  }

  private run(job: Job): void {
    this.inside.add(job);
    if (job.session !== null) job.session.inside += 1;
    this.proceed(job);
  }

  /** Half the time, then the effect, then the other half. */
  private proceed(job: Job): void {
    if (job.instance?.stuck === true || (job.orphaned !== null && !this.supplicantUp)) return;
    if (job.takesMs === Infinity) {
      if (job.instance !== null) job.instance.stuck = true;
      return;
    }
    const halfMs = job.takesMs / 2;
    job.endsMs = this.clock.now() + job.takesMs;
    job.cancel = this.clock.at(this.clock.now() + halfMs, () => {
      if (this.isDead) return;
      job.result = job.session?.instance.dead === true ? dead : job.work();
      job.cancel = this.clock.at(this.clock.now() + halfMs, () => {
        this.leave(job, job.result ?? dead);
      });
    });
  }

  private leave(job: Job, outcome: TeeOutcome): void {
    if (this.isDead || !this.inside.delete(job)) return;
    const { session } = job;
    if (session !== null) session.inside -= 1;
    const next = this.queue.shift();
    if (next !== undefined) this.run(next);
    const came = job.cancelled ? cancelled : outcome;
    job.done(this.withText(session?.instance.dead === true ? dead : came));
    if (session?.inside === 0) for (const close of session.closing.splice(0)) close();
  }

  private withText(outcome: TeeOutcome): TeeOutcome {
    const { panicText } = this.faults;
    return panicText === undefined ? outcome : { ...outcome, detail: panicText };
  }

  private instanceOf(service: SimService): Instance {
    const shared = this.instances.get(service.name);
    if (service.singleInstance && shared !== undefined && !shared.dead) return shared;
    const instance = { counter: 0, dead: false, stuck: false };
    this.instances.set(service.name, instance);
    return instance;
  }

  private execute(operation: Invoke, session: Session): TeeOutcome {
    const { call, command, key, input } = operation;
    const { service, instance } = session;
    if (session.context !== operation.session.context) this.staleServed += 1;
    const poison = this.faults.poison?.find(
      (one) => one.service === service.name && one.command === command,
    );
    if (poison?.kills === "service") instance.dead = true;
    if (poison?.kills === "tee_os") this.isDead = true;
    if (poison !== undefined) return dead;
    this.executed.set(call, (this.executed.get(call) ?? 0) + 1);
    this.kept.ran(service.name, command, call, key);
    const vault = this.vault(service.name);
    if (key !== null) {
      this.applied.set(key, (this.applied.get(key) ?? 0) + 1);
      vault.keys.add(key);
      this.kept.stored(service.name, key);
    }
    if (command === simCommand.count || command === simCommand.slow) instance.counter += 1;
    if (command === simCommand.store) {
      vault.objects += 1;
      this.kept.stored(service.name, null);
    }
    const value = command === simCommand.store ? vault.objects : instance.counter;
    return { ...success, value, ...(input === null ? {} : { output: input }) };
  }
}
