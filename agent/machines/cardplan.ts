/**
 * The coverage plan of a running card, from what was found on it. What nothing shows is assumed
 * for the worse and said. Pure.
 */
import type { WatchdogFacts } from "../io/watchdog.ts";
import type { ResponseOf, WatchdogState } from "../wire/commands.ts";
import type { CoveragePlan } from "../wire/coverageplan.ts";
import type { Hook } from "./boothook.ts";
import { habitsOf, roundsOf, worstHabits } from "./drivers.ts";

export interface CardFacts {
  /** Stages of this boot; their times are ms since its first one began. */
  readonly stages: ResponseOf<"boot.timeline">["stages"];
  /** The kernel's uptime when the first stage began, where no firmware told of its own; else 0. */
  readonly beganMs: number;
  /** Timeout of the countdown that firmware handed over, ms; null without a hand-off record. */
  readonly firmwareMs: number | null;
  /** It set the hardware's lock; null where it does not say. */
  readonly firmwareLocks: boolean | null;
  /** Nothing showed that the countdown ran on until the agent came. */
  readonly wasInterrupted: boolean;
  /** The device before the agent opened it; null where there is none. */
  readonly found: WatchdogFacts | null;
  readonly state: WatchdogState;
  /** How often the agent refreshes or checks in, ms. */
  readonly everyMs: number;
  /** /proc/cmdline */
  readonly commandLine: string;
  /** What the early-userspace hook did; null without a record that can be read. */
  readonly hook: Hook | null;
}

/** The kernel's step with which programs begin. */
const userStep = "mount_root";
/** Programs end and file systems are unmounted; then the kernel shuts down its devices. */
const rebootSpans = { programsMs: 10_000, kernelMs: 10_000 };
/** How far a plan looks beyond the moment from which nothing changes, in promised timeouts. */
const lookAhead = 10;
/** Of a driver that does not tell its own timeout. */
const heartbeatDefaultMs = 60_000;

/** Bound of the contract on refreshes told one by one. */
const refreshesMax = 32;

const magicCloseBit = 0x100;

export function cardPlan(facts: CardFacts): CoveragePlan {
  const assumed: string[] = [];
  const { hook } = facts;
  const firmware = firmwareOf(facts, hook);
  const leavesMs = firmware?.leaves_ms ?? 0;
  // The kernel's clock begins where the firmware leaves.
  const upMs = (ms: number | null | undefined): number | null =>
    ms == null ? null : leavesMs + ms;
  const isLoaded = hook !== null && hook.loadedMs !== null && !hook.before;
  const probeMs = isLoaded ? upMs(hook.beganMs) : null;
  const driver = driverOf(facts, probeMs ?? leavesMs, assumed);
  if (driver !== undefined && probeMs === null) {
    assumed.push("the driver was loaded as soon as the kernel ran: nothing tells when");
  }
  const openMs = upMs(hook?.openedMs);
  const owner = driver === undefined ? undefined : ownerOf(facts);
  const until_ms = (owner?.open_ms ?? leavesMs) + facts.state.promise_ms * lookAhead;
  const { programsMs, kernelMs } = rebootSpans;
  const kernel_ms = until_ms + programsMs;
  const reboot = { at_ms: until_ms, kernel_ms, end_ms: kernel_ms + kernelMs };
  return inOrder({
    ...(firmware === undefined ? {} : { firmware }),
    user_ms: stepOf(facts, userStep) ?? upMs(hook?.beganMs) ?? leavesMs,
    ...(driver === undefined ? {} : { driver }),
    core: coreOf(facts, assumed),
    ...(openMs === null || driver === undefined ? {} : { hook: { open_ms: openMs, passes: true } }),
    ...(owner === undefined ? {} : { owner, reboot }),
    ...(owner?.name !== "agent" || facts.state.armed ? {} : { disarmed_ms: owner.open_ms }),
    until_ms,
    assumed,
  });
}

