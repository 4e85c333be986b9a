/** `npm run rig -- run STORY... | --all [--rig sim|qemu]`, and `--list`. */
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { exitCodes, Failure } from "../errors.ts";
import type { Rig } from "./rig.ts";
import type { Story } from "./story.ts";
import { stories, type Told, tell } from "./tell.ts";

const help = `npm run rig -- run STORY... [--rig NAME]   stories by a part of their names
npm run rig -- run --all [--rig NAME]      all of them; the rig is sim unless named
npm run rig -- --list                      their names and the rows that they show
npm run rig -- lockstep [...]              the simulated watchdog beside an emulated one

exit: 0 all passed or skipped, 1 a card failed, 2 wrong usage, 11 the rig failed
`;

/** Makes the rig of a name; its logs go into the folder. */
export type Rigs = Readonly<Record<string, (logFolder: string) => Rig>>;

/** Runs what is asked for and gives the exit status. `logs` gets a folder per run. */
export async function rigProgram(argv: string[], rigs: Rigs, logs: string): Promise<number> {
  try {
    const { values, positionals } = readArguments(argv);
    if (values.list === true) return list();
    const [verb, ...wanted] = positionals;
    if (verb !== "run") throw new Failure("usage.invalid", `what to do is not clear.\n${help}`);
    const chosen = choose(wanted, values.all === true);
    const make = rigs[values.rig];
    if (make === undefined) {
      const known = Object.keys(rigs).join(", ");
      throw new Failure("usage.invalid", `no rig is named ${values.rig}; there are: ${known}`);
    }
    return await runAll(chosen, make, newFolder(logs, values.rig));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`${error.message}\n`);
    return error.exit;
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

function list(): number {
  for (const { name, rows } of stories) {
    process.stdout.write(`${rows.join(" ").padEnd(rowsColumns)} ${name}\n`);
  }
  return exitCodes.ok;
}
const rowsColumns = 12;

function choose(wanted: readonly string[], all: boolean): Story[] {
  if (all === wanted.length > 0) {
    throw new Failure("usage.invalid", `name stories, or say --all.\n${help}`);
  }
  const unknown = wanted.find((part) => !stories.some(({ name }) => name.includes(part)));
  if (unknown !== undefined) {
    throw new Failure("usage.invalid", `no story has "${unknown}" in its name; see --list`);
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

async function runAll(
  chosen: readonly Story[],
  make: (logFolder: string) => Rig,
  folder: string,
): Promise<number> {
  process.stdout.write(`logs: ${folder}\n`);
  const rig = make(folder);
  const count: Record<Told["outcome"], number> = { passed: 0, failed: 0, skipped: 0, fault: 0 };
  try {
    for (const story of chosen) {
      const startedMs = performance.now();
      const { outcome, why } = await tell(story, rig);
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
