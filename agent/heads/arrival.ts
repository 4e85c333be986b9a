/** What firmware and the early userspace hook left: read once, and refused where damaged. */
import { Failure } from "../errors.ts";
import type { Platform } from "../io/platform.ts";
import type * as boot from "../machines/boot.ts";
import { type Hook, parseHook } from "../machines/boothook.ts";
import type { ArrivalNote, FirmwareBoot } from "../machines/bootrecord.ts";
import type { StageLog } from "../machines/stagelog.ts";
import { decodeBootState } from "../wire/bootstate.ts";
import { decodeHandOff, type HandOff } from "../wire/handoff.ts";

export interface Left {
  readonly handOff: HandOff | null;
  /** Why there is a record that is not believed; null when there is none such. */
  readonly handOffProblem: string | null;
  /** What firmware counted this boot as; null where nothing tells. */
  readonly firmware: FirmwareBoot | null;
  readonly hook: Hook | null;
  /** Why the hook's record is not believed; empty when there is none such. */
  readonly hookProblem: string;
}

export function whatIsLeft(platform: Platform): Left {
  const left = readHandOff(platform);
  const firmware = left.handOff ?? (left.handOffProblem === null ? null : readBoots(platform));
  return { ...left, firmware, ...readHook(platform) };
}

/**
 * This boot as firmware's own store has it. Only for a boot that left a record, be it damaged: any
 * other one may have gone round our loader, and what the store calls current is then an older boot.
 */
function readBoots(platform: Platform): FirmwareBoot | null {
  const bytes = platform.firmwareBoots();
  if (bytes === null) return null;
  try {
    const { current, previous, failures, attempts_max } = decodeBootState(bytes);
    if (current === undefined) return null;
    const { boot, slot } = current;
    const counted = slot === "safe" ? attempts_max : failures[slot];
    return { boot, slot, failures: counted, attempts_max, previous };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return null;
  }
}

function readHandOff(platform: Platform): Pick<Left, "handOff" | "handOffProblem"> {
  const bytes = platform.handOff();
  if (bytes === null) return { handOff: null, handOffProblem: null };
  try {
    const handOff = decodeHandOff(bytes);
    return { handOff: platform.isOneClock ? handOff : onLinuxClock(handOff), handOffProblem: null };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { handOff: null, handOffProblem: error.message };
  }
}

function readHook(platform: Platform): Pick<Left, "hook" | "hookProblem"> {
  const text = platform.bootHook();
  if (text === null) return { hook: null, hookProblem: "" };
  const hook = parseHook(text);
  if (typeof hook !== "string") return { hook, hookProblem: "" };
  return { hook: null, hookProblem: `the boot hook's record is refused: ${hook}` };
}

/**
 * The record's times on Linux' clock, which begins some time after the last refresh; how long
 * after, nobody tells. The last refresh is taken to be Linux' zero: so nothing is said to have
 * been refreshed later than it was.
 */
function onLinuxClock(handOff: HandOff): HandOff {
  const last = handOff.stages.at(-1);
  const zeroMs = handOff.countdown?.refreshed_ms ?? last?.end_ms ?? last?.start_ms ?? 0;
  const { countdown, stages } = handOff;
  return {
    ...handOff,
    ...(countdown === undefined ? {} : { countdown: { ...countdown, refreshed_ms: 0 } }),
    stages: stages.map(({ start_ms, end_ms, steps, ...stage }) => ({
      ...stage,
      start_ms: start_ms - zeroMs,
      ...(end_ms === undefined ? {} : { end_ms: end_ms - zeroMs }),
      steps: steps.map(({ name, at_ms }) => ({ name, at_ms: at_ms - zeroMs })),
    })),
  };
}

/** The machine's state as the firmware left it. */
export function fromHandOff(handOff: HandOff, plan: boot.BootPlan): boot.State {
  const { boot: id, slot, failures, countdown, stages } = handOff;
  return {
    kind: "hand_off",
    plan,
    boot: id,
    slot,
    failures,
    countdown:
      countdown === undefined
        ? null
        : {
            limits: { minMs: countdown.min_ms, maxMs: countdown.max_ms },
            grantedMs: countdown.granted_ms,
            refreshedMs: countdown.refreshed_ms,
          },
    log: stages.map(({ stage, start_ms, end_ms, by, steps }) => ({
      stage,
      startMs: start_ms,
      endMs: end_ms ?? null,
      by,
      steps: steps.map(({ name, at_ms }) => ({ name, atMs: at_ms })),
    })),
  };
}

/** The way of this boot to its first agent, as a later one knows it. */
export function wayTo(note: ArrivalNote, handOff: HandOff | null, plan: boot.BootPlan): StageLog[] {
  const state = handOff === null ? null : fromHandOff(handOff, plan);
  const before = state !== null && "log" in state ? state.log : [];
  return [...before, { stage: "runtime", startMs: note.atMs, endMs: null, by: "agent", steps: [] }];
}
