/** Resets that a card announces: ready early, put off, and never beyond what was promised. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { holdsMax, resetHoldMaxMs } from "../../agent/heads/resets.ts";
import type { World } from "../../agent/sim/world.ts";
import { LateHost } from "../latehost.ts";
import { ask, confirmed, reportsOf, resetTime, runningCard } from "../worlds.ts";

const stories = suite("announced resets");
const plan = { watchdogMs: 5000 };
const tasks = [{ name: "dataplane", every_s: 10 }];
/** The line and an orderly reboot take their time, ms. */
const orderlyMs = 1000;

/** Two hosts, both listening; the first asks for a reset. */
function asked(): { world: World; first: LateHost; second: LateHost; atMs: number } {
  const world = runningCard({ plan });
  const [first, second] = [new LateHost(world, 0), new LateHost(world, 1)];
  first.attach();
  second.attach();
  world.advance(1000);
  const atMs = world.clock.now();
  first.send("os.reset", {});
  world.advance(50);
  return { world, first, second, atMs };
}

function isNear(actual: number, expected: number, within = orderlyMs): void {
  assert.ok(Math.abs(actual - expected) <= within, `${actual}, expected ${expected}`);
}

stories("B7-01 the notice has cause, deadline and boot id, and both hosts get it", () => {
  const { world, first, second, atMs } = asked();
  for (const host of [first, second]) {
    const told = host.heard.find(({ body }) => body.kind === "wdt:pre_reset")?.body;
    assert.is(told?.boot, world.agent?.boot.id);
    const data = told?.data as Record<string, unknown>;
    assert.equal([data.cause, data.culprit], ["commanded", "host"]);
    isNear(Number(data.deadline_ms), atMs + 10_000, 100);
  }
});

stories("B7-02 without an answer the reset comes at its deadline", () => {
  const { world, atMs } = asked();
  isNear(resetTime(world), atMs + 10_000);
});

stories("B7-02 acknowledged, it comes at once", () => {
  const { world, second, atMs } = asked();
  second.send("report.reset_acknowledge", {});
  isNear(resetTime(world), atMs);
  confirmed(world);
  const [told] = reportsOf(world, "boot:recovered");
  assert.is(told?.cause, "commanded");
});

stories(
  "B7-02 held, it comes when the hold ends; the other's acknowledgement waits for that",
  () => {
    const { world, first, second, atMs } = asked();
    second.send("report.reset_hold", { for_ms: 30_000, by: "second" });
    world.advance(100);
    first.send("report.reset_acknowledge", {});
    world.advance(100);
    const { deadline_ms = 0, acknowledged, holds } = ask(world, "report.reset");
    assert.equal([acknowledged, holds], [true, 1]);
    isNear(deadline_ms, atMs + 30_000, 200);
    isNear(resetTime(world), atMs + 30_000);
  },
);

stories("B7-02 the holder that is ready itself lets go of its hold", () => {
  const { world, second, atMs } = asked();
  second.send("report.reset_hold", { for_ms: 30_000 });
  world.advance(2000);
  second.send("report.reset_acknowledge", {});
  isNear(resetTime(world), atMs + 2000);
});

stories("B7-02 holds end at the maximum, and are counted", () => {
  const { world, second, atMs } = asked();
  for (let at = 0; at <= holdsMax; at += 1) {
    second.send("report.reset_hold", { for_ms: 3_600_000 });
    world.advance(100);
  }
  const answers = second.answers("report.reset_hold");
  assert.equal(answers.at(-1)?.err, { group: 68, rc: 10 }, "one too many");
  assert.is(answers.at(-2)?.holds, holdsMax);
  assert.is(answers[0]?.deadline_ms, answers[0]?.latest_ms);
  isNear(resetTime(world), atMs + 10_000 + resetHoldMaxMs);
});

stories("B7-02 a wedged card cannot be held: the hardware's promise stands", () => {
  const world = runningCard({ plan, tasks });
  const host = new LateHost(world);
  host.attach();
  world.stuckTasks.add("dataplane");
  assert.ok(world.until(() => world.agent?.watchdog.state.kind === "withheld", 60_000));
  const { deadline_ms = 0, latest_ms } = ask(world, "report.reset");
  assert.is(latest_ms, deadline_ms);
  host.send("report.reset_hold", { for_ms: 600_000 });
  world.advance(200);
  assert.is(ask(world, "report.reset").deadline_ms, deadline_ms);
  isNear(resetTime(world), deadline_ms, 1);
});

stories("B7-02 a card that waits for its watchdog is reset at once when a host is ready", () => {
  const world = runningCard({ plan, tasks });
  const host = new LateHost(world);
  host.attach();
  world.stuckTasks.add("dataplane");
  assert.ok(world.until(() => world.agent?.watchdog.state.kind === "withheld", 60_000));
  const { deadline_ms = 0 } = ask(world, "report.reset");
  host.send("report.reset_acknowledge", {});
  const resetMs = resetTime(world);
  assert.ok(resetMs < deadline_ms - 20_000, `${resetMs}, due ${deadline_ms}`);
  world.stuckTasks.clear();
  confirmed(world);
  const [words] = reportsOf(world, "boot:last_words");
  assert.is(words?.culprit, "dataplane");
  const [died] = reportsOf(world, "boot:died").slice(-1);
  assert.equal([died?.cause, died?.culprit], ["watchdog", "dataplane"]);
});

stories("B7-02 acknowledged, and the task is back in time: there is no reset", () => {
  const world = runningCard({ plan, tasks });
  const host = new LateHost(world);
  host.attach();
  world.stuckTasks.add("dataplane");
  assert.ok(world.until(() => world.agent?.watchdog.state.kind === "withheld", 60_000));
  host.send("report.reset_acknowledge", {});
  world.advance(60);
  world.agent?.checkIn("dataplane");
  world.stuckTasks.clear();
  const before = world.resets.length;
  world.advance(300_000);
  assert.is(world.resets.length, before);
  assert.not(ask(world, "report.reset").coming);
});

for (const [what, harm] of [
  ["no host listens", () => undefined],
  [
    "the host reads nothing",
    (world: World) => {
      for (const line of world.lines) line.faults = { ...line.faults, blocked: true };
    },
  ],
] as const) {
  stories(`B7-03 ${what}: the reset is not delayed beyond its deadline`, () => {
    const world = runningCard({ plan });
    const host = new LateHost(world, 1);
    if (what !== "no host listens") {
      host.attach();
      world.advance(1000);
    }
    harm(world);
    const atMs = world.clock.now();
    world.agent?.reset("operator");
    isNear(resetTime(world), atMs + (what === "no host listens" ? 250 : 10_000));
  });
}

stories("B7-04 after the return the host hears which boot ended, why, and the outage", () => {
  const world = runningCard({ plan, tasks });
  const boot = world.agent?.boot.id;
  world.stuckTasks.add("dataplane");
  const resetMs = resetTime(world);
  world.stuckTasks.clear();
  assert.ok(world.until(() => reportsOf(world, "boot:recovered").length > 0, 100_000));
  const [told] = reportsOf(world, "boot:recovered");
  const { outage_ms, ...rest } = told ?? {};
  assert.equal(rest, { boot, cause: "watchdog", culprit: "dataplane" });
  isNear(Number(outage_ms), world.clock.now() - resetMs, 100);
  assert.not.equal(world.agent?.boot.id, boot);
});

stories("a restart of the agent alone is no recovery", () => {
  const world = runningCard({ plan });
  world.killAgent();
  world.startAgent();
  confirmed(world);
  assert.equal(reportsOf(world, "boot:recovered"), []);
});

stories.run();
