/** `npm run rig -- run STORY... | --all [--rig NAME]`, and `--list`. */
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { exitCodes, Failure } from "../errors.ts";
import type { Rig } from "./rig.ts";
import type { Story } from "./story.ts";
import { type Told, tell } from "./tell.ts";

const help = `npm run rig -- run STORY... [--rig NAME]   stories by a part of their names
npm run rig -- run --all [--rig NAME]      all of them; the rig is sim unless named
               [--jobs N]                  that many cards at a time (1)
npm run rig -- --list                      rows that they show, names, and rigs that can
npm run rig -- lockstep [...]              the simulated watchdog beside an emulated one
npm run rig -- sweep [...]                 boots that are hung at one instant after the other
npm run rig -- campaign NAME [--seed N] [--runs N] [--bug NAME]
                                           many seeded runs that break it; NAME: tee

exit: 0 all passed or skipped, 1 a card failed, 2 wrong usage, 11 the rig failed
`;

type Header = Pick<Story, "name" | "rows" | "isLong">;

/** A rig that can be opened, its logs in the folder, and the stories that are told on it. */
export interface Bench {
  readonly stories: readonly Header[];
  open(logFolder: string): Promise<OpenBench>;
}

interface OpenBench {
  tell(story: Header): Promise<Told>;
  close(): Promise<void>;
}

/** By the rig's name. */
export type Benches = Readonly<Record<string, Bench>>;

export function bench<R extends Rig>(
  make: (logFolder: string) => R | Promise<R>,
  stories: readonly Story<R>[],
): Bench {
  const open = async (logFolder: string): Promise<OpenBench> => {
    const rig = await make(logFolder);
    const told = async ({ name }: Header): Promise<Told> => {
      const found = stories.find((story) => story.name === name);
      if (found === undefined) throw new Failure("rig.fault", `no story is named ${name}`);
      return await tell(found, rig);
    };
    return { tell: told, close: () => rig.close() };
  };
  return { stories, open };
}

/** Runs what is asked for and gives the exit status. `logs` gets a folder per run. */
export async function rigProgram(argv: string[], benches: Benches, logs: string): Promise<number> {
  try {
    const { values, positionals } = readArguments(argv);
    if (values.list === true) return list(benches);
    const [verb, ...wanted] = positionals;
    if (verb !== "run") throw new Failure("usage.invalid", `what to do is not clear.\n${help}`);
    const bench = benches[values.rig];
    if (bench === undefined) {
      const known = Object.keys(benches).join(", ");
      throw new Failure("usage.invalid", `no rig is named ${values.rig}; there are: ${known}`);
    }
    const chosen = choose(bench, wanted, values.all === true);
    const jobs = jobsOf(values.jobs);
    return await runAll(chosen, bench, { folder: newFolder(logs, values.rig), jobs });
  } catch (error) {
    const isKnown = error instanceof Failure;
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${isKnown ? "" : "the rig has a defect: "}${message}\n`);
    return isKnown ? error.exit : exitCodes.rig;
  }
}

function readArguments(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        all: { type: "boolean" },
        list: { type: "boolean" },
        rig: { type: "string", default: "sim" },
        jobs: { type: "string", default: "1" },
      },
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("usage.invalid", `${why}\n${help}`, { cause: error });
  }
}

function list(benches: Benches): number {
  const rigsOf = new Map<string, string[]>();
  const headers = new Map<string, Header>();
  for (const [rig, { stories }] of Object.entries(benches)) {
    for (const story of stories) {
      headers.set(story.name, story);
      rigsOf.set(story.name, [...(rigsOf.get(story.name) ?? []), rig]);
    }
  }
  for (const { name, rows } of headers.values()) {
    const rigs = rigsOf.get(name)?.join(" ");
    process.stdout.write(`${rows.join(" ").padEnd(rowsColumns)} ${name}  (${rigs})\n`);
  }
  return exitCodes.ok;
}
const rowsColumns = 20;

function choose({ stories }: Bench, wanted: readonly string[], all: boolean): readonly Header[] {
  if (all === wanted.length > 0) {
    throw new Failure("usage.invalid", `name stories, or say --all.\n${help}`);
  }
  const unknown = wanted.find((part) => !stories.some(({ name }) => name.includes(part)));
  if (unknown !== undefined) {
    throw new Failure(
      "usage.invalid",
      `no story of this rig has "${unknown}" in its name; see --list`,
    );
  }
  return stories.filter(({ name }) => all || wanted.some((part) => name.includes(part)));
}

/** How many runs' logs are kept per rig. */
const runsMax = 10;

export function newFolder(logs: string, rig: string): string {
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, "-");
  const folder = path.join(logs, `stories-${rig}-${stamp}`);
  fs.mkdirSync(folder, { recursive: true });
  const ours = fs.readdirSync(logs).filter((name) => name.startsWith(`stories-${rig}-`));
  for (const old of ours.sort().slice(0, -runsMax)) {
    fs.rmSync(path.join(logs, old), { recursive: true, force: true });
  }
  return folder;
}

/** More cards than that at a time take longer than one after the other, whatever the machine. */
const jobsMax = 16;

function jobsOf(said: string): number {
  const jobs = Number(said);
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= jobsMax) return jobs;
  throw new Failure("usage.invalid", `--jobs ${said}: expected a number from 1 to ${jobsMax}`);
}

type Count = Record<Told["outcome"], number>;

async function runAll(
  chosen: readonly Header[],
  bench: Bench,
  { folder, jobs }: { folder: string; jobs: number },
): Promise<number> {
  process.stdout.write(`logs: ${folder}\n`);
  const startedMs = performance.now();
  const count: Count = { passed: 0, failed: 0, skipped: 0, fault: 0 };
  const isFirst = ({ isLong }: Header): boolean => jobs > 1 && isLong;
  const waiting = [...chosen.filter(isFirst), ...chosen.filter((one) => !isFirst(one))];
  const lanes = Array.from({ length: Math.min(jobs, chosen.length) }, (_, index) => {
    const own = jobs === 1 ? folder : path.join(folder, `card-${index + 1}`);
    fs.mkdirSync(own, { recursive: true });
    return runLane(waiting, bench, own, count);
  });
  const ended = await Promise.allSettled(lanes);
  for (const lane of ended) if (lane.status === "rejected") throw lane.reason;
  const failed = count.failed + count.fault;
  const seconds = secondsSince(startedMs);
  const { passed, skipped } = count;
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped in ${seconds} s\n`);
  if (count.failed > 0) return exitCodes.verdict;
  return count.fault > 0 ? exitCodes.rig : exitCodes.ok;
}

/** One card's share of the stories: the next one that nobody has taken, until there is none. */
async function runLane(
  waiting: Header[],
  bench: Bench,
  folder: string,
  count: Count,
): Promise<void> {
  const rig = await bench.open(folder);
  try {
    for (let story = waiting.shift(); story !== undefined; story = waiting.shift()) {
      const startedMs = performance.now();
      const { outcome, why } = await rig.tell(story);
      count[outcome] += 1;
      process.stdout.write(`${outcome.padEnd(7)} ${story.name}  ${secondsSince(startedMs)} s\n`);
      if (why !== "") process.stdout.write(`        ${why.replaceAll("\n", "\n        ")}\n`);
      // Nothing is known of a card whose rig failed: the next story gets a new one.
      if (outcome === "fault") await rig.close();
    }
  } finally {
    await rig.close();
  }
}

function secondsSince(startedMs: number): string {
  return ((performance.now() - startedMs) / 1000).toFixed(1);
}
