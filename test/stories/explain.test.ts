// What a whole simulated card says of its own coverage, and what its chip then does.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { coverageOf } from "../../agent/machines/coverage.ts";
import { ask, card, runningCard } from "../worlds.ts";

const stories = suite("explain");

const hourMs = 3_600_000;

stories("a card whose countdown runs through is covered from the arming on", () => {
  const world = runningCard();
  const plan = ask(world, "wdt.plan");
  const { gaps, wellResetMs, beginsMs } = coverageOf(plan);
  assert.equal([gaps, wellResetMs], [[], null]);
  const load = ask(world, "boot.timeline").stages.find(({ stage }) => stage === "os_load");
  assert.is(beginsMs, load?.start_ms);
});

stories("a driver that stops the countdown: explain says so, and a hang there stays", () => {
  const world = runningCard({ chip: { stopsAtProbe: true } });
  const { gaps } = coverageOf(ask(world, "wdt.plan"));
  assert.equal(
    gaps.map(({ hang }) => hang),
    ["machine"],
  );
  assert.match(gaps[0]?.why ?? "", /stops the running countdown/);
  const hung = card({ chip: { stopsAtProbe: true } });
  hung.bootFaults.a = { hang: { stage: "adopt", step: "agent_start" } };
  hung.power(true);
  hung.advance(hourMs);
  assert.equal(hung.resets, []);
});

stories("a card that was disarmed says that nothing of its runtime is covered", () => {
  const world = runningCard({ watchdog: { allow_disarm: true } });
  world.agent?.watchdog.send({ kind: "disarm", atMs: world.clock.now(), by: "test" });
  const { gaps } = coverageOf(ask(world, "wdt.plan"));
  assert.equal(
    gaps.map(({ hang, why }) => [hang, why]),
    [["machine", "it was disarmed"]],
  );
});

stories.run();
