/**
 * What a guarding agent costs when nothing happens: wake-ups, system calls and processor time of
 * the whole `kenneld` process, all threads of it, against a plain setInterval that refreshes.
 * The watchdog is the scripted one of the tests under the real driver interface and refresh thread.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeOption } from "../../agent/rig/guestshell.ts";
import { native } from "../../native/index.ts";
import { makeTwin, temporaryFolder, twinObstacle } from "../children.ts";
import { table, target, untold } from "./rows.ts";

const kenneld = join(__dirname, "..", "..", "..", "dist", "kenneld.cjs");
const hardwareS = 10;
/** The longest promise here is confirmed after half of it; V8 tidies up once, 8 s later or more. */
const settleMs = 30_000;
/** Eight times T1 / 2. */
const watchMs = 40_000;
const wakeUpsMax = 2;
const syscallsMax = 2;
const cpuPercentMax = 0.2;

interface Subject {
  readonly name: string;
  readonly child: ChildProcess;
  /** Shown for comparison, not judged. */
  readonly isBaseline?: boolean;
}

/** Sums over all threads of a process. */
interface Use {
  /** A thread wakes as often as it went to sleep: voluntary context switches. */
  readonly wakeUps: number;
  /** Those of neither the main nor the refresh thread: V8 collecting garbage, once in a while. */
  readonly ofWorkers: number;
  readonly preempted: number;
  readonly cpuNs: number;
}

/** A table of agents beside the timer, and the targets; takes 70 s. */
export async function benchIdle(): Promise<string[]> {
  const obstacle = twinObstacle();
  if (obstacle !== "") return [untold("kenneld when idle", obstacle)];
  const lines = [10, 20, 30, 12, 30, 30].map(() => new (native().Pty)());
  const path = (at: number): string => lines[at]?.path ?? "";
  const subjects = [
    guard("kenneld direct, T2 = 10 s", 10, path(0)),
    guard("kenneld service, T2 = 20 s", 20, path(1)),
    guard("kenneld service, T2 = 30 s", 30, path(2)),
    guard("kenneld service, T2 = 12 s", 12, path(3)),
    { ...guard("T2 = 30 s, without the option", 30, path(4), []), isBaseline: true },
    { name: "setInterval", child: timer(), isBaseline: true },
  ];
  const traced = guard("traced", 30, path(5));
  try {
    await sleep(settleMs);
    const before = subjects.map(useOf);
    const tracing = trace(traced.child);
    await sleep(watchMs);
    const uses = subjects.map((subject, at) => difference(useOf(subject), before[at]));
    return report(subjects, uses, await tracing);
  } finally {
    for (const { child } of [...subjects, traced]) child.kill("SIGKILL");
    for (const line of lines) line.close();
  }
}

function guard(name: string, promiseS: number, port: string, options = [nodeOption]): Subject {
  const twin = makeTwin();
  const args = ["--device", twin.device, "--watchdog", "prefer", "--promise", String(promiseS)];
  const places = ["--port", port, "--state", temporaryFolder()];
  const limit = ["--hardware-max", String(hardwareS)];
  const child = spawn(process.execPath, [...options, kenneld, ...args, ...limit, ...places], {
    env: { ...process.env, ...twin.env(`timeout=${hardwareS} max=${hardwareS}`) },
    stdio: "ignore",
  });
  return { name, child };
}

/** Ends with its parent: a write that finds no reader kills it. */
function timer(): ChildProcess {
  const refresh = `require("fs").writeSync(1, "\\0")`;
  const program = `setInterval(() => ${refresh}, ${hardwareS * 500})`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "ignore"] });
  child.stdout.resume();
  return child;
}

function useOf({ name, child }: Subject): Use {
  const tasks = `/proc/${child.pid}/task`;
  if (child.exitCode !== null) throw new Error(`${name} has ended with ${child.exitCode}`);
  const use = { wakeUps: 0, ofWorkers: 0, preempted: 0, cpuNs: 0 };
  for (const id of readdirSync(tasks)) {
    const status = readFileSync(`${tasks}/${id}/status`, "utf8");
    const count = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? Number.NaN);
    const wakeUps = count("voluntary_ctxt_switches");
    use.wakeUps += wakeUps;
    const isOurs = id === String(child.pid) || status.includes("kennel-refresh");
    if (!isOurs) use.ofWorkers += wakeUps;
    use.preempted += count("nonvoluntary_ctxt_switches");
    use.cpuNs += Number(readFileSync(`${tasks}/${id}/schedstat`, "utf8").split(" ")[0]);
  }
  return use;
}

