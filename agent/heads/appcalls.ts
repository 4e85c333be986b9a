/**
 * The calls of the card's programs, from the request to the verdict. Each is written down before
 * the TEE sees it, waits its turn, and ends with exactly one verdict to whoever made it: the TEE's,
 * or `deadline` when his time is up. A call whose caller is gone goes on to its end in the book.
 */
import type { CallBook, Intent, Settled } from "../callbook.ts";
import type { Application } from "../io/applications.ts";
import type { CallClass, Purpose } from "../machines/teecalls.ts";
import { encodeMap } from "../wire/cbor.ts";
import {
  type AskOf,
  callsOfConnection,
  inputBytesMax,
  type Telling,
  type TellingOf,
  withinDefaultMs,
  withinRangeMs,
} from "../wire/teeapi.ts";
import { codesOf, type Result, resultOf } from "./appresults.ts";
import { LeftInside } from "./leftinside.ts";
import { Places } from "./places.ts";
import type { TeeAnswer, TeeHead } from "./tee.ts";

/** Calls that are not over, in all; of one user; of one connection. */
export const callLimits = { all: 256, ofUser: 192, ofConnection: callsOfConnection } as const;

export interface CallsIo {
  readonly now: () => number;
  readonly tee: Pick<TeeHead, "call" | "awayBecause" | "epoch">;
  readonly book: CallBook;
  /** See io/applications.ts. */
  readonly digest: (bytes: Uint8Array) => Uint8Array;
  readonly leftInside: () => boolean;
  readonly say: (to: Application, what: Telling) => void;
}

/** A call that may be made, as far as who makes it goes. */
export interface Wanted {
  readonly from: Application;
  /** The request's id. */
  readonly request: number;
  readonly ask: AskOf<"call">;
  readonly class: CallClass;
}

interface Pending {
  /** Who is to be told; null once he was, or is gone. */
  from: Application | null;
  request: number;
  readonly intent: Intent;
  input: Uint8Array | null;
  readonly purpose: Purpose;
  /** An agent that is gone took it: what it may have done is in the book until it is known. */
  readonly isLeftOver: boolean;
  readonly waits: boolean;
  deadlineMs: number;
  phase: "noted" | "waiting" | "sent";
  /** What is told is the answer to a question after the call, not to the call. */
  isQuestion: boolean;
}

export class ApplicationCalls {
  private readonly io: CallsIo;
  /** By user and id, in the order in which they came. */
  private readonly pending = new Map<string, Pending>();
  private readonly places = new Places();
  private readonly leftInside: LeftInside;

  constructor(io: CallsIo) {
    this.io = io;
    this.leftInside = new LeftInside(io.leftInside);
  }

  get underWay(): number {
    return this.pending.size;
  }

  /** Takes a call; `commit` follows once everything that came at once is taken. */
  take(wanted: Wanted): void {
    const { from, request, ask } = wanted;
    const uid = from.peer.uid;
    const problem = this.obstacle(wanted);
    if (problem !== null) return this.reject(wanted, problem[0], problem[1]);
    const intent = this.intentOf(wanted);
    const pending = this.pending.get(keyOf(intent));
    const booked = this.io.book.find(uid, ask.call);
    const known = pending?.intent ?? booked;
    if (known === undefined) return this.begin(wanted, intent);
    const isSame = sameBytes(known.digest, intent.digest) && known.class === intent.class;
    if (!isSame) return this.reject(wanted, "tee.call", "this id names another call");
    if (pending !== undefined) return this.adopt(pending, wanted);
    if (booked === undefined) return;
    if (booked.settled !== null) {
      return this.io.say(from, { ...this.verdictOf(ask.call, booked.settled), id: request });
    }
    if (booked.class === "keyed") return this.note(wanted, intent, "again", "waiting");
    const because = "the agent was restarted while it was under way";
    this.end(intent, { verdict: "outcome_unknown", because, sent: true }, from, request);
  }

