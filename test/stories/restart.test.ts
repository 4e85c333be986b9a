/** The agent stopped or killed and started again under an armed watchdog. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shortLivesMax } from "../../agent/machines/shortlives.ts";
import type { World } from "../../agent/sim/world.ts";
import { ask, confirmed, reportsOf, runningCard } from "../worlds.ts";

const stories = suite("restart stories");
const plan = { watchdogMs: 5000 };

/** Away for `awayMs`, then up again; returns what was said of the gap. */
function restarted(world: World, end: "stop" | "kill", awayMs: number) {
  if (end === "stop") world.stopAgent();
  else world.killAgent();
  assert.is(world.agent, null);
  world.advance(awayMs);
  world.startAgent();
  assert.ok(world.until(() => world.agent !== null, 1000));
  world.advance(1);
  return reportsOf(world, "boot:unobserved").at(-1);
}

for (const [via, model] of [
  ["direct", {}],
  ["service", { maxMs: 30_000 }],
] as const) {
  stories(
    `B15-01 ${via}: thirty restarts never stop the countdown and never reset the card`,
    () => {
      const world = runningCard({ plan, model });
      const { chip } = world;
      let stops = 0;
      const stop = chip.stop.bind(chip);
      chip.stop = () => {
        stops += 1;
        stop();
      };
      for (let run = 0; run < 30; run++) {
        const lastMs = world.agent?.watchdog.checkedInMs ?? Number.NaN;
        const told = restarted(world, run % 2 === 0 ? "stop" : "kill", 1000 + run * 100);
        assert.is(chip.running, true);
        const expectedMs = world.clock.now() - 1 - lastMs;
        const spanMs = Number(told?.unobserved_ms);
        if (run % 2 === 0) {
          assert.equal([told?.by, spanMs], ["note", Math.round(expectedMs)], `run ${run}`);
        } else {
          assert.is(told?.by, "time_left", `run ${run}`);
          // Linux refreshed when the old agent died: since then is certain, and no more.
          const awayMs = 1000 + run * 100;
          assert.ok(spanMs <= expectedMs + 1 && spanMs >= awayMs, `${spanMs} of ${expectedMs}`);
        }
        world.advance(5000);
      }
      assert.equal([world.resets, stops], [[], 0]);
      confirmed(world);
      world.hangAgent(Infinity);
      assert.ok(
        world.until(() => world.resets.length > 0, 120_000),
        "and it still guards",
      );
    },
  );
}

stories("B15-01 where the device has no time left and no note was made, the gap is unknown", () => {
  const world = runningCard({ plan, model: { timeLeft: false } });
  assert.equal(restarted(world, "kill", 5000), { by: "unknown" });
  assert.is(restarted(world, "stop", 5000)?.by, "note");
});

stories("A1-16 a later agent tells of the way to the first one what that one found", () => {
  for (const end of ["stop", "kill"] as const) {
    const world = runningCard({ plan });
    const told = () => [ask(world, "card.protection"), ask(world, "wdt.plan")] as const;
    const [first, firstPlan] = told();
    world.advance(600_000);
    for (let run = 0; run < 3; run++) restarted(world, end, 1000);
    const [later, laterPlan] = told();
    assert.equal(later.stages, first.stages);
    assert.equal([laterPlan.firmware, laterPlan.owner], [firstPlan.firmware, firstPlan.owner]);
    assert.equal(reportsOf(world, "boot:adopted").at(-1)?.uncovered_ms, 0);
  }
});

stories("a boot of the whole card is no gap between agents", () => {
  const world = runningCard({ plan });
  world.shutDown();
  confirmed(world);
  assert.equal(reportsOf(world, "boot:unobserved"), []);
  assert.is(reportsOf(world, "boot:died").at(-1)?.cause, "clean");
});

stories("B15-01 an agent that stays away is no protection from the watchdog: it resets", () => {
  const world = runningCard({ plan });
  world.stopAgent();
  world.advance(61_000);
  assert.is(world.resets.length, 1);
});

/** Started anew whenever it has lived for a second, as a service manager would. */
function keepsEnding(world: World, times: number): void {
  for (let run = 0; run < times && world.resets.length === 0; run++) restarted(world, "kill", 1000);
}

stories(
  "an agent that keeps ending is not refreshed for ever: the card is reset, and says why",
  () => {
    const world = runningCard({ plan });
    keepsEnding(world, shortLivesMax);
    assert.is(world.resets.length, 0, "a bad day is borne");
    assert.equal(reportsOf(world, "agent:short_lived").at(-1), { in_a_row: shortLivesMax });
    assert.is(reportsOf(world, "wdt:withheld").at(-1)?.culprit, "agent");
    const withheldMs = world.clock.now();
    keepsEnding(world, 1000);
    assert.is(world.resets.length, 1);
    assert.ok(world.clock.now() - withheldMs <= 62_000, "none of the later ones refreshed");
    world.advance(120_000);
    const died = reportsOf(world, "boot:died").at(-1);
    assert.equal([died?.cause, died?.culprit], ["watchdog", "agent"]);
    confirmed(world);
  },
);

stories("an agent that was told to end, or has lived for T2, does not count", () => {
  const world = runningCard({ plan });
  for (let run = 0; run < 3 * shortLivesMax; run++) restarted(world, "stop", 1000);
  keepsEnding(world, shortLivesMax - 1);
  world.advance(61_000);
  keepsEnding(world, shortLivesMax - 1);
  assert.equal(reportsOf(world, "agent:short_lived"), []);
  assert.is(world.resets.length, 0);
});

stories.run();
