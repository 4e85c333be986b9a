/**
 * What the socket of the agent adds to a call into the TEE: the same healthy call through it, and
 * made directly on the same TEE by a helper of this process, in turns.
 */
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { RealClock } from "../../agent/io/clock.ts";
import { DeviceTee } from "../../agent/io/devicetee.ts";
import type { SessionRef, TeeOutcome } from "../../agent/io/tee.ts";
import type { TeeHelper } from "../../agent/io/teeprocess.ts";
import { TwinProcess } from "../../agent/io/twinprovider.ts";
import type { CallClass } from "../../agent/machines/teecalls.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";
import { twinSetup } from "../../agent/twindevice.ts";
import { ApiCard, dist, RawClient, until } from "../apiclient.ts";
import { type Line, quantile, table, target } from "./rows.ts";

const calls = 1_000;
const warmUp = 50;
/** At the 99th percentile, ms. */
const overheadMaxMs = 3;
const classes: readonly CallClass[] = ["idempotent", "keyed", "once"];
const { read } = simCommand;

function openDirect(tee: DeviceTee): Promise<SessionRef> {
  return new Promise((resolve, reject) => {
    tee.perform({ kind: "open", service: "keystore", context: 1 }, (outcome) => {
      if (outcome.session === undefined) reject(new Error(JSON.stringify(outcome)));
      else resolve(outcome.session);
    });
  });
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await act();
  return performance.now() - startMs;
}

function direct(tee: DeviceTee, session: SessionRef, call: number): Promise<TeeOutcome> {
  return new Promise((resolve) => {
    const what = { kind: "invoke", session, command: read, call, key: null, input: null } as const;
    tee.perform(what, resolve);
  });
}

function throughSocket(client: RawClient, id: number, of: CallClass): Promise<void> {
  return new Promise((resolve) => {
    client.heard = (said) => {
      if (said.kind === "verdict" && said.id === id) resolve();
    };
    client.ask({
      ...{ op: "call", id, call: `bench-${id}`, service: "keystore", command: read },
      class: of,
    });
  });
}

/** What syncing one record costs on the disk of the state folder: nobody gets it for less. */
function synced(path: string): number[] {
  const record = new Uint8Array(250);
  const took: number[] = [];
  const fd = openSync(path, "a");
  for (let at = 0; at < calls / 3; at++) {
    const startMs = performance.now();
    writeSync(fd, record);
    fsyncSync(fd);
    took.push(performance.now() - startMs);
  }
  closeSync(fd);
  return took;
}

interface Figures {
  readonly p50: number;
  readonly p99: number;
}

/** Milliseconds of each call. */
type Took = Record<CallClass | "direct" | "again", number[]>;

function figures(took: readonly number[]): Figures {
  const sorted = took.toSorted((left, right) => left - right);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
}

async function measure(card: ApiCard, helpers: TeeHelper[]): Promise<Line[]> {
  await card.startTee();
  await card.startAgent();
  const services = ["keystore"];
  const program = join(dist, "kennel-teetwin.cjs");
  const twin = new TwinProcess({ program, folder: card.teeFolder, services });
  const setup = twinSetup(twin, services, new RealClock(), dist);
  const launch: typeof setup.launch = (gone) => {
    const helper = setup.launch(gone);
    helpers.push(helper);
    return helper;
  };
  const tee = new DeviceTee({ ...setup, launch });
  const session = await openDirect(tee);
  const client = new RawClient(card.socket);
  client.ask({ op: "subscribe", id: 1, service: "keystore" });
  const isThere = (): boolean =>
    client.said.some((one) => "available" in one && one.available === true);
  await until("the service", isThere);
  // Direct twice: how far its two p99 are apart is what this machine lets nobody see below.
  const took: Took = {
    direct: [],
    again: [],
    idempotent: [],
    keyed: [],
    once: [],
  };
  for (let at = 0; at < calls + warmUp; at++) {
    const directMs = await timed(() => direct(tee, session, at + 1));
    const againMs = await timed(() => direct(tee, session, at + 1));
    if (at >= warmUp) took.direct.push(directMs);
    if (at >= warmUp) took.again.push(againMs);
    for (const [turn, of] of classes.entries()) {
      const ms = await timed(() => throughSocket(client, 10 + at * 3 + turn, of));
      if (at >= warmUp) took[of].push(ms);
    }
  }
  client.close();
  return report(took, figures(synced(join(card.folder, "state", "bench"))));
}

function report(took: Took, disk: Figures): Line[] {
  const base = figures(took.direct);
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  const rows = (["again", ...classes] as const).map((of) => {
    const { p50, p99 } = figures(took[of]);
    const name = of === "again" ? "direct, once more: the noise" : `through the socket, ${of}`;
    return [
      name,
      ms(p50),
      ms(p99),
      ms(p50 - base.p50),
      ms(p99 - base.p99),
      (p50 / base.p50).toFixed(2),
    ];
  });
  const overMs = figures(took.idempotent).p99 - base.p99;
  const syncedMs = figures(took.once).p99 - base.p99;
  const alone = `with one synced record, ${ms(disk.p99)} by itself: ${ms(syncedMs)}`;
  return [
    ...table([
      [`${calls} healthy calls each, in turns`, "p50", "p99", "more, p50", "more, p99", "x direct"],
      ["direct, by a helper of its own", ms(base.p50), ms(base.p99), "", "", ""],
      ...rows,
      ["one record synced on the same disk", ms(disk.p50), ms(disk.p99), "", "", ""],
    ]),
    target(`at most ${overheadMaxMs} ms more at p99`, overMs <= overheadMaxMs, ms(overMs)),
    target(
      `once: at most ${overheadMaxMs} ms more than its synced record at p99`,
      syncedMs - disk.p99 <= overheadMaxMs,
      alone,
    ),
  ];
}

/** Takes half a minute. */
export async function benchTeeApi(): Promise<Line[]> {
  const card = new ApiCard();
  const helpers: TeeHelper[] = [];
  try {
    return await measure(card, helpers);
  } finally {
    for (const helper of helpers) helper.abandon();
    await card.close();
  }
}
