/**
 * What the handler adds to the restart of a TEE OS: recoveries of the twin's process, killed with
 * -9, beside the twin's own times in the same run: its restart, its driver, its sessions opened one
 * after the other straight through the driver. 8 services with 64 sessions.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { TwinDriver, twinPrefix } from "../../agent/io/twindriver.ts";
import type { TwinProcess } from "../../agent/io/twinprovider.ts";
import { TwinLife } from "../../agent/rig/campaigns/twinlife.ts";
import { bytesOf, deviceList, simUuid } from "../../agent/sim/teetwin.ts";
import type { TeeReturn } from "../../native/index.ts";
import { type Line, quantile, table, target } from "./rows.ts";

const dist = join(__dirname, "../../../dist");
const services = Array.from({ length: 8 }, (_, index) => `service${index + 1}`);
const sessionsEach = 8;
const cycles = 25;
/** The first recovery loads what later ones find loaded. */
const warmUps = 2;
const overheadMaxMs = 50;
/** How soon a dead TEE is noticed is a setting; these are for a bench, see teeconfig.ts. */
const config = {
  canaryEveryMs: 100,
  canaryLateMs: 300,
  suspectMs: 500,
  attemptsPerRung: 1_000,
  backoffMs: [0],
};

/** Steps as the table names them, and the reports between which each lies. */
const parts = ["suspend", "restart", "reattach", "restore", "verify", "resume"] as const;
type Part = (typeof parts)[number];
type Times = Record<Part, number>;

function newLife(): TwinLife {
  const folder = mkdtempSync(join(tmpdir(), "kennel-bench-"));
  return new TwinLife({ dist, folder, services, sessionsEach, config, timesBy: 0.01 });
}

function endLife(life: TwinLife): void {
  life.close();
  rmSync(life.twin.folder, { recursive: true, force: true });
}

/** One recovery by the handler: detection, and what its steps took. */
async function handled(life: TwinLife): Promise<{ detectMs: number; times: Times }> {
  const from = life.events.length;
  const killedMs = life.clock.now();
  life.twin.kill();
  const isOver = (): boolean =>
    life.events.slice(from).some(({ event }) => event.kind === "tee:restored");
  await life.until("restored", isOver, 60_000);
  const seen = life.events.slice(from);
  const at = (kind: string, step = ""): number => {
    const found = seen.find(({ event }) => {
      return event.kind === kind && (step === "" || ("step" in event && event.step === step));
    });
    return found?.atMs ?? Number.NaN;
  };
  const step = (name: string): number => at("tee:step", name);
  const crashedMs = at("tee:crashed");
  return {
    detectMs: crashedMs - killedMs,
    times: {
      suspend: step("restart") - crashedMs,
      restart: step("restore_hardware") - step("restart"),
      reattach: step("restore_tee") - step("restore_hardware"),
      restore: step("verify") - step("restore_tee"),
      verify: step("resume") - step("verify"),
      resume: at("tee:restored") - step("resume"),
    },
  };
}

/** What the TEE OS and its driver take by themselves: no helper, no handler, no process between. */
async function bare(twin: TwinProcess): Promise<Times> {
  const run = twin.runner(() => () => undefined);
  const provider = (verb: string): Promise<void> => {
    return new Promise((resolve) => run(["kennel-twin", verb], () => resolve()));
  };
  const timed = async (act: () => Promise<unknown>): Promise<number> => {
    const startMs = performance.now();
    await act();
    return performance.now() - startMs;
  };
  const open = (driver: TwinDriver, uuid: Uint8Array): Promise<TeeReturn> => {
    return new Promise((resolve) => driver.openSession(uuid, 0, nobody, 0, noParams, resolve));
  };
  twin.kill();
  await provider("restart");
  const reattach = await timed(async () => {
    await provider("unload");
    await provider("load");
  });
  const driver = new TwinDriver(`${twinPrefix}${twin.folder}`);
  const restore = await timed(async () => {
    for (let index = 0; index < services.length * sessionsEach; index++) {
      const uuid = bytesOf(simUuid(services[Math.floor(index / sessionsEach)] ?? ""));
      const { errno, ret } = await open(driver, uuid);
      if (errno !== null || ret !== 0) throw new Error(`session ${index}: ${errno} ${ret}`);
    }
  });
  const verify = await timed(async () => {
    const { session = 0 } = await open(driver, bytesOf(deviceList.uuid));
    await new Promise((resolve) => driver.invoke(session, 0, 0, noParams, resolve));
    await new Promise((resolve) => driver.closeSession(session, resolve));
  });
  driver.close();
  return { suspend: 0, restart: twin.restartsMs.at(-1) ?? 0, reattach, restore, verify, resume: 0 };
}
const nobody = new Uint8Array(16);
const noParams = new BigUint64Array(0);

function sum(times: Times): number {
  return parts.reduce((total, part) => total + times[part], 0);
}

export async function benchTee(): Promise<Line[]> {
  const [ours, nobodys] = [newLife(), newLife()];
  try {
    await ours.ready();
    await new Promise<boolean>((resolve) => nobodys.twin.start(resolve));
    const detects: number[] = [];
    const runs: { by: Times; without: Times }[] = [];
    for (let cycle = 0; cycle < warmUps + cycles; cycle++) {
      const without = await bare(nobodys.twin);
      const { detectMs, times } = await handled(ours);
      if (cycle < warmUps) continue;
      detects.push(detectMs);
      // The same restart, as its provider measured it: another one may take twice as long.
      const restart = ours.twin.restartsMs.at(-1) ?? Number.NaN;
      runs.push({ by: times, without: { ...without, restart } });
    }
    return lines(detects, runs);
  } finally {
    endLife(ours);
    endLife(nobodys);
  }
}

function lines(
  detects: readonly number[],
  runs: readonly { readonly by: Times; readonly without: Times }[],
): Line[] {
  const shown = (values: readonly number[]): string[] => {
    const ascending = [...values].sort((left, right) => left - right);
    return [0.5, 0.99].map((part) => quantile(ascending, part).toFixed(1));
  };
  const rows = parts.map((part) => [
    part,
    ...shown(runs.map(({ by }) => by[part])),
    ...shown(runs.map(({ without }) => without[part])),
  ]);
  const total = ["all of it", ...shown(runs.map(({ by }) => sum(by)))];
  const own = [...runs.map(({ without }) => sum(without))].sort((left, right) => left - right);
  const ownMs = quantile(own, 0.5);
  // Each recovery beside its own restart and the bare operations of its turn.
  const added = runs.map(({ by, without }) => sum(by) - sum(without));
  const [half = "", most = ""] = shown(added);
  const sessions = services.length * sessionsEach;
  const ratio = (Number(half) + ownMs) / ownMs;
  const because = `load ${loadavg()[0]?.toFixed(1)} on ${availableParallelism()} processors`;
  return [
    `  ${runs.length} recoveries, ${services.length} services, ${sessions} sessions, ms`,
    ...table([
      ["", "p50", "p99", "bare p50", "bare p99"],
      ["detect", ...shown(detects), "", ""],
      ...rows,
      [...total, ...shown(runs.map(({ without }) => sum(without)))],
      ["added by the handler", half, most, "", ""],
    ]),
    { name: "recovery against the bare restart", value: `${ratio.toFixed(3)} times` },
    target(
      `handler adds at most ${overheadMaxMs} ms (p99)`,
      Number(most) <= overheadMaxMs,
      `${most} ms`,
      because,
    ),
  ];
}
