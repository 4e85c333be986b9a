/**
 * A whole card from one seed: chip, firmware with its stages, kernel, agent, TEE, a disk that
 * loses power and serial lines with noise, on one virtual clock. The agent in it is the real one;
 * everything it touches is a twin.
 */
import { Agent } from "../agent.ts";
import { type AgentConfig, configure, type Settings } from "../config.ts";
import { Failure } from "../errors.ts";
import { bootCodec } from "../heads/bootcodec.ts";
import { sha256 } from "../io/digest.ts";
import { verifier } from "../io/ed25519.ts";
import type { Platform } from "../io/platform.ts";
import { portQueueBytesMax } from "../io/port.ts";
import { type Supervisor, unsupervised } from "../io/supervisor.ts";
import { Journal } from "../journal.ts";
import type { HardwareCause, Slot } from "../machines/bootrecord.ts";
import { examine, plainSystem } from "../machines/doctor.ts";
import type { Telling } from "../wire/teeapi.ts";
import { SimApplications } from "./applications.ts";
import { SimAuthority } from "./authority.ts";
import type { SimBootControl } from "./bootcontrol.ts";
import { SimClock } from "./clock.ts";
import { SimDisk } from "./disk.ts";
import { type BootFaults, Firmware } from "./firmware.ts";
import { LifeClock } from "./life.ts";
import { plainPlatform } from "./platform.ts";
import { SimLine } from "./port.ts";
import { type ProgramFault, simPrograms } from "./programs.ts";
import { Random } from "./random.ts";
import { rigFaults } from "./rigfaults.ts";
import { SimTee } from "./tee.ts";
import { teeModel } from "./teemodel.ts";
import { SimChip, SimWatchdog } from "./watchdog.ts";
import { plainModel, type WatchdogModel } from "./watchdogmodels.ts";

export interface WorldOptions {
  readonly seed: number;
  /** The agent's configuration; that of a card with nothing set when absent. */
  readonly config?: AgentConfig;
  readonly model?: WatchdogModel;
  /** Milliseconds that each step of the boot takes. */
  readonly stepMs?: number;
  /** The boot loader's policy for a card without a watchdog. */
  readonly bootPolicy?: "prefer" | "require";
  /** Serial lines of the card; each is served by the agent. */
  readonly lineCount?: number;
  /** Whoever started the agent; nobody when absent. */
  readonly supervisor?: Supervisor;
  /** Bits per second of the lines. */
  readonly baud?: number;
  /** Lines that the agent writes before it gives up. */
  readonly log?: (line: string) => void;
}

/** Why the card went through a reset, as the world itself knows it. */
export interface Reset {
  readonly atMs: number;
  readonly by: "watchdog" | "power" | "reboot";
}

/** Time from the start of the agent's process to its first look at the watchdog, ms. */
const agentStartMs = 50;
/** An orderly reboot takes this long to reach the firmware, ms. */
const rebootMs = 200;

/** A card on which nothing real is asked for, and every fault can be. */
export function simConfig(settings: Settings = {}): AgentConfig {
  const simulated = { policy: "simulate" } as const;
  const watchdog = { ...simulated, allow_disarm: true, ...settings.watchdog };
  const tee = { ...simulated, ...settings.tee };
  // A simulated card has nothing to lose; who wants to try keys on it says so.
  const access = { policy: "open", ...settings.access } as const;
  return configure({ name: "sim", lab: true, ...settings, access, watchdog, tee }, __VERSION__);
}

/** Thrown by a call that never returns: whoever made it stands still from then on. */
class Hang extends Error {}

export class World {
  readonly clock = new SimClock();
  readonly random: Random;
  readonly config: AgentConfig;
  readonly chip: SimChip;
  readonly disk: SimDisk;
  readonly tee: SimTee;
  /** Who may command it, where that takes keys. */
  readonly authority: SimAuthority;
  readonly lines: SimLine[];
  /** What goes wrong in boots of each slot. */
  readonly bootFaults: Record<Slot, BootFaults> = { a: {}, b: {}, safe: {} };
  /** What the programs of the card were told of TEE services, and what became of their calls. */
  readonly notices: { service: string; available: boolean }[] = [];
  readonly verdicts = new Map<string, number>();
  /** Tasks of the card's operating system that have stopped checking in. */
  readonly stuckTasks = new Set<string>();
  /** What the kernel kept of its crashes. */
  readonly crashRecords: string[] = [];
  readonly resets: Reset[] = [];
  /** Boot controls of the platform; what they hold survives resets. */
  readonly controls: SimBootControl[] = [];
  /** What the early userspace hook left; null without one. */
  bootHook: string | null = null;
  /** What is wrong with programs that the agent asks, by their path. */
  readonly programFaults = new Map<string, ProgramFault>();
  firmware: Firmware | null = null;
  agent: Agent | null = null;
  driver: SimWatchdog | null = null;
  /** Why the card stands still on purpose: a boot policy not met, an agent that refused. */
  halted: string | null = null;
  private readonly options: WorldOptions;
  private readonly ids: Random;
  /** The agent's process, and the powered machine below it: what they planned dies with them. */
  private life: LifeClock | null = null;
  private machine: LifeClock;
  private boots = 0;
  private record: Uint8Array | null = null;
  private cause: HardwareCause = "unknown";
  private powered = false;

