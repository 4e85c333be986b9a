/**
 * One day in the life of a card, in half a minute of its own time: it boots and is adopted, its TEE
 * crashes and is restored, its agent hangs and the watchdog ends that, and a bad update makes it
 * fall back to the other slot. What a person sees of it comes over the serial line alone.
 */
import type { AgentConfig } from "../config.ts";
import { simConfig, World } from "./world.ts";

/** Milliseconds of each of the ten steps of a boot: one takes some two and a half seconds. */
const stepMs = 220;
/** Reset this long after the last check-in (T2), in seconds. */
const promiseS = 4;
/** Less than the promise (T1), in seconds: the refresh service is at work. */
const hardwareMaxS = 2;
/** The boot loader's watchdog, so that a boot that hangs is over soon, ms. */
const bootWatchdogMs = 1500;
/** Failed boots before the other slot is taken: two, for a short day. */
const attemptsMax = 2;

/** A TEE that is missed sooner than on a busy card: it counts as dead within 1.2 s. */
const quickTee = { callLateMs: 300, canaryEveryMs: 500, canaryLateMs: 200, suspectMs: 500 };

/** When things happen, ms from the power switch; at the end the other slot is up and confirmed. */
const scheduleMs = { teeCrash: 5000, hang: 7500, badUpdate: 16_200, end: 26_500 };

export interface Day {
  readonly world: World;
  readonly lengthMs: number;
}

/** A card with two serial lines that will live through its day once it is powered. */
export function planDay(seed: number): Day {
  const world = new World({ seed, config: dayConfig(), stepMs });
  const at = (ms: number, act: () => void): void => void world.clock.at(ms, act);
  at(scheduleMs.teeCrash, () => world.tee.inject("core_panic"));
  at(scheduleMs.hang, () => world.hangAgent(Infinity));
  at(scheduleMs.badUpdate, () => {
    world.bootFaults.a = { hang: { stage: "os_load", step: "load_kernel" } };
    world.agent?.reset("update");
  });
  return { world, lengthMs: scheduleMs.end };
}

function dayConfig(): AgentConfig {
  const watchdog = { promise_s: promiseS, hardware_max_s: hardwareMaxS };
  const config = simConfig({ watchdog, tasks: [{ name: "dataplane", every_s: 2 }] });
  const tee = { ...config.tee, ...quickTee };
  return { ...config, tee, plan: { ...config.plan, watchdogMs: bootWatchdogMs, attemptsMax } };
}
