/** Cards that go on, guarded or honest about it, whatever is done to them. */
import { Failure } from "../../errors.ts";
import type { Report } from "../../wire/commands.ts";
import { expect, type Rig, reportsOf } from "../rig.ts";
import { type Story, story } from "../story.ts";

async function staysUp(rig: Rig, forMs: number): Promise<void> {
  const resets = rig.resets.length;
  await rig.wait(forMs);
  expect(rig.resets.length === resets, `the card was reset within ${forMs} ms`);
}

async function alone(rig: Rig): Promise<void> {
  const promiseMs = 6_000;
  await rig.start({ promiseMs, unplugged: true });
  await staysUp(rig, 3 * promiseMs);
  await rig.plug(true);
  const { armed, failures } = await rig.ask("wdt.state", {});
  expect(armed && failures === 0, `armed: ${armed}, failures: ${failures}`);
  expect(rig.resets.length === 0, "the card was reset while nobody listened");
}

/** Who commanded it is gone, with the lease: nothing else may change. */
async function forsaken(rig: Rig): Promise<void> {
  const promiseMs = 6_000;
  await rig.start({ promiseMs, allowDisarm: true, takesKeys: true });
  await rig.ask("access.take", { for_ms: promiseMs });
  const held = async (): Promise<boolean> => {
    const { lease } = await rig.ask("access.status", {});
    return lease.state === "held";
  };
  while (!(await held())) await rig.wait(lookEveryMs);
  await rig.plug(false);
  await staysUp(rig, 3 * promiseMs);
  await rig.plug(true);
  expect(!(await held()), "a host that is gone still holds the lease");
  const { armed, failures } = await rig.ask("wdt.state", {});
  expect(armed && failures === 0, `armed: ${armed}, failures: ${failures}`);
  const ended = (await reportsOf(rig)).find(({ kind }) => kind === "access:ended");
  expect(ended?.data.why === "lapsed", `the lease ended: ${ended?.data.why}`);
  expect((await rig.ask("wdt.hold", { for_ms: 1000 })).armed, "who comes back commands again");
}

async function dateIsSet(rig: Rig): Promise<void> {
  const promiseMs = 6_000;
  await rig.start({ promiseMs, hardwareMs: 3_000 });
  for (const stepMs of [hourMs, -2 * hourMs, hourMs]) {
    await rig.stepWall(stepMs);
    await staysUp(rig, 1.5 * promiseMs);
    const state = await rig.ask("wdt.state", {});
    const leftMs = state.remaining_ms ?? 0;
    expect(leftMs > 0 && leftMs <= promiseMs, `${leftMs} ms are left of ${promiseMs}`);
  }
}
const hourMs = 3_600_000;

async function restarts(rig: Rig): Promise<void> {
  await rig.start({ promiseMs: 30_000 });
  for (let count = 0; count < restartsCount; count++) {
    await rig.restartAgent();
    expect(rig.resets.length === 0, `reset at restart ${count + 1}`);
    const { armed } = await rig.ask("wdt.state", {});
    expect(armed, `not armed after restart ${count + 1}`);
  }
}
const restartsCount = 30;

async function heldByAnother(rig: Rig): Promise<void> {
  await rig.start({ promiseMs: 10_000, held: true, policy: "prefer" });
  const { backend, protected: isProtected, protection } = await rig.ask("card.status", {});
  const names = /^other-owner: sh \(pid \d+\)/.test(protection);
  expect(names && !isProtected && backend === "none", `${backend}, ${isProtected}, ${protection}`);
}

async function cannotStop(rig: Rig): Promise<void> {
  const promiseMs = 6_000;
  await rig.start({ promiseMs, allowDisarm: true, noWayOut: true });
  const refusal = await rig.ask("wdt.disarm", {}).then(
    () => null,
    (error: unknown) => error,
  );
  expect(refusal instanceof Failure, "a disarm that cannot be was accepted");
  expect(refusal.code === "link.refused", `${refusal.code}: ${refusal.message}`);
  await staysUp(rig, 2 * promiseMs);
  const { armed } = await rig.ask("wdt.state", {});
  expect(armed, "it counts as disarmed, and is not");
}

