/**
 * A sweep of hangs: one boot after the other, each stopped at another instant between the loader's
 * arming and the running agent. What the watchdog makes of each is held against what the card's own
 * `wdt explain` says of that time.
 */
import stages from "../../../boot/stages.json" with { type: "json" };
import type { Stage } from "../../machines/bootrecord.ts";
import { type Coverage, coverageOf, type Fate, longestGapMs } from "../../machines/coverage.ts";
import type { BootRig } from "../bootrig.ts";
import type { Place, Stopped, StoppedPart } from "../processor.ts";
import { bootMs, CardFailed, untilAnswers } from "../rig.ts";
import type { ConsoleLine } from "../seen.ts";
import { type Instant, instantsOf, type Phase, uncovered } from "./plan.ts";

export interface SweepSettings {
  readonly device: "i6300esb" | "iTCO_wdt";
  readonly part: StoppedPart;
  /** How many boots are stopped. */
  readonly instants: number;
  /**
   * What the loader arms with, ms, and the hook gives the agent: on a machine with other work a
   * boot takes longer. The 6300ESB is locked where the card has the hook.
   */
  readonly timeoutMs: number;
  /** The driver is loaded as by a kernel that knows nothing of all this, and nothing is locked. */
  readonly withoutHook?: boolean;
}

/** What became of one hang. */
export interface Hung {
  readonly instant: Instant;
  /** The phase that the boot was really in, and when after its arming, ms. */
  readonly phase: string;
  readonly atMs: number;
  readonly place: Place;
  /** From the hang to the reset, ms; null when there was none. */
  readonly tookMs: number | null;
  /** What explain says of a hang in that phase: a reset within so many ms, and gaps. */
  readonly told: Told;
  /** What the loader of the next boot says of this one's end; empty when nothing reset it. */
  readonly before: string;
  /** What it has to say: the cause and one of these stages. */
  readonly stages: readonly Stage[];
}

interface Told {
  readonly withinMs: number;
  readonly hasGap: boolean;
  readonly hasReset: boolean;
}

export interface Swept {
  readonly hangs: readonly Hung[];
  /** The longest time without coverage: what explain says, and between which bounds it was. */
  readonly toldMs: number;
  readonly atLeastMs: number;
  readonly atMostMs: number;
}

interface Mark {
  readonly name: string;
  readonly line: RegExp;
  readonly parts: readonly StoppedPart[];
  /** The stages in which the next boot may say that one ended which was hung after this line. */
  readonly stages: readonly Stage[];
}
const either: readonly StoppedPart[] = ["machine", "programs"];

/** What the console shows as a boot gets on. */
const marks: readonly [Mark, ...Mark[]] = [
  {
    name: "armed",
    line: /^kennel: armed/,
    parts: ["machine"],
    // Armed first, then noted.
    stages: ["power_on", "os_load"],
  },
  { name: "loading", line: /^kennel: loading/, parts: ["machine"], stages: ["os_load"] },
  {
    name: "kernel started",
    line: /^kennel: start_kernel/,
    parts: ["machine"],
    stages: ["os_load", "hand_off"],
  },
  { name: "Linux", line: /Linux version/, parts: ["machine"], stages: ["hand_off"] },
  { name: "initramfs", line: /^guest: init/, parts: either, stages: ["hand_off"] },
  { name: "driver loaded", line: /^hook: version/, parts: either, stages: ["hand_off"] },
  { name: "agent ready", line: /^kenneld ready/, parts: ["machine"], stages: ["hand_off"] },
];
const [firstMark, lastMark] = ["armed", "agent ready"];

/** The boot is confirmed in this time after the agent is ready, ms. */
const runtimeMs = 10_000;
/** Nobody has to try so often: firmware's bound on attempts. */
const attempts = 100;
/** A reset that has not come so long after it was due does not come any more, ms. */
const overdueMs = 10_000;
/** A program is not always found running, and a boot on a busy machine may end by itself. */
const triesMax = 5;

/** `say` is given each hang as soon as it is known what became of it. */
export async function sweep(
  rig: BootRig,
  settings: SweepSettings,
  say: (hung: Hung) => void,
): Promise<Swept> {
  const { device, part, timeoutMs, withoutHook = false } = settings;
  const lock = device === "i6300esb" && !withoutHook;
  const adoptWithinMs = timeoutMs;
  const card = { timeoutMs, adoptWithinMs, device, lock, attempts, withoutHook };
  const bench = new Bench(rig);
  await rig.boot(card);
  await untilAnswers(rig);
  await rig.wait(runtimeMs);
  const plan = await rig.ask("wdt.plan", {});
  const coverage = coverageOf(plan);
  const all = bench.phases();
  const phases = all.filter(({ name }) => {
    return marks.some((mark) => mark.name === name && mark.parts.includes(part));
  });
  const hangs: Hung[] = [];
  // The boot that was measured is at its end already: so the latest instant comes first.
  for (const instant of instantsOf(phases, settings.instants).toReversed()) {
    const hung = await bench.hang(instant, part, (phase) => toldOf(all, phase, coverage, part));
    hangs.unshift(hung);
    say(hung);
  }
  const spans = uncovered(
    hangs.map(({ instant, tookMs }) => ({ ...instant, ends: tookMs !== null })),
  );
  // From the order to reboot on it is no boot any more.
  const endMs = plan.reboot?.at_ms ?? plan.until_ms;
  const gaps = coverage.gaps.filter(({ hang, fromMs }) => hang === part && fromMs < endMs);
  return { hangs, toldMs: longestGapMs(gaps), ...spans };
}

