/**
 * The restart provider `simulated`: starts, ends and restarts the process that stands for the TEE
 * OS, and loads its driver. Its commands are of the same kind as those of a real card, so that the
 * same restarter performs them; the first word says that they are ours.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { toPipe } from "../wire/teepipe.ts";
import type { TwinControl } from "../wire/teetwin.ts";
import { sharers } from "./holder.ts";
import type { RunProgram } from "./program.ts";
import type { TeeProviders } from "./teeproviders.ts";
import { devicePath, socketPath } from "./twindriver.ts";

/** First word of a command that no program is started for. */
const ours = "kennel-twin";
const command = (verb: string): readonly string[] => [ours, verb];

/** What can be restarted of a twin: everything, as it is only pretended. */
export const twinProviders: TeeProviders = {
  supplicant: { stop: command("supplicant-stop"), start: command("supplicant-start") },
  driver: { unload: command("unload"), load: command("load") },
  firmware: { command: command("restart") },
  hardware: { save: command("save"), restore: command("restore") },
};
/** What firmware would keep of a crash; the values of a pretended one are nowhere. */
const savedNames = "CNTPS_CTL_EL1 CNTPS_CVAL_EL1 GICD_ISENABLER TZASC_REGION";

export interface TwinSetup {
  /** kennel-teetwin.cjs. */
  readonly program: string;
  readonly folder: string;
  readonly services: readonly string[];
  /** All times of the simulated TEE are multiplied by this; 1 = as measured on OP-TEE. */
  readonly timesBy?: number;
}

/** The secure world's process, started by us or found running. */
export class TwinProcess {
  readonly folder: string;
  private readonly setup: TwinSetup;
  private child: ChildProcess | null = null;
  /** Restarts of the TEE OS by this provider, and how long each took, ms. */
  readonly restartsMs: number[] = [];
  private stopped = false;

  constructor(setup: TwinSetup) {
    this.setup = setup;
    this.folder = setup.folder;
    mkdirSync(setup.folder, { recursive: true, mode: 0o700 });
  }

  /** The process id of the TEE OS that listens, or listened last; null when there was none. */
  get pid(): number | null {
    try {
      return Number(readFileSync(join(this.folder, "pid"), "utf8"));
    } catch {
      return null;
    }
  }

  private get lastInstance(): number {
    try {
      return Number(readFileSync(join(this.folder, "instance"), "utf8"));
    } catch {
      return 0;
    }
  }

  /** Uses the one that runs in this folder, or starts one. `done` is told whether it listens. */
  start(done: (isUp: boolean) => void): void {
    const socket = connect(socketPath(this.folder));
    socket.on("connect", () => {
      socket.destroy();
      this.writeSupplicant("1");
      done(true);
    });
    socket.on("error", () => {
      // As at power-on: the driver is loaded with the TEE OS that comes up.
      writeFileSync(devicePath(this.folder), String(this.lastInstance + 1));
      this.launch(done);
    });
  }

  /** Ends the TEE OS at once, as a crash does: whoever is inside hears nothing. */
  kill(): void {
    const { pid } = this;
    try {
      if (pid !== null && isTwin(pid)) process.kill(pid, "SIGKILL");
    } catch {
      // It has ended already.
    }
  }

  /** Ends it for good. */
  stop(): void {
    this.stopped = true;
    this.child?.stdin?.end();
    this.child?.kill("SIGKILL");
    this.child = null;
  }

  /** Tells the TEE OS something besides calls; `done` is told whether it heard. */
  control(message: Omit<TwinControl, "id">, done: (isHeard: boolean) => void): void {
    const socket = connect(socketPath(this.folder));
    let greeted = 0;
    socket.on("error", () => done(false));
    socket.on("connect", () => socket.write(toPipe({ ...message, id: 1 } as never)));
    // The greeting and the reply: both are there once that many bytes of two frames are.
    socket.on("data", (some) => {
      greeted += frames(some);
      if (greeted < 2) return;
      socket.destroy();
      done(true);
    });
  }

  /** Runs the commands of `twinProviders`, and passes on every other. */
  runner(run: RunProgram): RunProgram {
    return (words, done) => {
      if (words[0] !== ours) return run(words, done);
      let isOver = false;
      const end = (ok: boolean, value = "done"): void => {
        if (!isOver) setImmediate(() => done({ ok, value }));
        isOver = true;
      };
      this.act(words[1] ?? "", end);
      return () => {
        isOver = true;
      };
    };
  }

  private act(verb: string, end: (ok: boolean, value?: string) => void): void {
    const device = devicePath(this.folder);
    switch (verb) {
      case "restart":
        return this.restart(end);
      case "unload":
        // rmmod with any open descriptor: EAGAIN at once, harmless (measured).
        if (sharers(device).length > 0) return end(false, "rmmod: EAGAIN");
        rmSync(device, { force: true });
        return end(true);
      case "load":
        writeFileSync(device, String(this.lastInstance));
        return end(true);
      case "supplicant-stop":
        this.writeSupplicant(null);
        return this.control({ control: "supplicant", isUp: false }, (heard) => end(heard));
      case "supplicant-start":
        this.writeSupplicant(String(Date.now()));
        return this.control({ control: "supplicant", isUp: true }, (heard) => end(heard));
      case "save":
        return end(true, savedNames);
      default:
        return end(true);
    }
  }

  private restart(end: (ok: boolean, value?: string) => void): void {
    const startedMs = performance.now();
    this.kill();
    this.launch((isUp) => {
      if (isUp) this.restartsMs.push(performance.now() - startedMs);
      end(isUp, isUp ? "restarted" : "it does not listen");
    });
  }

  private launch(done: (isUp: boolean) => void): void {
    if (this.stopped) return done(false);
    const { program, services, timesBy = 1 } = this.setup;
    const words = [program, this.folder, services.join(","), String(timesBy)];
    const child = spawn(process.execPath, words, { stdio: ["pipe", "pipe", "ignore"] });
    this.child = child;
    this.writeSupplicant("1");
    child.stdin.on("error", () => undefined);
    let isOver = false;
    const end = (isUp: boolean): void => {
      if (!isOver) done(isUp);
      isOver = true;
    };
    child.stdout.once("data", () => {
      child.stdout.destroy();
      end(true);
    });
    child.on("error", () => end(false));
    child.on("close", () => end(false));
    // The agent can end before it does: it then ends too, with its standard input.
    child.unref();
  }

  /** Who serves the storage: what tells a supplicant's death from a lack of memory. */
  private writeSupplicant(id: string | null): void {
    const path = join(this.folder, "supplicant");
    if (id === null) rmSync(path, { force: true });
    else writeFileSync(path, id);
  }
}

/** As SupplicantWatch, for a supplicant that is only pretended. */
export class TwinSupplicant {
  private readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  now(): string | null {
    try {
      return readFileSync(join(this.folder, "supplicant"), "utf8");
    } catch {
      return null;
    }
  }

  atStart(): string | null {
    return this.now();
  }
}

function frames(some: Buffer): number {
  let count = 0;
  for (let at = 0; at + 4 <= some.length; at += 4 + some.readUInt32BE(at)) count += 1;
  return count;
}

/** A process id may be somebody else's by now. */
function isTwin(pid: number): boolean {
  return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes("teetwin");
}