  /** Writes down what was taken: from then on it may be sent. */
  commit(): void {
    const noted = [...this.pending.values()].filter(({ phase }) => phase === "noted");
    if (noted.length === 0) return;
    const intents = noted.map(({ intent }) => intent);
    const problem = this.io.book.begin(intents, this.io.now());
    for (const one of noted) {
      one.phase = "waiting";
      if (problem === null || one.intent.class === "idempotent") continue;
      const because = `it cannot be written down first: ${problem.message}`;
      this.conclude(one, { verdict: "unavailable", because, sent: false });
    }
  }

  /** Answers what became of a call. */
  outcome(from: Application, request: number, call: string): void {
    const uid = from.peer.uid;
    const { epoch } = this.io.tee;
    const head = { kind: "outcome", id: request, call, epoch } as const;
    const booked = this.io.book.find(uid, call);
    if (booked === undefined) return this.io.say(from, { ...head, state: "unknown" });
    if (booked.settled !== null) {
      return this.io.say(from, { ...head, state: "settled", ...booked.settled });
    }
    if (!this.io.book.isLeftOver(booked) || this.pending.has(keyOf(booked))) {
      return this.io.say(from, { ...head, state: "under_way" });
    }
    if (booked.class === "keyed") {
      if (this.pending.size >= callLimits.all) {
        return this.io.say(from, { ...head, state: "under_way" });
      }
      this.pending.set(keyOf(booked), {
        ...this.fresh(from, request, booked),
        purpose: "ask",
        isLeftOver: true,
        waits: true,
        isQuestion: true,
      });
      return;
    }
    const because = "the agent was restarted while it was under way";
    const settled: Settled = { verdict: "outcome_unknown", because, sent: true };
    this.io.book.settle(uid, call, settled, this.io.now());
    this.io.say(from, { ...head, state: "settled", ...settled });
  }

  /** Nobody is there to be told any more; what was not sent is not. */
  left(from: Application): void {
    for (const one of [...this.pending.values()]) {
      if (one.from !== from) continue;
      one.from = null;
      if (one.phase === "sent") continue;
      if (one.isLeftOver) {
        this.pending.delete(keyOf(one.intent));
        continue;
      }
      const because = "its caller left before it was sent";
      const isOld = one.purpose !== "new";
      const verdict = isOld && one.intent.class === "keyed" ? "outcome_unknown" : "unavailable";
      this.conclude(one, { verdict, because, sent: isOld });
    }
  }

  /** When somebody's time is up. */
  get dueMs(): number {
    const isAny = [...this.pending.values()].some(({ isLeftOver }) => isLeftOver);
    let dueMs = isAny ? this.leftInside.dueMs : Infinity;
    for (const { from, deadlineMs } of this.pending.values()) {
      if (from !== null && deadlineMs < dueMs) dueMs = deadlineMs;
    }
    return dueMs;
  }

  /** Ends what is over its time, and sends what may be sent. */
  tick(nowMs: number): void {
    if (this.pending.size === 0) return;
    for (const one of [...this.pending.values()]) {
      if (one.from !== null && one.deadlineMs <= nowMs) this.late(one);
    }
    for (;;) {
      // Looked at anew each time: sending one may let others pass.
      const ready = [...this.pending.values()].filter((one) => this.isReady(one));
      const next = this.places.next(ready, ({ intent }) => intent.uid);
      if (next === undefined) return;
      this.send(next);
    }
  }

  /** Whether it may be sent; one that does not wait for a service that is away ends here. */
  private isReady(one: Pending): boolean {
    if (one.phase !== "waiting") return false;
    if (one.isLeftOver && this.leftInside.isAny(this.io.now())) return false;
    const because = this.io.tee.awayBecause(one.intent.service);
    if (because === null) return true;
    if (!one.waits) this.conclude(one, { verdict: "unavailable", because, sent: false });
    return false;
  }

