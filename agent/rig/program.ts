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
npm run rig -- --list                      rows that they show, names, and rigs that can
npm run rig -- lockstep [...]              the simulated watchdog beside an emulated one

exit: 0 all passed or skipped, 1 a card failed, 2 wrong usage, 11 the rig failed
`;

type Header = Pick<Story, "name" | "rows">;

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
    return await runAll(chosen, bench, newFolder(logs, values.rig));
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

function newFolder(logs: string, rig: string): string {
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, "-");
  const folder = path.join(logs, `stories-${rig}-${stamp}`);
  fs.mkdirSync(folder, { recursive: true });
  const ours = fs.readdirSync(logs).filter((name) => name.startsWith(`stories-${rig}-`));
  for (const old of ours.sort().slice(0, -runsMax)) {
    fs.rmSync(path.join(logs, old), { recursive: true, force: true });
  }
  return folder;
}

async function runAll(chosen: readonly Header[], bench: Bench, folder: string): Promise<number> {
  process.stdout.write(`logs: ${folder}\n`);
  const rig = await bench.open(folder);
  const count: Record<Told["outcome"], number> = { passed: 0, failed: 0, skipped: 0, fault: 0 };
  try {
    for (const story of chosen) {
      const startedMs = performance.now();
      const { outcome, why } = await rig.tell(story);
      count[outcome] += 1;
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      process.stdout.write(`${outcome.padEnd(7)} ${story.name}  ${seconds} s\n`);
      if (why !== "") process.stdout.write(`        ${why.replaceAll("\n", "\n        ")}\n`);
      // Nothing is known of a card whose rig failed: the next story gets a new one.
      if (outcome === "fault") await rig.close();
    }
  } finally {
    await rig.close();
  }
  const failed = count.failed + count.fault;
  process.stdout.write(`${count.passed} passed, ${failed} failed, ${count.skipped} skipped\n`);
  if (count.failed > 0) return exitCodes.verdict;
  return count.fault > 0 ? exitCodes.rig : exitCodes.ok;
}
