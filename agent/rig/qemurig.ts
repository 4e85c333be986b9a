/** The rig with an emulated card: one guest for all stories, broken from its own console. */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Link } from "../console/link.ts";
import { recordedPort } from "../console/recorder.ts";
import { openPort } from "../console/session.ts";
import { Failure } from "../errors.ts";
import { RealClock } from "../io/clock.ts";
import type { CommandName, RequestOf, ResponseOf } from "../wire/commands.ts";
import { type GuestImage, prepareGuest } from "./guest.ts";
import {
  agentEnded,
  agentText,
  authorise,
  driverText,
  endOfStory,
  hangTexts,
  harmTexts,
  holdDevice,
  killAgent,
  main,
  removeAddon,
  startAgent,
  startFile,
  stopAgent,
} from "./guestshell.ts";
import { places, said } from "./init.ts";
import type { Machine } from "./machines.ts";
import { type Guest, kernelBoard, startGuest } from "./qemu.ts";
import {
  AgentEnded,
  bootMs,
  CardFailed,
  type CardSettings,
  type HangKind,
  type Harm,
  type Rig,
  untilAnswers,
} from "./rig.ts";
import { RigKey } from "./rigkey.ts";
import type { ConsoleLine } from "./seen.ts";

const baud = 115_200;
const answerMs = 3000;
const shellMs = 60_000;

export class QemuRig implements Rig {
  readonly name: Machine["name"];
  readonly lacks: Machine["lacks"];
  protected readonly machine: Machine;
  protected readonly project: string;
  protected readonly logFolder: string;
  protected guest: Guest | null = null;
  protected link: Link | null = null;
  /** For a card that takes keys. */
  private key: RigKey | null = null;
  /** Events of QEMU that were of earlier stories. */
  protected eventsBefore = 0;
  private shells = 0;
  protected image: GuestImage | null = null;
  /** How the driver was loaded; null when it is not known, or only a reset ends it. */
  private driver: string | null = null;

  constructor(machine: Machine, projectFolder: string, logFolder: string) {
    this.machine = machine;
    this.name = machine.name;
    this.lacks = machine.lacks;
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
    if (this.guest === null) await this.powerOn();
    await this.ready();
    await this.shell(endOfStory);
    await this.loadDriver(settings);
    if (settings.held === true) await this.mustShell(holdDevice);
    if (settings.withoutAddon === true) await this.mustShell(removeAddon);
    await this.mustShell(`echo '${agentText(settings, this.machine.port)}' >${startFile}; sync`);
    if (settings.readOnlyState === true) {
      await this.mustShell(`mount -o remount,ro ${places.state}`);
    }
    this.key = settings.takesKeys === true ? new RigKey() : null;
    if (this.key !== null) await this.mustShell(authorise(this.key.line));
    this.eventsBefore = this.running.events.length;
    await this.runAgent();
    if (settings.unplugged === true) return;
    await this.plug(true);
    await untilAnswers(this);
  }

  async power(on: boolean, { waits } = { waits: true }): Promise<void> {
    if (on) {
      await this.plug(false);
      await this.powerOn();
      await this.plug(true);
      if (waits) await untilAnswers(this);
      return;
    }
    await this.plug(false);
    await this.guest?.stop("at once");
    this.guest = null;
    this.eventsBefore = 0;
  }

  async reset({ withoutAgent } = { withoutAgent: false }): Promise<void> {
    if (withoutAgent) await this.mustShell(`rm ${startFile}; sync`);
    await this.restartGuest();
    if (!withoutAgent) await untilAnswers(this);
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
    const port = await openPort(this.running.serialPath, baud);
    const recorded = recordedPort(port, () => this.now(), `rig:${this.now().toFixed(1)}ms`, log);
    const clock = new RealClock();
    this.link = new Link(recorded, clock, { timeoutMs: answerMs, firstSequence: 0 });
    this.key?.signFor(this.link, clock);
  }

  async hang(kind: HangKind): Promise<void> {
    if (kind === "loop") {
      await this.ask("rig.inject", { fault: "hang", for_ms: hangMs });
      return;
    }
    const { text, answers } = hangTexts[kind];
    if (answers) await this.mustShell(text);
    else this.running.type(`${text}\n`);
    // The agent is held by the frozen disk as soon as it has something to write.
    if (kind === "disk") {
      await this.ask("rig.inject", { fault: "hang", for_ms: 1 }).catch(() => undefined);
    }
  }

  async harm(kind: Harm): Promise<void> {
    await this.mustShell(harmTexts[kind]);
    if (kind === "device_gone") this.driver = null;
  }

  async restartAgent(): Promise<void> {
    await this.endAgent(killAgent);
    await this.runAgent();
    await untilAnswers(this);
  }

  async stopAgent(): Promise<void> {
    await this.endAgent(stopAgent);
  }

