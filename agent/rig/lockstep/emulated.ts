/** The hardware's side of lockstep: an emulated card with a real driver, told what to do. */
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../../errors.ts";
import { prepareGuest } from "../guest.ts";
import { places } from "../init.ts";
import { pc } from "../machines.ts";
import { type Guest, kernelBoard, startGuest } from "../qemu.ts";
import { bootMs } from "../rig.ts";
import type { Device } from "./run.ts";
import { forEverMs, parseStep } from "./script.ts";
import type { DeviceName } from "./simulated.ts";
import { expired, type Look, type TraceEvent } from "./trace.ts";

/** Where the programs are, as the guest has them and as the project does. */
export const guestProgram = ".build/test/fixtures/lockstepguest.cjs";
const nativeFolder = "dist/native";
/** The program looks for dist/native in the project; here that is beside it. */
const asInProject = "ln -s . dist";
/** A step takes milliseconds; a machine that is busy with something else, seconds. */
const slackMs = 30_000;

/** What the guest program prints, one of these per line. */
interface Message {
  readonly id?: number;
  readonly event?: TraceEvent;
  readonly done?: true;
  readonly boot?: Look;
  readonly broken?: string;
}

interface Heard extends Message {
  readonly heardMs: number;
}

export class EmulatedDevice implements Device {
  private readonly guest: Guest;
  private runs = 0;
  /** How much of the console was of earlier runs. */
  private consoleBefore = 0;

  private constructor(guest: Guest) {
    this.guest = guest;
  }

  /** Boots a guest; `folder` gets its logs. */
  static async boot(project: string, folder: string, name: DeviceName): Promise<EmulatedDevice> {
    const app = path.join(folder, "app");
    copyInto(app, project, guestProgram);
    fs.cpSync(path.join(project, nativeFolder), path.join(app, "native"), { recursive: true });
    const main = mainFor(name);
    const cacheFolder = path.join(project, ".cache/guest");
    const parts = { cacheFolder, appFolder: app, main, intoFolder: folder };
    const image = await prepareGuest({ machine: pc, ...parts });
    try {
      const guest = await startGuest({ image, board: kernelBoard(image), logFolder: folder });
      const device = new EmulatedDevice(guest);
      try {
        await device.booted(0);
      } catch (error) {
        await guest.stop();
        throw error;
      }
      return device;
    } finally {
      fs.rmSync(image.initrd);
    }
  }

  /** Does the script from a known state; afterwards the guest is ready for the next one. */
  async run(script: readonly string[]): Promise<TraceEvent[]> {
    this.runs += 1;
    const id = this.runs;
    const expiries = this.expiries().length;
    this.consoleBefore = this.guest.console.length;
    this.guest.type(`${JSON.stringify({ id, script })}\n`);
    const events: TraceEvent[] = [];
    let lastHeardMs = 0;
    for (const [at, step] of ["start", ...script].entries()) {
      const withinMs = slackMs + (at === 0 ? 0 : parseStep(step).ms);
      const what = `end of "${step}"`;
      const next = (): Heard | number | undefined =>
        this.heard().filter((message) => message.id === id && message.event !== undefined)[at] ??
        this.expiries()[expiries];
      const found = await this.guest.until(what, next, Math.min(withinMs, slackMs + forEverMs));
      if (typeof found === "number") {
        const atMs = Math.round((events.at(-1)?.atMs ?? 0) + found - lastHeardMs);
        const look = (await this.booted(found)).boot ?? null;
        events.push({ step, atMs, result: expired, look: null });
        events.push({ step: "boot", atMs, result: null, look });
        return events;
      }
      lastHeardMs = found.heardMs;
      if (found.event !== undefined) events.push(found.event);
    }
    return events;
  }

  async stop(): Promise<void> {
    await this.guest.stop();
  }

  /** Resets the card whatever it does. */
  async reset(): Promise<void> {
    const beforeMs = performance.now();
    await this.guest.qmp("system_reset");
    await this.booted(beforeMs);
  }

  /** What the guest said first after it was reset at `sinceMs`. */
  private booted(sinceMs: number): Promise<Heard> {
    const find = (): Heard | undefined =>
      this.heard().find(({ boot, heardMs }) => boot !== undefined && heardMs > sinceMs);
    return this.guest.until("guest that is ready", find, bootMs);
  }

  private expiries(): number[] {
    return this.guest.events.filter(({ name }) => name === "WATCHDOG").map(({ atMs }) => atMs);
  }

  private heard(): Heard[] {
    const news = this.guest.console.slice(this.consoleBefore);
    const lines = news.filter(({ text }) => text.startsWith("@ "));
    return lines.map(({ text, atMs }) => {
      const message = JSON.parse(text.slice(2)) as Message;
      if (message.broken === undefined) return { ...message, heardMs: atMs };
      throw new Failure("rig.fault", `the guest's program broke: ${message.broken}`);
    });
  }
}

const drivers: Readonly<Record<DeviceName, string>> = { i6300esb: "i6300esb", itco: "iTCO_wdt" };

/** What the guest does: the driver alone, in this boot and in the next; a console without noise. */
function mainFor(name: DeviceName): string {
  const load = `load ${drivers[name]}`;
  const first = `rmmod i6300esb; ${load}; echo "${load}" >${places.driver}; sync`;
  return [
    `if [ ! -f ${places.driver} ]; then ${first}; fi`,
    "dmesg -n 1; stty -echo",
    asInProject,
    `node ${places.app}/${guestProgram}`,
  ].join("\n");
}

function copyInto(folder: string, project: string, file: string): void {
  const from = path.join(project, file);
  if (!fs.existsSync(from)) {
    throw new Failure("rig.missing", `there is no ${file}; build it: node build.mjs --tests`);
  }
  fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
  fs.copyFileSync(from, path.join(folder, file));
}
