/** The rig with a simulated card: virtual time, the real agent, the console's own link. */
import fs from "node:fs";
import path from "node:path";
import { Link } from "../console/link.ts";
import { recordedPort } from "../console/recorder.ts";
import { Failure } from "../errors.ts";
import { itcoModel } from "../sim/watchdogmodels.ts";
import { simConfig, World } from "../sim/world.ts";
import type { CommandName, RequestOf, ResponseOf } from "../wire/commands.ts";
import {
  AgentEnded,
  CardFailed,
  type CardSettings,
  type HangKind,
  type Harm,
  type Rig,
  untilAnswers,
} from "./rig.ts";
import { RigKey } from "./rigkey.ts";
import type { ConsoleLine } from "./seen.ts";

/** How long one question may take, ms of the card's time. */
const answerMs = 2000;
const seed = 1;

export class SimRig implements Rig {
  readonly name = "sim";
  readonly lacks = {
    processes: "the simulated card has neither processes nor a scheduler to break",
    softdog: "the simulated card has no watchdog of software",
    only_looking: "the simulated agent takes its watchdog whatever the policy",
    kernel_core: "the simulated kernel refreshes for nobody",
    native_addon: "the simulated agent has no native part",
  };
  readonly console: ConsoleLine[] = [];
  private readonly logFolder: string;
  private world: World | null = null;
  private link: Link | null = null;
  private key: RigKey | null = null;

  /** `logFolder` gets console.log and frames.log. */
  constructor(logFolder: string) {
    this.logFolder = logFolder;
  }

  get expiries(): number[] {
    return this.resetTimes(({ by }) => by === "watchdog");
  }

  get resets(): number[] {
    return this.resetTimes(() => true);
  }

  now(): number {
    return this.card.clock.now();
  }

  async start(settings: CardSettings): Promise<void> {
    await this.close();
    const world = worldFor(settings, (text) => this.say(text));
    this.world = world;
    this.key = settings.takesKeys === true ? new RigKey() : null;
    if (this.key !== null) world.authority.write(this.key.line);
    if (settings.unplugged !== true) await this.plug(true);
    world.power(true);
    await this.until("agent", () => world.agent ?? world.halted ?? undefined, agentMs);
    if (world.halted !== null) throw new AgentEnded(world.halted);
    if (settings.unplugged !== true) await untilAnswers(this);
  }

  async power(on: boolean, { waits } = { waits: true }): Promise<void> {
    this.card.power(on);
    if (on && waits) await untilAnswers(this);
  }

  async reset({ withoutAgent } = { withoutAgent: false }): Promise<void> {
    if (withoutAgent) throw new Failure("rig.missing", this.lacks.kernel_core);
    this.card.reset("reboot");
    await untilAnswers(this);
  }

  async ask<N extends CommandName>(
    name: N,
    body: RequestOf<N> & Record<string, unknown>,
  ): Promise<ResponseOf<N>> {
    const { link } = this;
    if (link === null) throw new Failure("port.lost", "the host's end of the line is not plugged");
    let isSettled = false;
    const answer = link.request(name, body).finally(() => {
      isSettled = true;
    });
    answer.catch(() => {}); // it is awaited below
    while (!isSettled) await this.step(this.now() + answerMs);
    return answer;
  }

  async plug(inserted: boolean): Promise<void> {
    this.link?.close();
    this.link = null;
    const [line] = this.card.lines;
    if (!inserted || line === undefined) return;
    const log = (text: string): void => this.log("frames.log", text);
    const port = recordedPort(line.host, () => this.now(), `virtual:${this.now()}ms`, log);
    this.link = new Link(port, this.card.clock, { timeoutMs: answerMs, firstSequence: 0 });
    this.key?.signFor(this.link, this.card.clock);
  }

  async hang(kind: HangKind): Promise<void> {
    if (kind === "loop") this.card.hangAgent(Infinity);
    else if (kind === "kill") this.card.killAgent();
    // A stopped process refreshes as little as a stopped kernel: its threads stand still as well.
    else if (kind === "stop" || kind === "kernel") this.card.hangKernel();
    else throw new Failure("rig.missing", this.lacks.processes);
    if (kind === "kernel") this.card.crashRecords.push(`dmesg-sim-0@${this.now()}`);
  }

  async harm(kind: Harm): Promise<void> {
    if (kind === "busy_processor") throw new Failure("rig.missing", this.lacks.processes);
    if (kind === "disk_full") this.card.disk.faults = { full: true };
    else {
      this.card.chip.stop();
      this.card.chip.faults.gone = true;
    }
  }

  async stopAgent(): Promise<void> {
    this.card.stopAgent();
  }

  async restartAgent(): Promise<void> {
    this.card.killAgent();
    this.card.startAgent();
    await untilAnswers(this);
  }

  async stepWall(ms: number): Promise<void> {
    this.card.clock.stepWall(ms);
  }

  async wait(ms: number): Promise<void> {
    const endMs = this.now() + ms;
    while (this.now() < endMs) await this.step(endMs);
  }

  async until<T>(what: string, find: () => T | undefined, withinMs: number): Promise<T> {
    const endMs = this.now() + withinMs;
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (this.now() >= endMs) throw new CardFailed(`no ${what} within ${withinMs / 1000} s`);
      await this.step(endMs);
    }
  }

  async close(): Promise<void> {
    this.link?.close();
    this.link = null;
    this.world?.power(false);
    this.world = null;
  }

  private get card(): World {
    if (this.world === null) throw new Failure("rig.fault", "the story has not started a card");
    return this.world;
  }

  private resetTimes(counts: (reset: World["resets"][number]) => boolean): number[] {
    const resets = this.world?.resets.filter(counts) ?? [];
    return resets.map(({ atMs }) => atMs);
  }

  /** Moves to the next thing that happens, `endMs` at the latest, and lets promises follow. */
  private async step(endMs: number): Promise<void> {
    const { clock } = this.card;
    clock.advanceTo(Math.max(Math.min(clock.next() ?? endMs, endMs), clock.now()));
    await new Promise((resolve) => setImmediate(resolve));
  }

  private say(text: string): void {
    const atMs = this.now();
    this.console.push({ atMs, text });
    this.log("console.log", `${text}\n`);
  }

  private log(file: string, text: string): void {
    fs.appendFileSync(path.join(this.logFolder, file), text);
  }
}

/** A simulated boot, whatever it has to try, ms. */
const agentMs = 60_000;

function worldFor(settings: CardSettings, log: (line: string) => void): World {
  const { promiseMs, hardwareMs, tasks = [] } = settings;
  const world = new World({
    seed,
    log,
    ...(settings.device === "iTCO_wdt" ? { model: itcoModel } : {}),
    config: simConfig({
      ...(settings.takesKeys === true ? { access: { policy: "keys" } } : {}),
      watchdog: {
        policy: settings.policy ?? "simulate",
        promise_s: promiseMs / 1000,
        ...(hardwareMs === undefined ? {} : { hardware_max_s: hardwareMs / 1000 }),
        allow_disarm: settings.allowDisarm ?? false,
      },
      tasks: tasks.map(({ name, everyMs }) => ({ name, every_s: everyMs / 1000 })),
    }),
  });
  for (const { name } of tasks) world.stuckTasks.add(name); // the story checks in, or does not
  if (settings.noWayOut === true) world.chip.faults.noWayOut = true;
  if (settings.held === true) world.chip.faults.busy = { pid: 1, name: "sh" };
  if (settings.readOnlyState === true) world.disk.faults = { readOnly: true };
  return world;
}
