/** A whole card boots: order, hand-over, and what a hang in each stage comes to. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Stage } from "../../agent/machines/bootrecord.ts";
import type { World } from "../../agent/sim/world.ts";
import { ask, card, confirmed, lastEnded, reportsOf, resetTime, runningCard } from "../worlds.ts";

const stories = suite("boot stories");
const stepMs = 100;
const hourMs = 3_600_000;
/** T of the boot, unlike the promise of the runtime. */
const plan = { watchdogMs: 5000 };

/** Advances to the next reset; what the chip showed last before it. */
function lastSeen(world: World): { refreshedMs: number; timeoutMs: number; atMs: number } {
  const { chip } = world;
  const before = world.resets.length;
  let seen = { refreshedMs: Number.NaN, timeoutMs: Number.NaN };
  const look = (): boolean => {
    const isReset = world.resets.length > before;
    const { refreshedMs, timeoutMs } = chip;
    if (!isReset && refreshedMs !== null) seen = { refreshedMs, timeoutMs };
    return isReset;
  };
  assert.ok(world.until(look, hourMs), "the card was not reset");
  return { ...seen, atMs: world.resets.at(-1)?.atMs ?? Number.NaN };
}

/** Advances until the firmware has handed off. */
function handedOff(world: World): void {
  assert.ok(world.until(() => world.firmware?.state.kind === "hand_off", hourMs));
}

stories("A1-01 the stages follow one another, in the timeline and as reports", () => {
  const world = runningCard({ plan });
  const { stages } = ask(world, "boot.timeline");
  assert.equal(
    stages.map(({ stage, refreshed_by }) => [stage, refreshed_by]),
    [
      ["power_on", "nobody"],
      ["os_load", "firmware"],
      ["hand_off", "countdown"],
      ["adopt", "countdown"],
      ["runtime", "agent"],
    ],
  );
  let lastMs = 0;
  for (const [at, { start_ms, end_ms, steps }] of stages.entries()) {
    assert.is(start_ms, stages[at - 1]?.end_ms ?? 0);
    for (const { at_ms } of steps) {
      assert.ok(at_ms >= Math.max(start_ms, lastMs) && at_ms <= (end_ms ?? Infinity));
      lastMs = at_ms;
    }
  }
  const reports = world.agent?.ledger.pending ?? [];
  const told = reports.filter(({ kind }) => kind === "boot:stage");
  assert.equal(
    told.map(({ data }) => data.stage),
    ["adopt", "runtime"],
  );
  assert.ok(reports.every(({ at_ms }, at) => at_ms >= (reports[at - 1]?.at_ms ?? 0)));
});

stories("A1-03 hand-off refreshes once, last, and leaves the whole of T", () => {
  const world = card({ plan });
  world.power(true);
  const steps = world.config.plan.stages.find(({ name }) => name === "os_load")?.steps ?? [];
  const loaded = (): boolean => world.chip.refreshes === steps.length - 1;
  assert.ok(world.until(loaded, hourMs), "one refresh per step before the last");
  handedOff(world);
  assert.is(world.chip.refreshes, steps.length + 1, "the last step's and the hand-off's");
  assert.is(world.chip.leftMs(), plan.watchdogMs);
  const atMs = world.clock.now();
  assert.is(world.chip.refreshedMs, atMs);
  world.until(() => world.agent !== null, hourMs);
  const { record } = ask(world, "boot.record");
  assert.is(record?.refreshed_ms, atMs);
  assert.is(record?.remaining_ms, plan.watchdogMs);
});

stories("A1-04 a pointer to the boot API kept across hand-off reaches nothing", () => {
  const world = card({ plan });
  world.power(true);
  handedOff(world);
  const api = world.firmware?.api;
  assert.throws(() => api?.disable(), /ended at hand-off/);
  assert.throws(() => api?.set(0), /ended at hand-off/);
  assert.is(world.chip.leftMs(), plan.watchdogMs);
});

/** Where a boot hangs, and how far the record knows that it came. */
const hangs: [stage: Stage, step: string, known: [Stage, string, number]][] = [
  ["os_load", "read_config", ["os_load", "read_config", 300]],
  ["os_load", "load_kernel", ["os_load", "load_kernel", 400]],
  ["os_load", "load_initrd", ["os_load", "load_initrd", 500]],
  ["os_load", "verify", ["os_load", "verify", 600]],
  ["hand_off", "kernel_entry", ["hand_off", "", 700]],
  ["hand_off", "kernel_init", ["hand_off", "", 700]],
  ["hand_off", "mount_root", ["hand_off", "", 700]],
  ["adopt", "agent_start", ["hand_off", "", 700]],
  ["adopt", "take_over", ["adopt", "take_over", 1050]],
  ["runtime", "ready", ["runtime", "", 1050]],
];
for (const [stage, step, [knownStage, knownStep, uptimeMs]] of hangs) {
  stories(`A1-05 a hang in ${stage}/${step}: reset at last refresh + T, and named after`, () => {
    const world = card({ plan, stepMs });
    world.bootFaults.a = { hang: { stage, step } };
    world.power(true);
    const { refreshedMs, timeoutMs, atMs } = lastSeen(world);
    assert.is(atMs, refreshedMs + timeoutMs);
    assert.is(timeoutMs, stage === "runtime" ? 60_000 : plan.watchdogMs);
    world.bootFaults.a = {};
    confirmed(world);
    const ended = lastEnded(world);
    assert.equal([ended?.stage, ended?.step], [knownStage, knownStep]);
    assert.is(ended?.cause, "watchdog");
    assert.is(ended?.uptimeMs, uptimeMs);
    const [died, ...more] = reportsOf(world, "boot:died");
    assert.equal([died?.stage, died?.step], [knownStage, knownStep]);
    assert.equal([died?.uptime_ms, died?.cause], [uptimeMs, "watchdog"]);
    assert.equal(more, []);
    const [entry] = ask(world, "boot.history").boots;
    assert.equal([entry?.stage, entry?.step, entry?.cause], [knownStage, knownStep, "watchdog"]);
  });
}

