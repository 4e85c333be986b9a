/**
 * The service manager that started the agent: it wants to hear how the agent is (sd_notify(3)) and
 * keeps the watchdog open from one agent to the next (sd_listen_fds(3), sd_pid_notify_with_fds(3)),
 * so that a restart or an upgrade closes nothing. Protocol by environment and datagrams: systemd,
 * and what speaks like it.
 */
import { closeSync } from "node:fs";
import { native } from "../../native/index.ts";

/** What the agent tells whoever supervises it. */
export interface Supervisor {
  /** How often it is to be told that all is well, ms; null when it does not ask. */
  readonly everyMs: number | null;
  /**
   * Sends one state, such as `READY=1`. False when it was not taken: the supervisor is gone, or too
   * busy to take it now; that is a problem as well.
   */
  tell(state: string): boolean;
  /** What went wrong since the last call; each once, at most 16 kept. */
  takeProblems(): string[];
}

/** Keeps the descriptor of an armed watchdog beyond the life of this process. */
export interface Keeper {
  keep(fd: number): void;
  /** Lets go of it: from then on closing ours is the last close. */
  forget(): void;
}

/** Nobody supervises: closing without the magic character and opening again is the way then. */
export const unsupervised: Supervisor = {
  everyMs: null,
  tell: () => true,
  takeProblems: () => [],
};

/** An open file that came with the start. */
export interface Inherited {
  readonly name: string;
  readonly fd: number;
}

/** The name under which the watchdog is kept. */
export const watchdogName = "watchdog";
/** SD_LISTEN_FDS_START. */
const firstFd = 3;
/** More is no store of ours. */
const inheritedMax = 16;
const problemsMax = 16;
const nameMax = 64;

type Environment = Record<string, string | undefined>;
type Send = (path: string, text: string, fd?: number) => void;

export class ServiceManager implements Supervisor, Keeper {
  readonly everyMs: number | null;
  /** Descriptors handed over at the start, for this process to adopt or to close. */
  readonly inherited: readonly Inherited[];
  private readonly socket: string | null;
  private readonly send: Send;
  private readonly problems: string[] = [];
  private readonly told = new Set<string>();
  /** A descriptor to keep that a busy manager did not take: sent with the next state. */
  private unkept: number | null = null;

  /**
   * Reads what it was started with and removes it from `env`, so that no child process takes it
   * for its own. `send` is the native call unless a test listens.
   */
  constructor(
    env: Environment,
    pid: number,
    send: Send = (path, text, ...fd) => native().notify(path, text, ...fd),
  ) {
    this.socket = env.NOTIFY_SOCKET || null;
    this.send = send;
    this.everyMs = everyMsOf(env, pid);
    this.inherited = inheritedBy(env, pid);
    for (const name of variables) delete env[name];
  }

  tell(state: string): boolean {
    if (this.unkept !== null) this.keep(this.unkept);
    return this.attempt(state);
  }

  keep(fd: number): void {
    const isTaken = this.attempt(`FDSTORE=1\nFDNAME=${watchdogName}`, fd);
    this.unkept = isTaken ? null : fd;
  }

  forget(): void {
    this.unkept = null;
    this.attempt(`FDSTOREREMOVE=1\nFDNAME=${watchdogName}`);
  }

  /** Closes what nobody adopts. A watchdog among it counts on: it is a plain close. */
  close(inherited: Inherited, because: string): void {
    try {
      closeSync(inherited.fd);
    } catch {
      // Announced and not there.
    }
    this.refuse(inherited, because);
  }

  /** Tells of a descriptor that was closed. */
  refuse({ name, fd }: Inherited, because: string): void {
    this.note(`descriptor ${fd} (${name}) that was handed over is not used: ${because}`);
  }

  takeProblems(): string[] {
    return this.problems.splice(0);
  }

  /** True when it was taken, or nobody is there to take it. */
  private attempt(text: string, fd?: number): boolean {
    if (this.socket === null) return true;
    try {
      if (fd === undefined) this.send(this.socket, text);
      else this.send(this.socket, text, fd);
      return true;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.note(`cannot tell the service manager ${text.split("\n")[0]}: ${why}`);
      return false;
    }
  }

  /** A manager that is gone is told of once, not with every beat. */
  private note(problem: string): void {
    if (this.told.has(problem) || this.told.size >= problemsMax) return;
    this.told.add(problem);
    this.problems.push(problem);
  }
}

const variables = [
  ...["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"],
  ...["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"],
];

/** Half of what is allowed, as sd_watchdog_enabled(3) advises; null when not meant for us. */
function everyMsOf(env: Environment, pid: number): number | null {
  const usec = Number(env.WATCHDOG_USEC);
  const isOurs = env.WATCHDOG_PID === undefined || env.WATCHDOG_PID === String(pid);
  return env.NOTIFY_SOCKET && isOurs && usec > 0 ? usec / 2000 : null;
}

/** Only what is meant for this very process: another's numbers are not ours to close. */
function inheritedBy(env: Environment, pid: number): Inherited[] {
  const count = Number(env.LISTEN_FDS);
  if (env.LISTEN_PID !== String(pid) || !Number.isInteger(count) || count < 1) return [];
  const names = (env.LISTEN_FDNAMES ?? "").split(":");
  return Array.from({ length: Math.min(count, inheritedMax) }, (_, at) => ({
    name: (names[at] || "unknown").slice(0, nameMax),
    fd: firstFd + at,
  }));
}
