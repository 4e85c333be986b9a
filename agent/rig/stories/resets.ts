/** Cards that stop being alive, each in its way, and have to be reset in time. */
import { bootHeartbeatMs } from "../guestshell.ts";
import {
  CardFailed,
  type CardSettings,
  expect,
  freshCheckIn,
  type HangKind,
  type Rig,
  reportsOf,
  toleranceMs,
} from "../rig.ts";
import { type Story, story } from "../story.ts";

/** When the watchdog expires next, on the rig's clock. */
function nextExpiry(rig: Rig, withinMs: number): Promise<number> {
  const before = rig.expiries.length;
  return rig.until("expiry of the watchdog", () => rig.expiries[before], withinMs);
}

/** T2 in full, measured from the last check-in to the expiry. */
async function hung(rig: Rig, kind: HangKind, settings: CardSettings): Promise<void> {
  const { promiseMs, hardwareMs = promiseMs } = settings;
  await rig.start(settings);
  const state = await rig.ask("wdt.state", {});
  const via = promiseMs > hardwareMs ? "service" : "direct";
  expect(state.via === via, `via ${state.via} instead of ${via}`);
  const checkedInMs = await freshCheckIn(rig, promiseMs);
  await rig.hang(kind);
  const tookMs = (await nextExpiry(rig, 2 * (promiseMs + hardwareMs))) - checkedInMs;
  const coarseMs = settings.device === "iTCO_wdt" ? 2 * itcoTickMs : 0;
  const isOnTime = Math.abs(tookMs - promiseMs) <= Math.max(toleranceMs(rig, promiseMs), coarseMs);
  expect(isOnTime, `reset ${tookMs} ms after the last check-in, promised were ${promiseMs}`);
}
/** What iTCO counts in, rounded down in each of its two rounds. */
const itcoTickMs = 600;

function ratioStory(ratio: number, promiseMs: number): Story {
  const name = `a blocked event loop is reset at T2, with T2 ${ratio} times T1`;
  const tell = (rig: Rig): Promise<void> =>
    hung(rig, "loop", { promiseMs, hardwareMs: promiseMs / ratio });
  return story(name, { rows: ["A2-05", "A2-08"] }, tell);
}

/** The refresh thread dies, or stands still, with the agent: the hardware's T1 is left. */
async function deadAgent(rig: Rig, end: (rig: Rig) => Promise<void>): Promise<void> {
  const [promiseMs, hardwareMs] = [9_000, 6_000];
  await rig.start({ promiseMs, hardwareMs });
  await freshCheckIn(rig, promiseMs);
  const brokenMs = rig.now();
  await end(rig);
  const limitMs = Math.max(promiseMs, hardwareMs);
  const tookMs = (await nextExpiry(rig, 3 * limitMs)) - brokenMs;
  const isInTime = tookMs <= limitMs + toleranceMs(rig, limitMs);
  expect(isInTime, `reset ${tookMs} ms after the end, promised were ${limitMs} at the most`);
}

/** Reports until the reset, or the last seen before it. */
async function culpritBeforeReset(rig: Rig): Promise<void> {
  const promiseMs = 12_000;
  const task = { name: "storage", everyMs: 4_000 };
  await rig.start({ promiseMs, tasks: [task] });
  await rig.ask("wdt.check_in", { task: task.name });
  const stoppedMs = rig.now();
  for (;;) {
    if (rig.expiries.length > 0) throw new CardFailed("reset before any report named the task");
    const told = (await reportsOf(rig)).find(
      ({ kind, data }) => kind === "wdt:withheld" && data.culprit === task.name,
    );
    if (told !== undefined) break;
    expect(rig.now() - stoppedMs < 2 * promiseMs, "no report of the late task, and no reset");
    await rig.wait(lookEveryMs);
  }
  const resetMs = await nextExpiry(rig, 2 * promiseMs);
  const tookMs = resetMs - stoppedMs;
  const limitMs = task.everyMs + promiseMs;
  const isInTime = tookMs <= limitMs + toleranceMs(rig, limitMs);
  expect(isInTime, `reset ${tookMs} ms after the last check-in of the task, not ${limitMs}`);
}
const lookEveryMs = 200;

/** A watchdog that runs from before the driver, and an agent that never comes. */
async function neverAdopted(rig: Rig): Promise<void> {
  const openTimeoutMs = 15_000;
  await rig.start({ promiseMs: 20_000, device: "iTCO_wdt", openTimeoutMs });
  await rig.reset({ withoutAgent: true });
  const bootedMs = rig.now();
  // The last refresh of the kernel leaves both expiries of the hardware.
  const limitMs = openTimeoutMs + 2 * bootHeartbeatMs;
  const tookMs = (await nextExpiry(rig, 2 * limitMs)) - bootedMs;
  const isInTime = tookMs <= limitMs + toleranceMs(rig, limitMs);
  expect(isInTime, `reset ${tookMs} ms after the boot, promised were ${limitMs} at the most`);
}

export const resets: readonly Story[] = [
  ratioStory(1, 8_000),
  ratioStory(1.5, 9_000),
  ratioStory(2, 8_000),
  ratioStory(10, 20_000),
  story("a killed agent is no disarm: the card is reset", { rows: ["A2-09"] }, (rig) =>
    deadAgent(rig, (card) => card.hang("kill")),
  ),
  story("a stopped agent is reset within the larger of T1 and T2", { rows: ["A2-09"] }, (rig) =>
    deadAgent(rig, (card) => card.hang("stop")),
  ),
  story("a kernel that stands still is reset", { rows: ["A2-05"] }, (rig) =>
    deadAgent(rig, (card) => card.hang("kernel")),
  ),
  story(
    "an agent that runs out of memory is reset",
    { rows: ["A2-09"], needs: ["processes"] },
    (rig) => deadAgent(rig, (card) => card.hang("memory")),
  ),
  story(
    "an agent that is told to end leaves the watchdog counting",
    { rows: ["A2-12"], needs: ["agent_restart"] },
    (rig) => deadAgent(rig, (card) => card.stopAgent()),
  ),
  story(
    "a realtime program that takes the processor is reset at T2",
    { rows: ["A2-08"], needs: ["processes"] },
    (rig) => hung(rig, "processor", { promiseMs: 12_000, hardwareMs: 6_000 }),
  ),
  story(
    "a disk that never answers holds the agent, and the card is reset at T2",
    { rows: ["A2-08"], needs: ["processes"] },
    (rig) => hung(rig, "disk", { promiseMs: 12_000, hardwareMs: 6_000 }),
  ),
  story(
    "a watchdog that resets at its second expiry is reset at T2 all the same",
    { rows: ["A2-05"] },
    (rig) => hung(rig, "loop", { promiseMs: 20_000, device: "iTCO_wdt" }),
  ),
  story(
    "an agent that never adopts a running watchdog is reset",
    { rows: ["A1-17"], needs: ["drivers", "kernel_core"] },
    neverAdopted,
  ),
  story(
    "a critical task that stops checking in is named before the reset",
    { rows: ["A2-11"] },
    culpritBeforeReset,
  ),
];
