/**
 * The sampling process: refresh threads with and without a real-time priority and a setInterval of
 * the same period, side by side under one load. Late is what a refresh is behind its absolute time,
 * and what an interval of the timer is longer than its period.
 */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { type NativeRuntimeService, native } from "../../native/index.ts";
import { type Load, loads } from "./loads.ts";

/** T1 is twice this. */
export const periodMs = 5;
/** Above everything of ours: what delays this thread is the machine, and no priority. */
const witnessPriority = "98";
/** The 4096 samples that a thread keeps are more than one load takes at this period. */
const witnessPeriodMs = 2;
/** Less than this is an ordinary wake-up. */
const witnessLateMs = 0.02;

/** Lateness in ms, in no order; null where there was no such thread, `lack` says why. */
export interface Lateness {
  readonly fifo: number[] | null;
  /** Of `fifo` without the time in which the witness of some processor was late as well. */
  readonly own: number[] | null;
  readonly other: number[] | null;
  readonly timer: number[];
  readonly lack: string;
}

interface Thread {
  readonly service: NativeRuntimeService;
  readonly id: string;
  readonly everyMs: number;
  /** Samples taken before the load, to be left out. */
  skipped: number;
}

function refreshThreads(): string[] {
  const name = (id: string): string => readFileSync(`/proc/self/task/${id}/comm`, "utf8").trim();
  return readdirSync("/proc/self/task").filter((id) => name(id) === "kennel-refresh");
}

function startThread(fd: number, everyMs: number): Thread {
  const before = new Set(refreshThreads());
  const options = { fd, kind: "pipe", hardwareMs: 2 * everyMs, promiseMs: 3_600_000 } as const;
  const service = new (native().RuntimeService)({ ...options, minGapMs: 0 });
  // The thread names itself once it runs.
  for (;;) {
    const id = refreshThreads().find((one) => !before.has(one));
    if (id !== undefined) return { service, id, everyMs, skipped: 0 };
  }
}

/** Changes a thread with a tool of util-linux; why it cannot, or "". */
function change(tool: string, ...args: string[]): string {
  const { status, stderr, error } = spawnSync(tool, args);
  return status === 0 ? "" : (error?.message ?? String(stderr).trim());
}

/** One thread per processor, kept there; why there cannot be any. */
function startWitnesses(fd: number): { witnesses: Thread[]; lack: string } {
  const witnesses = cpus().map(() => startThread(fd, witnessPeriodMs));
  const lacks = witnesses.flatMap(({ id }, cpu) => [
    change("chrt", "-f", "-p", witnessPriority, id),
    change("taskset", "-p", "-c", String(cpu), id),
  ]);
  return { witnesses, lack: lacks.find(Boolean) ?? "" };
}

/** From when to when a refresh was late, ms; backwards from the last, which has a time. */
interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

function spansOf({ service, everyMs, skipped }: Thread): Span[] {
  const lateMs = [...service.samples()].slice(skipped).map((ns) => ns / 1e6);
  let toMs = Number(service.stats().lastRefreshNs) / 1e6;
  return lateMs.reverse().map((late) => {
    const span = { fromMs: toMs - late, toMs };
    // The next refresh is due one period after this one was done.
    toMs = span.fromMs - everyMs;
    return span;
  });
}

/** Spans that overlap become one; in the order of time. */
function merged(spans: readonly Span[]): Span[] {
  const result: Span[] = [];
  for (const span of [...spans].sort((one, other) => one.fromMs - other.fromMs)) {
    const last = result.at(-1);
    if (last === undefined || span.fromMs > last.toMs) result.push(span);
    else result[result.length - 1] = { ...last, toMs: Math.max(last.toMs, span.toMs) };
  }
  return result;
}

/** How much of each span none of the others (merged) covers, ms. */
export function uncovered(spans: readonly Span[], others: readonly Span[]): number[] {
  return spans.map(({ fromMs, toMs }) => {
    const shared = others.map((other) =>
      Math.max(Math.min(toMs, other.toMs) - Math.max(fromMs, other.fromMs), 0),
    );
    return toMs - fromMs - shared.reduce((sum, ms) => sum + ms, 0);
  });
}

/** For the sampling process: prints the lateness under the load of that name as JSON. */
export async function sample(name: string): Promise<void> {
  const load = loads.find((one) => one.name === name);
  if (load === undefined) throw new Error(`no load named ${name}`);
  const fd = openSync("/dev/null", "w");
  const [fifo, other] = [startThread(fd, periodMs), startThread(fd, periodMs)];
  const { scheduling } = fifo.service.stats();
  const fifoLack = scheduling === "SCHED_FIFO" ? "" : scheduling;
  const otherLack = fifoLack === "" ? change("chrt", "-o", "-p", "0", other.id) : "";
  const { witnesses, lack } = startWitnesses(fd);
  const threads = [fifo, other, ...witnesses];
  for (const thread of threads) thread.skipped = thread.service.samples().length;
  const timer = await timed(load);
  for (const { service } of threads) service.stop();
  const covered = merged(
    witnesses.flatMap(spansOf).filter(({ fromMs, toMs }) => toMs - fromMs > witnessLateMs),
  );
  const all = (thread: Thread): number[] => uncovered(spansOf(thread), []);
  const result: Lateness = {
    fifo: fifoLack === "" ? all(fifo) : null,
    own: fifoLack === "" && lack === "" ? uncovered(spansOf(fifo), covered) : null,
    other: otherLack === "" ? all(other) : null,
    timer,
    lack: fifoLack || otherLack || lack,
  };
  closeSync(fd);
  process.stdout.write(JSON.stringify(result));
}

/** How late a setInterval is while the load is on, ms. */
async function timed(load: Load): Promise<number[]> {
  const late: number[] = [];
  let before = performance.now();
  const interval = setInterval(() => {
    const now = performance.now();
    late.push(now - before - periodMs);
    before = now;
  }, periodMs);
  // Tells the parent to begin with what runs beside.
  process.stdout.write("\n");
  await (load.within?.(performance.now() + load.forMs) ?? sleep(load.forMs));
  clearInterval(interval);
  return late;
}
