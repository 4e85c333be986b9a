/**
 * Scripts for a watchdog: what a program does to it, call by call, as text (`timeout 5000`). They
 * come from a seed and know nothing of the device, so that every device gets the same ones.
 */
import { Failure } from "../../errors.ts";
import { Random } from "../../sim/random.ts";

/**
 * What can be done: the calls of `Watchdog`; `rewrite` refreshes by setting the present timeout;
 * `wait` lets time pass. With a value, in ms: timeout, pretimeout, wait.
 */
export const acts = [
  "open",
  "timeout",
  "pretimeout",
  "left",
  "refresh",
  "rewrite",
  "disarm",
  "close",
  "wait",
] as const;
export type Act = (typeof acts)[number];

export interface Step {
  readonly act: Act;
  /** Milliseconds; 0 for acts without a value. */
  readonly ms: number;
}

/** Reads `timeout 5000`; `rig.fault` for anything else. */
export function parseStep(text: string): Step {
  const [name, value = "0"] = text.split(" ");
  const act = acts.find((known) => known === name);
  const ms = Number(value);
  if (act === undefined || !Number.isFinite(ms)) {
    throw new Failure("rig.fault", `no step of a lockstep script reads "${text}"`);
  }
  return { act, ms };
}

/** Longer than any expiry of a script takes, ms: who waits so long expects not to come back. */
export const forEverMs = 60_000;

/** Every so many scripts one runs into an expiry; a reset and a boot take their time. */
const expiryEvery = 12;
const watchEvery = 33;

/** `count` scripts; the first ones stay the same when more are asked for. */
export function scriptsFrom(seed: number, count: number): string[][] {
  return Array.from({ length: count }, (_, at) => {
    const random = new Random(seed).fork(`script${at}`);
    if (at % expiryEvery === expiryEvery - 1) return expiring(random, Math.floor(at / expiryEvery));
    return at % watchEvery === watchEvery - 1 ? disarmed(random) : ordinary(random);
  });
}

const safeMs = [10_000, 15_000, 20_500, 30_000, 60_000, 600_000, 614_000, 1_000_000, 2_046_000];
const impossibleMs = [0, -1000, 615_000, 2_047_000, 4_294_968_000, 5_000_000_000];
/** Some devices take them: they are raised again before time can pass. */
const shortMs = [1000, 2000, 3000];
const pretimeoutsMs = [0, 1000, 2500, 5000, 8000, 9000, 30_000, 60_000, -1000, 5_000_000_000];
const closedActs = ["timeout 10000", "pretimeout 1000", "left", "refresh", "disarm", "close"];
/** Together they stay far below every timeout that waits. */
const waitsMax = 2;

/** Calls in any order that let nothing expire, refused ones among them. */
function ordinary(random: Random): string[] {
  const script = random.chance(0.15) ? [random.pick(closedActs), "open"] : ["open"];
  let waits = 0;
  const length = random.range(3, 8);
  while (script.length < length) {
    const draw = random.int(20);
    if (draw < 6) script.push(...timeoutSteps(random));
    else if (draw < 10) script.push(`pretimeout ${random.pick(pretimeoutsMs)}`);
    else if (draw < 12) script.push("left");
    else if (draw < 14) script.push(random.pick(["refresh", "rewrite"]));
    else if (draw < 17) script.push(...releases(random));
    else if (draw < 18) script.push("open");
    else if (waits < waitsMax) {
      waits += 1;
      script.push(`wait ${random.pick([1000, 2000])}`, random.pick(["left", "refresh"]));
    }
  }
  return script;
}

function timeoutSteps(random: Random): string[] {
  const draw = random.int(10);
  if (draw < 5) return [`timeout ${random.pick(safeMs)}`];
  if (draw < 8) return [`timeout ${random.pick(impossibleMs)}`];
  return [`timeout ${random.pick(shortMs)}`, `timeout ${random.pick(safeMs)}`];
}

function releases(random: Random): string[] {
  const release = random.pick(["close", "disarm"]);
  return random.chance(0.3) ? [release, random.pick(closedActs), "open"] : [release, "open"];
}

/** Who disarms is left alone, however long it takes; the timeout stays as it was. */
function disarmed(random: Random): string[] {
  return [
    "open",
    "timeout 4000",
    "wait 1000",
    "disarm",
    "wait 9000",
    "open",
    random.pick(safeActs),
  ];
}
const safeActs = ["left", "refresh", "rewrite"];

/** Something that refreshes or does not, with time before it, so that the expiry tells which. */
function expiring(random: Random, turn: number): string[] {
  const timeoutMs = random.pick([4000, 5000, 6000]);
  const script = ["open", `timeout ${timeoutMs}`];
  const between = perhapsRefreshing[turn % (perhapsRefreshing.length + 1)];
  // Devices that count down twice are in their second round then, the others have expired.
  if (between === undefined) script.push(`wait ${timeoutMs + 1500}`, "left");
  else script.push("wait 2000", ...between);
  return [...script, `wait ${forEverMs}`];
}
const perhapsRefreshing: readonly (readonly string[])[] = [
  ["rewrite", "open"],
  ["close"],
  ["refresh", "left"],
  ["timeout 5000"],
  ["close", "wait 1500", "open"],
  ["timeout 5000000000", "pretimeout 1000", "left"],
  ["disarm", "open"],
];