  async stepWall(ms: number): Promise<void> {
    await this.mustShell(`date -s @$(($(date +%s) + ${ms / 1000}))`);
  }

  async wait(ms: number): Promise<void> {
    await delay(ms);
  }

  async until<T>(what: string, find: () => T | undefined, withinMs: number): Promise<T> {
    try {
      return await this.running.until(what, find, withinMs);
    } catch (error) {
      const isLate = error instanceof Failure && error.message.startsWith(`no ${what} within`);
      throw isLate ? new CardFailed(error.message) : error;
    }
  }

  async close(): Promise<void> {
    await this.plug(false);
    await this.guest?.stop();
    this.guest = null;
    if (this.image !== null) fs.rmSync(this.image.initrd, { force: true });
    this.image = null;
  }

  protected get running(): Guest {
    if (this.guest === null) throw new Failure("rig.fault", "the story has not started a card");
    return this.guest;
  }

  protected async powerOn(): Promise<void> {
    this.image ??= await prepareGuest({
      machine: this.machine,
      cacheFolder: path.join(this.project, ".cache/guest"),
      appFolder: path.join(this.project, "dist"),
      main,
      intoFolder: this.logFolder,
    });
    this.guest = await startGuest({
      image: this.image,
      board: kernelBoard(this.image),
      logFolder: this.logFolder,
    });
  }

  private async restartGuest(): Promise<void> {
    const before = this.resets.length;
    await this.running.qmp("system_reset");
    await this.running.until("reset", () => this.resets[before], bootMs);
    await this.ready();
  }

  /** Waits until the guest reads what is typed. One reset can be several RESET events. */
  protected async ready(): Promise<void> {
    const resetMs = (): number =>
      this.running.events.findLast(({ name }) => name === "RESET" || name === "WATCHDOG")?.atMs ??
      Number.NEGATIVE_INFINITY;
    const isReady = (): true | undefined =>
      this.console.some(({ text, atMs }) => text.startsWith(said.ready) && atMs > resetMs())
        ? true
        : undefined;
    await this.running.until("guest that is ready", isReady, bootMs);
  }

  /** Has the driver loaded as the story wants it, which takes a reset where it is not. */
  private async loadDriver(settings: CardSettings): Promise<void> {
    const wanted = driverText(settings);
    if (this.driver === wanted && settings.noWayOut !== true) return;
    await this.mustShell(`echo '${wanted}' >${places.driver}; sync`);
    await this.restartGuest();
    this.driver = wanted;
  }

  /** Runs the start file, and waits until the agent is ready or gave up. */
  protected async runAgent(): Promise<void> {
    const [readies, ends] = [this.lines("kenneld ready"), this.lines(agentEnded)];
    await this.mustShell(startAgent);
    const isReady = await this.until(
      "agent",
      () => {
        if (this.lines("kenneld ready") > readies) return true;
        return this.lines(agentEnded) > ends ? false : undefined;
      },
      bootMs,
    );
    if (!isReady) throw new AgentEnded(this.lastWords());
  }

  protected async endAgent(how: string): Promise<void> {
    const ends = this.lines(agentEnded);
    await this.mustShell(how);
    const hasEnded = (): true | undefined => (this.lines(agentEnded) > ends ? true : undefined);
    await this.until("end of the agent", hasEnded, shellMs);
  }

  /** What the console said before the agent ended. */
  private lastWords(): string {
    const end = this.console.findLastIndex(({ text }) => text.startsWith(agentEnded));
    const words = this.console.slice(Math.max(0, end - lastWordsLines), end + 1);
    return words.map(({ text }) => text).join("\n");
  }

  protected lines(beginning: string): number {
    return this.console.filter(({ text }) => text.startsWith(beginning)).length;
  }

  private eventTimes(wanted: string): number[] {
    const events = this.guest?.events.slice(this.eventsBefore) ?? [];
    return events.filter(({ name }) => name === wanted).map(({ atMs }) => atMs);
  }

  /** Types a command and waits for its end; gives its exit status. */
  protected async shell(command: string, withinMs = shellMs): Promise<number> {
    this.shells += 1;
    const end = new RegExp(`shell ${this.shells} ended (\\d+)`);
    this.running.type(`${command}\necho "shell ${this.shells} ended $ended"\n`);
    const find = (): string | undefined =>
      this.console.findLast(({ text }) => end.test(text))?.text;
    const line = await this.running.until(`end of \`${command}\``, find, withinMs);
    return Number(end.exec(line)?.[1]);
  }

  protected async mustShell(command: string): Promise<void> {
    const status = await this.shell(command);
    if (status === 0) return;
    throw new Failure("rig.fault", `the guest's \`${command}\` ended with status ${status}`);
  }
}

/** Longer than any story lasts, ms. */
const hangMs = 3_600_000;
const lastWordsLines = 4;
