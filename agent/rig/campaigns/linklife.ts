/**
 * One run of the campaign against the line: a simulated card with the real agent, hosts with the
 * console's real receiving code, and what happens to them, from a seed. Promises are checked while
 * it happens (linktruth.ts), and once more when everything has been left in peace.
 */
import { setImmediate as turn } from "node:timers/promises";
import { Store } from "../../console/store.ts";
import { portQueueBytesMax } from "../../io/port.ts";
import { pendingMax } from "../../ledger.ts";
import { PowerCut, type SimDisk } from "../../sim/disk.ts";
import type { LineFaults } from "../../sim/port.ts";
import { Random } from "../../sim/random.ts";
import { simConfig, World } from "../../sim/world.ts";
import type { Report } from "../../wire/commands.ts";
import { Violation } from "./campaign.ts";
import type { LinkBug } from "./link.ts";
import { Host, Socket } from "./linkhost.ts";
import { Truth } from "./linktruth.ts";

/** How often each thing has been met. */
export type LinkHits = Map<string, number>;

const promiseS = 8;
/** The card remembers the counts of 16 boots; a run stays below. */
const boots = { card: 7, host: 12 };
/** After the last fault everything has arrived within this time; resends come every 30 s. */
const drainMs = 300_000;
const faultsPerLife = 14;
/** Reports of one burst: more than the spool holds. */
const burst = [pendingMax + 40, pendingMax + 200] as const;
const perCall = 100;
const noiseMs = 3_600_000;
const bitError = 1e-3;
/** Between two reports of the noisy hour, ms. */
const noisyEveryMs = 12_000;

export class LinkLife {
  readonly random: Random;
  readonly world: World;
  readonly truth: Truth;
  readonly sockets: Socket[];
  readonly hosts: Host[];
  readonly bug: LinkBug | null;
  private readonly hits: LinkHits;
  private touched = false;
  private cutIsPlanned = false;
  private spoiled: unknown = null;

  constructor(seed: number, hits: LinkHits, bug: LinkBug | null) {
    this.random = new Random(seed, 5);
    this.hits = hits;
    this.bug = bug;
    const { random } = this;
    const lineCount = random.range(1, 2);
    const config = simConfig({ watchdog: { promise_s: promiseS } });
    this.world = new World({ seed, lineCount, stepMs: 5, config });
    this.truth = new Truth(() => this.world.agent?.ledger.boots() ?? null);
    if (bug === "unsynced") leaveUnsynced(this.world.disk);
    this.truth.watchCard(this.world.disk);
    this.sockets = this.world.lines.map((line) => new Socket(line));
    // Alone, one on each line, or both on one.
    const hostCount = random.range(1, 2);
    this.hosts = Array.from({ length: hostCount }, (_, at) => {
      const socket = this.sockets[at % lineCount] as Socket;
      const touched = (): void => {
        this.touched = true;
      };
      const { clock } = this.world;
      return new Host({ clock, socket, random: random.fork(`host${at}`), bug, touched });
    });
    for (const { disk } of this.hosts) this.truth.watchStore(disk);
  }

  hit(name: string, by = 1): void {
    this.hits.set(name, (this.hits.get(name) ?? 0) + by);
  }

  most(name: string, value: number, limit: number): void {
    if (value > limit) throw new Violation("bounded", `${value} ${name}, at most ${limit}`);
    const key = `most:${name}`;
    this.hits.set(key, Math.max(this.hits.get(key) ?? 0, value));
  }

  /** Moves time on, and lets the hosts' promises run whenever something of them has run. */
  async advance(ms: number): Promise<void> {
    const { clock } = this.world;
    const endMs = clock.now() + ms;
    for (;;) {
      const next = Math.min(clock.next() ?? endMs, endMs);
      this.step(Math.max(next - clock.now(), 0));
      if (this.touched) {
        this.touched = false;
        await turn();
        this.judge();
      }
      if (clock.now() >= endMs && (clock.next() ?? Infinity) > endMs) return this.judge();
    }
  }

  private step(ms: number): void {
    this.attempt(() => {
      this.world.advance(ms);
      this.plant();
    });
  }

