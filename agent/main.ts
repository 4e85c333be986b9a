/** kenneld: builds the real world around the agent, starts it, and keeps its serial line open. */
import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { native } from "../native/index.ts";
import { Agent } from "./agent.ts";
import type { AgentIo } from "./agentio.ts";
import { type AgentConfig, configure, parseSettings, type Settings } from "./config.ts";
import { exitCodes, Failure } from "./errors.ts";
import { findBootControls } from "./io/bootcontrols.ts";
import { bootHolderOf } from "./io/bootholder.ts";
import { RealClock } from "./io/clock.ts";
import { DeviceTee } from "./io/devicetee.ts";
import { type Disk, FileDisk } from "./io/disk.ts";
import { readDoctorFacts } from "./io/doctor.ts";
import { findWatchdogs, handedOverFirst, LinuxWatchdog } from "./io/linuxwatchdog.ts";
import { LinuxPlatform } from "./io/platform.ts";
import { runProgram } from "./io/programs.ts";
import { askShutdown } from "./io/shutdown.ts";
import { ServiceManager, watchdogName } from "./io/supervisor.ts";
import type { Tee } from "./io/tee.ts";
import { launchHelper } from "./io/teeprocess.ts";
import { SupplicantWatch } from "./io/teesupplicant.ts";
import type { Watchdog } from "./io/watchdog.ts";
import { realRoots } from "./io/watchdogfacts.ts";
import { type Hook, parseHook } from "./machines/boothook.ts";
import { examine } from "./machines/doctor.ts";
import { SimDisk } from "./sim/disk.ts";
import { Random } from "./sim/random.ts";
import { SimTee } from "./sim/tee.ts";
import { teeModel } from "./sim/teemodel.ts";
import { SimChip, SimWatchdog } from "./sim/watchdog.ts";
import { plainModel } from "./sim/watchdogmodels.ts";
import { deviceSettings } from "./teesettings.ts";

