/**
 * What a watchdog's countdown does over a boot in which all goes well, stretch by stretch. Pure,
 * closed form; the kernel's part follows drivers/watchdog/watchdog_dev.c of Linux 6.12.
 */
import type { CoveragePlan } from "../wire/coverageplan.ts";
import type { Stage } from "./bootrecord.ts";

export type Driver = NonNullable<CoveragePlan["driver"]>;
export type Owner = NonNullable<CoveragePlan["owner"]>;

/** The hardware's countdown over a stretch of time. */
export interface Countdown {
  /** The last refresh at or before the stretch, the first in it where they repeat. */
  readonly sinceMs: number;
  /** Refreshes come again and again, none so late that it is the last. */
  readonly repeats: boolean;
  /** From a refresh to the reset. */
  readonly spanMs: number;
  /** When it resets a card that is well unless the next stretch begins before; or Infinity. */
  readonly endsMs: number;
  readonly by: string;
}

export interface Stretch {
  readonly fromMs: number;
  readonly stage: Stage | "reboot";
  /** Null while it stands still, and why. */
  readonly countdown: Countdown | null;
  readonly why: string;
}

/** What the kernel's core does when a descriptor is closed without the magic character. */
export type Closing =
  /** It refuses to stop, refreshes once, and the countdown goes on. */
  | "held"
  | "stopped"
  /** It believes it has stopped the hardware, whose lock says otherwise. */
  | "locked"
  /** It cannot stop the hardware and refreshes it from then on. */
  | "kernel";

export function isLocked({ firmware }: CoveragePlan): boolean {
  return firmware?.locks === true;
}

/** What the hardware is programmed with for a timeout: no more than it can hold. */
export function beatMs({ hardware_max_ms }: Driver, timeoutMs: number): number {
  return Math.min(timeoutMs, hardware_max_ms ?? Infinity);
}

/** From a refresh of the hardware, programmed for this timeout, to the reset. */
export function spanOf(driver: Driver, timeoutMs: number): number {
  return beatMs(driver, timeoutMs) * driver.expiries;
}

/**
 * From a refresh by whoever has the device open to the reset. Beyond what the hardware holds the
 * kernel refreshes for the owner, last at timeout - hardware's own.
 */
export function openSpanOf(driver: Driver, timeoutMs: number): number {
  return timeoutMs - beatMs(driver, timeoutMs) + spanOf(driver, timeoutMs);
}

export function closingOf(plan: CoveragePlan, driver: Driver): Closing {
  if (driver.magic_close || driver.nowayout) return "held";
  if (!driver.can_stop) return "kernel";
  return isLocked(plan) ? "locked" : "stopped";
}

export function closingText({ name }: Driver, closing: "stopped" | "kernel"): string {
  if (closing === "stopped") {
    return `${name} has no magic close: when its owner is gone the countdown is stopped`;
  }
  const why = "when its owner is gone the kernel refreshes for ever";
  return `${name} cannot be stopped and has no magic close: ${why}`;
}

/** The kernel refreshes what firmware armed, from the loading of the driver to the first open. */
export function isKeptByKernel(plan: CoveragePlan, countdown: Countdown | null): boolean {
  const isSeen = plan.driver?.at_probe === "keeps" && countdown !== null;
  return isSeen && plan.core.handle_boot_enabled;
}

/** Its last refresh before open_timeout ends; Infinity without one. */
export function lastByKernelMs({ core }: CoveragePlan, driver: Driver): number {
  if (core.open_timeout_ms === 0) return Infinity;
  const untilMs = driver.probe_ms + core.open_timeout_ms;
  return Math.max(driver.probe_ms, untilMs - beatMs(driver, driver.heartbeat_ms));
}

/** What the countdown does until the reset that ends a reboot, oldest stretch first. */
export function stretchesOf(plan: CoveragePlan): Stretch[] {
  const { firmware, driver, hook, owner, reboot } = plan;
  const all: Stretch[] = [off(0, "power_on", "nothing is armed before")];
  if (firmware !== undefined) all.push(...loading(plan, firmware));
  if (driver !== undefined) {
    all.push(...probed(plan, driver, all.at(-1) as Stretch));
    if (hook !== undefined) all.push(...hooked(plan, driver, hook));
    if (owner !== undefined) all.push(owned(driver, owner));
    if (owner !== undefined && reboot !== undefined) {
      all.push(...rebooting(plan, driver, owner, reboot));
    }
    const { disarmed_ms } = plan;
    if (disarmed_ms !== undefined) all.push(off(disarmed_ms, "runtime", "it was disarmed"));
  }
  // What a later one overtakes never began.
  return all.filter(({ fromMs }, at) => all.slice(at + 1).every((later) => later.fromMs > fromMs));
}

function off(fromMs: number, stage: Stretch["stage"], why: string): Stretch {
  return { fromMs, stage, countdown: null, why };
}

function on(fromMs: number, stage: Stretch["stage"], countdown: Countdown): Stretch {
  return { fromMs, stage, countdown, why: "" };
}

/** A countdown that nobody refreshes again. */
function last(sinceMs: number, spanMs: number, by: string): Countdown {
  return { sinceMs, repeats: false, spanMs, endsMs: sinceMs + spanMs, by };
}

