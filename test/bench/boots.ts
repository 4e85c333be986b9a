/**
 * A campaign of boots on simulated cards: hangs, power cuts, bad watchdogs and stuck tasks from a
 * seed. After each fault the card must be back by itself, or have been stuck where nothing covers
 * it; and the history must name the stage in which it hung.
 */
import { stageNames } from "../../agent/machines/bootrecord.ts";
import { PowerCut } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import type { WatchdogFaults } from "../../agent/sim/watchdog.ts";
import type { World } from "../../agent/sim/world.ts";
import { card } from "../worlds.ts";
import type { Row } from "./rows.ts";

/** Faults that one card goes through before the next card takes over. */
const faultsPerCard = 12;
/** Longer than any promise, budget or hold of these cards: what stands still now does for ever. */
const patienceMs = 600_000;
/** The disk operations of a few boots. */
const cutRange = 80;

const kinds = ["hang", "cut", "chip", "task", "loop", "kernel", "restart", "damaged"] as const;
type Kind = (typeof kinds)[number];

const chipFaults: readonly WatchdogFaults[] = [
  { grantsMs: 2000 },
  { grantsMs: 9000 },
  { refuses: true },
  { clamps: true },
  { deaf: true },
  { noWayOut: true },
  { frozenTimeLeft: true },
  { stopsAtProbe: true },
  { absent: true },
  { busy: { pid: 1, name: "systemd" } },
];

export interface Tally {
  boots: number;
  cards: number;
  /** Cards that ended in each slot. */
  readonly slots: Record<string, number>;
  readonly faults: Record<string, number>;
  /** Cards that had to be power-cycled: hung where no countdown runs. */
  uncovered: number;
  virtualMs: number;
}

class Campaign {
  readonly world: World;
  private readonly random: Random;
  private readonly tally: Tally;

  constructor(seed: number, tally: Tally) {
    this.random = new Random(seed);
    this.tally = tally;
    const { random } = this;
    this.world = card({
      seed,
      plan: { watchdogMs: random.pick([0, 3000, 5000]) },
      model: { maxMs: random.pick([5000, 8000, 60_000]), timeLeft: random.chance(0.8) },
      watchdog: { promise_s: random.range(4, 12) },
      tasks: [{ name: "dataplane", every_s: 1 }],
      stepMs: random.range(1, 200),
    });
  }

  run(): void {
    const { world, tally } = this;
    world.power(true);
    this.settle("power-on");
    for (let turn = 0; turn < faultsPerCard; turn++) {
      const kind = this.random.pick(kinds);
      tally.faults[kind] = (tally.faults[kind] ?? 0) + 1;
      this.suffer(kind);
      this.heal();
      this.settle(kind);
      this.acknowledge();
    }
    const slot = world.agent?.boot.entry?.slot ?? "none";
    tally.slots[slot] = (tally.slots[slot] ?? 0) + 1;
    tally.cards += 1;
    tally.boots += world.resets.length + 1;
    tally.virtualMs += world.clock.now();
  }

  private suffer(kind: Kind): void {
    switch (kind) {
      case "hang":
        return this.hang();
      case "cut":
        return this.cut();
      case "chip":
        this.world.chip.faults = this.random.pick(chipFaults);
        this.begin();
        return this.world.advance(this.random.int(30_000));
      case "damaged":
        this.faultEverySlot({ damagedRecord: true });
        this.begin();
        return this.settle(kind);
      case "restart":
        return this.restart();
      default:
        return this.stop(kind);
    }
  }

  /** The card hangs in the same step of every boot, one to seven times. */
  private hang(): void {
    const { world, random } = this;
    const name = random.pick(stageNames);
    const steps = world.config.plan.stages.find((stage) => stage.name === name)?.steps ?? [];
    const step = random.pick(steps.filter((candidate) => candidate !== "api_install"));
    this.faultEverySlot({ hang: { stage: name, step } });
    this.begin();
    for (let times = random.range(1, 7); times > 0; times--) {
      const before = world.resets.length;
      if (world.until(() => world.resets.length > before, patienceMs)) continue;
      this.must(name === "power_on", `hung in ${name}/${step} and was not reset`);
      this.tally.uncovered += 1;
      break;
    }
    this.heal();
    if (name === "power_on") this.powerCycle();
    this.settle(`${name}/${step}`);
    const ended = world.agent?.boot.journal.value.past.at(-1);
    // An agent that never ran could not note its stage.
    const known = step === "agent_start" ? "hand_off" : name;
    this.must(ended?.stage === known, `hung in ${name}/${step}, recorded as ${ended?.stage}`);
    if (name === "power_on" || name === "os_load") {
      this.must(ended?.step === step, `hung in ${name}/${step}, recorded as ${ended?.step}`);
    }
    const cause = name === "power_on" ? "power" : "watchdog";
    this.must(ended?.cause === cause, `${cause} recorded as ${ended?.cause}`);
  }

