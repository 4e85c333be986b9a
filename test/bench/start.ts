/** What the agent costs: time from start to ready, and memory, against `node -e 0`. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeOption } from "../../agent/rig/guestshell.ts";
import { native } from "../../native/index.ts";
import type { Row } from "./rows.ts";

const kenneld = join(__dirname, "..", "..", "..", "dist", "kenneld.cjs");
const runs = 15;
/** The agent has settled by then; its first refreshes and fsyncs are over. */
const settleMs = 300;

interface Run {
  readonly ms: number;
  readonly rssKb: number;
}

/** Starts a program, waits for its first output (or its end), and looks at its memory. */
function once(args: readonly string[], untilOutput: boolean): Promise<Run> {
  // On Node 20 this variable alone doubles the start of every process.
  const { NODE_EXTRA_CA_CERTS: _certificates, ...env } = process.env;
  const startNs = process.hrtime.bigint();
  const child = spawn(process.execPath, [...args], { env, stdio: ["ignore", "pipe", "ignore"] });
  const elapsed = (): number => Number(process.hrtime.bigint() - startNs) / 1e6;
  return new Promise((resolve) => {
    let run: Run | null = null;
    child.stdout.once("data", () => {
      const ms = elapsed();
      setTimeout(() => {
        run = { ms, rssKb: rssOf(child.pid) };
        child.kill("SIGKILL");
      }, settleMs);
    });
    child.on("close", () => resolve(run ?? { ms: elapsed(), rssKb: 0 }));
    if (!untilOutput) child.stdout.resume();
  });
}

function rssOf(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[sorted.length >> 1] ?? 0;
}

/** Both in turn, so that a machine that changes its speed changes it for both. */
export async function benchStart(): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), "kennel-bench-"));
  const idle = ["-e", "console.log(0); setInterval(() => {}, 1e6)"];
  const line = new (native().Pty)();
  // A card as it comes from the factory: a line to the host, an empty state folder, no TEE.
  const agent = (run: number): string[] => {
    const state = join(folder, String(run));
    return [nodeOption, kenneld, "--watchdog", "simulate", "--port", line.path, "--state", state];
  };
  const all: Record<"base" | "ready" | "idle", Run[]> = { base: [], ready: [], idle: [] };
  try {
    for (let run = 0; run < runs; run += 1) {
      all.base.push(await once(["-e", "0"], false));
      all.ready.push(await once(agent(run), true));
      all.idle.push(await once(idle, true));
    }
  } finally {
    line.close();
    rmSync(folder, { recursive: true, force: true });
  }
  const baseMs = median(all.base.map(({ ms }) => ms));
  const readyMs = median(all.ready.map(({ ms }) => ms));
  const baseKb = median(all.idle.map(({ rssKb }) => rssKb));
  const agentKb = median(all.ready.map(({ rssKb }) => rssKb));
  return [
    {
      name: "kenneld start to ready",
      value: `${(readyMs / baseMs).toFixed(2)} x node -e 0`,
      note: `${readyMs.toFixed(1)} ms against ${baseMs.toFixed(1)} ms, medians of ${runs}`,
    },
    {
      name: "kenneld resident memory",
      value: `${(agentKb / baseKb).toFixed(2)} x an idle node`,
      note: `${(agentKb / 1024).toFixed(1)} MB against ${(baseKb / 1024).toFixed(1)} MB`,
    },
  ];
}
