/** kenneld: builds the real world around the agent, starts it, and keeps its serial line open. */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { Agent } from "./agent.ts";
import { configure } from "./config.ts";
import { findTee, findWatchdog, type Log, labFaults, openDisk, takeOver } from "./devices.ts";
import { exitCodes, Failure } from "./errors.ts";
import { FileAuthority } from "./io/authority.ts";
import { findBootControls } from "./io/bootcontrols.ts";
import { RealClock } from "./io/clock.ts";
import { sha256 } from "./io/digest.ts";
import { readDoctorFacts } from "./io/doctor.ts";
import { HelperLives } from "./io/helperlives.ts";
import { LinuxPlatform } from "./io/platform.ts";
import type { Port } from "./io/port.ts";
import { runProgram } from "./io/programs.ts";
import { askShutdown } from "./io/shutdown.ts";
import { ServiceManager } from "./io/supervisor.ts";
import { examine } from "./machines/doctor.ts";
import { help, readOptions, settingsOf } from "./options.ts";
import { socketAccess } from "./teeservices.ts";

const stateFolder = "/var/lib/kennel";
/** How often a missing or lost serial line is tried again, ms. */
const reopenMs = 2000;

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

/** Keeps the line open: a new port object per connection, tried again while it is away. */
function keepLine(agent: Agent, path: string, baud: number, log: Log): void {
  let told = "";
  const again = (why: string): void => {
    if (why !== told) log(`${why}; trying again every ${reopenMs / 1000} s`);
    told = why;
    setTimeout(open, reopenMs);
  };
  const open = async (): Promise<void> => {
    const done = (opened: Port | Failure): void => {
      if (opened instanceof Failure) return again(opened.message);
      told = "";
      agent.attach(opened, (cause) => again(cause));
    };
    // Loaded once the card is guarded: the line is second to the watchdog.
    if (path.startsWith("unix:")) {
      const { openUnix } = await import("./io/transports/socket.ts");
      return openUnix(path.slice("unix:".length)).then(done, done);
    }
    const { openSerial } = await import("./io/serial.ts");
    openSerial(path, { baud }, done);
  };
  open();
}

/** Programs of the card are served once it is guarded, and only where services are named. */
async function serveApplications(
  agent: Agent,
  clock: RealClock,
  lives: HelperLives | null,
  log: Log,
): Promise<void> {
  const { teeSocket, services } = agent.config;
  if (teeSocket === null) return;
  try {
    const { UnixServer } = await import("./io/applicationserver.ts");
    const server = new UnixServer(teeSocket, socketAccess(services), clock, lives);
    agent.applications.serve(server, (act) => agent.call(act));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    log(`programs of this card cannot call its TEE: ${error.message}`);
    agent.call(() => agent.applications.failed(error.message));
  }
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
  const { teeSocket } = config;
  const lives = teeSocket === null ? null : new HelperLives(`${teeSocket}.helpers`);
  const tee = findTee(settings, config, clock, lives);
  const folder = settings.state ?? stateFolder;
  const agent = new Agent(
    {
      clock,
      disk: openDisk(folder, log),
      platform: new LinuxPlatform(options["hand-off"] ?? null),
      watchdog,
      watchdogProblem: problem,
      tee,
      supervisor: manager,
      authority: new FileAuthority(settings.access?.keys_file ?? join(folder, "authorized_keys")),
      controls: findBootControls(),
      runProgram,
      sha256,
      examine: () => examine(readDoctorFacts(watchdog?.facts() ?? null), process.pid),
      faults: config.lab ? labFaults(tee) : {},
      log,
    },
    config,
  );
  agent.start();
  if (settings.port !== undefined) keepLine(agent, settings.port, settings.baud ?? 115_200, log);
  serveApplications(agent, clock, lives, log);
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