  /** Does something to the card, which may be just when its power fails. */
  attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof PowerCut)) throw error;
      this.hit("fault:card loses power while it writes");
      this.cutIsPlanned = false;
      this.powerCycle();
    }
  }

  powerCycle(): void {
    const { world } = this;
    world.power(false);
    world.power(true);
  }

  planCut(operations: number): void {
    this.cutIsPlanned = true;
    this.world.disk.operationsLeft = operations;
  }

  /** What has to hold at every moment. */
  private judge(): void {
    const { world } = this;
    this.truth.mustHold();
    for (const { problem } of this.hosts) if (problem !== null) throw problem;
    const bite = world.resets.find(({ by }) => by === "watchdog");
    if (bite !== undefined) throw new Violation("refreshed", `a reset at ${bite.atMs} ms`);
    const { agent } = world;
    if (agent === null) return;
    const { slack_min_ms: slackMs = 0 } = agent.watchdog.status();
    if (slackMs < 0) throw new Violation("refreshed", `a check-in was ${-slackMs} ms late`);
    const defects = agent.ring.totals.get("agent:defect") ?? 0;
    if (defects > 0) throw new Violation("no exception escapes", `${defects} did`);
    this.most("reports pending", agent.ledger.pending.length, pendingMax);
    for (const { card } of world.lines) {
      this.most("bytes waiting", card.waitingBytes, portQueueBytesMax);
    }
  }

  /** The card makes that many reports, of both classes. */
  async chatter(count: number): Promise<void> {
    for (let left = count; left > 0; left -= perCall) {
      const { agent } = this.world;
      if (agent === null) return;
      const tell = (): void => {
        for (let at = 0; at < Math.min(left, perCall); at++) {
          if (this.random.chance(0.2)) {
            agent.emit({ kind: "wdt:service_lost", late_ms: at, failures: left });
          } else agent.emit({ kind: "tee:step", step: "restart", epoch: left });
        }
      };
      this.attempt(() => agent.call(tell));
      await this.advance(1);
    }
  }

  setFaults(faults: LineFaults): void {
    for (const { line } of this.sockets) line.faults = faults;
  }

  startHosts(): void {
    for (const host of this.hosts) host.start();
  }

  /** Leaves everything in peace until all is told; then judges the whole. */
  async finish(): Promise<void> {
    const { world, truth } = this;
    this.setFaults({});
    if (this.cutIsPlanned) world.disk.operationsLeft = Infinity;
    for (const { disk } of this.hosts) disk.operationsLeft = Infinity;
    for (const socket of this.sockets) {
      socket.line.unblock();
      if (socket.plugged) continue;
      socket.replug();
      this.attempt(() => world.replug(socket.line));
    }
    for (const host of this.hosts) host.diesBetween = false;
    if (world.agent === null && world.halted === null) await this.advance(60_000);
    if (world.agent === null) throw new Violation("comes back", `${world.halted ?? "no agent"}`);
    const endMs = world.clock.now() + drainMs;
    do {
      this.startHosts();
      await this.advance(2000);
    } while ((world.agent?.ledger.pending.length ?? 1) > 0 && world.clock.now() < endMs);
    const left = world.agent?.ledger.pending.length ?? 0;
    if (left > 0) throw new Violation("arrives", `${left} reports still pending`);
    truth.allMustBeCounted();
    for (const host of this.hosts) this.mustBeOrderly(host);
    this.hit("reports:made", truth.reportCount);
    this.hit("reports:stored", truth.storedCount);
    this.hit("reports:dropped and counted", truth.owedCount);
  }

  /** As a later run would read it. */
  private mustBeOrderly({ disk }: Host): void {
    const last = new Map<string, number>();
    let gaps: { boot: string; from: number; to: number }[] = [];
    let isFirst = true;
    for (const entry of new Store(disk, () => 0).entries()) {
      if (entry.t === "gap") gaps.push(entry);
      if (entry.t !== "report") continue;
      const { report } = entry;
      this.truth.mustBeMade(report);
      this.mustFollow(report, last.get(report.boot) ?? 0, isFirst ? null : gaps);
      last.set(report.boot, report.seq);
      isFirst = false;
      if (gaps.length > 200) gaps = gaps.slice(-100);
    }
  }

  private mustFollow(
    { boot, seq }: Report,
    before: number,
    gaps: readonly { boot: string; from: number; to: number }[] | null,
  ): void {
    if (seq === before) throw new Violation("once", `${boot}:${seq} is stored twice`);
    if (seq < before) throw new Violation("in order", `${boot}:${seq} comes after ${before}`);
    if (gaps === null || seq === before + 1) return;
    this.hit("reports:gaps shown");
    const isTold = gaps.some((gap) => {
      return gap.boot === boot && gap.from <= before + 1 && gap.to >= seq - 1;
    });
    if (isTold) return;
    throw new Violation("gaps are shown", `${boot}:${before + 1} to ${seq - 1} are missing`);
  }

  /** The planted defects of a card, in each agent anew. */
  private plant(): void {
    const { agent } = this.world;
    if (agent === null || agent === this.spoiled) return;
    this.spoiled = agent;
    const { ledger } = agent;
    if (this.bug === "uncounted") {
      const counted = ledger.boots.bind(ledger);
      ledger.boots = () => counted().map((one) => ({ ...one, dropped: 0, droppedSafety: 0 }));
    }
    if (this.bug === "grows") Object.assign(ledger, { dropOne: () => undefined });
    if (this.bug === "late_refresh") {
      const acknowledge = ledger.acknowledge.bind(ledger);
      ledger.acknowledge = (boot, seq) => {
        this.world.hangAgent(promiseS * 1000);
        return acknowledge(boot, seq);
      };
    }
  }
}