function loading(plan: CoveragePlan, firmware: NonNullable<CoveragePlan["firmware"]>): Stretch[] {
  const { arms_ms, timeout_ms: spanMs, refreshes_ms, leaves_ms, stops } = firmware;
  const times = [arms_ms, ...refreshes_ms];
  const load = times.map((time) => on(time, "os_load", last(time, spanMs, "firmware, by steps")));
  const counting = last(times.at(-1) ?? arms_ms, spanMs, "nobody: firmware's countdown");
  const stopped = off(leaves_ms, "hand_off", "the firmware stops its countdown as it leaves");
  const after = stops && !isLocked(plan) ? stopped : on(leaves_ms, "hand_off", counting);
  return [...load, after];
}

/** From the loading of the driver until somebody opens the device. */
function probed(plan: CoveragePlan, driver: Driver, before: Stretch): Stretch[] {
  const { probe_ms, at_probe, name, heartbeat_ms } = driver;
  const { countdown } = before;
  if (countdown === null) return [{ ...before, fromMs: probe_ms, stage: "adopt" }];
  const spanMs = spanOf(driver, heartbeat_ms);
  if (at_probe === "stops" && !isLocked(plan)) {
    return [off(probe_ms, "adopt", `${name} stops the running countdown when it is loaded`)];
  }
  if (at_probe === "stops") {
    return [on(probe_ms, "adopt", last(probe_ms, spanMs, `nobody: ${name}, locked`))];
  }
  if (!isKeptByKernel(plan, countdown)) return [on(probe_ms, "adopt", countdown)];
  const lastMs = lastByKernelMs(plan, driver);
  const kept = { ...last(probe_ms, spanMs, "kernel"), repeats: true, endsMs: Infinity };
  const first = on(probe_ms, "adopt", kept);
  if (lastMs === Infinity) return [first];
  return [first, on(lastMs, "adopt", last(lastMs, spanMs, "nobody: open_timeout is running out"))];
}

/** From the hook's opening until the owner takes over. */
function hooked(
  plan: CoveragePlan,
  driver: Driver,
  hook: NonNullable<CoveragePlan["hook"]>,
): Stretch[] {
  const { open_ms, passes } = hook;
  const { heartbeat_ms } = driver;
  const closing = passes ? "held" : closingOf(plan, driver);
  if (closing === "stopped") return [off(open_ms, "adopt", closingText(driver, closing))];
  const spanMs = spanOf(driver, heartbeat_ms);
  const once = last(open_ms, spanMs, "nobody: opened by the hook");
  const repeated = { ...once, repeats: true, endsMs: Infinity, by: "kernel" };
  if (closing === "kernel") return [on(open_ms, "adopt", repeated)];
  const stretchedMs = openSpanOf(driver, heartbeat_ms) - spanMs;
  if (stretchedMs === 0 || closing === "locked") return [on(open_ms, "adopt", once)];
  const lastMs = open_ms + stretchedMs;
  const after = on(lastMs, "adopt", last(lastMs, spanMs, once.by));
  return [on(open_ms, "adopt", repeated), after];
}

function owned(driver: Driver, owner: Owner): Stretch {
  const { name, service, open_ms, every_ms, timeout_ms, promise_ms } = owner;
  const holdsMs = openSpanOf(driver, timeout_ms);
  // A promise that has lapsed is not revived, whatever the hardware still holds.
  const isKept = every_ms < (service ? promise_ms : holdsMs);
  const enoughMs = service ? Math.max(promise_ms - timeout_ms, 0) + holdsMs : holdsMs;
  return on(open_ms, "runtime", {
    sinceMs: open_ms,
    repeats: true,
    spanMs: spanOf(driver, timeout_ms),
    endsMs: isKept ? Infinity : open_ms + enoughMs,
    by: service ? `${name}'s refresh thread` : name,
  });
}

/** From the order to stop until the reset. */
function rebooting(
  plan: CoveragePlan,
  driver: Driver,
  owner: Owner,
  reboot: NonNullable<CoveragePlan["reboot"]>,
): Stretch[] {
  const { at_ms, kernel_ms } = reboot;
  const spanMs = openSpanOf(driver, owner.timeout_ms);
  const isOther = owner.name !== "agent";
  const closing = isOther || plan.hook?.passes ? "held" : closingOf(plan, driver);
  const by = closing === "kernel" ? "kernel" : isOther ? owner.name : "nobody: counts to the reset";
  const repeats = isOther || closing === "kernel";
  // A reset in the course of a reboot is one that was asked for.
  const countdown: Countdown = { sinceMs: at_ms, repeats, spanMs, endsMs: Infinity, by };
  const stopped = closing === "stopped" ? off(at_ms, "reboot", closingText(driver, closing)) : null;
  const first = stopped ?? on(at_ms, "reboot", countdown);
  const halts = driver.stop_on_reboot && driver.can_stop && !isLocked(plan);
  if (stopped === null && halts) {
    const why = "stop_on_reboot makes the kernel stop the countdown before it reboots";
    return [first, off(kernel_ms, "reboot", why)];
  }
  const sinceMs = repeats ? kernel_ms : at_ms;
  const rest = first.countdown === null ? null : { ...countdown, sinceMs };
  return [first, { ...first, fromMs: kernel_ms, countdown: rest }];
}
