/**
 * The helper processes of one TEE device: one for the calls and one for the canary, so that proof
 * of life never stands behind the call it is to judge. Each starts when it is first needed. One
 * whose call does not come back is given up and another takes its place; what it had open is lost.
 */
import type { PipeReply, PipeRequest } from "../wire/teepipe.ts";
import type { Clock } from "./clock.ts";
import type { TeeWait } from "./tee.ts";
import { type LaunchHelper, type TeeHelper, whereStuck } from "./teeprocess.ts";

/** A call without an answer for that long has long had its verdict; the helper is given up. */
const stuckMs = 60_000;
/** Longest start of a helper: one took 15 s on an emulated card of a busy machine. */
const startMaxMs = 60_000;
/** How often those who wait for a start are told so. */
const waitEveryMs = 500;
/** How long a helper that was asked to end may take. */
const shutMaxMs = 1_000;
/** Helpers that were given up and live on: each may hold a CPU. With more, no other is started. */
export const lostMax = 4;

/** The reply, or why there is none: the helper ended, was given up, or could not be had. */
export type Heard = PipeReply | "died" | "given_up" | "none";

export interface Patience {
  /** How long to wait until the helper is given up, from when it is ready. */
  readonly forMs?: number;
  /** For people. */
  readonly what?: string;
  /** Told while there is no call yet, as the helper starts, and when it has started. */
  readonly waits?: ((on: TeeWait) => void) | undefined;
  /** Whether the call itself waits for another when its time is up: then it has that time again. */
  readonly isHeld?: () => boolean;
  /** `died` is told only when the process has ended, and with it all that it had open. */
  readonly untilGone?: boolean;
}

interface Asked {
  readonly helper: TeeHelper;
  readonly giveUp: () => void;
}

type Role = "calls" | "canary";

export class TeeHelpers {
  private readonly clock: Clock;
  private readonly launch: LaunchHelper;
  private readonly say: (because: string) => void;
  private readonly gone: (helper: TeeHelper) => void;
  private readonly current: Record<Role, TeeHelper | null> = { calls: null, canary: null };
  private readonly roles = new WeakMap<TeeHelper, Role>();
  private readonly asked = new Set<Asked>();
  private abandoned: TeeHelper[] = [];
  /** Started ahead, with nothing open: whoever needs a helper next takes one of these. */
  private spare: TeeHelper[] = [];
  /** Asked to end: their end is no news. */
  private readonly ending = new Set<TeeHelper>();
  /** Told when a helper has ended. */
  private waiting: (() => void)[] = [];

  /** `gone`: a helper has ended; the kernel has closed what it had open. */
  constructor(
    clock: Clock,
    launch: LaunchHelper,
    say: (because: string) => void,
    gone: (helper: TeeHelper) => void,
  ) {
    this.clock = clock;
    this.launch = launch;
    this.say = say;
    this.gone = gone;
  }

  /** Helpers that were given up and have not ended: they may hold the device open, and a CPU. */
  get lost(): number {
    this.abandoned = this.abandoned.filter((helper) => !helper.isGone);
    return this.abandoned.length;
  }

  /** Starts both: a start takes seconds on a slow card, and is not to count as silence. */
  warm(): void {
    this.caller();
    if (this.current.canary === null) this.start("canary");
  }

  /** The helper for calls; null when too many were lost. */
  caller(): TeeHelper | null {
    return this.current.calls ?? this.start("calls");
  }

  /** The helper for the canary. One that still owes the answer to the last canary is given up. */
  watcher(): TeeHelper | null {
    const { canary } = this.current;
    if (canary !== null && canary.waiting > 0) this.giveUp(canary, "the canary has no answer");
    return this.current.canary ?? this.start("canary");
  }

  /** The helper for the canary has started and nothing is asked of it. */
  get isWatcherFree(): boolean {
    const { canary } = this.current;
    return canary?.isReady === true && canary.waiting === 0;
  }

