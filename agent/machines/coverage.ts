/**
 * Which seconds of a card's life are covered: for every interval of a boot and every way to hang
 * in it, when the reset comes at the latest, or that it never comes and why. Pure.
 */
import { Failure } from "../errors.ts";
import type { CoveragePlan } from "../wire/coverageplan.ts";
import {
  closingOf,
  closingText,
  type Driver,
  isKeptByKernel,
  lastByKernelMs,
  type Owner,
  openSpanOf,
  type Stretch,
  spanOf,
  stretchesOf,
} from "./countdowns.ts";

/**
 * Ways to hang. `machine`: nothing runs any more. `programs`: the kernel runs, no program does.
 * `agent_loop`: of the agent only its refresh thread runs. `agent_killed`: its process is gone.
 */
export const hangNames = ["machine", "programs", "agent_loop", "agent_killed"] as const;
export type Hang = (typeof hangNames)[number];

/** What becomes of a hang: a reset at most `withinMs` after it, or none, and why. */
export type Fate =
  | { readonly kind: "reset"; readonly withinMs: number }
  | { readonly kind: "never"; readonly why: string };

export interface Interval {
  readonly fromMs: number;
  readonly toMs: number;
  readonly stage: Stretch["stage"];
  /** Who refreshes while all is well. */
  readonly refreshed: string;
  /** The ways to hang that exist in this interval. */
  readonly fates: Readonly<Partial<Record<Hang, Fate>>>;
}

/** A stretch of time in which a hang is never caught. */
export interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
  readonly hang: Hang;
  readonly why: string;
}

export interface Coverage {
  readonly intervals: readonly Interval[];
  /** Where the coverage begins that is asked for: the firmware's arming, else power-on, ms. */
  readonly beginsMs: number;
  /** All of them from there on. */
  readonly gaps: readonly Gap[];
  /** When the plan itself resets a card that is well; null when it does not. */
  readonly wellResetMs: number | null;
}

/** Computes the coverage of a plan. Failure `config.invalid` when it makes no sense. */
export function coverageOf(plan: CoveragePlan): Coverage {
  mustMakeSense(plan);
  const stretches = stretchesOf(plan);
  const wellResetMs = wellReset(stretches, plan.until_ms);
  const lastMs = Math.min(plan.reboot?.end_ms ?? plan.until_ms, wellResetMs ?? Infinity);
  const cuts = new Set([...stretches.map(({ fromMs }) => fromMs), plan.user_ms, lastMs]);
  const times = [...cuts].sort((one, other) => one - other);
  const intervals = times.flatMap((fromMs, at): Interval[] => {
    const toMs = times[at + 1] ?? lastMs;
    const stretch = stretches.findLast((one) => one.fromMs <= fromMs);
    if (fromMs >= lastMs || stretch === undefined) return [];
    const { stage, countdown } = stretch;
    const refreshed = countdown?.by ?? "nobody: not counting";
    return [{ fromMs, toMs, stage, refreshed, fates: fatesOf(plan, stretch, fromMs, wellResetMs) }];
  });
  const beginsMs = plan.firmware?.arms_ms ?? 0;
  return { intervals, beginsMs, gaps: gapsOf(intervals, beginsMs), wellResetMs };
}

/** The longest stretch of time in which some hang is never caught, ms. */
export function longestGapMs(gaps: readonly Gap[]): number {
  return Math.max(0, ...gaps.map(({ fromMs, toMs }) => toMs - fromMs));
}

const subjects: Record<Hang, string> = {
  machine: "a hang",
  programs: "a hang of all programs",
  agent_loop: "a hang of the agent",
  agent_killed: "the death of the agent",
};

/** One sentence: `from 41.2 s to 63.0 s a hang is never caught: ...`. */
export function gapText({ fromMs, toMs, hang, why }: Gap, plan: CoveragePlan): string {
  const rebootMs = plan.reboot?.at_ms ?? Infinity;
  const isLate = fromMs >= rebootMs;
  const [from, to] = isLate ? [fromMs - rebootMs, toMs - rebootMs] : [fromMs, toMs];
  const when = isLate ? " of a reboot" : "";
  const until = toMs === plan.until_ms ? " on" : ` to ${tenths(to)}${when}`;
  return `from ${tenths(from)}${until} ${subjects[hang]} is never caught: ${why}`;
}

