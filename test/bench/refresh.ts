/**
 * How late refreshes are: the native thread against a setInterval of the same period in the same
 * process at the same time. Late is what an interval is longer than its period.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { native } from "../../native/index.ts";

export interface Row {
  readonly name: string;
  readonly value: string;
  readonly note?: string;
}

/** T1 is twice this; 1800 samples of each condition make a p99.9 of them. */
const periodMs = 5;
const runMs = 9000;
const hogs = 4;
/** The loop is blocked for most of the time, as by a long synchronous call. */
const blockMs = 400;
const restMs = 100;

/** Rows for idle, under processor hogs, and with the event loop blocked; takes 30 s. */
export async function benchRefresh(): Promise<Row[]> {
  const idle = await measure("idle", () => sleep(runMs));
  const loaded = await measure(`${hogs} CPU hogs`, underHogs);
  const blocked = await measure("JS loop blocked", blockLoop);
  return [...idle, ...loaded, ...blocked];
}

async function underHogs(): Promise<void> {
  // They end by themselves, so that nothing is left behind when this process is killed.
  const program = `const end = Date.now() + ${runMs}; while (Date.now() < end);`;
  const children = Array.from({ length: hogs }, () =>
    spawn(process.execPath, ["-e", program], { stdio: "ignore" }),
  );
  await Promise.all(children.map((child) => new Promise((resolve) => child.on("exit", resolve))));
}

async function blockLoop(): Promise<void> {
  const end = performance.now() + runMs;
  while (performance.now() < end) {
    const until = performance.now() + blockMs;
    while (performance.now() < until);
    await sleep(restMs);
  }
}

async function measure(condition: string, load: () => Promise<void>): Promise<Row[]> {
  const fd = openSync("/dev/null", "w");
  const options = { fd, kind: "pipe", hardwareMs: 2 * periodMs, promiseMs: 3_600_000 } as const;
  const service = new (native().RuntimeService)({ ...options, minGapMs: 0 });
  const timerLateMs: number[] = [];
  let before = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    timerLateMs.push(now - before - periodMs);
    before = now;
  }, periodMs);
  await load();
  clearInterval(timer);
  service.stop();
  closeSync(fd);
  const { scheduling } = service.stats();
  const nativeLateMs = [...service.samples()].map((ns) => ns / 1e6);
  return [
    row(`refresh lateness, native thread, ${condition}`, nativeLateMs, scheduling),
    row(`refresh lateness, setInterval, ${condition}`, timerLateMs, "for comparison"),
  ];
}

function row(name: string, lateMs: number[], note: string): Row {
  const sorted = [...lateMs].sort((one, other) => one - other);
  const at = (part: number): string => {
    const index = Math.min(sorted.length - 1, Math.floor(part * sorted.length));
    return (sorted[index] ?? Number.NaN).toFixed(3);
  };
  const value = `p50 ${at(0.5)}, p99.9 ${at(0.999)}, max ${at(1)} ms`;
  return { name, value, note: `${note}, n ${sorted.length}` };
}