async function readOnlyState(rig: Rig): Promise<void> {
  const promiseMs = 6_000;
  await rig.start({ promiseMs, readOnlyState: true });
  const { journal, watchdog } = await rig.ask("card.status", {});
  expect(journal === "degraded" && watchdog.armed, `journal ${journal}, ${watchdog.state}`);
  await staysUp(rig, 2 * promiseMs);
}

async function fullDisk(rig: Rig): Promise<void> {
  const promiseMs = 6_000;
  await rig.start({ promiseMs });
  await rig.harm("disk_full");
  // Something to write down, until the last block of the file is full as well.
  for (let count = 0; count < writesMax; count++) {
    await rig.ask("wdt.hold", { for_ms: promiseMs });
    if ((await rig.ask("card.status", {})).journal === "degraded") break;
  }
  const { journal, watchdog } = await rig.ask("card.status", {});
  expect(journal === "degraded" && watchdog.armed, `journal ${journal}, ${watchdog.state}`);
  await staysUp(rig, 3 * promiseMs);
}

/** A block of 4 KiB is full after that many reports. */
const writesMax = 200;

async function regularRunning(rig: Rig): Promise<void> {
  const promiseMs = 20_000;
  await rig.start({ promiseMs, hardwareMs: 8_000 });
  await rig.harm("busy_processor");
  const endMs = rig.now() + regularMs;
  while (rig.now() < endMs) {
    await staysUp(rig, promiseMs);
    const { armed, failures, slack_min_ms: slackMs = 0 } = await rig.ask("wdt.state", {});
    expect(armed && failures === 0, `armed: ${armed}, failures: ${failures}`);
    expect(slackMs > promiseMs / 4, `${slackMs} ms of slack are left of ${promiseMs}`);
  }
}
const regularMs = 900_000;

async function disarmed(rig: Rig): Promise<void> {
  const promiseMs = 5_000;
  await rig.start({ promiseMs, hardwareMs: 2_000, allowDisarm: true });
  const stopped = await rig.ask("wdt.disarm", { by: "the story" });
  expect(!stopped.armed && !stopped.protected, `${stopped.state} after a disarm`);
  await rig.stopAgent();
  await staysUp(rig, 3 * promiseMs);
}

async function deviceGone(rig: Rig): Promise<void> {
  const promiseMs = 8_000;
  await rig.start({ promiseMs, hardwareMs: 4_000 });
  await rig.harm("device_gone");
  const reports = (): Promise<Report[]> => reportsOf(rig);
  const endMs = rig.now() + 2 * promiseMs;
  for (;;) {
    const told = (await reports()).find(({ kind }) => kind === "wdt:refused");
    if (told !== undefined) break;
    expect(rig.now() < endMs, "no report tells that the watchdog is gone");
    await rig.wait(lookEveryMs);
  }
  const { protected: isProtected, protection } = await rig.ask("card.status", {});
  expect(!isProtected, `protected without its watchdog: ${protection}`);
}
const lookEveryMs = 500;

export const survives: readonly Story[] = [
  story("a card without its host stays up", { rows: ["A2-07"] }, alone),
  story("a card that its commander leaves is as it was", { rows: ["B14-02", "B14-05"] }, forsaken),
  story("the date moves no deadline", { rows: ["A2-17"], needs: ["wall_clock"] }, dateIsSet),
  story(
    "thirty restarts of the agent bring no reset",
    { rows: ["B15-01"], needs: ["agent_restart"] },
    restarts,
  ),
  story(
    "a device that another holds is left to it, who is named",
    { rows: ["A2-13"], needs: ["another_holder"] },
    heldByAnother,
  ),
  story(
    "a device that cannot stop says so, and is refreshed",
    { rows: ["A2-12"], needs: ["nowayout"] },
    cannotStop,
  ),
  story(
    "a state folder that cannot be written is told, and the card is guarded",
    { rows: [], needs: ["disk_read_only"] },
    readOnlyState,
  ),
  story("a full disk is told, and the card is guarded", { rows: [] }, fullDisk),
  story(
    "a disarm that is allowed stops the watchdog",
    { rows: ["A2-12"], needs: ["agent_restart"] },
    disarmed,
  ),
  story(
    "a watchdog whose driver goes away is told, and is no protection",
    { rows: ["A2-13"] },
    deviceGone,
  ),
  story(
    "a quarter of an hour with a busy processor brings no reset",
    { rows: ["A2-07"], needs: ["processes"], isLong: true },
    regularRunning,
  ),
];
