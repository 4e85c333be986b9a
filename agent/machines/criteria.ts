/**
 * The watchdog criteria: what was measured of a device, what is required of it, and what follows:
 * `direct` (the hardware can hold the promised timeout itself), `service` (it cannot, so the
 * refresh service holds it), `simulated`, or `none`. Pure.
 */
import type { WatchdogFacts } from "../io/watchdog.ts";
import { habitsOf } from "./drivers.ts";
import { fellTrue, isFrozen, type Proof } from "./proof.ts";

export type Backend = "direct" | "service" | "simulated" | "none";
export type Via = "direct" | "service" | "none";

/** `require`: real hardware or do not start. `prefer`: go on without. `simulate`: never ask. */
export type WatchdogPolicy = "require" | "prefer" | "simulate";

export interface Wanted {
  /** T2: how long after the last check-in the card is to be reset. */
  readonly promiseMs: number;
  /** The operator's cap on T1, for hardware that claims more than it can hold; null = none. */
  readonly hardwareMaxMs: number | null;
  /** The operator's word on the shortest gap between refreshes, which Linux hides; 0 = none. */
  readonly hardwareMinGapMs: number;
}

export interface Criterion {
  readonly name: string;
  readonly value: string;
  readonly required: string;
  readonly ok: boolean;
}

export interface Judgement {
  readonly backend: Backend;
  /** How the device is refreshed, also for a simulated one. */
  readonly via: Via;
  /** The least and the most the hardware is taken to hold (bounds of T1), ms. */
  readonly hardwareMinMs: number;
  readonly hardwareMaxMs: number;
  readonly protected: boolean;
  /** One phrase for people: what protects this card, or why nothing does. */
  readonly protection: string;
  /** Why this backend, in words. */
  readonly because: string;
  readonly criteria: readonly Criterion[];
}

/** What arming showed. */
export interface Opened {
  /** T1 as asked for and as granted, ms. */
  readonly askedMs: number;
  readonly grantedMs: number;
  /** The granted timeout is the device's limit, found by trying. */
  readonly isLimit: boolean;
  readonly proof: Proof | null;
}

/** WDIOF_SETTIMEOUT, WDIOF_MAGICCLOSE, WDIOF_KEEPALIVEPING of <linux/watchdog.h>. */
const optionBits = { settable: 0x80, magicClose: 0x100, keepAlive: 0x8000 } as const;
/**
 * Judges a device. `problem` says why there are no facts (no device, no addon); a device held by
 * another process yields `none`, since a second refresher would only hide the first one's death.
 */
export function judge(facts: WatchdogFacts | null, wanted: Wanted, problem: string): Judgement {
  if (facts === null) {
    return nothing(`none: ${problem}`, problem, [
      criterion("present", "no", "a watchdog device", false),
    ]);
  }
  const maxMs = longestMs(facts, wanted);
  const criteria = measure(facts, wanted);
  if (facts.holder !== null) {
    const who = `${facts.holder.name} (pid ${facts.holder.pid})`;
    return nothing(`other-owner: ${who}`, `${facts.path} is held by ${who}`, criteria);
  }
  const limits = { hardwareMinMs: facts.minMs ?? 0, hardwareMaxMs: maxMs };
  const heldMs = hardwareFor(limits, wanted.promiseMs);
  const via: Via = wanted.promiseMs <= heldMs ? "direct" : "service";
  const because = reason(wanted.promiseMs, heldMs, maxMs);
  const backend: Backend = facts.kind === "simulated" ? "simulated" : via;
  return { backend, via, because, criteria, ...limits, ...protection(facts) };
}

/**
 * T1 to ask the hardware for when T2 is promised: T2 itself where the hardware can hold it, in the
 * whole seconds in which Linux counts. Rounded down: the rest is the service's to hold.
 */
export function hardwareFor(
  limits: Pick<Judgement, "hardwareMinMs" | "hardwareMaxMs">,
  promiseMs: number,
): number {
  const wholeMs = Math.floor(Math.min(promiseMs, limits.hardwareMaxMs) / 1000) * 1000;
  return Math.max(wholeMs, limits.hardwareMinMs, 1000);
}

function reason(promiseMs: number, heldMs: number, maxMs: number): string {
  const promise = seconds(promiseMs);
  if (promiseMs <= heldMs) return `the hardware holds ${promise} itself`;
  const held =
    promiseMs > maxMs
      ? `holds at most ${seconds(maxMs)}`
      : `counts whole seconds and holds ${seconds(heldMs)}`;
  return `the hardware ${held} of the promised ${promise}`;
}