function difference(after: Use, before: Use | undefined): Use {
  return {
    wakeUps: after.wakeUps - (before?.wakeUps ?? 0),
    ofWorkers: after.ofWorkers - (before?.ofWorkers ?? 0),
    preempted: after.preempted - (before?.preempted ?? 0),
    cpuNs: after.cpuNs - (before?.cpuNs ?? 0),
  };
}

/** System calls of all threads within the time watched, by name; null where strace cannot look. */
async function trace(child: ChildProcess): Promise<Map<string, number> | null> {
  const tracer = spawn("strace", ["-f", "-c", "-p", String(child.pid)], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  tracer.stderr.on("data", (bytes) => {
    said += bytes;
  });
  const over = new Promise((resolve) => tracer.on("close", resolve).on("error", resolve));
  await sleep(watchMs);
  tracer.kill("SIGINT");
  await over;
  // Share of time, seconds, microseconds per call, calls, errors where there were any, name.
  const rows = said.matchAll(/^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$/gm);
  const calls = new Map([...rows].map(([, count, name = ""]) => [name, Number(count)]));
  return calls.delete("total") ? calls : null;
}

const halves = watchMs / (hardwareS * 500);

function percent({ cpuNs }: Use): number {
  return cpuNs / 1e6 / watchMs / 0.01;
}

function report(
  subjects: readonly Subject[],
  uses: readonly Use[],
  syscalls: ReadonlyMap<string, number> | null,
): string[] {
  const rows = subjects.map(({ name }, at) => {
    const use = uses[at];
    if (use === undefined) return [name];
    return [
      name,
      (use.wakeUps / halves).toFixed(2),
      (use.wakeUps / (watchMs / 1000)).toFixed(2),
      (use.ofWorkers / halves).toFixed(2),
      String(use.preempted),
      `${percent(use).toFixed(3)} %`,
    ];
  });
  const head = [
    [
      `T1 = ${hardwareS} s, ${watchMs / 1000} s`,
      "wake-ups",
      "wake-ups",
      "V8 workers",
      "",
      "processor",
    ],
    ["", "per T1/2", "per second", "per T1/2", "preempted", "time"],
  ];
  const guards = subjects.flatMap(({ name, isBaseline }, at) => {
    const use = uses[at];
    return use === undefined || isBaseline === true ? [] : [{ name, use }];
  });
  return [
    ...table([...head, ...rows]),
    atMost(`kenneld wake-ups per T1/2, at most ${wakeUpsMax}`, wakeUpsMax, guards, (use) => ({
      value: use.wakeUps / halves,
      shown: (use.wakeUps / halves).toFixed(2),
    })),
    atMost(
      `kenneld idle processor time, at most ${cpuPercentMax} % of a core`,
      cpuPercentMax,
      guards,
      (use) => ({ value: percent(use), shown: `${percent(use).toFixed(3)} %` }),
    ),
    judgedCalls(syscalls),
  ];
}

/** The worst of all agents decides; how many are over is said. */
function atMost(
  what: string,
  limit: number,
  guards: readonly { name: string; use: Use }[],
  measured: (use: Use) => { value: number; shown: string },
): string {
  const all = guards.map(({ name, use }) => ({ name, ...measured(use) }));
  const over = all.filter(({ value }) => value > limit).length;
  const [worst] = all.sort((one, other) => other.value - one.value);
  if (worst === undefined) return untold(what, "there is no agent");
  const because = `missed by ${over} of ${all.length}`;
  return target(what, over === 0, `${worst.shown} at worst, ${worst.name}`, because);
}

function judgedCalls(calls: ReadonlyMap<string, number> | null): string {
  const what = `system calls per T1/2, at most ${syscallsMax}`;
  if (calls === null) return untold(what, "strace is not here or may not look");
  const perHalf = (count: number): string => (count / halves).toFixed(2);
  const total = [...calls.values()].reduce((sum, count) => sum + count, 0);
  const parts = [...calls].map(([name, count]) => `${name} ${perHalf(count)}`).join(", ");
  return target(
    what,
    total / halves <= syscallsMax,
    `${perHalf(total)} with T2 = 30 s: ${parts}`,
    "a refresh alone is two, a wait and an ioctl, which the scripted watchdog shows as a write; " +
      "Node polls twice for each turn of its loop",
  );
}