/** The planted defect of a disk: what is said to be synced is not. */
function leaveUnsynced(disk: SimDisk): void {
  const sync = disk.sync.bind(disk);
  disk.sync = (name) => {
    if (!name.startsWith("reports.")) sync(name);
  };
}

type Trouble = (life: LinkLife) => void | Promise<void>;

/** What happens to the card; each costs it a boot. */
const cardTroubles: Readonly<Record<string, Trouble>> = {
  "agent killed": (life) => restarted(life, () => life.world.killAgent()),
  "agent stopped": (life) => restarted(life, () => life.world.stopAgent()),
  "card loses power": (life) => life.powerCycle(),
  "cut planned": (life) => life.planCut(life.random.range(0, 40)),
  "card reboots": (life) => life.attempt(() => life.world.shutDown()),
};

/** Ends the agent, which its service manager starts again on the same kernel, if that still runs. */
async function restarted(life: LinkLife, end: () => void): Promise<void> {
  const { world, random } = life;
  const resets = world.resets.length;
  life.attempt(end);
  await life.advance(random.range(0, 2000));
  if (world.resets.length === resets) world.startAgent();
}

const hostTroubles: Readonly<Record<string, Trouble>> = {
  "host killed": (life) => life.random.pick(life.hosts).kill(false),
  "host loses power": (life) => life.random.pick(life.hosts).kill(true),
  "host dies between store and acknowledgement": (life) => {
    life.random.pick(life.hosts).diesBetween = true;
  },
  "host loses power while it writes": (life) => {
    life.random.pick(life.hosts).disk.operationsLeft = life.random.range(0, 6);
  },
};

const lineTroubles: Readonly<Record<string, Trouble>> = {
  noise: (life) => {
    const { random } = life;
    const rate = random.pick([1e-5, 1e-4, 1e-3]);
    life.setFaults({ bitError: rate, lose: 0.05, text: 0.1, cut: 0.3, flip: 0.05 });
  },
  "pieces cut, console text": (life) => life.setFaults({ cut: 0.9, text: 0.5 }),
  "pieces lost": (life) => life.setFaults({ lose: 0.4 }),
  quiet: (life) => life.setFaults({}),
  xoff: async (life) => {
    const { line } = life.random.pick(life.sockets);
    line.block();
    await life.advance(life.random.range(10, 5000));
    line.unblock();
  },
  "hung up": async (life) => {
    const socket = life.random.pick(life.sockets);
    life.attempt(() => socket.unplug());
    await life.advance(life.random.range(10, 5000));
    socket.replug();
    life.attempt(() => life.world.replug(socket.line));
  },
  "tee crashed": (life) => life.attempt(() => life.world.tee.crash()),
  "spool overflows": (life) => life.chatter(life.random.range(...burst)),
};

/** A few minutes in which something happens every second or so. */
export async function troubledMinutes(life: LinkLife): Promise<void> {
  const { random, world } = life;
  world.power(true);
  await life.advance(random.range(0, 4000));
  let cost = 0;
  for (let at = 0; at < faultsPerLife; at++) {
    // A host that comes late, and one that comes back.
    if (random.chance(0.7)) life.startHosts();
    await life.chatter(random.int(12));
    await life.advance(random.range(1, 1500));
    const roll = random.next();
    const isCard = roll < 0.3 && cost < boots.card && world.agent !== null;
    const table = isCard ? cardTroubles : roll < 0.55 ? hostTroubles : lineTroubles;
    if (isCard) cost += 1;
    const [name, strike] = random.pick(Object.entries(table));
    life.hit(`fault:${name}`);
    await strike(life);
    await life.advance(random.range(1, 3000));
  }
  await life.finish();
}

/** An hour at a bit error rate of 1e-3, a host or two and a card that is restarted now and then. */
export async function noisyHour(life: LinkLife): Promise<void> {
  const { random, world, truth } = life;
  life.setFaults({ bitError });
  world.power(true);
  life.startHosts();
  let cost = 0;
  const endMs = noiseMs;
  while (world.clock.now() < endMs) {
    life.startHosts();
    await life.chatter(1);
    await life.advance(random.range(1, 2 * noisyEveryMs));
    if (!random.chance(0.02) || cost >= boots.card || world.agent === null) continue;
    cost += 1;
    const [, strike] = random.pick(
      Object.entries(random.chance(0.5) ? cardTroubles : hostTroubles),
    );
    await strike(life);
  }
  life.hit("noise:hours");
  life.hit("noise:reports made", truth.reportCount);
  life.hit("noise:stored within it", truth.storedCount);
  await life.finish();
}