/** Boots a card again and again, and knows how far the present boot has come. */
class Bench {
  private readonly rig: BootRig;

  constructor(rig: BootRig) {
    this.rig = rig;
  }

  /** How long each phase of the present boot took, ms after its arming. */
  phases(): Phase[] {
    const shown = marks.flatMap(({ name }) => {
      const atMs = this.markMs(name);
      return atMs === undefined ? [] : [{ name, atMs }];
    });
    const zeroMs = shown[0]?.atMs ?? 0;
    return shown.map(({ name, atMs }, at) => {
      const endMs = shown[at + 1]?.atMs ?? atMs + runtimeMs;
      return { name, fromMs: atMs - zeroMs, toMs: endMs - zeroMs };
    });
  }

  async hang(
    instant: Instant,
    part: StoppedPart,
    told: (at: Hung["phase"]) => Told,
  ): Promise<Hung> {
    const { rig } = this;
    const stopped = await this.stop(instant, part);
    const shownMs = (name: string): number => this.markMs(name, stopped.atMs) ?? Infinity;
    const shown = marks.filter(({ name }) => shownMs(name) <= stopped.atMs);
    const { name: phase, stages } = shown.at(-1) ?? marks[0];
    const atMs = stopped.atMs - shownMs(firstMark);
    const waitMs = told(phase).withinMs + overdueMs;
    const endMs = await expiryAfter(rig, stopped.atMs, waitMs);
    if (endMs === null) await this.anew();
    const before = endMs === null ? "" : await this.before();
    const tookMs = endMs === null ? null : endMs - stopped.atMs;
    return {
      instant,
      phase,
      atMs,
      place: stopped.place,
      tookMs,
      told: told(phase),
      before,
      stages,
    };
  }

  private async stop({ phase, afterMs }: Instant, part: StoppedPart): Promise<Stopped> {
    const { rig } = this;
    for (let tries = 0; tries < triesMax; tries++) {
      const isOver = this.markMs(lastMark) !== undefined && phase !== lastMark;
      if (isOver) await this.anew();
      const markMs = await rig.until(`${phase} on the console`, () => this.markMs(phase), bootMs);
      await rig.wait(Math.max(markMs + afterMs - rig.now(), 0));
      // On a busy machine a boot that is well may be reset as well; then it is the next one's turn.
      if (this.markMs(phase) !== markMs) continue;
      const stopped = await rig.stopProcessor(part);
      if (stopped !== null) return stopped;
    }
    throw new CardFailed(`no boot of ${triesMax} could be stopped in phase ${phase}`);
  }

  /** A card that nothing resets is switched off and on. */
  private async anew(): Promise<void> {
    await this.rig.power(false);
    await this.rig.power(true, { waits: false });
  }

  private async before(): Promise<string> {
    await this.rig.until("next boot", () => this.find(/^kennel: loading/), bootMs);
    const said = this.find(saidBefore)?.text ?? "";
    return said.replace(saidBefore, "");
  }

  private markMs(wanted: string, ofMs = Infinity): number | undefined {
    const line = marks.find(({ name }) => name === wanted)?.line;
    return line === undefined ? undefined : this.find(line, ofMs)?.atMs;
  }

  /** The first such line of the boot that was running at that time; of the present one. */
  private find(words: RegExp, ofMs = Infinity): ConsoleLine | undefined {
    const sinceMs = this.rig.expiries.findLast((atMs) => atMs < ofMs) ?? -Infinity;
    return this.rig.console.find(({ text, atMs }) => atMs > sinceMs && words.test(text));
  }
}
const saidBefore = /^kennel: before: .*ended: /;

async function expiryAfter(rig: BootRig, sinceMs: number, waitMs: number): Promise<number | null> {
  try {
    const find = (): number | undefined => rig.expiries.find((atMs) => atMs > sinceMs);
    return await rig.until("expiry of the watchdog", find, waitMs);
  } catch (error) {
    if (error instanceof CardFailed) return null;
    throw error;
  }
}

/** Until its configuration is read the loader arms with the plan's own timeout. */
const firstTimeoutMs: number = stages.watchdogMs;

function toldOf(phases: Phase[], phase: string, coverage: Coverage, part: StoppedPart): Told {
  const { fromMs, toMs } = phases.find(({ name }) => name === phase) ?? { fromMs: 0, toMs: 0 };
  const { beginsMs, intervals } = coverage;
  const met = intervals.filter((one) => {
    return one.fromMs - beginsMs < toMs && one.toMs - beginsMs > fromMs;
  });
  // Before the first program there is none to hang.
  const fates = met.map(({ fates }): Fate | undefined => fates[part] ?? fates.machine);
  const resets = fates.flatMap((fate) => (fate?.kind === "reset" ? [fate.withinMs] : []));
  const least = phase === firstMark ? firstTimeoutMs : 0;
  return {
    withinMs: Math.max(least, ...resets),
    hasGap: fates.some((fate) => fate?.kind === "never"),
    hasReset: resets.length > 0,
  };
}
