/**
 * One emulated card: a machine whose watchdogs reset it when they expire, which QEMU announces. The
 * first UART is the console, the second one the line to the host. QEMU cannot outlive this process,
 * however it ends: the kernel kills it (prctl PR_SET_PDEATHSIG).
 */
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import type { Duplex, Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { Failure } from "../errors.ts";
import { missing } from "./command.ts";
import type { GuestImage } from "./guest.ts";
import type { Flag, Machine } from "./machines.ts";
import { openQmp, type Qmp, type QmpEvent } from "./qmp.ts";
import {
  type ConsoleLine,
  eventsMax,
  keep,
  lineCharactersMax,
  readConsole,
  type Seen,
  until,
} from "./seen.ts";

export interface GuestStart {
  readonly image: Pick<GuestImage, "machine" | "stateDisk">;
  /** What stands before the guest's own devices: board, firmware or kernel, as QEMU's arguments. */
  readonly board: readonly string[];
  /** What has to stand behind them. */
  readonly behind?: readonly string[];
  /** Gets console.log, link.log (the guest's end of the line), qmp.log, qemu.log; kept. */
  readonly logFolder: string;
  /** Memory of the card, MB. Node with its initrd wants 512. */
  readonly memoryMb?: number;
}

/** A running guest. All times are `performance.now()` milliseconds of this process. */
export interface Guest {
  readonly pid: number;
  /** When QEMU first answered, which is when its clocks and counters begin. */
  readonly runsMs: number;
  /** The pty behind the guest's second UART: a path to open as a serial port. */
  readonly serialPath: string;
  /** What the console said, oldest first, at most `consoleLinesMax`. */
  readonly console: readonly ConsoleLine[];
  /** What QEMU announced, oldest first, at most `eventsMax`. */
  readonly events: readonly QmpEvent[];
  /** Types on the guest's console. */
  type(text: string): void;
  /** Sends a QMP command. */
  qmp(command: string, args?: Record<string, unknown>): Promise<unknown>;
  /**
   * Waits until `find` gives something, looking again whenever the console or QEMU said more.
   * `rig.fault` after `withinMs`, or when QEMU has ended: the message tells what was seen.
   */
  until<T>(what: string, find: () => T | undefined, withinMs: number): Promise<T>;
  /** Ends QEMU, which writes its disks first unless it has to go at once; may be called twice. */
  stop(how?: "at once"): Promise<void>;
}

const stopMs = 5_000;

/**
 * The rig keeps the pty open, as a cable stays plugged in, and neither reads nor writes: QEMU looks
 * only once a second whether anybody has it open, and drops what the guest sends meanwhile.
 */
const cableFlags = fs.constants.O_RDWR | fs.constants.O_NOCTTY | fs.constants.O_NONBLOCK;

/** QEMU's descriptor for QMP: inherited, so there is no socket file whose path is too long. */
const qmpFd = 3;

function argumentsFor(start: GuestStart): string[] {
  const { image, logFolder, memoryMb = 512, behind = [] } = start;
  const { machine } = image;
  const flags: Flag[] = [
    ["-accel", "tcg"],
    ["-smp", "1"],
    ["-m", String(memoryMb)],
    ["-display", "none"],
    ["-vga", "none"],
    ["-action", "watchdog=reset"],
    ["-drive", `if=none,id=state,format=raw,file=${image.stateDisk.replaceAll(",", ",,")}`],
    ["-device", "virtio-blk-pci,drive=state,serial=state"],
    ["-chardev", "stdio,id=console,signal=off"],
    ["-serial", "chardev:console"],
    [
      "-chardev",
      `pty,id=link,logappend=on,logfile=${path.join(logFolder, "link.log").replaceAll(",", ",,")}`,
    ],
    machine.link,
    ["-chardev", `socket,id=qmp,fd=${qmpFd}`],
    ["-mon", "chardev=qmp,mode=control"],
  ];
  return ["-nodefaults", ...start.board, ...flags.flat(), ...behind];
}

/** A board on which QEMU itself puts the kernel into memory: there is no firmware. */
export function kernelBoard({ machine, kernel, initrd }: GuestImage): string[] {
  const append = `${consoleOptions(machine)} ${machine.kernelOptions}`;
  const flags: Flag[] = [
    ...machine.flags,
    ["-kernel", kernel],
    ["-initrd", initrd],
    ["-append", append],
  ];
  return flags.flat();
}

/** What the kernel is told of its console. */
export function consoleOptions({ consoleName }: Machine): string {
  return `console=${consoleName} loglevel=6`;
}

/** Boots the guest and returns as soon as QEMU runs it; wait for what it says with `until`. */
export async function startGuest(start: GuestStart): Promise<Guest> {
  fs.mkdirSync(start.logFolder, { recursive: true });
  const log = (file: string, text: string): void =>
    fs.appendFileSync(path.join(start.logFolder, file), text);
  const { machine } = start.image;
  const args = ["--pdeathsig", "KILL", machine.program, ...argumentsFor(start)];
  log("qemu.log", `setpriv ${args.join(" ")}\n`);
  const child = spawn("setpriv", args, { stdio: ["pipe", "pipe", "pipe", "pipe"] });
  const seen: Seen = {
    console: [],
    events: [],
    watchers: new Set(),
    ended: undefined,
    complaints: "",
  };
  const changed = (): void => {
    for (const look of seen.watchers) look();
  };
  const exited = watchEnd(child, seen, changed);
  readConsole(child.stdout as Readable, seen, changed, (text) => log("console.log", text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    seen.complaints = (seen.complaints + text).slice(-lineCharactersMax);
    log("qemu.log", text);
  });
  child.stdin?.on("error", () => {}); // that QEMU has ended is told by `until`
  const stop = (how?: "at once"): Promise<void> => end(child, exited, how === "at once");
  try {
    const event = (happened: QmpEvent): void => {
      keep(seen.events, happened, eventsMax);
      changed();
    };
    const line = (text: string): void => log("qmp.log", `${text}\n`);
    const opening = openQmp(child.stdio[qmpFd] as Duplex, { event, line });
    const qmp = await opening.catch(async (error: unknown) => {
      // A QEMU that does not come up hangs up just before it is gone and its complaint is here.
      await Promise.race([exited, delay(stopMs, undefined, { ref: false })]);
      throw seen.ended === undefined ? error : died(seen, machine);
    });
    const runsMs = performance.now();
    const serialPath = await ptyOf(qmp);
    const cable = fs.openSync(serialPath, cableFlags);
    exited.then(() => fs.closeSync(cable));
    return {
      pid: child.pid ?? 0,
      runsMs,
      serialPath,
      console: seen.console,
      events: seen.events,
      type: (text) => void child.stdin?.write(text),
      qmp: qmp.execute,
      until: (what, find, withinMs) => until(seen, what, find, withinMs),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves when QEMU is gone, and notes how. */
function watchEnd(child: ChildProcess, seen: Seen, changed: () => void): Promise<void> {
  return new Promise((resolve) => {
    const ended = (how: string): void => {
      seen.ended ??= how;
      changed();
      resolve();
    };
    child.on("error", () => ended("could not be started: setpriv of util-linux is missing"));
    child.on("exit", (status, signal) =>
      ended(signal === null ? `ended with status ${status}` : `was killed by ${signal}`),
    );
  });
}

function died(seen: Seen, machine: Machine): Failure {
  const notFound = /setpriv: .*No such file or directory/.test(seen.complaints);
  if (notFound) return missing(machine.program, machine.programFrom);
  return new Failure("rig.fault", `QEMU ${seen.ended}: ${seen.complaints.trim()}`);
}

/** The path of the pty that QEMU opened for the link: it answers with `pty:/dev/pts/7`. */
async function ptyOf(qmp: Qmp): Promise<string> {
  const chardevs = (await qmp.execute("query-chardev")) as { label: string; filename: string }[];
  const link = chardevs.find((chardev) => chardev.label === "link")?.filename;
  if (link?.startsWith("pty:") === true) return link.slice("pty:".length);
  throw new Failure("rig.fault", `QEMU gave no pty for the guest's second UART: ${link}`);
}

/** First asks, so that the disk is written; then does not ask. */
async function end(child: ChildProcess, exited: Promise<void>, atOnce: boolean): Promise<void> {
  child.kill(atOnce ? "SIGKILL" : "SIGTERM");
  const late = delay(stopMs, "late" as const, { ref: false });
  if ((await Promise.race([exited, late])) === "late") {
    child.kill("SIGKILL");
    await exited;
  }
  for (const stream of child.stdio) stream?.destroy();
}
