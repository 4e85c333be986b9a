/** `npm run rig -- lockstep`: the simulator beside an emulated device, or beside its recording. */
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { exitCodes, Failure } from "../../errors.ts";
import { type Bug, bugs } from "./bugs.ts";
import { EmulatedDevice } from "./emulated.ts";
import { readRecording, writeRecording } from "./record.ts";
import { judge, type Lockstep, lockstep, type Outcome } from "./run.ts";
import { scriptsFrom } from "./script.ts";
import { type DeviceName, models } from "./simulated.ts";
import type { TraceEvent } from "./trace.ts";

const help = `npm run rig -- lockstep [--device i6300esb|itco] [--sequences N] [--seed N]
    the same scripts on the emulated device and on the simulated one; the first event in which
    they differ is shown with both sides, and the run goes on with the next script
  --record FILE   keeps the device's traces
  --replay FILE   takes them instead of a device; needs no QEMU
  --bug NAME      plants a mistake in the simulator, which has to be found:
                  ${Object.keys(bugs).join(",\n                  ")}

exit: 0 no divergence, 1 divergence, 2 wrong usage, 11 the rig failed
`;

/** How many runs' logs are kept. */
const runsMax = 10;
const defaultSequences = "100";
const sequencesMax = 10_000;

/** Runs what is asked for and gives the exit status. */
export async function lockstepProgram(argv: string[], project: string): Promise<number> {
  try {
    const values = readArguments(argv);
    const bug = bugNamed(values.bug);
    const outcomes =
      values.replay === undefined
        ? await live(values, bug, project)
        : replay(values.replay, bug, tell);
    const diverged = outcomes.filter(({ divergence }) => divergence !== undefined).length;
    const what = bug === undefined ? "" : `, with a mistake planted: ${bug.what}`;
    process.stdout.write(`${outcomes.length - diverged} agreed, ${diverged} diverged${what}\n`);
    return diverged === 0 ? exitCodes.ok : exitCodes.verdict;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`${error.message}\n`);
    return error.exit;
  }
}

function readArguments(argv: string[]) {
  try {
    const text = { type: "string" } as const;
    const { values } = parseArgs({
      args: argv,
      options: {
        device: { ...text, default: "i6300esb" },
        sequences: { ...text, default: defaultSequences },
        seed: { ...text, default: "1" },
        rig: { ...text, default: "qemu" },
        bug: text,
        record: text,
        replay: text,
      },
    });
    if (values.rig !== "qemu") throw new Error(`lockstep has no rig named ${values.rig}, but qemu`);
    return values;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("usage.invalid", `${why}\n${help}`, { cause: error });
  }
}

type Values = ReturnType<typeof readArguments>;

function bugNamed(name: string | undefined): Bug | undefined {
  const bug = name === undefined ? undefined : bugs[name];
  if (name === undefined || bug !== undefined) return bug;
  throw new Failure("usage.invalid", `no mistake is named ${name}.\n${help}`);
}

function wholeNumber(text: string, name: string, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= max) return value;
  throw new Failure("usage.invalid", `--${name} takes a whole number up to ${max}, not ${text}`);
}

async function live(values: Values, bug: Bug | undefined, project: string): Promise<Outcome[]> {
  const device = deviceNamed(values.device);
  const seed = wholeNumber(values.seed, "seed", 0xffff_ffff);
  const scripts = scriptsFrom(seed, wholeNumber(values.sequences, "sequences", sequencesMax));
  const folder = newFolder(path.join(project, ".cache/rig"), device);
  process.stdout.write(`logs: ${folder}\n`);
  const outcomes: Outcome[] = [];
  const emulated = await EmulatedDevice.boot(project, folder, device);
  try {
    await lockstep({ device, scripts, bug }, emulated, (outcome) => {
      outcomes.push(outcome);
      tell(outcome, scripts[outcome.number - 1] ?? []);
    });
  } finally {
    await emulated.stop();
  }
  const traces: (readonly TraceEvent[])[] = outcomes.map(({ hardware }) => hardware);
  if (values.record !== undefined) writeRecording(values.record, { device, seed, traces });
  return outcomes;
}

function deviceNamed(name: string): DeviceName {
  if (name in models) return name as DeviceName;
  const known = Object.keys(models).join(", ");
  throw new Failure("usage.invalid", `no device is named ${name}; there are: ${known}`);
}

type Tell = (outcome: Outcome, script: readonly string[]) => void;

/** Holds the simulator against a recording, of which the seed makes the scripts. */
export function replay(file: string, bug: Bug | undefined, say: Tell): Outcome[] {
  const { device, seed, traces } = readRecording(file);
  const scripts = scriptsFrom(seed, traces.length);
  const plan: Lockstep = { device, scripts, bug };
  return traces.map((trace, at) => {
    const outcome = judge(plan, at, trace);
    say(outcome, scripts[at] ?? []);
    return outcome;
  });
}

function tell({ number, divergence, shown }: Outcome, script: readonly string[]): void {
  if (divergence === undefined) return;
  process.stdout.write(`sequence ${number} diverged: ${script.join(", ")}\n${shown}\n`);
}

function newFolder(logs: string, device: DeviceName): string {
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, "-");
  const folder = path.join(logs, `lockstep-${device}-${stamp}`);
  fs.mkdirSync(folder, { recursive: true });
  const ours = fs.readdirSync(logs).filter((name) => name.startsWith(`lockstep-${device}-`));
  for (const old of ours.sort().slice(0, -runsMax)) {
    fs.rmSync(path.join(logs, old), { recursive: true, force: true });
  }
  return folder;
}
