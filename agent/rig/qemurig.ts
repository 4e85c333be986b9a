/** The rig with an emulated card: one guest for all stories, broken from its own console. */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Link } from "../console/link.ts";
import { openPort } from "../console/session.ts";
import { Failure } from "../errors.ts";
import { RealClock } from "../io/clock.ts";
import type { CommandName, RequestOf, ResponseOf } from "../wire/commands.ts";
import { loggedPort } from "./framelog.ts";
import { prepareGuest } from "./guest.ts";
import { places, said } from "./init.ts";
import { type Guest, startGuest } from "./qemu.ts";
import {
  bootMs,
  CardFailed,
  type CardSettings,
  type HangKind,
  type Rig,
  untilAnswers,
} from "./rig.ts";
import type { ConsoleLine } from "./seen.ts";

const baud = 115_200;
const answerMs = 3000;
const shellMs = 60_000;
/** The agent is started again after a reset; then the guest does what is typed. */
const startFile = `${places.state}/start`;
const main = `[ -f ${startFile} ] && . ${startFile}
while read -r line; do eval "$line"; done`;
const holdDevice = `sh -c 'exec 9>/dev/watchdog; while :; do echo >&9; sleep 1; done' & HOLDER=$!`;
const forbidStop = `rmmod i6300esb && insmod ${places.modules}/*i6300esb.ko nowayout=1`;

export class QemuRig implements Rig {
  readonly name = "qemu";
  readonly lacks = {};
  private readonly project: string;
  private readonly logFolder: string;
  private guest: Guest | null = null;
  private link: Link | null = null;
  /** Events of QEMU that were of earlier stories. */
  private eventsBefore = 0;
  private shells = 0;
  /** The driver was loaded in a way that only a reset ends. */
  private isTainted = false;

  constructor(projectFolder: string, logFolder: string) {
    this.project = projectFolder;
    this.logFolder = logFolder;
  }

  get console(): readonly ConsoleLine[] {
    return this.guest?.console ?? [];
  }

  get expiries(): number[] {
    return this.eventTimes("WATCHDOG");
  }

  get resets(): number[] {
    return this.eventTimes("RESET");
  }

  now(): number {
    return performance.now();
  }

  async start(settings: CardSettings): Promise<void> {
    await this.plug(false);
    if (this.guest === null) await this.boot();
    await this.ready();
    const end = 'kill -9 "$AGENT" "$HOLDER" 2>/dev/null; wait 2>/dev/null';
    await this.shell(`${end}; mount -o remount,rw ${places.state}; rm -rf ${places.state}/*; sync`);
    if (this.isTainted || settings.noWayOut === true) {
      await this.card.qmp("system_reset");
      await this.card.until("reset", () => this.resets[0], bootMs);
      await this.ready();
    }
    this.isTainted = settings.noWayOut === true;
    if (settings.noWayOut === true) await this.mustShell(forbidStop);
    if (settings.held === true) await this.mustShell(`${holdDevice}; sleep 1`);
    await this.mustShell(`echo '${agentCommand(settings)}' >${startFile}; sync`);
    if (settings.readOnlyState === true) {
      await this.mustShell(`mount -o remount,ro ${places.state}`);
    }
    this.eventsBefore = this.card.events.length;
    const readies = this.lines("kenneld ready");
    await this.mustShell(`. ${startFile}`);
    await this.until(
      "agent",
      () => (this.lines("kenneld ready") > readies ? true : undefined),
      bootMs,
    );
    if (settings.unplugged === true) return;
    await this.plug(true);
    await untilAnswers(this);
  }

  async power(): Promise<void> {
    throw new Failure("rig.missing", "this rig cannot pull the plug yet; use the sim rig");
  }

  async reset(): Promise<void> {
    const before = this.resets.length;
    await this.card.qmp("system_reset");
    await this.card.until("reset", () => this.resets[before], bootMs);
    await this.ready();
    await untilAnswers(this);
  }

  async ask<N extends CommandName>(
    name: N,
    body: RequestOf<N> & Record<string, unknown>,
  ): Promise<ResponseOf<N>> {
    if (this.link === null) {
      throw new Failure("port.lost", "the host's end of the line is not plugged");
    }
    return await this.link.request(name, body);
  }

  async plug(inserted: boolean): Promise<void> {
    this.link?.close();
    this.link = null;
    if (!inserted) return;
    const log = (text: string): void =>
      fs.appendFileSync(path.join(this.logFolder, "frames.log"), text);
    const port = loggedPort(await openPort(this.card.serialPath, baud), () => this.now(), log);
    this.link = new Link(port, new RealClock(), { timeoutMs: answerMs, firstSequence: 0 });
  }