  constructor(options: WorldOptions) {
    this.options = options;
    this.random = new Random(options.seed);
    this.ids = this.random.fork("ids");
    this.config = options.config ?? simConfig();
    const model = options.model ?? plainModel;
    const randomness = this.random.fork("authority");
    this.authority = new SimAuthority(verifier, randomness);
    this.chip = new SimChip(this.clock, model, () => this.reset("watchdog"));
    this.disk = new SimDisk(this.random.fork("disk"));
    this.machine = new LifeClock(this.clock);
    const services = this.config.tee.services.map(({ name }) => name);
    this.tee = new SimTee(this.clock, this.random.fork("tee"), teeModel(services));
    this.lines = Array.from({ length: options.lineCount ?? 2 }, (_, at) => {
      const random = this.random.fork(`line${at}`);
      const baud = options.baud ?? 115_200;
      const queueBytes = portQueueBytesMax;
      return new SimLine({ baud, queueBytes, random, clock: this.clock });
    });
  }

  /** Plugs the card in, or pulls the plug. */
  power(on: boolean): void {
    if (on === this.powered) return;
    this.powered = on;
    if (on) {
      this.cause = "power";
      this.boot();
      return;
    }
    this.resets.push({ atMs: this.clock.now(), by: "power" });
    this.stopEverything();
    this.disk.powerLoss();
    this.chip.fired = false;
  }

  advance(ms: number): void {
    this.clock.advance(ms);
  }

  /** Advances until `done` holds; false when it does not within `withinMs`. */
  until(done: () => boolean, withinMs: number): boolean {
    const endMs = this.clock.now() + withinMs;
    while (!done()) {
      const next = this.clock.next();
      if (next === null || next > endMs) {
        this.clock.advance(Math.max(endMs - this.clock.now(), 0));
        return done();
      }
      this.clock.advance(Math.max(next - this.clock.now(), 0));
    }
    return true;
  }

  /** The agent's event loop is blocked for `forMs`; Infinity = for ever. */
  hangAgent(forMs: number): void {
    this.life?.hang(forMs);
  }

  /** The whole operating system stands still: agent, refresh thread and check-ins alike. */
  hangKernel(): void {
    this.life?.kill();
    this.tee.disconnect();
    this.driver?.halt();
    this.agent = null;
  }

  /** kill -9 of the agent: its thread dies with it, and nobody writes the magic character. */
  killAgent(): void {
    this.driver?.close();
    this.hangKernel();
    for (const line of this.lines) line.card.close();
  }

  /** The cable is back in the card, which opens its line again. */
  replug(line: SimLine): void {
    if (this.agent !== null && this.life !== null) this.agent.attach(this.life.port(line.card));
  }

  /** SIGTERM of the agent: it notes that, and leaves the watchdog counting. */
  stopAgent(): void {
    this.agent?.stop(false);
    this.killAgent();
  }

  /** An orderly reboot: the agent is stopped with everything else, and the firmware begins. */
  shutDown(): void {
    this.agent?.stop(true);
    this.reset("reboot");
  }

  /** Starts the agent again on the running kernel, as a service manager would. */
  startAgent(): void {
    this.machine.at(this.machine.now() + agentStartMs, () => this.runAgent());
  }

  /** Hardware reset or orderly reboot: what ran is gone, and the firmware begins. */
  reset(by: "watchdog" | "reboot"): void {
    if (!this.powered) return;
    this.resets.push({ atMs: this.clock.now(), by });
    this.stopEverything();
    if (by === "watchdog") {
      // What was not synced is lost; a power cut that was planned is still to come.
      const { operationsLeft } = this.disk;
      this.disk.powerLoss();
      this.disk.operationsLeft = operationsLeft;
    }
    this.cause = "unknown";
    this.boot();
  }

  private stopEverything(): void {
    this.machine.kill();
    this.killAgent();
    this.chip.stop();
    this.tee.powerCycle();
    this.driver = null;
    this.firmware = null;
    this.record = null;
    this.halted = null;
  }

