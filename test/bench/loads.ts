/**
 * What a card may do to its agent while that refreshes. Nothing beyond Node and util-linux is
 * needed, and every process started here ends by itself, also when its parent was killed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { serveHostileLine } from "./hostileline.ts";

export interface Load {
  readonly name: string;
  readonly forMs: number;
  /** Runs beside the sampling process. */
  readonly beside: readonly (readonly string[])[];
  /** Runs inside the sampling process, until `endMs` of performance.now(). */
  readonly within?: (endMs: number) => Promise<void>;
  /** Nothing of SCHED_OTHER runs beside it, so nothing is promised without a priority. */
  readonly realTime?: boolean;
}

/** 1600 samples at the period of the bench: the p99.9 is the second largest. */
const runMs = 8000;
/** Everybody else on this machine stands still meanwhile. */
const fifoRunMs = 4000;
/** Below the refresh thread's 50 (native/refresher.h). */
const hogPriority = "10";
const hogs = 4;
const fifoHogs = 2;
/** The loop is blocked for most of the time, as by a long synchronous call. */
const blockMs = 400;
const restMs = 100;
/** So many objects live at a time, so that a collection has something to mark and to move. */
const livingObjects = 400_000;
const objectsPerTurn = 20_000;
const churnBytes = 64 * 1024 * 1024;

/** `still` is evaluated often: an orphan or a latecomer ends. */
function program(forMs: number, body: string): readonly string[] {
  const still = `Date.now() < end && process.ppid === parent`;
  const start = `const end = Date.now() + ${forMs}, parent = process.ppid;`;
  return [process.execPath, "-e", `${start} while (${still}) { ${body} }`];
}

const hog = program(runMs, "for (let at = 0; at < 1e6; at++);");
const fifoHog = program(fifoRunMs, "for (let at = 0; at < 1e6; at++);");
const churner = program(runMs, `Buffer.allocUnsafe(${4 * churnBytes}).fill(1);`);

export const loads: readonly Load[] = [
  { name: "idle", forMs: runMs, beside: [] },
  { name: `${hogs} CPU hogs`, forMs: runMs, beside: Array<typeof hog>(hogs).fill(hog) },
  { name: "JS loop blocked", forMs: runMs, beside: [], within: blockLoop },
  { name: "heavy GC", forMs: runMs, beside: [], within: collectGarbage },
  { name: "hostile line", forMs: runMs, beside: [], within: serveHostileLine },
  { name: "memory churn", forMs: runMs, beside: [churner, churner], within: churn },
  {
    name: `${fifoHogs} FIFO ${hogPriority} hogs`,
    forMs: fifoRunMs,
    beside: Array<readonly string[]>(fifoHogs).fill(["chrt", "-f", hogPriority, ...fifoHog]),
    realTime: true,
  },
];

/** Starts what runs beside; resolves at the end of all with what went wrong, or "". */
export function begin(load: Load): Promise<string> {
  const children = load.beside.map(([command = "", ...args]) =>
    spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] }),
  );
  return Promise.all(children.map(ending)).then((problems) => problems.find(Boolean) ?? "");
}

function ending(child: ChildProcess): Promise<string> {
  let said = "";
  child.stderr?.on("data", (bytes) => {
    said += bytes;
  });
  return new Promise((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code) => resolve(code === 0 ? "" : (said.split("\n")[0] ?? "it failed")));
  });
}

async function blockLoop(endMs: number): Promise<void> {
  while (performance.now() < endMs) {
    const untilMs = performance.now() + blockMs;
    while (performance.now() < untilMs);
    await sleep(restMs);
  }
}

async function collectGarbage(endMs: number): Promise<void> {
  const living: object[] = [];
  for (let turn = 0; performance.now() < endMs; turn += 1) {
    for (let at = 0; at < objectsPerTurn; at += 1) {
      living[(turn * objectsPerTurn + at) % livingObjects] = { turn, at, text: [turn, at] };
    }
    await new Promise(setImmediate);
  }
}

/** Page faults and returned pages in the very address space of the refresh thread. */
async function churn(endMs: number): Promise<void> {
  while (performance.now() < endMs) {
    Buffer.allocUnsafe(churnBytes).fill(1);
    await new Promise(setImmediate);
  }
}
