/** Two traces of one script, event by event: where they first part, and what both sides said. */
import { expired, type Look, type TraceEvent } from "./trace.ts";

/** The first event in which the two sides differ, and what differs in it. */
export interface Divergence {
  /** Index of the event in both traces. */
  readonly at: number;
  readonly differs: readonly string[];
}

/** How far times may be apart, ms: the larger of 1 s and 5 %. */
export function toleranceMs(ofMs: number): number {
  return Math.max(1000, ofMs * 0.05);
}

/** Undefined when the traces agree. Values are equal; times are within `toleranceMs`. */
export function firstDivergence(
  simulated: readonly TraceEvent[],
  hardware: readonly TraceEvent[],
): Divergence | undefined {
  const length = Math.max(simulated.length, hardware.length);
  for (let at = 0; at < length; at++) {
    const differs = differences(simulated[at], hardware[at], hardware[at - 1]);
    if (differs.length > 0) return { at, differs };
  }
  return undefined;
}

function differences(
  simulated: TraceEvent | undefined,
  hardware: TraceEvent | undefined,
  before: TraceEvent | undefined,
): string[] {
  if (simulated === undefined || hardware === undefined) return ["end"];
  const differs: string[] = [];
  if (simulated.step !== hardware.step) differs.push("step");
  const isTime = hardware.step === "left";
  const isSame = isTime
    ? isNear(simulated.result, hardware.result)
    : simulated.result === hardware.result;
  if (!isSame) differs.push("result");
  const sinceMs = hardware.atMs - (before?.atMs ?? 0);
  const apartMs = Math.abs(simulated.atMs - hardware.atMs);
  const isExpiry = simulated.result === expired && hardware.result === expired;
  if (isExpiry && apartMs > toleranceMs(sinceMs)) differs.push("atMs");
  const names = lookDifferences(simulated.look, hardware.look);
  // How long ago the booting kernel loaded its driver, and refreshed last, is not in the trace.
  const isBoot = hardware.step === "boot";
  return [...differs, ...names.filter((name) => !isBoot || name !== "leftMs")];
}

function lookDifferences(simulated: Look | null, hardware: Look | null): string[] {
  if (simulated === null || hardware === null) return simulated === hardware ? [] : ["look"];
  const names = Object.keys(hardware) as (keyof Look)[];
  return names.filter((name) =>
    name === "leftMs"
      ? !isNear(simulated.leftMs, hardware.leftMs)
      : simulated[name] !== hardware[name],
  );
}

function isNear(one: TraceEvent["result"], other: TraceEvent["result"]): boolean {
  if (typeof one !== "number" || typeof other !== "number") return one === other;
  return Math.abs(one - other) <= toleranceMs(other);
}

/** Events before the divergence that are shown. */
const contextEvents = 4;

/** The divergence for people: the events before it, then both sides of it. */
export function showDivergence(
  divergence: Divergence,
  simulated: readonly TraceEvent[],
  hardware: readonly TraceEvent[],
): string {
  const { at, differs } = divergence;
  const from = Math.max(at - contextEvents, 0);
  const before = hardware.slice(from, at).map((event, index) => line("both", from + index, event));
  return [
    ...(from > 0 ? [`          ... ${from} events before`] : []),
    ...before,
    line("simulator", at, simulated[at]),
    line("hardware", at, hardware[at]),
    `          differs in: ${differs.join(", ")}`,
  ].join("\n");
}

function line(side: string, at: number, event: TraceEvent | undefined): string {
  return `${side.padStart(9)} ${String(at).padStart(3)}  ${showEvent(event)}`;
}

function showEvent(event: TraceEvent | undefined): string {
  if (event === undefined) return "(nothing: the trace has ended)";
  const { step, atMs, result, look } = event;
  const answer = result === null ? "" : ` -> ${result}`;
  const state =
    look === null
      ? ""
      : `  [${look.state}, timeout ${look.timeoutMs}, pretimeout ${look.pretimeoutMs}, ` +
        `left ${look.leftMs}, boot status ${look.bootStatus}, range ${look.minMs}..${look.maxMs}]`;
  return `${(atMs / 1000).toFixed(3)} s  ${step}${answer}${state}`;
}
