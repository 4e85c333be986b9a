/**
 * One day in the life of a card, on its own clock: it boots and is adopted, its TEE crashes and is
 * restored, its agent hangs and the watchdog ends that, and a bad update makes it fall back to the
 * other slot. What a person sees of it comes over the serial line alone.
 */
import { type AgentConfig, configure } from "../config.ts";
import { World } from "./world.ts";

/** Milliseconds of each step of a boot: a boot takes some 14 s. */
const stepMs = 1000;
/** Reset this long after the last check-in (T2), in seconds: short, so that the day is. */
const promiseS = 20;
/** The boot loader's watchdog, so that a boot that hangs is over soon, ms. */
const bootWatchdogMs = 12_000;

/** When things happen, ms from the power switch, and when nothing more does. */
const scheduleMs = { teeCrash: 32_000, hang: 46_000, badUpdate: 98_000, end: 190_000 };

export interface Day {
  readonly world: World;
  readonly lengthMs: number;
}

/** A card with two serial lines that will live through its day once it is powered. */
export function planDay(seed: number): Day {
  const world = new World({ seed, config: dayConfig(), stepMs, lineCount: 2 });
  const at = (ms: number, act: () => void): void => void world.clock.at(ms, act);
  at(scheduleMs.teeCrash, () => world.tee.crash());
  at(scheduleMs.hang, () => world.hangAgent(Infinity));
  at(scheduleMs.badUpdate, () => {
    world.bootFaults.a = { hang: { stage: "os_load", step: "load_kernel" } };
    world.agent?.reset("update");
  });
  return { world, lengthMs: scheduleMs.end };
}

function dayConfig(): AgentConfig {
  const config = configure({ name: "sim", lab: true, watchdog: { promise_s: promiseS } }, "sim");
  return { ...config, plan: { ...config.plan, watchdogMs: bootWatchdogMs } };
}
