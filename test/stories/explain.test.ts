// What a whole simulated card says of its own coverage, and what its chip then does.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { coverageOf } from "../../agent/machines/coverage.ts";
import { encodeMap } from "../../agent/wire/cbor.ts";
import { packetBytesMax } from "../../agent/wire/command.ts";
import { ask, card, confirmed, reportsOf, runningCard } from "../worlds.ts";

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

stories("B10-03 a change of the protection is an event, and what stays the same is none", () => {
  const world = runningCard({ watchdog: { allow_disarm: true } });
  const told = (): unknown[] => reportsOf(world, "card:protection").map(({ weak }) => weak);
  const before = told().length;
  world.advance(hourMs);
  assert.is(told().length, before);
  const send = (kind: "hold" | "disarm"): void => {
    const atMs = world.clock.now();
    world.agent?.call(() => {
      if (kind === "disarm") world.agent?.watchdog.send({ kind, atMs, by: "test" });
      else world.agent?.watchdog.send({ kind, atMs, by: "test", forMs: 60_000 });
    });
    world.advance(1000);
  };
  send("hold");
  world.advance(120_000);
  send("disarm");
  // A simulated watchdog never covers anything: by what a stage is guarded is all that changes.
  assert.is(told().length, before + 1);
  assert.match(String(told().at(-1)), /runtime/);
});

stories("boots that ended early are told stage by stage, each answer within a packet", () => {
  const world = card();
  world.bootFaults.a = { hang: { stage: "hand_off", step: "kernel_init" } };
  world.power(true);
  confirmed(world, hourMs);
  for (let boot = 0; boot < 5; boot += 1) {
    world.reset("reboot");
    confirmed(world, hourMs);
  }
  const { agent } = world;
  const pages = [0, 3, 6].map((skip) => agent?.boot.timelines(skip));
  const boots = pages.flatMap((page) => page?.boots ?? []);
  assert.equal(
    pages.map((page) => page?.more),
    [true, true, false],
  );
  for (const page of pages) assert.ok(encodeMap({ ...page }).length < packetBytesMax - 8);
  const died = boots.filter(({ cause }) => cause === "watchdog").at(-1);
  assert.equal(
    [died?.ended_in, died?.stages.map(({ stage, refreshed_by }) => [stage, refreshed_by])],
    [
      "hand_off",
      [
        ["power_on", "nobody"],
        ["os_load", "firmware"],
        ["hand_off", "countdown"],
      ],
    ],
  );
  const whole = boots[0]?.stages ?? [];
  assert.equal(
    whole.map(({ stage }) => stage),
    ["power_on", "os_load", "hand_off", "adopt", "runtime"],
  );
  for (const [at, { start_ms, end_ms }] of whole.entries()) {
    assert.ok(end_ms >= start_ms && start_ms === (whole[at - 1]?.end_ms ?? 0));
  }
});

stories.run();
