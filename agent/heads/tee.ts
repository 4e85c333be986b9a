/**
 * The third head: the TEE. It takes calls on behalf of the card's programs, performs what
 * machines/tee.ts decides, and keeps what that must not see: payloads stay here until their call
 * has its verdict, and panic texts end here.
 */
import { assertNever, Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Clock } from "../io/clock.ts";
import type { Tee, TeeOperation, TeeOutcome, TeeResult, TeeWait } from "../io/tee.ts";
import { step } from "../machines/fsm.ts";
import { table } from "../machines/tee.ts";
import { awayBecause } from "../machines/teeanswers.ts";
import type { Answer, CallClass, Purpose, Send, Verdict } from "../machines/teecalls.ts";
import { servicesMax, type TeeConfig } from "../machines/teeconfig.ts";
import { type CallName, nameOf, type ReeContext, type TeeHistory } from "../machines/teerecord.ts";
import {
  dueMs,
  type Effect,
  type Event,
  initial,
  type State,
  statusOf,
} from "../machines/teestate.ts";
import type { ResponseOf, TeeState } from "../wire/commands.ts";
import { openWhole } from "./rehydrate.ts";

export interface TeeIo {
  readonly clock: Clock;
  readonly tee: Tee;
  /** What came of an operation arrives through this, in its turn. */
  readonly post: (act: () => void) => void;
  readonly emit: (event: AgentEvent) => void;
  /** Returns when the history is on stable storage. */
  readonly keep: (history: TeeHistory) => void;
  /** Failure when it cannot be saved, or not be believed; null when there is none. */
  readonly saveContext: (context: ReeContext) => void;
  readonly loadContext: () => ReeContext | null;
  /** Tells the subscribers of these services. */
  readonly notify: (services: readonly string[], available: boolean) => void;
  /** Lets the hardware watchdog reset the card; `because` is for people. */
  readonly withhold: (because: string) => void;
  /** Unique to this start of the agent: keys of calls begin with it. */
  readonly keyPrefix: string;
}

/** What a caller gets, exactly once. */
export interface TeeAnswer {
  readonly verdict: Verdict;
  readonly because: string;
  /** What the TEE said, with `answered` and `replayed`; null otherwise. */
  readonly outcome: Omit<TeeOutcome, "detail"> | null;
}

/** How a call is made, where that is not the usual way. */
export interface CallOptions {
  /** Under which the service remembers a keyed call: unique to it for ever. */
  readonly key?: string;
  readonly purpose?: Purpose;
}

interface Caller {
  readonly input: Uint8Array | null;
  readonly key: string;
  readonly done: (answer: TeeAnswer) => void;
}

export class TeeHead {
  state: State;
  private readonly io: TeeIo;
  private readonly callers = new Map<number, Caller>();
  private readonly waiting: Event[] = [];
  private sending = false;
  private nextCall = 1;
  /** The reply being dealt with. */
  private replying: { readonly call: number; readonly outcome: TeeOutcome } | null = null;

  constructor(io: TeeIo, config: TeeConfig, history: TeeHistory) {
    if (config.services.length > servicesMax) {
      const count = config.services.length;
      const message = `${count} TEE services are configured; at most ${servicesMax}`;
      throw new Failure("config.invalid", message);
    }
    this.io = io;
    this.state = initial(config, io.tee.facts(), history, io.clock.now());
  }

  /** Registers the services. */
  start(): void {
    const facts = this.io.tee.facts();
    this.io.tee.listen?.((news) => {
      this.io.post(() => this.io.emit({ kind: `tee:${news.about}`, because: news.because }));
    });
    this.io.tee.prepare?.();
    if (facts.present && !facts.usable) {
      this.io.emit({ kind: "tee:degraded", because: facts.because });
    }
    if (this.state.kind === "unrecoverable") {
      this.io.emit({ kind: "tee:unrecoverable", because: this.state.because });
    }
    this.tick(this.io.clock.now());
  }

