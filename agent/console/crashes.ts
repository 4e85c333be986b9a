/** `kennel crash`: crash records from the card, the worst first, resumed where they broke off. */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { Failure } from "../errors.ts";
import type { ResponseOf } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { harmless, table } from "./show.ts";

type Crash = ResponseOf<"report.crashes">["crashes"][number];

/** Blocks of one record: 64 of them make the longest there is. */
const blocksMax = 1024;
/** How often one block is asked for while the one before has not left the card. */
const busyMax = 100;
/** Wait before that. */
const busyMs = 50;

export async function crashList({ link, paint }: Context): Promise<Outcome> {
  const { crashes } = await link.request("report.crashes", {});
  if (crashes.length === 0) return { data: { crashes }, text: "no crash records" };
  const rows = harmless(crashes).map(({ name, about, boot, bytes }) => {
    return [name, about, boot, `${bytes} bytes`];
  });
  return { data: { crashes }, text: table(paint, ["record", "about", "boot", ""], rows) };
}

export interface GetOptions {
  /** The worst one when absent. */
  readonly name: string | undefined;
  /** Where it goes; its own name in this folder when absent. */
  readonly out: string | undefined;
  /** The card keeps it. */
  readonly keep: boolean;
}

/** Fetches a record, checks its digest, and has the card forget it once it is in its file. */
export async function crashGet(context: Context, options: GetOptions): Promise<Outcome> {
  const { link } = context;
  const { crashes } = await link.request("report.crashes", {});
  const { name = crashes[0]?.name } = options;
  const crash = crashes.find((one) => one.name === name);
  if (crash === undefined) {
    const there = crashes.map((one) => one.name).join(", ") || "none";
    throw new Failure("crash.missing", `no crash record ${name ?? ""} on the card: ${there}.`);
  }
  const file = options.out ?? fileName(crash);
  if (existsSync(file)) throw new Failure("usage.invalid", `${file} is there already.`);
  const resumed = await fetchInto(`${file}.part`, crash, context);
  attempt(file, () => settle(`${file}.part`, file));
  if (!options.keep)
    await link.request("report.crash_confirm", { name: crash.name, sha256: crash.sha256 });
  const fate = options.keep ? "kept on the card" : "the card has let go of it";
  const data = { name: crash.name, file, bytes: crash.bytes, sha256: crash.sha256, resumed };
  return { data, text: `${file}: ${crash.bytes} bytes, digest checked; ${fate}` };
}

/** A name that came over a line becomes a file here: only a harmless one is taken. */
function fileName({ name }: Crash): string {
  if (/^[A-Za-z0-9_][\w.-]{0,95}$/.test(name)) return name;
  throw new Failure("wire.malformed", "the record's name is none for a file: give --out FILE.");
}

/** Returns from which byte it went on: what an interrupted run has left is believed by digest. */
async function fetchInto(part: string, crash: Crash, context: Context): Promise<number> {
  const had = existsSync(part) ? attempt(part, () => readFileSync(part)) : Buffer.alloc(0);
  const isUseful = had.length <= crash.bytes;
  const from = isUseful ? had.length : 0;
  if (!isUseful) attempt(part, () => rmSync(part));
  await fetchBlocks(part, crash, from, context);
  const digest = createHash("sha256").update(readOrEmpty(part)).digest("hex");
  if (digest === crash.sha256) return from;
  attempt(part, () => rmSync(part, { force: true }));
  // What was left belonged to another record of this name: once more, from the beginning.
  if (from > 0) return fetchInto(part, crash, context);
  const message = `${crash.name}: what arrived has another digest than the card says. Try again.`;
  throw new Failure("crash.digest", message, { evidence: { digest, sha256: crash.sha256 } });
}

async function fetchBlocks(
  part: string,
  { name, bytes }: Crash,
  from: number,
  context: Context,
): Promise<void> {
  let off = from;
  for (let asked = 0; asked < blocksMax && off < bytes; asked += 1) {
    const { data, off: at } = await askBlock(context, name, off);
    if (at !== off || data.length === 0) break;
    attempt(part, () => appendFileSync(part, data));
    off += data.length;
  }
}

/** The card puts no second block on the line before the first has left. */
async function askBlock({ link, clock }: Context, name: string, off: number) {
  for (let asked = 1; ; asked += 1) {
    try {
      return await link.request("report.crash", { name, off });
    } catch (error) {
      const isBusy = error instanceof Failure && error.evidence.rc === 10;
      if (!isBusy || asked >= busyMax) throw error;
    }
    await new Promise<void>((resolve) => clock.at(clock.now() + busyMs, resolve));
  }
}

/** The record has its name, and both are on stable storage: the card may forget it. */
function settle(part: string, file: string): void {
  syncPath(part);
  renameSync(part, file);
  syncPath(dirname(resolve(file)));
}

function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function readOrEmpty(path: string): Uint8Array {
  return existsSync(path) ? attempt(path, () => readFileSync(path)) : new Uint8Array(0);
}

function attempt<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    const { code = "an unknown error" } = error as NodeJS.ErrnoException;
    throw new Failure("store.failed", `${path}: ${code}.`, { cause: error });
  }
}