/** What a device of this kind protects against; only real hardware counts as protection. */
function protection(facts: WatchdogFacts): { protected: boolean; protection: string } {
  switch (facts.kind) {
    case "hardware":
      return { protected: true, protection: `hardware: ${facts.identity}` };
    case "software":
      return { protected: false, protection: "software: a kernel timer dies with the kernel" };
    default:
      return { protected: false, protection: "simulated: no hardware behind it" };
  }
}

function nothing(protection: string, because: string, criteria: Criterion[]): Judgement {
  const none = { backend: "none", via: "none", protected: false } as const;
  return { ...none, hardwareMinMs: 0, hardwareMaxMs: 0, protection, because, criteria };
}

/** The most that the hardware is taken to hold, ms. */
function longestMs(facts: WatchdogFacts, wanted: Wanted): number {
  return Math.min(facts.maxMs ?? Infinity, wanted.hardwareMaxMs ?? Infinity);
}

/** The shortest gap between two refreshes that the chip bears, as it or its operator says, ms. */
export function minGapMs(facts: WatchdogFacts, wanted: Wanted): number {
  return Math.max(facts.minGapMs ?? 0, wanted.hardwareMinGapMs);
}

/** What a disarm would do. sysfs says inactive also where the hardware counts on (measured). */
function stoppable({ nowayout, driver }: WatchdogFacts): string {
  if (nowayout === true) return "no";
  if (habitsOf(driver ?? "")?.can_stop === false) return "no: the kernel would refresh it instead";
  return "yes";
}

/**
 * Every criterion with what was measured. Some kernels show a device's options only to whoever
 * has it open: until then these criteria are not met, and say why.
 */
export function measure(
  facts: WatchdogFacts,
  wanted: Wanted,
  opened: Opened | null = null,
): Criterion[] {
  const maxMs = longestMs(facts, wanted);
  const has = (bit: number): boolean => facts.options !== null && (facts.options & bit) !== 0;
  const told = (value: boolean): string =>
    facts.options === null && !value ? "not shown before it is open" : value ? "yes" : "no";
  const survives = has(optionBits.magicClose) || facts.nowayout === true;
  const promise = seconds(wanted.promiseMs);
  const holder = facts.holder === null ? "nobody" : `${facts.holder.name} ${facts.holder.pid}`;
  const open = facts.openTimeoutS;
  const gapMs = minGapMs(facts, wanted);
  const limits = { hardwareMinMs: facts.minMs ?? 0, hardwareMaxMs: maxMs };
  const halfMs = (opened?.grantedMs ?? hardwareFor(limits, wanted.promiseMs)) / 2;
  return [
    criterion("present", facts.path, "a watchdog device", true),
    criterion("real_hardware", facts.kind, "hardware", facts.kind === "hardware"),
    criterion("exclusive", holder, "held by nobody else", facts.holder === null),
    criterion(
      "timeout_max",
      limitText(Number.isFinite(maxMs) ? maxMs : null, opened),
      `>= ${promise}`,
      maxMs >= wanted.promiseMs,
    ),
    criterion(
      "timeout_min",
      limitText(facts.minMs, opened),
      `<= ${promise}`,
      (facts.minMs ?? 0) <= wanted.promiseMs,
    ),
    criterion(
      "refresh_gap",
      gapMs === 0 ? "none known" : span(gapMs),
      `<= ${span(halfMs)}, half of T1`,
      gapMs <= halfMs,
    ),
    criterion("set_timeout", told(has(optionBits.settable)), "yes", has(optionBits.settable)),
    criterion("refresh", told(has(optionBits.keepAlive)), "yes", has(optionBits.keepAlive)),
    ...proven(opened),
    criterion("survives_close", told(survives), "keeps counting when its owner dies", survives),
    criterion("stoppable", stoppable(facts), "yes, or no on purpose", true),
    criterion(
      "reset_cause",
      facts.bootStatus === null ? "not reported" : `0x${facts.bootStatus.toString(16)}`,
      "reported",
      facts.bootStatus !== null,
    ),
    criterion(
      "open_timeout",
      open === null ? "not shown" : open === 0 ? "0: the kernel refreshes for ever" : `${open} s`,
      "> 0 s, or a driver that does not refresh by itself",
      open === null || open > 0,
    ),
    ...kernelSettings(facts),
  ];
}

/**
 * The early warning to set again after the timeout became `hardwareMs`: drivers keep a stale one.
 * One that would come between two regular refreshes, at most half a timeout apart, is none.
 */
export function pretimeoutFor(setMs: number, hardwareMs: number): number {
  return setMs < hardwareMs / 2 ? setMs : 0;
}

