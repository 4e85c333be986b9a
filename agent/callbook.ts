/**
 * The intent journal of calls that programs make: what a call was is on stable storage before the
 * TEE sees it, what became of it is written before its caller is told. So an agent that was killed
 * knows in its next life what it may have left undone. Names, classes, keyed digests and verdicts:
 * no payload is ever in it. Calls that may run any number of times are kept in memory alone.
 */
import { Failure } from "./errors.ts";
import type { Disk } from "./io/disk.ts";
import type { CallClass } from "./machines/teecalls.ts";
import { type Entry, SealedLog } from "./sealedlog.ts";
import {
  bool,
  bytes,
  check,
  cutText,
  map,
  oneOf,
  optional,
  text,
  textOf,
  uint,
} from "./wire/shape.ts";
import { type ApiVerdict, verdictNames } from "./wire/teeapi.ts";

/** Settled calls that can be asked after; of those that are not, as many of earlier lives. */
export const keptMax = 512;
/** A longer file is written anew: at most 2 x 512 records of about 250 bytes remain. */
const fileBytesMax = 524_288;
/** Within this a client still asks: what is forgotten sooner makes unknown ids uncertain, ms. */
export const memoryMs = 240_000;
const magic = "KNLC";

/** What became of a call. */
export interface Settled {
  readonly verdict: ApiVerdict;
  readonly because: string;
  /** False: the TEE never saw it. */
  readonly sent: boolean;
  readonly ret?: number;
  readonly origin?: number;
}

export interface Intent {
  /** Whose call it is: ids are unique to a user. */
  readonly uid: number;
  readonly id: string;
  readonly service: string;
  readonly command: number;
  readonly class: CallClass;
  readonly digest: Uint8Array;
}

export interface Booked extends Intent {
  /** The agent that took it. */
  readonly boot: string;
  /** Null while it is not settled. */
  settled: Settled | null;
}

const callClass = oneOf("idempotent", "keyed", "once");
const settledMembers = {
  verdict: oneOf(...verdictNames),
  because: text,
  sent: bool,
  ret: optional(uint),
  origin: optional(uint),
};
const name = { uid: uint, id: textOf(64) };
const intentShape = map({
  ...name,
  service: text,
  command: uint,
  class: callClass,
  digest: bytes,
  boot: text,
});
const doneShape = map({ ...name, ...settledMembers });
const kindShape = map({ t: oneOf("intent", "done") });

export class CallBook {
  /** Why intents do not reach the disk; null while they do. */
  degraded: string | null = null;
  private readonly boot: string;
  private readonly log: SealedLog | null;
  private readonly entries = new Map<string, Booked>();
  /** Something that was written down is lost, or was forgotten at this time. */
  private forgottenMs = -Infinity;
  private keptCount = 0;

  /** `boot` names this start of the agent; `nowMs` is monotonic. */
  constructor(disk: Disk, boot: string, nowMs: number) {
    this.boot = boot;
    this.log = this.open(disk);
    for (const entry of this.log?.found ?? []) this.replay(entry, nowMs);
    if (this.log?.isDamaged !== false) this.forgottenMs = Infinity;
  }

  /** Calls of earlier lives whose outcome nobody knows. */
  get unfinished(): number {
    let count = 0;
    for (const { boot, settled } of this.entries.values()) {
      if (boot !== this.boot && settled === null) count += 1;
    }
    return count;
  }

  find(uid: number, id: string): Booked | undefined {
    return this.entries.get(keyOf(uid, id));
  }

  /** It was taken by an agent that is gone, and is not settled. */
  isLeftOver(booked: Booked): boolean {
    return booked.boot !== this.boot && booked.settled === null;
  }

  /** An id that is not known here certainly names no call that was ever sent. */
  isCertain(nowMs: number): boolean {
    return nowMs - this.forgottenMs > memoryMs;
  }

