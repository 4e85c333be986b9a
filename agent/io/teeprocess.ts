/**
 * The TEE helper seen from the agent: a process that can be done without. A call that never comes
 * back costs the helper and nothing else: it is killed, replaced, and not waited for, since the
 * kernel ends a process inside the TEE only when its call ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { Failure } from "../errors.ts";
import {
  PipeReader,
  type PipeReply,
  type PipeRequest,
  readyId,
  replyOf,
  toPipe,
} from "../wire/teepipe.ts";

/** A helper, or what stands for one in tests. */
export interface TeeHelper {
  readonly pid: number | null;
  /** It was given up: it may live on, but nobody listens to it. */
  readonly isAbandoned: boolean;
  /** It ended, and with it all that it had open. */
  readonly isGone: boolean;
  /** It has started and said so: what is asked of it from now on is under way. */
  readonly isReady: boolean;
  /** Requests without a reply. */
  readonly waiting: number;
  /** `done` gets the reply, or null once the helper has ended without one. */
  request(request: Omit<PipeRequest, "id">, done: (reply: PipeReply | null) => void): void;
  /** Asks it to end; its descriptors are closed once it `isGone`. */
  shut(): void;
  /** Kills it and stops listening. Replies that wait get null if it ever ends. */
  abandon(): void;
}

/** Starts a helper; `gone` is told once how it ended. */
export type LaunchHelper = (gone: (how: string) => void) => TeeHelper;

/** It holds a few sessions and one message: V8's defaults would cost a small card dearly. */
const nodeFlags = [
  "--max-old-space-size=16",
  "--max-semi-space-size=1",
  "--v8-pool-size=0",
  "--single-threaded-gc",
];

/** Starts `program` (kennel-tee.cjs) on `device`; `started` is told each one's pid. */
export function launchHelper(
  program: string,
  device: string,
  started: (pid: number) => void = () => undefined,
): LaunchHelper {
  return (gone) => {
    const helper = new HelperProcess(program, device, gone);
    if (helper.pid !== null) started(helper.pid);
    return helper;
  };
}

class HelperProcess implements TeeHelper {
  isAbandoned = false;
  isGone = false;
  isReady = false;
  private readonly child: ChildProcess;
  private readonly reader = new PipeReader();
  private readonly pending = new Map<number, (reply: PipeReply | null) => void>();
  private readonly gone: (how: string) => void;
  private nextId = 1;

  constructor(program: string, device: string, gone: (how: string) => void) {
    this.gone = gone;
    this.child = spawn(process.execPath, [...nodeFlags, program, device], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    // A helper that died meanwhile is told of by its end.
    this.child.stdin?.on("error", () => undefined);
    this.child.stdout?.on("data", (some: Buffer) => this.heard(some));
    this.child.on("error", ({ message }) => {
      // It never was: nothing else will end it.
      if (this.child.pid === undefined) this.end(message);
    });
    this.child.on("close", (status, signal) => {
      this.end(signal === null ? `it ended with status ${status}` : `it was ended by ${signal}`);
    });
  }

  get pid(): number | null {
    return this.child.pid ?? null;
  }

  get waiting(): number {
    return this.pending.size;
  }

  request(request: Omit<PipeRequest, "id">, done: (reply: PipeReply | null) => void): void {
    if (this.isGone) return done(null);
    const id = this.nextId++;
    this.pending.set(id, done);
    if (!this.isAbandoned) this.child.stdin?.write(toPipe({ ...request, id }));
  }

  shut(): void {
    this.child.stdin?.end();
  }

  abandon(): void {
    this.isAbandoned = true;
    this.child.kill("SIGKILL");
    this.child.stdin?.destroy();
    this.child.stdout?.destroy();
    // The agent can end before it does.
    this.child.unref();
  }

  private heard(some: Buffer): void {
    try {
      for (const body of this.reader.push(some)) {
        const reply = replyOf(body);
        if (reply.id === readyId) this.isReady = true;
        const done = this.pending.get(reply.id);
        this.pending.delete(reply.id);
        done?.(reply);
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.abandon();
    }
  }

  private end(how: string): void {
    if (this.isGone) return;
    this.isGone = true;
    const waiting = [...this.pending.values()];
    this.pending.clear();
    this.gone(how);
    for (const done of waiting) done(null);
  }
}

/**
 * Where the threads of a helper that does not answer are, for people: the kernel shows a thread
 * inside the secure world as running and one that waits for a supplicant as asleep.
 */
export function whereStuck(pid: number, proc = "/proc"): string {
  const states = readThreads(`${proc}/${pid}/task`);
  if (states.includes("R")) return "a thread runs inside the secure world: its CPU may be lost";
  if (states.includes("D"))
    return "a thread waits in the driver: for a supplicant or a free thread";
  return states.length === 0 ? "it is gone" : "its threads sleep";
}

function readThreads(folder: string): string[] {
  try {
    return readdirSync(folder).map((thread) => {
      const stat = readFileSync(`${folder}/${thread}/stat`, "latin1");
      // The command's name may hold anything, also brackets.
      return stat.slice(stat.lastIndexOf(")") + 2).charAt(0);
    });
  } catch {
    return [];
  }
}