  ask(
    helper: TeeHelper | null,
    request: Omit<PipeRequest, "id">,
    done: (heard: Heard) => void,
    patience: Patience = {},
  ): void {
    if (helper === null) return done("none");
    const { untilGone = false } = patience;
    let isOver = false;
    let stop = (): void => undefined;
    const end = (heard: Heard): void => {
      if (isOver) return;
      isOver = true;
      stop();
      this.asked.delete(one);
      done(heard);
    };
    const one: Asked = { helper, giveUp: () => (untilGone ? undefined : end("given_up")) };
    this.asked.add(one);
    this.watch(helper, patience, (cancel) => {
      stop = cancel;
    });
    helper.request(request, (reply) => end(reply ?? "died"));
    if (helper.isAbandoned) one.giveUp();
  }

  /** Gives a helper up whose start takes too long, and then one whose call does. */
  private watch(
    helper: TeeHelper,
    { forMs = stuckMs, what = "a call", waits, isHeld }: Patience,
    cancelBy: (cancel: () => void) => void,
  ): void {
    const { clock } = this;
    const endMs = clock.now() + startMaxMs;
    const call = (): void => {
      const late = (): void => {
        if (isHeld?.() === true) return call();
        this.giveUp(helper, `${what} has no answer after ${forMs} ms`);
      };
      cancelBy(clock.at(clock.now() + forMs, late));
    };
    const start = (): void => {
      if (helper.isReady) return call();
      if (clock.now() >= endMs) {
        return this.giveUp(helper, `it did not start within ${startMaxMs} ms`);
      }
      cancelBy(clock.at(clock.now() + waitEveryMs, look));
    };
    const look = (): void => {
      waits?.("helper");
      start();
    };
    start();
  }

  /**
   * Starts two helpers ahead, so that nobody waits for a process once the TEE OS is back: a start
   * takes 50 ms, and a restart of a TEE OS takes longer. They open nothing before they are asked.
   */
  prepare(): void {
    while (this.spare.length < 2 && this.lost < lostMax) this.spare.push(this.launched());
  }

  /** Ends both; `done` when they have ended or were given up. */
  shut(done: () => void): void {
    const helpers = Object.values(this.current).filter((helper) => helper !== null);
    const late = (): void => {
      for (const helper of helpers) this.giveUp(helper, "it was asked to end and does not");
      check();
    };
    const stop = this.clock.at(this.clock.now() + shutMaxMs, late);
    let isOver = false;
    const check = (): void => {
      if (isOver) return;
      if (!helpers.every((helper) => helper.isGone || helper.isAbandoned)) {
        this.waiting.push(check);
        return;
      }
      isOver = true;
      stop();
      done();
    };
    for (const helper of helpers) {
      this.ending.add(helper);
      helper.shut();
    }
    check();
  }

  private start(role: Role): TeeHelper | null {
    if (this.lost >= lostMax) return null;
    const helper = this.spare.pop() ?? this.launched();
    this.current[role] = helper;
    this.roles.set(helper, role);
    return helper;
  }

  private launched(): TeeHelper {
    const helper = this.launch((how) => this.ended(helper, how));
    return helper;
  }

  private ended(helper: TeeHelper, how: string): void {
    const role = this.roles.get(helper) ?? "calls";
    this.spare = this.spare.filter((one) => one !== helper);
    if (this.current[role] === helper) this.current[role] = null;
    const was = helper.isAbandoned ? ", given up before" : "";
    const isExpected = this.ending.delete(helper) && !helper.isAbandoned;
    if (!isExpected) this.say(`the helper for ${role}, pid ${helper.pid}${was}: ${how}`);
    this.gone(helper);
    for (const told of this.waiting.splice(0)) told();
  }

  private giveUp(helper: TeeHelper, because: string): void {
    if (helper.isGone || helper.isAbandoned) return;
    const role = this.current.calls === helper ? "calls" : "canary";
    const where = helper.pid === null ? "" : `; ${whereStuck(helper.pid)}`;
    this.current[role] = null;
    this.abandoned.push(helper);
    this.say(`the helper for ${role}, pid ${helper.pid}, is given up: ${because}${where}`);
    helper.abandon();
    for (const one of [...this.asked]) if (one.helper === helper) one.giveUp();
  }
}
