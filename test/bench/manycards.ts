/** A host with many cards: simulated ones, each with the real agent, on a pty each, in a child. */
import { type ChildProcess, spawn } from "node:child_process";
import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Follower } from "../../agent/console/follow.ts";
import { Link } from "../../agent/console/link.ts";
import { type Cable, plug } from "../../agent/console/ptyport.ts";
import { RealClock } from "../../agent/io/clock.ts";
import { openAddress } from "../../agent/io/transports/open.ts";
import { nodeOption } from "../../agent/rig/guestshell.ts";
import { World } from "../../agent/sim/world.ts";
import type { Line } from "./rows.ts";

const cards = 200;
const runMs = 10_000;
/** The line is opened and the first subscription made, ms. */
const settleMs = 3000;
/** Each card makes a report so often, ms. */
const reportEveryMs = 200;
const turnMs = 20;
const bootMs = 5000;
const timeoutMs = 5000;
const baud = 115_200;

/** For the child: cards that live in real time; prints their ptys, then goes on until killed. */
export function serveCards(): void {
  const worlds = Array.from({ length: cards }, (_, at) => new World({ seed: at + 1, stepMs: 1 }));
  const cables: Cable[] = worlds.map((world) => {
    world.power(true);
    world.advance(bootMs);
    return plug(world.lines[0]?.host as World["lines"][number]["host"]);
  });
  process.stdout.write(`${cables.map(({ path }) => path).join(" ")}\n`);
  let lastMs = performance.now();
  let count = 0;
  setInterval(() => {
    const nowMs = performance.now();
    for (const world of worlds) world.advance(nowMs - lastMs);
    lastMs = nowMs;
  }, turnMs);
  // A slice of the cards at a time, so that all do not speak at once.
  const slices = reportEveryMs / turnMs;
  setInterval(() => {
    count += 1;
    for (const [at, { agent }] of worlds.entries()) {
      if (at % slices !== count % slices || agent === null) continue;
      agent.call(() => agent.emit({ kind: "tee:step", step: "restart", epoch: count }));
    }
  }, turnMs);
}

export async function manyCards(): Promise<Line[]> {
  const child = spawn(process.execPath, [nodeOption, __filename, "cards"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  try {
    const paths = await pathsOf(child);
    let received = 0;
    const running = paths.map((path) => {
      return follow(path, stop.signal, (count) => {
        received += count;
      });
    });
    await sleep(settleMs);
    const [before, usedBefore, startMs] = [received, process.cpuUsage(), performance.now()];
    await sleep(runMs);
    const [ms, used] = [performance.now() - startMs, process.cpuUsage(usedBefore)];
    const perS = ((received - before) / ms) * 1000;
    const cpu = ((used.user + used.system) / 1000 / ms) * 100;
    const mib = process.memoryUsage().rss / 1024 / 1024;
    stop.abort();
    child.kill("SIGKILL");
    await Promise.all(running);
    const made = (cards * 1000) / reportEveryMs;
    const value = `${perS.toFixed(0)} reports/s taken and acknowledged`;
    const note = `the cards, in one process, are to make ${made}; ${cpu.toFixed(0)} % of a processor, RSS ${mib.toFixed(0)} MiB`;
    return [{ name: `a host with ${paths.length} cards`, value, note }];
  } finally {
    child.kill("SIGKILL");
  }
}

function pathsOf(child: ChildProcess): Promise<string[]> {
  let said = "";
  return new Promise((resolve, reject) => {
    child.stdout?.on("data", (some) => {
      said += some;
      if (said.endsWith("\n")) resolve(said.trim().split(" "));
    });
    child.on("close", () => reject(new Error("the cards have ended")));
  });
}

async function follow(
  path: string,
  stop: AbortSignal,
  count: (reports: number) => void,
): Promise<void> {
  const port = await openAddress({ kind: "serial", path }, { baud, note: () => {} });
  const clock = new RealClock();
  const link = new Link(port, clock, { timeoutMs, firstSequence: 0 });
  const follower = new Follower(
    { link, clock, close: () => link.close() },
    {
      since: null,
      keep: false,
      clock,
      endMs: Number.POSITIVE_INFINITY,
      stop,
      reopen: null,
      note: () => {},
      deliver: async (reports) => count(reports.length),
    },
  );
  await follower.run().catch(() => {});
  link.close();
}
