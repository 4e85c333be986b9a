/**
 * One day in the life of a card, in half a minute: it boots and is adopted, its TEE crashes and
 * comes back, its agent hangs and the watchdog ends that, and then its slot stops booting until
 * the card falls back to the other one.
 */
import { configure } from "../config.ts";
import { World } from "./world.ts";

/** A card that boots in seconds and promises a reset in four, so that a day can be watched. */
const promiseS = 4;
/** Less than the promise: the refresh service is at work. */
const hardwareMaxS = 2;
/** Twelve steps of a boot take two and a half seconds. */
const stepMs = 220;
const bootWatchdogMs = 1500;
/** Failed boots before the other slot is taken: two, for a short day. */
const attemptsMax = 2;

/** What happens when, ms after the start of the day. Each waits for the card to be up again. */
const events: readonly { atMs: number; act: (world: World) => void }[] = [
  { atMs: 5_500, act: (world) => world.tee.crash() },
  { atMs: 8_000, act: (world) => world.hangAgent(Infinity) },
  {
    atMs: 17_000,
    act: (world) => {
      world.bootFaults.a = { hang: { stage: "os_load", step: "load_kernel" } };
      world.agent?.reset("operator");
    },
  },
];

/** When the card is up again on the other slot and has confirmed it. */
export const dayMs = 27_000;

/** A card whose day is planned; it begins with `power(true)` and can be played once. */
export function dayWorld(seed: number): World {
  const base = configure(
    {
      name: "day",
      lab: true,
      watchdog: { policy: "simulate", promise_s: promiseS, hardware_max_s: hardwareMaxS },
      tasks: [{ name: "dataplane", every_s: 2 }],
    },
    __VERSION__,
  );
  const plan = { ...base.plan, watchdogMs: bootWatchdogMs, attemptsMax };
  const world = new World({ seed, config: { ...base, plan }, stepMs });
  for (const { atMs, act } of events) world.clock.at(atMs, () => act(world));
  return world;
}
