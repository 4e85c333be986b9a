/**
 * Traces of a device in a file, so that the simulator can be held against it without the device:
 * one line of JSON about the run, then one per script.
 */
import fs from "node:fs";
import { Failure } from "../../errors.ts";
import type { DeviceName } from "./simulated.ts";
import type { Look, TraceEvent } from "./trace.ts";

export interface Recording {
  readonly device: DeviceName;
  readonly seed: number;
  /** One trace per script of the seed, in their order. */
  readonly traces: readonly (readonly TraceEvent[])[];
}

type CompactLook = [string, ...(number | null)[]];
/** An event whose look is that of the event before it has none. */
type CompactEvent = [string, number, TraceEvent["result"], CompactLook?];

const looks = ["timeoutMs", "pretimeoutMs", "leftMs", "bootStatus", "minMs", "maxMs"] as const;

export function writeRecording(file: string, recording: Recording): void {
  const { device, seed, traces } = recording;
  const lines = [{ device, seed }, ...traces.map(compact)].map((line) => JSON.stringify(line));
  fs.writeFileSync(file, `${lines.join("\n")}\n`);
}

/** `rig.fault` for a file that is something else. */
export function readRecording(file: string): Recording {
  const [head = "", ...lines] = fs.readFileSync(file, "utf8").trim().split("\n");
  try {
    const { device, seed } = JSON.parse(head) as Recording;
    return { device, seed, traces: lines.map((line) => expand(JSON.parse(line))) };
  } catch (error) {
    throw new Failure("rig.fault", `${file} is no recording of lockstep`, { cause: error });
  }
}

function compact(trace: readonly TraceEvent[]): CompactEvent[] {
  let before = "";
  return trace.map(({ step, atMs, result, look }) => {
    if (look === null) return [step, atMs, result];
    const now: CompactLook = [look.state, ...looks.map((name) => look[name])];
    const isSame = JSON.stringify(now) === before;
    before = JSON.stringify(now);
    return isSame ? [step, atMs, result] : [step, atMs, result, now];
  });
}

function expand(events: readonly CompactEvent[]): TraceEvent[] {
  let look: Look | null = null;
  return events.map(([step, atMs, result, compactLook]) => {
    if (compactLook !== undefined) {
      const [state, ...values] = compactLook;
      const entries = looks.map((name, at) => [name, values[at] ?? null]);
      look = { state, ...Object.fromEntries(entries) } as Look;
    }
    return { step, atMs, result, look: result === "expired" ? null : look };
  });
}
