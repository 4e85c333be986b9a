/**
 * Who has a device open, as /proc tells. The kernel's table of locks is readable for everybody,
 * the open files of a process only for its owner and root.
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";

export interface Holder {
  readonly pid: number;
  /** The kernel's name of the process, at most 15 characters. */
  readonly command: string;
  /** Login name, or the number where /etc/passwd has none. */
  readonly user: string;
  /** How long the process has been running; the device may have been opened later. Seconds. */
  readonly runningS: number;
}

/** Holders named in one message; a device with more is misused beyond what a list explains. */
export const holdersMax = 4;
/** The unit of process start times in /proc on every architecture that Node runs on. */
const ticksPerS = 100;

/** Processes that hold a flock on `path`, or else that have it open; without this process. */
export function holders(path: string): Holder[] {
  const lockers = flockers(path);
  return describe(lockers.length > 0 ? lockers : openers(path));
}

/** Processes besides this one that have `path` open, with or without a lock. */
export function sharers(path: string): Holder[] {
  return describe(openers(path));
}

/** What /proc knows of a process; null when it is gone or may not be looked at. */
export function processOf(pid: number): Holder | null {
  return inspect(pid) ?? null;
}

/** "pid 4127 (minicom, user lab3, running for 2 h)" */
export function nameHolder(holder: Holder): string {
  const { pid, command, user } = holder;
  return `pid ${pid} (${command}, user ${user}, running for ${age(holder.runningS)})`;
}

function age(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

function describe(pids: readonly number[]): Holder[] {
  const others = [...new Set(pids)].filter((pid) => pid !== process.pid);
  return others.slice(0, holdersMax).flatMap((pid) => inspect(pid) ?? []);
}

/** Lines such as `1: FLOCK  ADVISORY  WRITE 4127 00:05:1234 0 EOF` (proc(5), /proc/locks). */
function flockers(path: string): number[] {
  const locks = readText("/proc/locks");
  const { dev, ino } = quiet(() => statSync(path)) ?? { dev: -1, ino: -1 };
  const major = (dev >> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >> 12) & 0xfff00);
  const hex = (part: number): string => part.toString(16).padStart(2, "0");
  const file = `${hex(major)}:${hex(minor)}:${ino}`;
  return locks.split("\n").flatMap((line) => {
    const [, kind, , , pid, where] = line.trim().split(/\s+/);
    return kind === "FLOCK" && where === file && Number(pid) > 0 ? [Number(pid)] : [];
  });
}

function openers(path: string): number[] {
  const real = quiet(() => realpathSync(path)) ?? path;
  const pids = (quiet(() => readdirSync("/proc")) ?? []).filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => hasOpen(pid, real)).map(Number);
}

/** A pty's own maker keeps the other end open and is not a rival. */
function hasOpen(pid: string, real: string): boolean {
  const folder = `/proc/${pid}/fd`;
  const targets = (quiet(() => readdirSync(folder)) ?? []).map(
    (fd) => quiet(() => readlinkSync(`${folder}/${fd}`)) ?? "",
  );
  const isMaker = real.startsWith("/dev/pts/") && targets.some((target) => isMaster(target));
  return targets.includes(real) && !isMaker;
}

function isMaster(target: string): boolean {
  return target === "/dev/ptmx" || target === "/dev/pts/ptmx";
}

/** The name is in parentheses and may itself hold spaces and parentheses (proc(5), stat). */
function inspect(pid: number): Holder | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  const open = stat.indexOf("(");
  const close = stat.lastIndexOf(")");
  if (open < 0 || close < open) return undefined;
  const startTicks = Number(stat.slice(close + 2).split(" ")[19]);
  const uptimeS = Number(readText("/proc/uptime").split(" ")[0]);
  const uid = quiet(() => statSync(`/proc/${pid}`).uid) ?? 0;
  const runningS = Math.max(Math.floor(uptimeS - startTicks / ticksPerS), 0);
  return { pid, command: stat.slice(open + 1, close), user: userName(uid), runningS };
}

function userName(uid: number): string {
  const line = readText("/etc/passwd")
    .split("\n")
    .find((candidate) => candidate.split(":")[2] === String(uid));
  return line?.split(":")[0] ?? String(uid);
}

function readText(path: string): string {
  return quiet(() => readFileSync(path, "utf8")) ?? "";
}

/** Processes come and go, and not all may be looked at: what cannot be read is not there. */
function quiet<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
