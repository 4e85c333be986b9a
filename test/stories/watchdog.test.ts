/** A whole card at runtime: when it is refreshed, when it is reset, and when it must not be. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../../agent/sim/clock.ts";
import type { Random } from "../../agent/sim/random.ts";
import { SimChip, SimRefreshService, SimWatchdog } from "../../agent/sim/watchdog.ts";
import { plainModel } from "../../agent/sim/watchdogmodels.ts";
import type { World } from "../../agent/sim/world.ts";
import { fuzz } from "../fuzz.ts";
import {
  ask,
  type CardOptions,
  confirmed,
  HostTwin,
  lastEnded,
  reportsOf,
  resetTime,
  runningCard,
} from "../worlds.ts";

const stories = suite("watchdog stories");
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** A card with hardware that holds at most T1 and a promise of T2. */
function ratio(hardwareMs: number, promiseMs: number, more: CardOptions = {}): World {
  return runningCard({
    ...more,
    plan: { watchdogMs: 0 },
    model: { minMs: 500, maxMs: hardwareMs },
    watchdog: { promise_s: promiseMs / 1000, ...more.watchdog },
  });
}

function checkedInMs(world: World): number {
  const state = world.agent?.watchdog.state;
  return state !== undefined && "checkedInMs" in state ? state.checkedInMs : Number.NaN;
}

stories("A2-02 the hardware holds T2: direct, and no service exists", () => {
  const world = ratio(60_000, 60_000);
  const status = ask(world, "wdt.state");
  assert.equal([status.via, status.hardware_ms, status.promise_ms], ["direct", 60_000, 60_000]);
  assert.equal([status.scheduling, status.late_max_ms], [undefined, undefined]);
});

stories("A2-04 hardware that holds less than T2 is served", () => {
  const status = ask(ratio(16_000, 60_000), "wdt.state");
  assert.equal([status.via, status.hardware_ms, status.promise_ms], ["service", 16_000, 60_000]);
  assert.is(status.scheduling, "virtual");
});

for (const times of [1, 1.5, 2, 10]) {
  stories(`A2-05 no refresh by the OS: reset at T2 after the last one, T2/T1 = ${times}`, () => {
    const promiseMs = 12_000;
    fuzz(25, (random) => {
      const world = ratio(promiseMs / times, promiseMs);
      world.advance(random.next() * 30_000);
      const lastMs = checkedInMs(world);
      world.hangAgent(Infinity);
      const atMs = resetTime(world, 10 * promiseMs);
      assert.ok(Math.abs(atMs - lastMs - promiseMs) < 1e-6, `${atMs - lastMs} ms`);
    });
  });
}

for (const promiseMs of [1000, 1001, 1500, 2500, 12_999.5]) {
  stories(`A2-05 reset at T2 = ${promiseMs} ms, on hardware that counts whole seconds`, () => {
    const world = ratio(60_000, promiseMs);
    const status = ask(world, "wdt.state");
    assert.is(status.hardware_ms, Math.floor(promiseMs / 1000) * 1000);
    assert.is(status.via, promiseMs % 1000 === 0 ? "direct" : "service");
    world.advance(10_000);
    const lastMs = checkedInMs(world);
    world.hangAgent(Infinity);
    const tookMs = resetTime(world, 10 * promiseMs) - lastMs;
    assert.ok(Math.abs(tookMs - promiseMs) < 1e-6, `${tookMs} ms`);
  });
}

