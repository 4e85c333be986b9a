/**
 * How late refreshes are under everything that may happen to a card: the native thread with and
 * without a real-time priority, against a setInterval in the same process at the same time.
 */
import { spawn } from "node:child_process";
import { nodeOption } from "../../agent/rig/guestshell.ts";
import type { Lateness } from "./lateness.ts";
import { begin, type Load, loads } from "./loads.ts";
import { quantile, table, target, untold } from "./rows.ts";

/** The targets, ms. */
const fifoP99Ms = 0.2;
const fifoMaxMs = 1;
const otherMaxMs = 15;
/** How far the p99 with a blocked loop may be from the p99 without: less is noise. */
const sameMs = 0.1;

type Series = "fifo" | "own" | "other" | "timer";
type Figures = { p50: number; p99: number; p999: number; max: number };
interface Result {
  readonly load: Load;
  readonly figures: Partial<Record<Series, Figures>>;
  readonly lack: string;
}

/** A table of all loads and the targets; takes a minute. */
export async function benchRefresh(): Promise<string[]> {
  const results: Result[] = [];
  for (const load of loads) results.push(await measure(load));
  return [...tabulated(results), ...judged(results)];
}

/** Runs one load in a process of its own; what cannot be done here is a lack. */
async function measure(load: Load): Promise<Result> {
  const child = spawn(process.execPath, [nodeOption, __filename, "sample", load.name], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let problem: Promise<string> = Promise.resolve("");
  let text = "";
  child.stdout.once("data", () => {
    problem = begin(load);
  });
  child.stdout.on("data", (bytes) => {
    text += bytes;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) return { load, figures: {}, lack: `the sampling process ended with ${code}` };
  const failed = await problem;
  if (failed !== "") return { load, figures: {}, lack: failed };
  const late = JSON.parse(text) as Lateness;
  const figures: Result["figures"] = {};
  for (const series of ["fifo", "own", "other", "timer"] as const) {
    const samples = late[series];
    if (samples !== null) figures[series] = figuresOf(samples);
  }
  return { load, figures, lack: late.lack };
}

function figuresOf(samples: readonly number[]): Figures {
  const sorted = [...samples].sort((one, other) => one - other);
  const at = (part: number): number => quantile(sorted, part);
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) };
}

function tabulated(results: readonly Result[]): string[] {
  const shown = (ms: number | undefined): string =>
    ms === undefined || Number.isNaN(ms) ? "-" : ms.toFixed(ms < 100 ? 2 : 0);
  const four = (figures: Figures | undefined): string[] =>
    [figures?.p50, figures?.p99, figures?.p999, figures?.max].map(shown);
  const names = ["p50", "p99", "p99.9", "max"];
  const groups = ["SCHED_FIFO", "SCHED_OTHER", "setInterval"];
  const head = [
    ["lateness, ms", ...groups.flatMap((name) => ["", "", name, ""]), "ratio", "FIFO max"],
    ["", ...names, ...names, ...names, "of max", "own"],
  ];
  const rows = results.map(({ load, figures: { fifo, own, other, timer } }) => {
    const ours = fifo ?? other;
    const ratio = ours === undefined || timer === undefined ? Number.NaN : timer.max / ours.max;
    const times = Number.isNaN(ratio) ? "-" : `${ratio.toFixed(0)} x`;
    return [load.name, ...four(fifo), ...four(other), ...four(timer), times, shown(own?.max)];
  });
  const lacks = results
    .filter(({ lack }) => lack !== "")
    .map(({ load, lack }) => `  ${load.name}: not all of it, ${lack}`);
  return [
    ...table([...head, ...rows]),
    ...lacks,
    "  ratio: the timer's max against the thread's. own: without the time in which priority 98 on",
    "  some processor had to wait as well, which is the machine's (hypervisor, kernel) doing",
  ];
}

function judged(results: readonly Result[]): string[] {
  const ordinary = results.filter(({ load }) => load.realTime !== true);
  return [
    atMost("refresh p99 with SCHED_FIFO", results, "fifo", "p99", fifoP99Ms),
    atMost("refresh max with SCHED_FIFO", results, "fifo", "max", fifoMaxMs),
    atMost("the same, own share", results, "own", "max", fifoMaxMs),
    atMost("refresh max without", ordinary, "other", "max", otherMaxMs),
    blockedOrNot(results),
  ];
}

/** The worst of all loads decides. */
function atMost(
  name: string,
  results: readonly Result[],
  series: Series,
  part: keyof Figures,
  limitMs: number,
): string {
  const what = `${name}, at most ${limitMs} ms`;
  const measured = results.filter(({ figures }) => figures[series] !== undefined);
  const value = (result: Result): number => result.figures[series]?.[part] ?? 0;
  const [worst] = [...measured].sort((one, other) => value(other) - value(one));
  if (worst === undefined) return untold(what, results[0]?.lack ?? "");
  const over = measured.filter((result) => value(result) > limitMs).length;
  return target(
    what,
    over === 0,
    `${value(worst).toFixed(3)} ms at worst, under ${worst.load.name}`,
    `missed by ${over} of ${measured.length} loads`,
  );
}

function blockedOrNot(results: readonly Result[]): string {
  const p99 = (name: string): number | undefined => {
    const found = results.find(({ load }) => load.name === name)?.figures;
    return (found?.fifo ?? found?.other)?.p99;
  };
  const [idle, blocked] = [p99("idle"), p99("JS loop blocked")];
  const what = "no difference when the JS loop is blocked";
  if (idle === undefined || blocked === undefined) return untold(what, "a load is missing");
  const values = `p99 ${blocked.toFixed(3)} ms blocked, ${idle.toFixed(3)} ms idle`;
  return target(what, blocked <= idle + sameMs, values);
}