/** Clocks of firmware and kernel may differ: what seems to come too early comes at once. */
function inOrder(plan: CoveragePlan): CoveragePlan {
  const { firmware, driver, hook, owner } = plan;
  let lastMs = 0;
  const after = (ms: number): number => {
    lastMs = Math.max(lastMs, ms);
    return lastMs;
  };
  const load = firmware && {
    ...firmware,
    arms_ms: after(firmware.arms_ms),
    refreshes_ms: firmware.refreshes_ms.map(after),
    leaves_ms: after(firmware.leaves_ms),
  };
  const probe_ms = Math.max(driver?.probe_ms ?? 0, lastMs);
  const user_ms = after(plan.user_ms);
  after(driver === undefined ? 0 : probe_ms);
  return {
    ...plan,
    ...(load === undefined ? {} : { firmware: load }),
    user_ms,
    ...(driver === undefined ? {} : { driver: { ...driver, probe_ms } }),
    ...(hook === undefined ? {} : { hook: { ...hook, open_ms: after(hook.open_ms) } }),
    ...(owner === undefined ? {} : { owner: { ...owner, open_ms: after(owner.open_ms) } }),
    ...(plan.disarmed_ms === undefined ? {} : { disarmed_ms: after(plan.disarmed_ms) }),
    ...later(plan, lastMs),
  };
}

/** The end of the look ahead and the reboot, moved on when the boot took longer. */
function later({ until_ms, reboot }: CoveragePlan, lastMs: number): Partial<CoveragePlan> {
  const byMs = Math.max(lastMs - until_ms, 0);
  if (reboot === undefined) return { until_ms: until_ms + byMs };
  const { at_ms, kernel_ms, end_ms } = reboot;
  const moved = { at_ms: at_ms + byMs, kernel_ms: kernel_ms + byMs, end_ms: end_ms + byMs };
  return { until_ms: until_ms + byMs, reboot: moved };
}

/** Points in time as ms since power-on, or since the kernel's start on a card without firmware. */
function since({ beganMs }: CardFacts, ms: number): number {
  return Math.max(Math.round(beganMs + ms), 0);
}

function stepOf(facts: CardFacts, name: string): number | null {
  const found = facts.stages.flatMap(({ steps }) => steps).find((step) => step.name === name);
  return found === undefined ? null : since(facts, found.at_ms);
}

function firmwareOf(facts: CardFacts, hook: Hook | null): CoveragePlan["firmware"] {
  const { stages, firmwareMs, found } = facts;
  const load = stages.find(({ stage }) => stage === "os_load");
  const handOff = stages.find(({ stage }) => stage === "hand_off");
  // A timer of the kernel is none that firmware could have armed.
  const isArmed = firmwareMs !== null && firmwareMs > 0 && found?.kind !== "software";
  if (!isArmed || load === undefined || handOff === undefined) return undefined;
  const leaves_ms = since(facts, handOff.start_ms);
  const steps = load.steps.map(({ at_ms }) => since(facts, at_ms));
  const refreshes_ms = [...steps.slice(1 - refreshesMax), leaves_ms];
  const arms_ms = Math.min(since(facts, load.start_ms), ...refreshes_ms);
  const locks = hook?.method === "lock" && facts.firmwareLocks !== false;
  return { arms_ms, timeout_ms: firmwareMs, refreshes_ms, leaves_ms, stops: false, locks };
}

function driverOf(facts: CardFacts, probe_ms: number, assumed: string[]): CoveragePlan["driver"] {
  const { found } = facts;
  if (found === null) return undefined;
  const name = found.driver ?? found.identity;
  const habits = habitsOf(name) ?? guessed(facts, found, name, assumed);
  const { stopOnReboot, options, nowayout } = found;
  if (options === null) assumed.push(`${name} has magic close: its options show once it is open`);
  return {
    name,
    probe_ms,
    ...habits,
    heartbeat_ms: heartbeatOf(found, name, assumed),
    ...(found.kind === "software" ? { software: true } : {}),
    magic_close: options === null || (options & magicCloseBit) !== 0,
    nowayout: nowayout === true,
    stop_on_reboot: stopOnReboot === "no" ? false : stopOnReboot === "yes" || habits.stop_on_reboot,
  };
}

