/** The simulator's side of lockstep: the same steps on the simulated chip, at the same times. */
import { SimClock } from "../../sim/clock.ts";
import { SimChip, SimWatchdog } from "../../sim/watchdog.ts";
import { i6300esbModel, itcoModel, type WatchdogModel } from "../../sim/watchdogmodels.ts";
import type { Bug } from "./bugs.ts";
import { parseStep } from "./script.ts";
import { expired, lookAt, perform, resync, type TraceEvent } from "./trace.ts";

/** The simulator's models of the devices that QEMU emulates. */
export const models = { i6300esb: i6300esbModel, itco: itcoModel } as const;
export type DeviceName = keyof typeof models;

/** WDIOF_CARDRESET: the chip's flag, as the driver shows it after a reset by the watchdog. */
const cardReset = 0x20;

/**
 * Does the script on a simulated device that starts as the hardware's `start` event says, each
 * step when the hardware did it; a step that the hardware did not come to is done on time.
 */
export function simulate(
  model: WatchdogModel,
  script: readonly string[],
  hardware: readonly TraceEvent[] = [],
  bug?: Bug,
): TraceEvent[] {
  const clock = new SimClock();
  let expiredMs: number | null = null;
  const chip = new SimChip(clock, bug?.model?.(model) ?? model, () => {
    expiredMs = clock.now();
  });
  chip.fired = ((hardware[0]?.look?.bootStatus ?? 0) & cardReset) !== 0;
  const watchdog = new SimWatchdog(chip, clock);
  resync(watchdog);
  bug?.plant(chip, watchdog);
  const events: TraceEvent[] = [{ step: "start", atMs: 0, result: null, look: lookAt(watchdog) }];
  for (const [at, step] of script.entries()) {
    const seen = hardware[at + 1];
    const dueMs = clock.now() + parseStep(step).ms * (parseStep(step).act === "wait" ? 1 : 0);
    const isPaced = seen?.step === step && seen.result !== expired;
    clock.advanceTo(isPaced ? Math.max(seen.atMs, clock.now()) : dueMs);
    if (expiredMs !== null) {
      const atMs = Math.round(expiredMs);
      events.push({ step, atMs, result: expired, look: null });
      const booted = new SimWatchdog(chip, clock);
      events.push({ step: "boot", atMs, result: null, look: lookAt(booted) });
      return events;
    }
    const result = perform(watchdog, step);
    events.push({ step, atMs: Math.round(clock.now()), result, look: lookAt(watchdog) });
  }
  return events;
}