/** Check-ins with jitter on a served chip, `periods` of T1 long; then silence until the reset. */
function jitter(random: Random, periods: number): SimChip {
  const clock = new SimClock();
  const model = { ...plainModel, minMs: 100 };
  let expiredMs = Infinity;
  const chip = new SimChip(clock, model, () => {
    expiredMs = clock.now();
  });
  const plan = { hardwareMs: 1500, promiseMs: 6000, minGapMs: 200 };
  chip.start(plan.hardwareMs);
  const service = new SimRefreshService(chip, clock, plan);
  chip.gapMinMs = Infinity;
  const endMs = periods * plan.hardwareMs;
  // Later than T2 - T1/2 after the one before, no check-in could keep the distance.
  const latestMs = plan.promiseMs - plan.hardwareMs / 2;
  while (clock.now() < endMs) {
    clock.advance(random.chance(0.1) ? latestMs : random.next() * latestMs);
    service.checkIn();
  }
  assert.is(expiredMs, Infinity, "no reset while check-ins come");
  const promisedMs = clock.now() + plan.promiseMs;
  clock.advance(plan.promiseMs * 2);
  assert.ok(Math.abs(expiredMs - promisedMs) < 1e-6, `reset ${expiredMs - promisedMs} ms off T2`);
  assert.ok(chip.gapMinMs >= plan.minGapMs - 1e-6, `${chip.gapMinMs} ms apart`);
  return chip;
}

stories(
  "A2-06 10 000 periods with jitter: refreshes at most T1/2 and at least the gap apart",
  () => {
    fuzz(10, (random) => {
      const { gapMaxMs, refreshes } = jitter(random, 1000);
      assert.ok(gapMaxMs <= 750 + 1e-6, `${gapMaxMs} ms apart`);
      assert.ok(refreshes >= 2000);
    });
  },
);

const day = { tasks: [{ name: "dataplane", every_s: 2 }] };
for (const [hardwareMs, promiseMs] of [
  [60_000, 60_000],
  [1500, 4000],
] as const) {
  stories(`A2-07 24 h of regular refreshes, T1 = ${hardwareMs} ms: no reset`, () => {
    const world = ratio(hardwareMs, promiseMs, day);
    world.advance(dayMs);
    assert.equal(world.resets, []);
    assert.ok(world.chip.gapMaxMs <= hardwareMs / 2);
    assert.ok(world.chip.refreshes >= dayMs / (hardwareMs / 2));
    assert.equal(reportsOf(world, "wdt:slack"), []);
  });
}

stories("A2-08 the loop blocked for less than is left survives, for more resets", () => {
  const promiseMs = 8000;
  for (const hardwareMs of [8000, 2000]) {
    fuzz(20, (random) => {
      const world = ratio(hardwareMs, promiseMs);
      world.advance(random.next() * 10_000);
      const leftMs = checkedInMs(world) + promiseMs - world.clock.now();
      world.hangAgent(leftMs - 1);
      world.advance(hourMs);
      assert.equal(world.resets, [], "1 ms was left");
      const expiresMs = checkedInMs(world) + promiseMs;
      world.hangAgent(expiresMs - world.clock.now() + 1);
      assert.ok(Math.abs(resetTime(world) - expiresMs) < 1e-6);
    });
  }
});

stories("the whole kernel hung: reset at T1 after the last refresh of the hardware", () => {
  fuzz(20, (random) => {
    const world = ratio(2000, 8000);
    world.advance(random.next() * 10_000);
    const expiresMs = world.clock.now() + (world.chip.leftMs() ?? Number.NaN);
    world.hangKernel();
    assert.ok(Math.abs(resetTime(world) - expiresMs) < 1e-6);
  });
});

stories(
  "A2-11 a stuck task: the culprit is on the line before the reset, and named after it",
  () => {
    const world = ratio(2000, 8000, day);
    const host = new HostTwin(world);
    host.send("report.subscribe", { for_ms: 600_000 });
    world.advance(2000);
    world.stuckTasks.add("dataplane");
    const resetMs = resetTime(world);
    const told = host.reports.filter(({ report }) => report.kind === "wdt:withheld");
    assert.is(told.length, 1);
    assert.is(told[0]?.report.data.culprit, "dataplane");
    assert.ok((told[0]?.atMs ?? Infinity) < resetMs);
    const announced = (told[0]?.report.at_ms ?? 0) + Number(told[0]?.report.data.reset_in_ms);
    assert.ok(Math.abs(announced - resetMs) <= 1, "and when it comes is told right");
    world.stuckTasks.clear();
    confirmed(world);
    assert.equal([lastEnded(world)?.cause, lastEnded(world)?.culprit], ["watchdog", "dataplane"]);
    assert.is(reportsOf(world, "boot:died").at(-1)?.culprit, "dataplane");
  },
);

