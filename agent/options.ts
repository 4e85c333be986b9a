/** The command line of kenneld: options over the settings file, checked as settings. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { parseSettings, type Settings } from "./config.ts";
import { Failure } from "./errors.ts";

export const help = `kenneld ${__VERSION__}: guards this card's watchdog and reports over serial

  --port PATH          serial line to the host, or unix:SOCKET; tried again every 2 s while away
  --baud N             bits per second (115200)
  --state DIR          folder for what survives a power cut (/var/lib/kennel)
  --config FILE        settings as JSON; options given here come before it
  --name NAME          what the card calls itself
  --watchdog POLICY    require | prefer | simulate (prefer)
  --device PATH        the watchdog to use (hardware before software, lowest number first)
  --promise SECONDS    T2: reset this long after the last check-in (60)
  --hardware-max S     T1: the most the hardware is trusted to hold
  --hardware-min-gap S the shortest time between two refreshes that the chip bears (0)
  --allow-disarm       let the host disarm the watchdog
  --task NAME=SECONDS  a task that must check in at least this often; may be repeated
  --tee POLICY         require | prefer | simulate (prefer)
  --tee PATH           the TEE to use, under that policy (/dev/tee0); sim:[FOLDER]: a simulated one
                       in a process. One that is named is called even when no services are; --tee
                       may be given twice, or --tee-device PATH
  --tee-socket PATH    where programs of the card call its services (/run/kennel/tee.sock, or none)
  --hand-off FILE      the firmware's hand-off record as a file
  --access POLICY      keys | open: who may change anything (keys)
  --authorized-keys F  who may, as OpenSSH lines (STATE/authorized_keys)
  --lab                answer the rig group: faults can be injected over the line
  --version, --help

Start it as node --single-threaded-gc kenneld.cjs: it then wakes no threads for a little garbage.
`;

const optionTypes = {
  port: { type: "string" },
  baud: { type: "string" },
  state: { type: "string" },
  config: { type: "string" },
  name: { type: "string" },
  watchdog: { type: "string" },
  device: { type: "string" },
  promise: { type: "string" },
  "hardware-max": { type: "string" },
  "hardware-min-gap": { type: "string" },
  "allow-disarm": { type: "boolean" },
  task: { type: "string", multiple: true },
  tee: { type: "string", multiple: true },
  "tee-device": { type: "string" },
  "tee-socket": { type: "string" },
  "hand-off": { type: "string" },
  access: { type: "string" },
  "authorized-keys": { type: "string" },
  lab: { type: "boolean" },
  version: { type: "boolean" },
  help: { type: "boolean" },
} as const;

export type Options = ReturnType<typeof readOptions>;

export function readOptions(argv: string[]) {
  try {
    return parseArgs({ args: argv, options: optionTypes, allowPositionals: false }).values;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("usage.invalid", `${why}. See kenneld --help`, { cause: error });
  }
}

/** A number from the command line; Failure `usage.invalid` naming the option. */
function numberOf(option: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (value.trim() !== "" && Number.isFinite(number)) return number;
  throw new Failure("usage.invalid", `--${option} ${value}: expected a number`);
}

function taskOf(option: string): { name: string; every_s: number } {
  const [name, seconds, ...rest] = option.split("=");
  const every_s = numberOf("task", seconds);
  if (name && every_s !== undefined && every_s > 0 && rest.length === 0) return { name, every_s };
  throw new Failure("usage.invalid", `--task ${option}: expected NAME=SECONDS`);
}

/** A path, or a twin's name, is the device; anything else the policy. The last of each counts. */
function teeOf(options: Options): { policy: string | undefined; device: string | undefined } {
  const said = options.tee ?? [];
  const isPath = (word: string): boolean => /^(\/|sim:)/.test(word);
  return {
    policy: said.findLast((word) => !isPath(word)),
    device: options["tee-device"] ?? said.findLast(isPath),
  };
}

/** Members that are set, so that what is absent does not hide a setting of the file. */
function present(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

export function settingsOf(options: Options): Settings {
  const file = options.config;
  const text = file === undefined ? "{}" : readConfig(file);
  const settings = parseSettings(text, file ?? "options");
  const watchdog = present({
    policy: options.watchdog,
    device: options.device,
    promise_s: numberOf("promise", options.promise),
    hardware_max_s: numberOf("hardware-max", options["hardware-max"]),
    hardware_min_gap_s: numberOf("hardware-min-gap", options["hardware-min-gap"]),
    allow_disarm: options["allow-disarm"],
  });
  const top = present({
    name: options.name,
    port: options.port,
    baud: numberOf("baud", options.baud),
    state: options.state,
    lab: options.lab,
    tasks: options.task?.map(taskOf),
  });
  const tee = present({ ...teeOf(options), socket: options["tee-socket"] });
  const access = present({ policy: options.access, keys_file: options["authorized-keys"] });
  const merged = {
    ...settings,
    ...top,
    access: { ...settings.access, ...access },
    watchdog: { ...settings.watchdog, ...watchdog },
    tee: { ...settings.tee, ...tee },
  };
  return parseSettings(JSON.stringify(merged), "options");
}

function readConfig(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Failure("config.invalid", `settings file ${file}: ${code}`, { cause: error });
  }
}