  /** Why a call is not taken: error and words; null when it is. */
  private obstacle({ from, ask }: Wanted): [string, string] | null {
    const { input, within_ms: within = withinDefaultMs } = ask;
    const { min, max } = withinRangeMs;
    if (within < min || within > max) return ["tee.call", `within_ms is ${min} to ${max}`];
    if (input !== undefined && input.length > inputBytesMax) {
      return ["tee.call", `an input of ${input.length} bytes; at most ${inputBytesMax}`];
    }
    let [ofUser, ofConnection] = [0, 0];
    for (const { from: other, intent } of this.pending.values()) {
      if (intent.uid === from.peer.uid) ofUser += 1;
      if (other === from) ofConnection += 1;
    }
    const isFull =
      this.pending.size >= callLimits.all ||
      ofUser >= callLimits.ofUser ||
      ofConnection >= callLimits.ofConnection;
    return isFull ? ["tee.limit", "too many calls are under way already"] : null;
  }

  private intentOf({ from, ask, class: of }: Wanted): Intent {
    const { service, command, call, input } = ask;
    const content = encodeMap({ service, command, ...(input === undefined ? {} : { input }) });
    const digest = this.io.digest(content);
    return { uid: from.peer.uid, id: call, service, command, class: of, digest };
  }

  /** A call that is not in the book. One that was sent before may have been forgotten. */
  private begin(wanted: Wanted, intent: Intent): void {
    const { ask, from, request } = wanted;
    const isLost = ask.again === true && !this.io.book.isCertain(this.io.now());
    if (isLost && intent.class === "once") {
      const because = "the book of calls is not whole: it may have been sent before";
      return this.end(intent, { verdict: "outcome_unknown", because, sent: true }, from, request);
    }
    // What may run any number of times is in no book that outlives the agent.
    const isOld = intent.class === "keyed" ? isLost : intent.class === "idempotent" && ask.again;
    this.note(wanted, intent, isOld ? "again" : "new", "noted");
  }

  private note(wanted: Wanted, intent: Intent, purpose: Purpose, phase: Pending["phase"]): void {
    const { from, request, ask } = wanted;
    const withinMs = ask.within_ms ?? withinDefaultMs;
    const booked = this.io.book.find(intent.uid, intent.id);
    const isLeftOver = booked !== undefined && this.io.book.isLeftOver(booked);
    this.pending.set(keyOf(intent), {
      ...this.fresh(from, request, intent),
      input: ask.input ?? null,
      deadlineMs: this.io.now() + withinMs,
      purpose,
      phase,
      isLeftOver,
      waits: isLeftOver || ask.waits === true,
    });
  }

  private fresh(from: Application, request: number, intent: Intent): Pending {
    return {
      from,
      request,
      intent,
      input: null,
      purpose: "new",
      isLeftOver: false,
      waits: false,
      deadlineMs: this.io.now() + withinDefaultMs,
      phase: "waiting",
      isQuestion: false,
    };
  }

  /** The same call once more while it is under way: its caller has come back. */
  private adopt(pending: Pending, wanted: Wanted): void {
    if (pending.from !== null) return this.reject(wanted, "tee.call", "it is under way already");
    pending.from = wanted.from;
    pending.request = wanted.request;
    pending.isQuestion = false;
    pending.deadlineMs = this.io.now() + (wanted.ask.within_ms ?? withinDefaultMs);
  }

  private send(one: Pending): void {
    const { service, command, class: of, uid, id } = one.intent;
    one.phase = "sent";
    this.places.enter(uid);
    let isSending = true;
    const done = (answer: TeeAnswer): void => {
      this.places.leave(uid);
      this.answered(one, answer, !isSending);
    };
    // Nobody else's key can be the same: those of the agent's own begin with its boot.
    const key = `app.${uid}.${id}`;
    const { purpose } = one;
    this.io.tee.call(service, command, of, done, one.input, { key, purpose });
    isSending = false;
    // The head has it now; it may have come back to wait on.
    if (one.phase === "sent") one.input = null;
  }