function tenths(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function mustMakeSense(plan: CoveragePlan): void {
  const { firmware, driver, hook, owner, reboot } = plan;
  const load = firmware === undefined ? [] : [firmware.arms_ms, ...firmware.refreshes_ms];
  const opened = [hook?.open_ms, owner?.open_ms];
  inOrder("firmware, user_ms, hook, owner, until_ms", [
    ...load,
    firmware?.leaves_ms,
    plan.user_ms,
    ...opened,
    plan.until_ms,
  ]);
  inOrder("firmware, driver, hook, owner", [firmware?.leaves_ms, driver?.probe_ms, ...opened]);
  inOrder("owner, disarmed_ms, until_ms", [owner?.open_ms, plan.disarmed_ms, plan.until_ms]);
  inOrder("until_ms, reboot", [plan.until_ms, reboot?.at_ms, reboot?.kernel_ms, reboot?.end_ms]);
  const { timeout_ms, every_ms } = owner ?? {};
  const { heartbeat_ms, hardware_max_ms, expiries } = driver ?? {};
  const spans = [firmware?.timeout_ms, timeout_ms, every_ms, heartbeat_ms, hardware_max_ms];
  if ([...spans, expiries].includes(0)) refuse("a timeout, an interval or `expiries` is 0");
  if (driver === undefined && (hook ?? owner) !== undefined)
    refuse("nobody opens without a driver");
}

function inOrder(what: string, times: readonly (number | undefined)[]): void {
  const known = times.filter((time) => time !== undefined);
  if (known.some((time, at) => time < (known[at - 1] ?? 0))) refuse(`not in this order: ${what}`);
}

function refuse(why: string): never {
  throw new Failure("config.invalid", `the plan makes no sense: ${why}`);
}

/** The first countdown that runs out before anybody comes to refresh it. */
function wellReset(stretches: readonly Stretch[], untilMs: number): number | null {
  for (const [at, { countdown }] of stretches.entries()) {
    const toMs = Math.min(stretches[at + 1]?.fromMs ?? untilMs, untilMs);
    if (countdown !== null && countdown.endsMs <= toMs) return countdown.endsMs;
  }
  return null;
}

/** What becomes of each way to hang in the interval that begins at `atMs`. */
function fatesOf(
  plan: CoveragePlan,
  stretch: Stretch,
  atMs: number,
  wellResetMs: number | null,
): Interval["fates"] {
  const { driver, owner, reboot } = plan;
  const isTimer = driver?.software === true && stretch.countdown !== null;
  const timer = `${driver?.name} is a timer of the kernel and dies with it`;
  const machine = isTimer ? never(timer) : ofMachine(stretch, atMs);
  const isEarly = atMs < plan.user_ms;
  const isLate = atMs >= (reboot?.kernel_ms ?? Infinity);
  const isDisarmed = atMs >= (plan.disarmed_ms ?? Infinity);
  if (isEarly || isLate || isDisarmed || driver === undefined) return { machine };
  if (stretch.stage === "reboot" && owner !== undefined) {
    return { machine, programs: ofRebooting(plan, driver, owner, stretch, atMs) };
  }
  const programs = ofPrograms(plan, driver, stretch, atMs);
  if (owner === undefined) return { machine, programs };
  if (owner.name !== "agent") {
    const why = `${owner.name} refreshes whatever becomes of the agent`;
    const agent_loop = wellResetMs === null ? never(why) : resetAt(wellResetMs, atMs);
    return { machine, programs, agent_loop };
  }
  if (atMs < owner.open_ms) {
    // What resets the card before the agent comes does not wait for it.
    const isEarlier = wellResetMs !== null && wellResetMs <= owner.open_ms;
    const agent_killed = isEarlier ? resetAt(wellResetMs, atMs) : unowned(plan, driver, atMs);
    return { machine, programs, agent_killed };
  }
  const agent_loop = resetIn(ownSpan(driver, owner, owner.service));
  return { machine, programs, agent_loop, agent_killed: ofKilled(plan, driver, owner) };
}

function never(why: string): Fate {
  return { kind: "never", why };
}

function resetIn(withinMs: number): Fate {
  return { kind: "reset", withinMs };
}

function resetAt(resetMs: number, atMs: number): Fate {
  return resetIn(Math.max(resetMs - atMs, 0));
}

/** Of a machine that stands still; of a kernel timer see `fatesOf`. */
function ofMachine({ countdown, why }: Stretch, atMs: number): Fate {
  if (countdown === null) return never(why);
  const { sinceMs, repeats, spanMs } = countdown;
  return repeats ? resetIn(spanMs) : resetAt(sinceMs + spanMs, atMs);
}

/** From the moment at which its owner stands still to the reset, at most. */
function ownSpan(driver: Driver, owner: Owner, isServed: boolean): number {
  const { promise_ms, timeout_ms } = owner;
  return openSpanOf(driver, timeout_ms) + (isServed ? Math.max(promise_ms - timeout_ms, 0) : 0);
}

/** No program runs from `atMs` on: what is not loaded or opened by then never is. */
function ofPrograms(plan: CoveragePlan, driver: Driver, stretch: Stretch, atMs: number): Fate {
  const { hook, owner } = plan;
  if (atMs < driver.probe_ms) return ofMachine(stretch, atMs);
  if (owner !== undefined && atMs >= owner.open_ms) return resetIn(ownSpan(driver, owner, false));
  if (hook !== undefined && atMs >= hook.open_ms) return afterHook(plan, driver, atMs);
  return unopened(plan, driver, atMs);
}

/** The agent never opens the device; everything else happens. */
function unowned(plan: CoveragePlan, driver: Driver, atMs: number): Fate {
  return plan.hook === undefined ? unopened(plan, driver, atMs) : afterHook(plan, driver, atMs);
}

/** The driver is loaded, and nobody ever opens the device. */
function unopened(plan: CoveragePlan, driver: Driver, atMs: number): Fate {
  const { hook: _hook, owner: _owner, reboot: _reboot, ...nobody } = plan;
  const stretches = stretchesOf(nobody);
  const probed = stretches.find(({ fromMs }) => fromMs === driver.probe_ms) as Stretch;
  if (!isKeptByKernel(plan, probed.countdown)) return ofMachine(probed, atMs);
  const lastMs = lastByKernelMs(plan, driver);
  if (lastMs === Infinity) return never(kernelForEver);
  return resetAt(lastMs + spanOf(driver, driver.heartbeat_ms), atMs);
}

const kernelForEver = "open_timeout=0 lets the kernel refresh for a userspace that never comes";

/** The hook has opened the device, and the agent never takes over. */
function afterHook(plan: CoveragePlan, driver: Driver, atMs: number): Fate {
  const { open_ms, passes } = plan.hook ?? { open_ms: 0, passes: false };
  const closing = passes ? "held" : closingOf(plan, driver);
  if (closing === "stopped" || closing === "kernel") return never(closingText(driver, closing));
  const { heartbeat_ms } = driver;
  const spanMs =
    closing === "locked" ? spanOf(driver, heartbeat_ms) : openSpanOf(driver, heartbeat_ms);
  return resetAt(open_ms + spanMs, atMs);
}

/** The kernel closes what the dead process had open; a passed descriptor has another holder. */
function ofKilled(plan: CoveragePlan, driver: Driver, owner: Owner): Fate {
  const closing = plan.hook?.passes ? "held" : closingOf(plan, driver);
  if (closing === "stopped" || closing === "kernel") return never(closingText(driver, closing));
  return resetIn(ownSpan(driver, owner, false));
}

/** Programs hang on their way down: only who refreshes without them matters. */
function ofRebooting(
  plan: CoveragePlan,
  driver: Driver,
  owner: Owner,
  stretch: Stretch,
  atMs: number,
): Fate {
  const isClosed = owner.name === "agent" && plan.hook?.passes !== true;
  const closing = isClosed ? closingOf(plan, driver) : "held";
  if (closing === "kernel") return never(closingText(driver, closing));
  return ofMachine(stretch, atMs);
}

/** Adjacent intervals in which the same hang stays uncaught for the same reason are one gap. */
function gapsOf(intervals: readonly Interval[], beginsMs: number): Gap[] {
  const gaps: Gap[] = [];
  for (const { fromMs, toMs, fates } of intervals) {
    for (const hang of hangNames) {
      const fate = fates[hang];
      if (fate?.kind !== "never" || toMs <= beginsMs) continue;
      const { why } = fate;
      const isNext = (gap: Gap): boolean =>
        gap.toMs === fromMs && gap.hang === hang && gap.why === why;
      const at = gaps.findIndex(isNext);
      const gap = gaps[at] ?? { fromMs: Math.max(fromMs, beginsMs), toMs, hang, why };
      gaps.splice(at < 0 ? gaps.length : at, 1, { ...gap, toMs });
    }
  }
  const told = gaps.filter((gap) => !gaps.some((other) => saysMore(other, gap)));
  return told.sort((one, other) => one.fromMs - other.fromMs);
}

/** The same reason lets a greater hang escape as well: that one is told alone. */
function saysMore(one: Gap, other: Gap): boolean {
  const isGreater = hangNames.indexOf(one.hang) < hangNames.indexOf(other.hang);
  const meets = one.fromMs <= other.toMs && one.toMs >= other.fromMs;
  return isGreater && meets && one.why === other.why;
}
