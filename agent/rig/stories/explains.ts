/** What a card says of its own coverage, beside what then happens on it. */
import { coverageOf, type Hang, type Interval } from "../../machines/coverage.ts";
import {
  type CardSettings,
  expect,
  freshCheckIn,
  type HangKind,
  type Rig,
  toleranceMs,
} from "../rig.ts";
import { type Story, story } from "../story.ts";

/** The driver is named, the gap before the agent too, and the runtime is guarded. */
async function explained(rig: Rig, settings: CardSettings): Promise<Interval> {
  await rig.start(settings);
  const plan = await rig.ask("wdt.plan", {});
  const { intervals, gaps, wellResetMs } = coverageOf(plan);
  expect(wellResetMs === null, `a card that is well would be reset at ${wellResetMs} ms`);
  const isReal = rig.name !== "sim";
  if (isReal) {
    const { device = "i6300esb" } = settings;
    expect(plan.driver?.name === device, `driver ${plan.driver?.name}`);
    // No firmware arms anything on this rig.
    const [first] = gaps;
    expect(first?.code === "unarmed" && first.hang === "machine", JSON.stringify(gaps));
  }
  const report = await rig.ask("card.protection", {});
  const guarded = report.stages.find(({ stage }) => stage === "runtime");
  const service = (settings.hardwareMs ?? settings.promiseMs) < settings.promiseMs;
  const by = isReal ? (service ? "service" : "hardware") : "simulated";
  expect(!report.protected && guarded?.by === by, JSON.stringify(report));
  const runtime = intervals.find(({ stage }) => stage === "runtime");
  expect(runtime !== undefined, "no runtime in the plan");
  return runtime;
}

/** The reset comes within the time that was told. */
async function ends(rig: Rig, kind: HangKind, hang: Hang, settings: CardSettings): Promise<void> {
  const { fates } = await explained(rig, settings);
  const fate = fates[hang];
  expect(fate?.kind === "reset", `${hang}: ${JSON.stringify(fate)}`);
  const checkedInMs = await freshCheckIn(rig, settings.promiseMs);
  const before = rig.expiries.length;
  await rig.hang(kind);
  const { withinMs } = fate;
  const find = (): number | undefined => rig.expiries[before];
  const atMs = await rig.until("expiry of the watchdog", find, 2 * withinMs + 10_000);
  const tookMs = atMs - checkedInMs;
  const isInTime = tookMs <= withinMs + toleranceMs(rig, withinMs);
  expect(isInTime, `reset after ${tookMs} ms, at most ${withinMs} were told`);
}

export const explains: readonly Story[] = [
  story(
    "a hang ends in the time that explain tells, with the hardware alone",
    { rows: ["A1-16", "B10-02"] },
    (rig) => ends(rig, "loop", "agent_loop", { promiseMs: 10_000 }),
  ),
  story(
    "a hang ends in the time that explain tells, with the refresh service",
    { rows: ["A1-16", "B10-02"] },
    (rig) => ends(rig, "loop", "agent_loop", { promiseMs: 12_000, hardwareMs: 6_000 }),
  ),
  story(
    "a hang of a watchdog with two expiries ends in the time that explain tells",
    { rows: ["A1-16", "B10-02"], needs: ["iTCO_wdt"] },
    (rig) => ends(rig, "loop", "agent_loop", { promiseMs: 20_000, device: "iTCO_wdt" }),
  ),
];