stories("A1-05 a hang in power_on is not covered, and the protection report says so", () => {
  const world = card({ plan });
  world.bootFaults.a = { hang: { stage: "power_on", step: "memory_training" } };
  world.power(true);
  world.advance(hourMs);
  assert.equal([world.resets.length, world.chip.running], [0, false]);
  world.bootFaults.a = {};
  world.power(false);
  world.power(true);
  confirmed(world);
  const ended = lastEnded(world);
  assert.equal([ended?.stage, ended?.step, ended?.cause], ["power_on", "memory_training", "power"]);
  const { stages } = ask(world, "card.protection");
  const [first] = stages;
  assert.equal([first?.stage, first?.covered], ["power_on", false]);
  assert.match(first?.because ?? "", /armed when the OS load begins/);
});

/** Ten steps in os_load, each taking 0.8 T. */
function slowCard(): World {
  const stages = card().config.plan.stages.map((stage) => {
    const steps = Array.from({ length: 10 }, (_, at) => `part_${at + 1}`);
    return stage.name === "os_load" ? { ...stage, steps } : stage;
  });
  const world = card({ plan: { ...plan, stages } });
  const slowStepMs = plan.watchdogMs * 0.8 - stepMs;
  world.bootFaults.a = { slowStepMs };
  return world;
}

stories("A1-07 ten steps of 0.8 T each survive: progress is what refreshes", () => {
  const world = slowCard();
  world.power(true);
  confirmed(world);
  assert.equal(world.resets, []);
});

stories("A1-07 the same slow load with a hang in its fifth step is reset", () => {
  const world = slowCard();
  world.bootFaults.a = { ...world.bootFaults.a, hang: { stage: "os_load", step: "part_5" } };
  world.power(true);
  const { refreshedMs, atMs } = lastSeen(world);
  assert.is(refreshedMs, 3 * stepMs + 4 * 0.8 * plan.watchdogMs);
  assert.is(atMs, refreshedMs + plan.watchdogMs);
});

stories("A1-07 a load that goes on past its budget is reset although it progresses", () => {
  const stages = card().config.plan.stages.map((stage) =>
    stage.name === "os_load" ? { ...stage, budgetMs: 10_000 } : stage,
  );
  const world = card({ plan: { ...plan, stages } });
  world.bootFaults.a = { slowStepMs: 3900 };
  world.power(true);
  assert.is(resetTime(world), 300 + 8000 + plan.watchdogMs);
});

/** Kernel and agent take 3 x 1000 + 50 ms from hand-off to adoption. */
const adoptsAfterMs = 3050;
for (const [spareMs, survives] of [
  [1, true],
  [0, false],
  [-1, false],
] as const) {
  const watchdogMs = adoptsAfterMs + spareMs;
  stories(`A1-08 adopting ${spareMs} ms before T: ${survives ? "no reset" : "reset at T"}`, () => {
    const world = card({ plan: { watchdogMs }, stepMs: 1000 });
    world.power(true);
    handedOff(world);
    const fromMs = world.clock.now();
    if (survives) {
      confirmed(world);
      assert.equal(world.resets, []);
    } else {
      assert.is(resetTime(world), fromMs + watchdogMs);
    }
  });
}

stories("A1-17 an agent that is gone between hand-off and adoption ends in a reset", () => {
  const world = card({ plan });
  world.bootFaults.a = { hang: { stage: "adopt", step: "agent_start" } };
  world.power(true);
  handedOff(world);
  const fromMs = world.clock.now();
  assert.is(resetTime(world), fromMs + plan.watchdogMs);
});

stories("A1-17 an agent killed at any time after adoption ends in a reset", () => {
  for (const aliveMs of [0, 1, 500, 14_999, 15_000, 60_000]) {
    const world = runningCard({ plan });
    world.advance(aliveMs);
    world.killAgent();
    // Linux refreshes once more when the descriptor of a dead process is closed.
    const expiresMs = world.clock.now() + world.chip.timeoutMs;
    assert.is(resetTime(world), expiresMs);
  }
});

stories.run();