  /**
   * Takes these calls down. On return those that must not run twice by mistake are on stable
   * storage, or the Failure says why they are not: then they must not be sent.
   */
  begin(intents: readonly Intent[], nowMs: number): Failure | null {
    const fresh = intents.map((intent): Booked => ({ ...intent, boot: this.boot, settled: null }));
    for (const one of fresh) this.entries.set(keyOf(one.uid, one.id), one);
    const durable = fresh.filter((one) => one.class !== "idempotent");
    if (durable.length === 0) return null;
    const problem = this.write(durable.map(intentEntry), true);
    if (problem !== null) {
      for (const { uid, id } of durable) this.entries.delete(keyOf(uid, id));
    }
    this.forget(nowMs);
    return problem;
  }

  /** Notes what became of a call: in the kernel's hands on return, for the agent may die next. */
  settle(uid: number, id: string, settled: Settled, nowMs: number): void {
    const booked = this.find(uid, id);
    if (booked === undefined || booked.settled !== null) return;
    booked.settled = { ...settled, because: cutText(settled.because) };
    this.keptCount += 1;
    // The newest is the last to be forgotten.
    this.entries.delete(keyOf(uid, id));
    this.entries.set(keyOf(uid, id), booked);
    if (booked.class !== "idempotent") this.write([doneEntry(booked, booked.settled)], false);
    this.forget(nowMs);
  }

  private open(disk: Disk): SealedLog | null {
    try {
      return new SealedLog(disk, "tee.calls", magic);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.degraded = error.message;
      return null;
    }
  }

  private replay(entry: Entry, nowMs: number): void {
    try {
      const { t } = check(kindShape, entry, "call record");
      if (t === "intent") {
        const intent = check(intentShape, entry, t);
        this.entries.set(keyOf(intent.uid, intent.id), { ...intent, settled: null });
      } else {
        const { uid, id, ...settled } = check(doneShape, entry, t);
        const booked = this.find(uid, id);
        if (booked !== undefined && booked.settled === null) {
          booked.settled = settled;
          this.keptCount += 1;
        }
      }
      this.forget(nowMs);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.forgottenMs = Infinity;
    }
  }

  /** The oldest go first: settled ones, and those of earlier lives that nobody asked after. */
  private forget(nowMs: number): void {
    this.drop(this.keptCount - keptMax, ({ settled }) => settled !== null, nowMs);
    if (this.entries.size <= 3 * keptMax) return;
    this.drop(this.unfinished - keptMax, (booked) => this.isLeftOver(booked), nowMs);
  }

  private drop(count: number, isOld: (booked: Booked) => boolean, nowMs: number): void {
    let left = count;
    for (const [key, booked] of this.entries) {
      if (left <= 0) return;
      if (!isOld(booked)) continue;
      this.entries.delete(key);
      left -= 1;
      if (booked.settled !== null) this.keptCount -= 1;
      if (booked.class !== "idempotent") this.forgottenMs = Math.max(this.forgottenMs, nowMs);
    }
  }

  /** All anew when the file is long, or an earlier write did not get there. */
  private write(entries: readonly Entry[], isSynced: boolean): Failure | null {
    const { log } = this;
    if (log === null) return new Failure("journal.degraded", this.degraded ?? "");
    try {
      if (log.wantsRewrite || log.written > fileBytesMax) log.rewrite(this.all());
      else log.append(entries, isSynced);
      this.degraded = null;
      return null;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.degraded = error.message;
      return error;
    }
  }

  private all(): Entry[] {
    const durable = [...this.entries.values()].filter((one) => one.class !== "idempotent");
    return durable.flatMap((one) => {
      const entry = intentEntry(one);
      return one.settled === null ? [entry] : [entry, doneEntry(one, one.settled)];
    });
  }
}

function keyOf(uid: number, id: string): string {
  return `${uid} ${id}`;
}

function intentEntry({ settled: _, ...intent }: Booked): Entry {
  return { t: "intent", ...intent };
}

function doneEntry({ uid, id }: Booked, settled: Settled): Entry {
  return { t: "done", uid, id, ...settled };
}