  /** When the machine next wants a tick. */
  get dueMs(): number {
    return dueMs(this.state);
  }

  tick(nowMs: number): void {
    if (nowMs >= this.dueMs) this.send({ kind: "tick", atMs: nowMs });
  }

  /**
   * Calls a service. `done` has exactly one verdict, at the latest when the call's time is up; it
   * may come before this returns. The input is the caller's until then.
   */
  call(
    service: string,
    command: number,
    callClass: CallClass,
    done: (answer: TeeAnswer) => void,
    input: Uint8Array | null = null,
    { key, purpose = "new" }: CallOptions = {},
  ): void {
    const id = this.nextCall++;
    this.callers.set(id, { input, key: key ?? `${this.io.keyPrefix}.${id}`, done });
    const atMs = this.io.clock.now();
    this.send({ kind: "call", atMs, id, service, command, class: callClass, purpose });
  }

  /** Why a service cannot be called now; null when it can. */
  awayBecause(service: string): string | null {
    return awayBecause(this.state, service);
  }

  get epoch(): number {
    return this.state.core.epoch;
  }

  /** A crash noticed otherwise than by a call; `service` null = the TEE as a whole. */
  crashed(service: string | null, result: TeeResult): void {
    const atMs = this.io.clock.now();
    this.send({ kind: "crash", atMs, epoch: this.state.core.epoch, service, result });
  }

  /** Somebody missed a sign of life of the TEE. */
  late(what: string): void {
    this.send({ kind: "late", atMs: this.io.clock.now(), what });
  }

  /** An operator asks for the TEE to be restored; what was held against it is forgiven. */
  recover(by = "operator"): void {
    this.send({ kind: "recover", atMs: this.io.clock.now(), by });
  }

  /** An operator allows a quarantined command again; null = all of them. */
  unquarantine(name: CallName | null): void {
    this.send({ kind: "unquarantine", atMs: this.io.clock.now(), name });
  }

  status(): TeeState {
    return statusOf(this.state, this.io.clock.now());
  }

  crashes(): ResponseOf<"tee.crashes"> {
    return {
      crashes: this.state.core.history.records.map((record) => ({
        at_ms: Math.max(Math.round(record.atMs), 0),
        epoch: record.epoch,
        rung: record.rung,
        code: record.code,
        trigger: nameOf(record.trigger),
        took_ms: record.tookMs ?? 0,
      })),
    };
  }