  async hang(kind: HangKind): Promise<void> {
    if (kind === "loop") await this.ask("rig.inject", { fault: "hang", for_ms: hangMs });
    // A kernel that panics does not answer, and without panic= it stands still for ever.
    else if (kind === "kernel") this.card.type("echo c >/proc/sysrq-trigger\n");
    else await this.mustShell(kind === "kill" ? 'kill -9 "$AGENT"' : 'kill -STOP "$AGENT"');
  }

  async restartAgent(): Promise<void> {
    await this.mustShell(`kill -9 "$AGENT"; wait "$AGENT" 2>/dev/null; . ${startFile}`);
    await untilAnswers(this);
  }

  async stepWall(ms: number): Promise<void> {
    await this.mustShell(`date -s @$(($(date +%s) + ${ms / 1000}))`);
  }

  async wait(ms: number): Promise<void> {
    await delay(ms);
  }

  async until<T>(what: string, find: () => T | undefined, withinMs: number): Promise<T> {
    try {
      return await this.card.until(what, find, withinMs);
    } catch (error) {
      const isLate = error instanceof Failure && error.message.startsWith(`no ${what} within`);
      throw isLate ? new CardFailed(error.message) : error;
    }
  }

  async close(): Promise<void> {
    await this.plug(false);
    await this.guest?.stop();
    this.guest = null;
  }

  private get card(): Guest {
    if (this.guest === null) throw new Failure("rig.fault", "the story has not started a card");
    return this.guest;
  }

  private async boot(): Promise<void> {
    const image = await prepareGuest({
      cacheFolder: path.join(this.project, ".cache/guest"),
      appFolder: path.join(this.project, "dist"),
      main,
      intoFolder: this.logFolder,
    });
    try {
      this.guest = await startGuest({ image, logFolder: this.logFolder });
    } finally {
      fs.rmSync(image.initrd);
    }
  }

  /** Waits until the guest reads what is typed. One reset can be several RESET events. */
  private async ready(): Promise<void> {
    const resetMs = (): number =>
      this.card.events.findLast(({ name }) => name === "RESET")?.atMs ?? Number.NEGATIVE_INFINITY;
    const isReady = (): true | undefined =>
      this.console.some(({ text, atMs }) => text.startsWith(said.ready) && atMs > resetMs())
        ? true
        : undefined;
    await this.card.until("guest that is ready", isReady, bootMs);
  }

  private lines(beginning: string): number {
    return this.console.filter(({ text }) => text.startsWith(beginning)).length;
  }

  private eventTimes(wanted: string): number[] {
    const events = this.guest?.events.slice(this.eventsBefore) ?? [];
    return events.filter(({ name }) => name === wanted).map(({ atMs }) => atMs);
  }

  /** Types a command and waits for its end; gives its exit status. */
  private async shell(command: string): Promise<number> {
    this.shells += 1;
    const end = new RegExp(`shell ${this.shells} ended (\\d+)`);
    this.card.type(`${command}\necho "shell ${this.shells} ended $?"\n`);
    const find = (): string | undefined =>
      this.console.findLast(({ text }) => end.test(text))?.text;
    const line = await this.card.until(`end of \`${command}\``, find, shellMs);
    return Number(end.exec(line)?.[1]);
  }

  private async mustShell(command: string): Promise<void> {
    const status = await this.shell(command);
    if (status === 0) return;
    throw new Failure("rig.fault", `the guest's \`${command}\` ended with status ${status}`);
  }
}

/** Longer than any story lasts, ms. */
const hangMs = 3_600_000;

/** Shell text that starts the agent and notes its pid. */
function agentCommand(settings: CardSettings): string {
  const { promiseMs, hardwareMs, tasks = [] } = settings;
  const words = [
    `node ${places.app}/kenneld.cjs --port ${places.port} --state ${places.state}/kennel`,
    `--promise ${promiseMs / 1000} --tee simulate --lab`,
    `--watchdog ${settings.held === true ? "prefer" : "require"}`,
    ...(hardwareMs === undefined ? [] : [`--hardware-max ${hardwareMs / 1000}`]),
    ...tasks.map(({ name, everyMs }) => `--task ${name}=${everyMs / 1000}`),
    ...(settings.allowDisarm === true ? ["--allow-disarm"] : []),
  ];
  return `${words.join(" ")} & AGENT=$!`;
}