/** What the countdown itself showed, of a driver whose habits are not known. */
function guessed(
  { wasInterrupted, firmwareMs }: CardFacts,
  found: WatchdogFacts,
  name: string,
  assumed: string[],
): typeof worstHabits {
  const ranOn = firmwareMs !== null && !wasInterrupted;
  if (found.kind === "simulated") {
    return { ...worstHabits, at_probe: ranOn ? "ignores" : "stops", stop_on_reboot: false };
  }
  if (!ranOn) {
    assumed.push(`${name} stops a running countdown when it is loaded: its habits are not known`);
    return worstHabits;
  }
  assumed.push(`the kernel sees the countdown that ${name} found: its habits are not known`);
  return { ...worstHabits, at_probe: "keeps" };
}

/** The driver's own timeout: its parameter, else what it showed before it was opened. */
function heartbeatOf(found: WatchdogFacts, name: string, assumed: string[]): number {
  const parameter = Number(found.driverSettings.heartbeat ?? found.driverSettings.timeout);
  if (parameter > 0) return parameter * 1000;
  const roundMs = Math.round((found.timeoutMs ?? 0) / roundsOf(found.driver));
  if (roundMs > 0) return roundMs;
  assumed.push(`${name} opens with ${heartbeatDefaultMs / 1000} s: it does not tell`);
  return heartbeatDefaultMs;
}

function ownerOf(facts: CardFacts): CoveragePlan["owner"] {
  const { state, found, stages, everyMs } = facts;
  const adopted = stages.find(({ stage }) => stage === "runtime") ?? stages.at(-1);
  const open_ms = since(facts, adopted?.start_ms ?? 0);
  const holder = found?.holder ?? null;
  if (holder !== null) {
    const rounds = roundsOf(found?.driver ?? null);
    const timeout_ms = Math.round((found?.timeoutMs ?? 0) / rounds) || heartbeatDefaultMs;
    const every_ms = Math.ceil(timeout_ms / 2);
    const name = `${holder.name} (pid ${holder.pid})`;
    return { name, open_ms, timeout_ms, promise_ms: timeout_ms, every_ms, service: false };
  }
  const service = state.via === "service";
  // What the agent calls T1 is the whole way to the reset.
  const wholeMs = state.hardware_ms > 0 ? state.hardware_ms : state.promise_ms;
  const timeout_ms = Math.max(Math.round(wholeMs / roundsOf(found?.driver ?? null)), 1);
  // Its last refresh leaves the whole way: in a plan, which leaves the first round, it is earlier.
  const promise_ms = service ? state.promise_ms - wholeMs + timeout_ms : timeout_ms;
  const every_ms = Math.max(Math.round(everyMs), 1);
  return { name: "agent", open_ms, timeout_ms, promise_ms, every_ms, service };
}

/** The core's parameters as the kernel has them; the command line where it does not show them. */
function coreOf({ found, commandLine }: CardFacts, assumed: string[]): CoveragePlan["core"] {
  const asked = (name: string): string | null =>
    commandLine.match(new RegExp(`(?:^|\\s)watchdog\\.${name}=(\\S+)`))?.[1] ?? null;
  const askedS = asked("open_timeout");
  const hasS = found?.openTimeoutS ?? null;
  if (askedS !== null && hasS !== null && Number(askedS) !== hasS) {
    const why = "a module takes its parameters from modprobe.d";
    assumed.push(`watchdog.open_timeout=${askedS} was asked for, ${hasS} is in force: ${why}`);
  }
  const isSimulated = found?.kind === "simulated";
  if (found !== null && hasS === null && askedS === null && !isSimulated) {
    assumed.push("open_timeout is 0: the kernel does not show it");
  }
  const openS = hasS ?? (askedS === null ? 0 : Number(askedS));
  const handles = found?.handleBootEnabled ?? asked("handle_boot_enabled") !== "0";
  return {
    handle_boot_enabled: handles,
    open_timeout_ms: Number.isFinite(openS) ? Math.max(Math.round(openS * 1000), 0) : 0,
  };
}
