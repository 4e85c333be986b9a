/**
 * Lockstep: the same scripts on a device and on the simulator beside it. A divergence is told and
 * ends its script; the next one begins from what the hardware then says of itself.
 */
import { Failure } from "../../errors.ts";
import type { Bug } from "./bugs.ts";
import { type Divergence, firstDivergence, showDivergence } from "./compare.ts";
import { type DeviceName, models, simulate } from "./simulated.ts";
import type { TraceEvent } from "./trace.ts";

/** The hardware's side. */
export interface Device {
  /** Brings the device into its starting state and does the script. */
  run(script: readonly string[]): Promise<readonly TraceEvent[]>;
  /** Resets the whole card, whatever state it is in. */
  reset(): Promise<void>;
}

export interface Lockstep {
  readonly device: DeviceName;
  readonly scripts: readonly (readonly string[])[];
  readonly bug?: Bug | undefined;
}

/** One script's outcome. `number` counts from 1. */
export interface Outcome {
  readonly number: number;
  readonly divergence: Divergence | undefined;
  /** The divergence as text, or "". */
  readonly shown: string;
  readonly hardware: readonly TraceEvent[];
}

/** Runs all scripts and hands over each outcome as it comes. */
export async function lockstep(
  plan: Lockstep,
  hardware: Device,
  tell: (outcome: Outcome) => void,
): Promise<void> {
  for (const [at, script] of plan.scripts.entries()) {
    const trace = await hardware.run(script);
    const outcome = judge(plan, at, trace);
    tell(outcome);
    // Only a card that was reset is surely again what the simulator takes it for.
    if (outcome.divergence !== undefined && at + 1 < plan.scripts.length) await hardware.reset();
  }
}

/** The simulator's side of one script, held against the hardware's. */
export function judge(plan: Lockstep, at: number, hardware: readonly TraceEvent[]): Outcome {
  const script = plan.scripts[at];
  if (script === undefined) throw new Failure("rig.fault", `there is no script ${at + 1}`);
  const simulated = simulate(models[plan.device], script, hardware, plan.bug);
  const divergence = firstDivergence(simulated, hardware);
  const shown = divergence === undefined ? "" : showDivergence(divergence, simulated, hardware);
  return { number: at + 1, divergence, shown, hardware };
}
