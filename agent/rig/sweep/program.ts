/** `npm run rig -- sweep`: boots that are hung at one instant after the other. */
import { parseArgs } from "node:util";
import { exitCodes, Failure } from "../../errors.ts";
import type { BootRig } from "../bootrig.ts";
import type { StoppedPart } from "../processor.ts";
import { newFolder } from "../program.ts";
import { CardFailed } from "../rig.ts";
import { type SweepSettings, sweep } from "./run.ts";
import { lineOf, mustAgree, sumOf } from "./tell.ts";

const help = `npm run rig -- sweep [--device i6300esb|itco] [--instants N] [--hang machine|programs]
    boots a card again and again through real firmware, hangs each boot at another instant, waits
    for the watchdog, and compares what came of it with what the card's wdt explain says
  --instants N    how many boots are hung (20)
  --hang WHAT     machine: the processor stands still with interrupts off; programs: the kernel
                  lives on (from the first program to the agent's adoption)
  --timeout S     what the loader arms with (30); more where the machine has other work
  --without-hook  the driver is loaded without any care: there is a gap, which has to show
  --rig NAME      qemu-uefi, or qemu-uefi-arm64

exit: 0 all as explain says, 1 a card failed, 2 wrong usage, 11 the rig failed
`;

const instantsMax = 90;
const devices: Readonly<Record<string, SweepSettings["device"]>> = {
  i6300esb: "i6300esb",
  itco: "iTCO_wdt",
};

/** Rigs by name, each made with a folder for its logs. */
type Rigs = Readonly<Record<string, (logFolder: string) => Promise<BootRig>>>;

/** Runs what is asked for and gives the exit status. `logs` gets a folder per run. */
export async function sweepProgram(argv: string[], rigs: Rigs, logs: string): Promise<number> {
  try {
    const { values, settings } = readArguments(argv);
    const make = rigs[values.rig];
    if (make === undefined) throw wrong(`no rig is named ${values.rig}`);
    const folder = newFolder(logs, "sweep");
    process.stdout.write(`logs: ${folder}\n`);
    const rig = await make(folder);
    try {
      const swept = await sweep(rig, settings, (hung) => {
        process.stdout.write(`${lineOf(hung)}\n`);
      });
      process.stdout.write(`${sumOf(swept)}\n`);
      mustAgree(swept, rig);
    } finally {
      await rig.close();
    }
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof Failure) && !(error instanceof CardFailed)) throw error;
    process.stderr.write(`${error.message}\n`);
    return error instanceof Failure ? error.exit : exitCodes.verdict;
  }
}

function readArguments(argv: string[]) {
  const { values } = parse(argv);
  const device = devices[values.device];
  if (device === undefined) throw wrong(`no device is named ${values.device}`);
  const part = (["machine", "programs"] as StoppedPart[]).find((name) => name === values.hang);
  if (part === undefined) throw wrong(`--hang ${values.hang}: machine or programs`);
  const instants = Number(values.instants);
  if (!Number.isInteger(instants) || instants < 1 || instants > instantsMax) {
    throw wrong(`--instants ${values.instants}: expected a number from 1 to ${instantsMax}`);
  }
  const timeoutS = Number(values.timeout);
  if (!Number.isInteger(timeoutS) || timeoutS < 10 || timeoutS > 300) {
    throw wrong(`--timeout ${values.timeout}: expected a number from 10 to 300`);
  }
  const timeoutMs = timeoutS * 1000;
  const withoutHook = values["without-hook"];
  const settings: SweepSettings = { device, part, instants, timeoutMs, withoutHook };
  return { values, settings };
}

function parse(argv: string[]) {
  try {
    const text = { type: "string" } as const;
    return parseArgs({
      args: argv,
      options: {
        device: { ...text, default: "i6300esb" },
        instants: { ...text, default: "20" },
        hang: { ...text, default: "machine" },
        timeout: { ...text, default: "30" },
        "without-hook": { type: "boolean", default: false },
        rig: { ...text, default: "qemu-uefi" },
      },
    });
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
}

function wrong(why: string): Failure {
  return new Failure("usage.invalid", `${why}\n${help}`);
}