  /** `wasSent`: the TEE had it, or may have had it. */
  private answered(one: Pending, answer: TeeAnswer, wasSent: boolean): void {
    const { verdict, because, outcome } = answer;
    if (!wasSent && verdict === "unavailable" && one.waits) {
      one.phase = "waiting";
      return;
    }
    const isOld = one.purpose !== "new";
    const isUndone = one.purpose === "ask" && verdict === "unavailable";
    const isOpen = isOld && !isUndone && one.intent.class === "keyed";
    if (isOpen && (verdict === "unavailable" || verdict === "quarantined")) {
      return this.conclude(one, { verdict: "outcome_unknown", because, sent: true });
    }
    const isFound = outcome?.applied === true;
    const settled: Settled = {
      verdict: isOld && verdict === "answered" && !isFound ? "replayed" : verdict,
      because,
      sent: !isUndone && (wasSent || isOld),
      ...(outcome === null || outcome.errno !== null ? {} : codesOf(outcome)),
    };
    this.conclude(one, settled, outcome === null ? {} : resultOf(outcome));
  }

  /** His time is up. What was sent goes on; what was not is over, unless it is an old one. */
  private late(one: Pending): void {
    const isSent = one.phase === "sent" || one.purpose !== "new";
    const because = isSent ? "nothing is known yet: ask for its outcome" : "it was never sent";
    const settled: Settled = { verdict: "deadline", because, sent: isSent };
    if (one.phase !== "sent" && !one.isLeftOver) return this.conclude(one, settled);
    this.tell(one, settled, {});
    one.from = null;
    if (one.phase !== "sent") this.pending.delete(keyOf(one.intent));
  }

  /** It has its verdict: into the book first. */
  private conclude(one: Pending, settled: Settled, result: Result = {}): void {
    const { uid, id } = one.intent;
    this.pending.delete(keyOf(one.intent));
    this.io.book.settle(uid, id, settled, this.io.now());
    this.tell(one, settled, result);
  }

  private tell(one: Pending, settled: Settled, result: Result): void {
    const { from, request: id, intent } = one;
    if (from === null) return;
    const { epoch } = this.io.tee;
    if (one.isQuestion) {
      const call = intent.id;
      if (settled.verdict === "deadline") {
        return this.io.say(from, { kind: "outcome", id, call, epoch, state: "under_way" });
      }
      return this.io.say(from, { kind: "outcome", id, call, epoch, state: "settled", ...settled });
    }
    const said = { kind: "verdict", id, call: intent.id, epoch } as const;
    this.io.say(from, { ...said, ...settled, ...result });
  }

  /** The verdict of a call that was never under way here. */
  private end(intent: Intent, settled: Settled, from: Application, request: number): void {
    this.io.book.settle(intent.uid, intent.id, settled, this.io.now());
    const { epoch } = this.io.tee;
    this.io.say(from, { kind: "verdict", id: request, call: intent.id, epoch, ...settled });
  }

  /** What was settled before; what it gave is gone. */
  private verdictOf(
    call: string,
    settled: Settled,
  ): Omit<TellingOf<"verdict">, "id"> & {
    kind: "verdict";
  } {
    const isDone = settled.verdict === "answered" || settled.verdict === "replayed";
    const { epoch } = this.io.tee;
    return { kind: "verdict", call, epoch, ...settled, ...(isDone ? { lost: true } : {}) };
  }

  private reject({ from, request, ask }: Wanted, error: string, because: string): void {
    const { epoch } = this.io.tee;
    const said = { kind: "verdict", id: request, call: ask.call, epoch } as const;
    this.io.say(from, { ...said, verdict: "rejected", error, because, sent: false });
  }
}

function keyOf({ uid, id }: Pick<Intent, "uid" | "id">): string {
  return `${uid} ${id}`;
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