const help = `kenneld ${__VERSION__}: guards this card's watchdog and reports over serial

  --port PATH          serial line to the host; tried again every 2 s while it is away
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
  --tee-device PATH    the TEE to use (/dev/tee0)
  --hand-off FILE      the firmware's hand-off record as a file
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
  tee: { type: "string" },
  "tee-device": { type: "string" },
  "hand-off": { type: "string" },
  lab: { type: "boolean" },
  version: { type: "boolean" },
  help: { type: "boolean" },
} as const;

const stateFolder = "/var/lib/kennel";
/** How often a missing or lost serial line is tried again, ms. */
const reopenMs = 2000;

type Options = ReturnType<typeof readOptions>;

function readOptions(argv: string[]) {
  try {
    return parseArgs({ args: argv, options: optionTypes, allowPositionals: false }).values;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("usage.invalid", `${why}. See kenneld --help`, { cause: error });
  }
}

const stdout = 1;
const stderr = 2;

/**
 * Writes to a standard stream at once. Node's stream objects would cost every start a millisecond
 * and a megabyte, and a reader that went away must not end the guard.
 */
function say(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch {
    // Nobody listens: what matters is in the reports.
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

/** Members that are set, so that what is absent does not hide a setting of the file. */
function present(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

function settingsOf(options: Options): Settings {
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
  const tee = present({ policy: options.tee, device: options["tee-device"] });
  const merged = {
    ...settings,
    ...top,
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

/** The device to guard with, chosen by rule or named; or why there is none. */
function findWatchdog(
  settings: Settings,
  config: AgentConfig,
  clock: RealClock,
  manager: ServiceManager,
  log: Log,
): FoundWatchdog {
  if (config.watchdogPolicy === "simulate") return simulated(clock, log);
  try {
    const device = settings.watchdog?.device;
    const { sys, dev, proc } = realRoots;
    const kept = manager.inherited.filter(({ name }) => name === watchdogName);
    const fds = kept.map(({ fd }) => fd);
    const [watchdog] =
      device === undefined
        ? handedOverFirst(findWatchdogs(sys, dev, proc, manager), fds)
        : [new LinuxWatchdog(device, realRoots, manager)];
    if (watchdog !== undefined) {
      watchdog.bootHolder = bootHolderOf(watchdog.path, whatHookLeft());
      native(); // a device that nothing here can drive is no device
      return { watchdog, problem: "" };
    }
    return fallBack("no watchdog device found under /sys/class/watchdog", config, clock, log);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return fallBack(error.message, config, clock, log);
  }
}

function whatHookLeft(): Hook | null {
  const hook = parseHook(new LinuxPlatform(null).bootHook() ?? "");
  return typeof hook === "string" ? null : hook;
}

type Log = (line: string) => void;
interface FoundWatchdog {
  watchdog: Watchdog | null;
  problem: string;
}

/**
 * What the agent before us left open is adopted; what else was handed over is closed and told. The
 * keeper knows names alone: it forgets all of one, and gets back what is in use.
 */
function takeOver(manager: ServiceManager, watchdog: Watchdog | null): void {
  let isStale = false;
  for (const inherited of manager.inherited) {
    const { name, fd } = inherited;
    try {
      if (name !== watchdogName) manager.close(inherited, "its name is not known");
      else if (watchdog instanceof LinuxWatchdog && !watchdog.isOpen) watchdog.adopt(fd);
      else {
        isStale = true;
        const isReal = watchdog instanceof LinuxWatchdog;
        manager.close(inherited, isReal ? "it is the second one" : "no real watchdog");
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      manager.refuse(inherited, error.message);
      isStale = true;
    }
  }
  if (isStale) manager.forget();
  if (isStale && watchdog instanceof LinuxWatchdog && watchdog.isOpen) watchdog.keepAgain();
}

/** `prefer` goes on with the simulated watchdog, and says so; `require` does not go on. */
function fallBack(problem: string, config: AgentConfig, clock: RealClock, log: Log): FoundWatchdog {
  if (config.watchdogPolicy === "require") return { watchdog: null, problem };
  log(`${problem}: going on with a simulated watchdog, which protects nothing`);
  return simulated(clock, log);
}

function simulated(clock: RealClock, log: Log): FoundWatchdog {
  const chip = new SimChip(clock, plainModel, () => {
    log("the simulated watchdog expired: a real one would have reset the card now");
    process.exit(exitCodes.verdict);
  });
  return { watchdog: new SimWatchdog(chip, clock), problem: "" };
}

/** The TEE that `tee.policy` asks for. A real one is called only for services that are named. */
function findTee(settings: Settings, config: AgentConfig, clock: RealClock): Tee {
  if (config.teePolicy === "simulate") {
    const model = teeModel(config.tee.services.map(({ name }) => name));
    return new SimTee(clock, new Random(process.pid), model);
  }
  const { supplicantName, ...device } = deviceSettings(settings.tee ?? {});
  const isRequired = config.teePolicy === "require";
  const tee = new DeviceTee({
    ...device,
    clock,
    launch: launchHelper(join(__dirname, "kennel-tee.cjs"), device.device),
    runProgram,
    supplicant: new SupplicantWatch(supplicantName),
    isWanted: isRequired || device.services.size > 0,
  });
  const facts = tee.facts();
  if (isRequired && !facts.usable) {
    throw new Failure("tee.missing", `a TEE is required: ${facts.because}`);
  }
  return tee;
}

/** A folder that cannot be used degrades the journal; it does not stop the guard. */
function openDisk(folder: string, log: Log): Disk {
  try {
    return new FileDisk(folder);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    log(`${error.message}. Nothing will survive a reset; see --state`);
    const disk = new SimDisk(new Random(0));
    disk.faults = { readOnly: true };
    return disk;
  }
}

/** Faults of a lab image: what a rig may do to the real process. */
function labFaults(tee: Tee): AgentIo["faults"] {
  const faults: Record<string, (forMs: number) => void> = {
    hang: (forMs) => {
      const clock = new RealClock();
      const endMs = clock.now() + (forMs === 0 ? Infinity : forMs);
      while (clock.now() < endMs);
    },
    kill: () => process.kill(process.pid, "SIGKILL"),
    stop: () => process.kill(process.pid, "SIGSTOP"),
  };
  if (tee instanceof SimTee) faults.tee_crash = () => tee.inject("core_panic");
  return faults;
}

/** Keeps the line open: a new port object per connection, tried again while it is away. */
function keepLine(agent: Agent, path: string, baud: number, log: Log): void {
  let told = "";
  const again = (why: string): void => {
    if (why !== told) log(`${why}; trying again every ${reopenMs / 1000} s`);
    told = why;
    setTimeout(open, reopenMs);
  };
  const open = async (): Promise<void> => {
    // Loaded once the card is guarded: the line is second to the watchdog.
    const { openSerial } = await import("./io/serial.ts");
    openSerial(path, { baud }, (opened) => {
      if (opened instanceof Failure) return again(opened.message);
      told = "";
      agent.attach(opened, (cause) => again(cause));
    });
  };
  open();
}

function run(argv: string[]): void {
  const options = readOptions(argv);
  if (options.help === true) return say(stdout, help);
  if (options.version === true) return say(stdout, `${__VERSION__}\n`);
  const log = (line: string): void => say(stderr, `kenneld: ${line}\n`);
  const settings = settingsOf(options);
  const config = configure(settings, __VERSION__);
  const clock = new RealClock();
  const manager = new ServiceManager(process.env, process.pid);
  const { watchdog, problem } = findWatchdog(settings, config, clock, manager, log);
  takeOver(manager, watchdog);
  const tee = findTee(settings, config, clock);
  const agent = new Agent(
    {
      clock,
      disk: openDisk(settings.state ?? stateFolder, log),
      platform: new LinuxPlatform(options["hand-off"] ?? null),
      watchdog,
      watchdogProblem: problem,
      tee,
      supervisor: manager,
      controls: findBootControls(),
      runProgram,
      examine: () => examine(readDoctorFacts(watchdog?.facts() ?? null), process.pid),
      // No program of the card is connected to the agent yet: its host is told by reports.
      notify: () => undefined,
      faults: config.lab ? labFaults(tee) : {},
      log,
    },
    config,
  );
  agent.start();
  if (settings.port !== undefined) keepLine(agent, settings.port, settings.baud ?? 115_200, log);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      askShutdown((isShutdown) => {
        agent.stop(isShutdown === true);
        process.exit(exitCodes.ok);
      });
    });
  }
  const { protection } = agent.watchdog.status();
  say(stdout, `kenneld ready: boot ${agent.boot.id}, ${protection}\n`);
}

/** Nothing that goes wrong ends in a stack trace, and nothing that goes wrong disarms. */
function leave(error: unknown): never {
  const failure = error instanceof Failure ? error : null;
  const message = error instanceof Error ? error.message : String(error);
  say(stderr, `kenneld: ${failure === null ? "defect: " : ""}${message}\n`);
  process.exit(failure?.exit ?? exitCodes.verdict);
}

process.on("uncaughtException", leave);
try {
  run(process.argv.slice(2));
} catch (error) {
  leave(error);
}