  /** One event at a time, those that come meanwhile behind it. */
  private send(event: Event): void {
    this.waiting.push(event);
    if (this.sending) return;
    this.sending = true;
    try {
      for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
        const { state, effects } = step(table, this.state, next);
        this.state = state;
        for (const effect of effects) this.perform(effect);
      }
    } finally {
      this.sending = false;
    }
  }

  private perform(effect: Effect): void {
    switch (effect.kind) {
      case "perform":
        return this.operate(effect.epoch, effect.key, effect.operation);
      case "send":
        return this.invoke(effect);
      case "canary":
        return this.probe(effect.epoch, effect.probe);
      case "answer":
        return this.answer(effect);
      case "fence":
        // Nothing passes the machine's own fence; a device with processes would end them here.
        return this.attempt(effect, () => ({}));
      case "notify":
        return this.attempt(effect, () => {
          this.io.notify(effect.services, effect.available);
          return {};
        });
      case "save_context":
        return this.attempt(effect, () => {
          this.io.saveContext(effect.context);
          return {};
        });
      case "load_context":
        return this.attempt(effect, () => {
          const context = this.io.loadContext();
          return context === null ? {} : { context };
        });
      case "journal":
        return this.io.keep(effect.history);
      case "report":
        return this.io.emit(effect.event);
      case "withhold":
        return this.io.withhold(effect.because);
      default:
        return assertNever(effect);
    }
  }

  private operate(epoch: number, key: string, operation: TeeOperation): void {
    const done = (outcome: TeeOutcome, problem = ""): void => {
      this.io.post(() => {
        const atMs = this.io.clock.now();
        if (!isGood(outcome)) {
          const result = resultOf(outcome);
          return this.send({ kind: "failed", atMs, epoch, key, result, problem: problem || key });
        }
        const { session, hardware } = outcome;
        this.send({
          kind: "done",
          atMs,
          epoch,
          key,
          ...(session === undefined ? {} : { session }),
          ...(hardware === undefined ? {} : { hardware }),
        });
      });
    };
    const waits = this.waits(epoch, key);
    if (operation.kind !== "open") return this.io.tee.perform(operation, done, waits);
    const { services } = this.state.core.config;
    const recipe = services.find(({ name }) => name === operation.service)?.rehydrate ?? [];
    openWhole(this.io.tee, operation, recipe, done, waits);
  }

  /** What it waits for meanwhile is told to the machine, by the key. */
  private waits(epoch: number, key: string): (on: TeeWait) => void {
    return (on) => {
      this.io.post(() => {
        this.send({ kind: "waits", atMs: this.io.clock.now(), epoch, key, on });
      });
    };
  }

  private probe(epoch: number, probe: number): void {
    const key = `canary ${probe}`;
    const done = (outcome: TeeOutcome): void => {
      this.io.post(() => {
        const atMs = this.io.clock.now();
        if (isGood(outcome)) return this.send({ kind: "alive", atMs, probe });
        this.send({ kind: "failed", atMs, epoch, key, result: resultOf(outcome), problem: key });
      });
    };
    this.io.tee.perform({ kind: "canary" }, done, this.waits(epoch, key));
  }

  private invoke({ call, epoch, session, command, how, keyed }: Send): void {
    const { input = null, key = "" } = this.callers.get(call) ?? {};
    const operation: TeeOperation =
      how === "query"
        ? { kind: "query", session, key }
        : { kind: "invoke", session, command, call, key: keyed ? key : null, input };
    this.io.tee.perform(operation, (outcome) => {
      this.io.post(() => this.replied(call, epoch, outcome));
    });
  }

  private replied(call: number, epoch: number, outcome: TeeOutcome): void {
    const atMs = this.io.clock.now();
    const result = resultOf(outcome);
    const applied = outcome.applied === true;
    this.replying = { call, outcome };
    this.send({ kind: "reply", atMs, epoch, call, result, applied });
    this.replying = null;
  }

  private answer({ call, verdict, because, result }: Answer): void {
    const caller = this.callers.get(call);
    if (caller === undefined) return;
    this.callers.delete(call);
    const said = verdict === "answered" || verdict === "replayed";
    const reply = result ?? (this.replying?.call === call ? this.replying.outcome : null);
    caller.done({ verdict, because, outcome: said && reply !== null ? withoutText(reply) : null });
  }

  /** Performs what is ours to do at once; its outcome is the next event. */
  private attempt(
    { epoch, key }: { readonly epoch: number; readonly key: string },
    act: () => { context?: ReeContext },
  ): void {
    const atMs = this.io.clock.now();
    try {
      this.send({ kind: "done", atMs, epoch, key, ...act() });
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.send({ kind: "failed", atMs, epoch, key, result: null, problem: error.message });
    }
  }
}

function isGood({ errno, ret }: TeeResult): boolean {
  return errno === null && ret === 0;
}

/** What a caller may see of an outcome: all but the panic text. */
function withoutText({ detail: _detail, ...outcome }: TeeOutcome): TeeAnswer["outcome"] {
  return outcome;
}

/** What the machine may see of an outcome. */
function resultOf({ errno, ret, origin, supplicantLost }: TeeOutcome): TeeResult {
  return { errno, ret, origin, ...(supplicantLost === undefined ? {} : { supplicantLost }) };
}