/** What a device states is believed until it is open: then what it granted counts. */
export function limited(facts: WatchdogFacts, opened: Omit<Opened, "proof">): WatchdogFacts {
  const { askedMs, grantedMs, isLimit } = opened;
  if (grantedMs < askedMs) return { ...facts, maxMs: Math.min(facts.maxMs ?? Infinity, grantedMs) };
  if (!isLimit) return facts;
  return { ...facts, minMs: Math.max(facts.minMs ?? 0, grantedMs) };
}

/** A limit as stated, or how it was found. */
function limitText(limitMs: number | null, opened: Opened | null): string {
  if (limitMs === null) return "not stated";
  const isFound = opened?.isLimit === true && opened.grantedMs === limitMs;
  return isFound ? `${seconds(limitMs)}, found by trying` : seconds(limitMs);
}

/** How the running kernel is set up, as far as it decides what happens to a countdown. */
function kernelSettings(facts: WatchdogFacts): Criterion[] {
  const { handleBootEnabled: boot, stopOnReboot: stops, pretimeoutMs, openTimeoutS } = facts;
  const bounded = boot !== true || (openTimeoutS ?? 0) > 0;
  const early = pretimeoutMs ?? 0;
  const can = facts.governors.length === 0 ? "" : ` of ${facts.governors.join(", ")}`;
  const shown = facts.governor === null ? "not shown" : `${facts.governor}${can}`;
  const governor = shown.slice(0, moduleTextMax);
  const fits = early === 0 || pretimeoutFor(early, facts.timeoutMs ?? Infinity) !== 0;
  return [
    criterion("driver", driverOf(facts), "any", true),
    criterion(
      "boot_countdown",
      boot === null ? "not shown" : boot ? "kernel refreshes it" : "left alone",
      "left alone, or open_timeout",
      bounded,
    ),
    criterion(
      "stop_on_reboot",
      stops === null ? "not shown" : stops === "driver" ? "as the driver has it" : stops,
      "no",
      stops === null || stops === "no",
    ),
    criterion("pretimeout", early === 0 ? "none" : seconds(early), "< half the timeout", fits),
    criterion(
      "governor",
      governor,
      "panic, if a pretimeout",
      early === 0 || facts.governor === "panic",
    ),
  ];
}

/** The driver's module and how it was loaded, cut to what leaves room in one packet. */
function driverOf({ driver, driverSettings }: WatchdogFacts): string {
  const settings = Object.entries(driverSettings).map(([name, value]) => `${name}=${value}`);
  return [driver ?? "not shown", ...settings].join(" ").slice(0, moduleTextMax);
}

const moduleTextMax = 80;

/** What only an armed device shows: the granted timeout, and whether its refresh refreshes. */
function proven(opened: Opened | null): Criterion[] {
  const proof = opened?.proof ?? null;
  const isGranted = opened !== null && opened.grantedMs === opened.askedMs;
  const granted =
    opened === null
      ? unopened
      : `${seconds(opened.grantedMs)} of ${seconds(opened.askedMs)} asked for`;
  return [
    criterion("granted", granted, "the timeout asked for", isGranted),
    criterion("refresh_works", works(proof), "time left rises", proof?.works === "yes"),
    criterion("time_left", timeLeft(proof), "falls as time passes", isTrue(proof)),
  ];
}

const unopened = "not measured before it is armed";

function isTrue(proof: Proof | null): boolean {
  return proof !== null && fellTrue(proof);
}

function works(proof: Proof | null): string {
  if (proof === null) return unopened;
  if (proof.fullMs === null) return "cannot be told (no time left)";
  if (isFrozen(proof)) return "cannot be told (time left is frozen)";
  switch (proof.works) {
    case "yes":
      return proof.by === "keepalive" ? "yes" : "yes, by SETTIMEOUT: KEEPALIVE does nothing";
    case "no":
      return "no";
    case "untold":
      return "cannot be told (time left is too coarse)";
    default:
      return "not known yet";
  }
}

function timeLeft(proof: Proof | null): string {
  if (proof === null) return unopened;
  if (proof.fullMs === null) return "not offered";
  if (isFrozen(proof)) return "frozen";
  if (proof.fell === null) return "not known yet";
  const { byMs, inMs } = proof.fell;
  return fellTrue(proof) ? "falls" : `falls by ${seconds(byMs)} in ${seconds(inMs)}`;
}

function criterion(name: string, value: string, required: string, ok: boolean): Criterion {
  return { name, value, required, ok };
}

/** As `seconds`; in milliseconds below one. */
function span(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : seconds(ms);
}

/** Milliseconds as seconds for people: `30 s`, `2.5 s`, `unlimited`. */
export function seconds(ms: number): string {
  return Number.isFinite(ms) ? `${Math.round(ms / 100) / 10} s` : "unlimited";
}
