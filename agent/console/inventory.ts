/** `kennel inventory`: which cards there are, from themselves or from a store. */
import { exitCodes, Failure } from "../errors.ts";
import type { CardState } from "../wire/cardstate.ts";
import { Archive, askState, cardName, cardsIn, readStore } from "./archive.ts";
import type { Outcome } from "./context.ts";
import { stateAt } from "./past.ts";
import { greet, type Session } from "./session.ts";
import { count, harmless, type Paint, span, table } from "./show.ts";

/** One card; what is not known is absent. */
interface Row {
  readonly device: string;
  readonly port?: string;
  readonly name?: string;
  readonly version?: string;
  readonly boot?: string;
  readonly slot?: string;
  /** Failed attempts per slot. */
  readonly failures?: Readonly<Record<string, number>>;
  readonly tee_epoch?: number;
  readonly tee_crashes?: number;
  readonly state?: CardState;
  /** How long ago it was last heard of; 0: it answered now. */
  readonly age_ms: number;
  readonly problem?: string;
}

/**
 * Asks the cards at these ports, one after the other; with `folder` what they say begins or goes on
 * in their stores, so that a store that was lost is there again.
 */
export async function askCards(
  ports: readonly string[],
  open: (port: string) => Promise<Session>,
  folder: string | null,
  paint: Paint,
): Promise<Outcome> {
  const rows: Row[] = [];
  for (const port of ports) rows.push(await askCard(port, open, folder));
  const failed = rows.filter(({ problem }) => problem !== undefined);
  const outcome = { data: { cards: rows }, text: showCards(harmless(rows), paint) };
  return failed.length === 0 ? outcome : { ...outcome, exit: exitCodes.timeout };
}

async function askCard(
  port: string,
  open: (port: string) => Promise<Session>,
  folder: string | null,
): Promise<Row> {
  let session: Session | null = null;
  try {
    session = await open(port);
    const { link } = session;
    const hello = await greet(link);
    const counters = await link.request("boot.counters", {});
    const tee = await link.request("tee.state", {});
    const canTell = hello.tags.includes("report.state");
    if (folder !== null) await begin(folder, session);
    return {
      device: cardName(hello),
      port,
      name: hello.name,
      version: hello.version,
      boot: hello.boot,
      slot: counters.active,
      failures: counters.failures,
      tee_epoch: tee.epoch,
      tee_crashes: tee.crashes,
      ...(canTell ? { state: await askState(link) } : {}),
      age_ms: 0,
    };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { device: "unknown", port, age_ms: 0, problem: error.message };
  } finally {
    session?.close();
  }
}

async function begin(folder: string, { link }: Session): Promise<void> {
  const archive = await Archive.open(folder, await greet(link));
  try {
    await archive.attach(link, true);
  } finally {
    archive.close();
  }
}

/** The cards of a store, each as it was last known. */
export function storedCards(folder: string, nowMs: number, paint: Paint): Outcome {
  const rows = cardsIn(folder).map((device) => storedCard(folder, device, nowMs));
  return { data: { cards: rows }, text: showCards(harmless(rows), paint) };
}

function storedCard(folder: string, device: string, nowMs: number): Row {
  try {
    const store = readStore(folder, device);
    const { state, card, heardMs } = stateAt(() => store.entries(), null);
    const { name = card?.name, version = card?.version, slot, failures, tee } = state;
    return {
      device,
      ...(name === undefined ? {} : { name }),
      ...(version === undefined ? {} : { version }),
      boot: state.boot,
      ...(slot === undefined ? {} : { slot, failures: { [slot]: failures ?? 0 } }),
      ...(tee.epoch === undefined ? {} : { tee_epoch: tee.epoch }),
      ...(tee.crashes === undefined ? {} : { tee_crashes: tee.crashes }),
      state,
      age_ms: Math.max(nowMs - heardMs, 0),
    };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { device, age_ms: 0, problem: error.message };
  }
}

function showCards(rows: readonly Row[], paint: Paint): string {
  if (rows.length === 0) return "no cards";
  const cells = rows.map((row) => {
    if (row.problem !== undefined) return [row.port ?? row.device, paint.bad(row.problem)];
    const failures = Object.entries(row.failures ?? {}).map(
      ([slot, failed]) => `${slot} ${failed}`,
    );
    return [
      row.device,
      row.name ?? "",
      row.boot ?? "",
      `${row.slot ?? "?"} (failed: ${failures.join(", ") || "unknown"})`,
      `epoch ${row.tee_epoch ?? "?"}, ${count(row.tee_crashes ?? 0, "crash", "crashes")}`,
      row.port ?? `${span(row.age_ms)} ago`,
    ];
  });
  return table(paint, ["card", "name", "boot", "slot", "tee", "heard of"], cells);
}