  /** The power fails at some disk operation of the next boots. */
  private cut(): void {
    const { world, random } = this;
    world.disk.operationsLeft = random.int(cutRange);
    if (random.chance(0.3)) this.faultEverySlot({ hang: { stage: "os_load", step: "verify" } });
    try {
      this.begin();
      world.advance(random.int(60_000));
    } catch (problem) {
      if (!(problem instanceof PowerCut)) throw problem;
      this.heal();
      this.powerCycle();
    }
    world.disk.operationsLeft = Infinity;
  }

  /** Something at runtime stops: the card must be reset by the watchdog. */
  private stop(kind: "task" | "loop" | "kernel"): void {
    const { world } = this;
    world.advance(this.random.int(20_000));
    // A watchdog that was bad until now may have reset the card meanwhile.
    this.settle(kind);
    if (kind === "task") world.stuckTasks.add("dataplane");
    if (kind === "loop") world.hangAgent(Infinity);
    if (kind === "kernel") world.hangKernel();
    const before = world.resets.length;
    const isReset = world.until(() => world.resets.length > before, patienceMs);
    this.must(isReset, `${kind} stopped and the card was not reset`);
    this.heal();
    this.settle(kind);
    const ended = world.agent?.boot.journal.value.past.at(-1);
    this.must(ended?.stage === "runtime", `${kind} stopped in runtime, not ${ended?.stage}`);
    this.must(kind !== "task" || ended?.culprit === "dataplane", `culprit ${ended?.culprit}`);
  }

  /** The agent dies; a service manager starts it again unless the watchdog was faster. */
  private restart(): void {
    const { world, random } = this;
    world.advance(random.int(20_000));
    const before = world.resets.length;
    world.killAgent();
    world.advance(random.int(1000));
    if (world.resets.length === before) world.startAgent();
  }

  private begin(): void {
    if (this.random.chance(0.5)) return this.world.reset("reboot");
    this.powerCycle();
  }

  private powerCycle(): void {
    this.world.power(false);
    this.world.power(true);
  }

  private faultEverySlot(faults: World["bootFaults"]["a"]): void {
    const { bootFaults } = this.world;
    for (const slot of ["a", "b", "safe"] as const) bootFaults[slot] = faults;
  }

  private heal(): void {
    this.faultEverySlot({});
    this.world.chip.faults = {};
    this.world.stuckTasks.clear();
  }

  /** The card comes back by itself, armed, in some slot, with its boot confirmed. */
  private settle(after: string): void {
    const { world } = this;
    const isBack = (): boolean =>
      world.agent?.boot.isConfirmed === true && world.agent.watchdog.isArmed;
    const done = world.until(isBack, patienceMs);
    if (!done && world.agent?.watchdog.isArmed === false) {
      // Booted unprotected while the watchdog was bad: true to its report, until the next boot.
      this.powerCycle();
      this.must(world.until(isBack, patienceMs), `not back after ${after}`);
      return;
    }
    this.must(done, `not back after ${after}: ${world.halted ?? "stuck"}`);
  }

  /** A host has read every report. */
  private acknowledge(): void {
    const { agent } = this.world;
    agent?.call(() => {
      for (const { boot, lastSeq } of agent.ledger.boots()) agent.ledger.acknowledge(boot, lastSeq);
    });
  }

  private must(condition: boolean, what: string): void {
    if (!condition) throw new Error(`seed ${this.random.seed}: ${what}`);
  }
}

/** Boots cards with consecutive seeds until there were as many boots as asked for. */
export function campaign(boots: number, firstSeed: number): Tally {
  const tally: Tally = { boots: 0, cards: 0, slots: {}, faults: {}, uncovered: 0, virtualMs: 0 };
  for (let seed = firstSeed; tally.boots < boots; seed++) new Campaign(seed, tally).run();
  return tally;
}

/** For the bench: 10 000 boots, and how many of them a core does in a second. */
export function benchBoots(): Row[] {
  const from = process.cpuUsage();
  const { boots, cards, slots, uncovered, virtualMs } = campaign(10_000, 1);
  const { user, system } = process.cpuUsage(from);
  const seconds = (user + system) / 1e6;
  const ended = Object.entries(slots).map(([slot, count]) => `${count} in ${slot}`);
  return [
    {
      name: "boots with random faults",
      value: `${Math.round(boots / seconds)} boots/s`,
      note: `${boots} boots of ${cards} cards in ${seconds.toFixed(1)} s of one core; none stuck`,
    },
    {
      name: "simulated time",
      value: `${Math.round(virtualMs / 1000 / seconds)} s/s`,
      note: `cards ended ${ended.join(", ")}; ${uncovered} hung in power_on, which is not covered`,
    },
  ];
}