  private boot(): void {
    const { plan } = this.config;
    this.boots += 1;
    this.machine = new LifeClock(this.clock);
    const record = new Journal(this.disk, "boot", bootCodec(plan.attemptsMax));
    this.firmware = new Firmware({
      clock: this.machine,
      chip: this.chip.faults.absent === true ? null : this.chip,
      record,
      plan,
      policy: this.options.bootPolicy ?? "prefer",
      hardware: this.chip.fired ? "watchdog" : this.cause,
      randomId: this.hex(8),
      faults: this.bootFaults,
      stepMs: this.stepMs,
      handOver: (bytes) => {
        this.record = bytes;
        this.runKernel(record.value.current?.slot ?? "a");
      },
      stopped: (because) => {
        this.halted = because;
      },
    });
  }

  /** The kernel: a few steps that nobody refreshes in, then its driver, then the agent. */
  private runKernel(slot: Slot): void {
    const names = this.config.plan.stages.find(({ name }) => name === "hand_off")?.steps ?? [];
    const { hang } = this.bootFaults[slot];
    const { machine } = this;
    const next = (at: number): void => {
      const name = names[at];
      if (hang?.stage === "hand_off" && hang.step === name) return;
      if (name !== undefined) {
        machine.at(machine.now() + this.stepMs, () => next(at + 1));
        return;
      }
      if (this.chip.faults.absent !== true) this.driver = new SimWatchdog(this.chip, this.clock);
      if (hang?.stage !== "adopt" || hang.step !== "agent_start") this.startAgent();
    };
    next(0);
  }

  private get stepMs(): number {
    return this.options.stepMs ?? 100;
  }

  private runAgent(): void {
    const life = new LifeClock(this.clock);
    this.life = life;
    try {
      const agent = new Agent(
        {
          clock: life,
          disk: this.disk,
          platform: this.platform(),
          watchdog: this.driver,
          watchdogProblem: "no watchdog device found",
          tee: life.tee(this.tee),
          authority: this.authority,
          supervisor: this.options.supervisor ?? unsupervised,
          controls: this.controls,
          runProgram: simPrograms(life, this.programFaults),
          examine: () => examine({ ...plainSystem, watchdog: this.driver?.facts() ?? null }, 0),
          sha256,
          faults: this.config.lab ? rigFaults(this) : {},
          log: this.options.log ?? (() => undefined),
        },
        this.config,
      );
      this.agent = agent;
      const programs = new SimApplications(life);
      agent.applications.serve(programs, (act) => agent.call(act));
      for (const line of this.lines) agent.attach(life.port(line.card));
      const { hang } = this.bootFaults[agent.boot.entry?.slot ?? "a"];
      if (hang?.stage === "adopt" && this.driver !== null) {
        this.driver.open = () => {
          throw new Hang("the driver does not return");
        };
      }
      agent.start();
      if (hang?.stage === "runtime") life.at(life.now(), () => life.hang(Infinity));
      for (const { name, everyMs } of this.config.tasks) this.runTask(life, name, everyMs / 2);
      for (const { name } of this.config.tee.services)
        programs.run(name, (said) => this.heard(said));
    } catch (error) {
      if (error instanceof Hang) return this.hangKernel();
      if (!(error instanceof Failure)) throw error;
      this.halted = error.message;
      this.agent = null;
    }
  }

  /** A task of the operating system, checking in twice as often as it promised. */
  private runTask(life: LifeClock, name: string, everyMs: number): void {
    if (!this.stuckTasks.has(name)) this.agent?.checkIn(name);
    life.at(life.now() + everyMs, () => this.runTask(life, name, everyMs));
  }

  /** What a program of the card was told. */
  private heard(said: Telling): void {
    if (said.kind === "notice") this.notices.push(said);
    if (said.kind !== "verdict") return;
    this.verdicts.set(said.verdict, (this.verdicts.get(said.verdict) ?? 0) + 1);
  }

  private platform(): Platform {
    return {
      ...plainPlatform(this.config.name, this.clock),
      machineBootId: () => `machine-${this.boots}`,
      deviceId: () => `sim-${this.options.seed}`,
      randomId: () => this.hex(8),
      handOff: () => this.record,
      // Firmware and agent share one record.
      firmwareBoots: () => null,
      isOneClock: true,
      bootHook: () => this.bootHook,
      resetCause: () => (this.cause === "watchdog" ? "unknown" : this.cause),
      crashRecords: () => this.crashRecords.slice(),
      panicText: (records) => (records.length === 0 ? "" : "simulated panic"),
      crashText: (records) => records.map((record) => `== ${record}`).join("\n"),
      reboot: () => {
        this.clock.at(this.clock.now() + rebootMs, () => this.reset("reboot"));
      },
    };
  }

  private hex(digits: number): string {
    return this.ids.int(0x100000000).toString(16).padStart(digits, "0");
  }
}