stories("a task that comes back in time: resumed, no reset, and nothing is held against it", () => {
  const world = ratio(2000, 8000, day);
  world.stuckTasks.add("dataplane");
  world.until(() => world.agent?.watchdog.state.kind === "withheld", 10_000);
  assert.equal(
    [ask(world, "wdt.state").protected, ask(world, "wdt.state").culprit],
    [false, "dataplane"],
  );
  world.stuckTasks.clear();
  world.advance(hourMs);
  assert.equal(world.resets, []);
  assert.is(reportsOf(world, "wdt:resumed").length, 1);
  assert.is(world.agent?.boot.journal.value.closing, null);
});

stories("A1-12 a hold at runtime is shown, survives a stuck task, and expires to protected", () => {
  const world = ratio(2000, 8000, day);
  const atMs = world.clock.now();
  world.agent?.watchdog.send({ kind: "hold", atMs, forMs: 600_000, by: "operator" });
  world.agent?.call(() => undefined);
  world.stuckTasks.add("dataplane");
  world.advance(599_000);
  const status = ask(world, "wdt.state");
  assert.equal([status.state, status.hold_until_ms], ["holding", Math.round(atMs + 600_000)]);
  assert.equal(world.resets, []);
  const resetMs = resetTime(world);
  assert.ok(Math.abs(resetMs - (atMs + 600_000 + 8000)) < 1e-6, "T2 after the hold's last refresh");
});

stories("A2-17 the date set and the card suspended change no deadline", () => {
  const ends = [false, true].map((jumps) => {
    const world = ratio(2000, 8000, day);
    for (let turn = 0; turn < 20; turn++) {
      if (jumps) world.clock.stepWall(turn % 2 === 0 ? hourMs : -hourMs);
      if (jumps) world.clock.suspend(turn * 10_000);
      world.advance(3333);
    }
    const refreshes = world.chip.refreshes;
    world.hangAgent(Infinity);
    return [refreshes, resetTime(world)];
  });
  assert.equal(ends[1], ends[0]);
});

stories("A2-20 little slack is told once per window", () => {
  const promiseMs = 8000;
  const world = ratio(promiseMs, promiseMs);
  const slow = (): void => {
    const leftMs = checkedInMs(world) + promiseMs - world.clock.now();
    world.hangAgent(leftMs - 1000);
    world.advance(leftMs);
  };
  const windowMs = world.config.runtime.slackWindowMs;
  assert.is(windowMs, 80_000);
  slow();
  slow();
  slow();
  const warnings = reportsOf(world, "wdt:slack");
  assert.equal(warnings, [{ slack_ms: 1000, promise_ms: promiseMs }]);
  assert.is(ask(world, "wdt.state").slack_min_ms, 1000);
  world.advance(windowMs);
  assert.ok((ask(world, "wdt.state").slack_min_ms ?? 0) >= promiseMs / 2, "a new window");
  slow();
  assert.is(reportsOf(world, "wdt:slack").length, 2);
});

stories("a pretimeout is what the driver reads back, stale or not", () => {
  for (const stalePretimeout of [false, true]) {
    const chip = new SimChip(new SimClock(), plainModel, () => undefined);
    chip.faults = { stalePretimeout };
    const driver = new SimWatchdog(chip, new SimClock());
    driver.open();
    driver.setTimeout(10_000);
    assert.is(driver.setPretimeout(8000), 8000);
    driver.setTimeout(6000);
    assert.is(driver.pretimeout(), stalePretimeout ? 8000 : 0);
  }
});

stories.run();
