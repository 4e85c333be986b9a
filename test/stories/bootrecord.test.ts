/** What a boot leaves behind for the next one, and what the card tells of its gaps. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PowerCut } from "../../agent/sim/disk.ts";
import { itcoModel } from "../../agent/sim/watchdogmodels.ts";
import type { World } from "../../agent/sim/world.ts";
import { ask, card, confirmed, lastEnded, reportsOf, resetTime, runningCard } from "../worlds.ts";

const stories = suite("boot record stories");
const plan = { watchdogMs: 5000 };
const hang = { hang: { stage: "os_load", step: "load_kernel" } } as const;
const hourMs = 3_600_000;

stories("A1-09 no watchdog, prefer: the card boots, and everything says unprotected", () => {
  const world = card({ plan, chip: { absent: true } });
  world.power(true);
  confirmed(world);
  const status = ask(world, "card.status");
  assert.equal([status.backend, status.protected], ["none", false]);
  assert.match(status.protection, /no watchdog device found/);
  assert.is(ask(world, "card.protection").protected, false);
  const [verdict] = reportsOf(world, "wdt:verdict");
  assert.equal([verdict?.backend, verdict?.protected], ["none", false]);
  assert.ok(ask(world, "card.protection").stages.every(({ covered }) => !covered));
});

stories("A1-09 no watchdog, require: the boot stops before anything is armed, and says why", () => {
  const world = card({ plan, chip: { absent: true }, bootPolicy: "require" });
  world.power(true);
  world.advance(hourMs);
  assert.match(world.halted ?? "", /no watchdog was found and the boot policy requires one/);
  assert.equal([world.agent, world.chip.running, world.resets], [null, false, []]);
});

stories("A1-10 the hand-off record tells what the hardware granted and has left", () => {
  for (const [chip, granted, remaining] of [
    [{}, 5000, 5000],
    [{ grantsMs: 7000 }, 7000, 7000],
    [{ deaf: true }, 5000, 4600],
  ] as const) {
    const world = card({ plan, chip });
    world.power(true);
    world.until(() => world.agent !== null, hourMs);
    const { present, problem, record } = ask(world, "boot.record");
    assert.equal([present, problem], [true, undefined]);
    assert.equal([record?.granted_ms, record?.remaining_ms], [granted, remaining]);
    assert.equal([record?.min_ms, record?.max_ms], [1000, 2_046_000]);
    assert.is(record?.backend, "simulated i6300ESB");
  }
});

stories("A1-10 a timeout the device does not take: its maximum is armed, and is on record", () => {
  const world = card({ plan: { watchdogMs: 30_000 }, model: { maxMs: 16_000 } });
  world.power(true);
  confirmed(world);
  assert.is(ask(world, "boot.record").record?.granted_ms, 16_000);
  const [first] = ask(world, "boot.timeline").stages;
  assert.ok(first?.steps.some(({ name }) => name === "timeout_refused"));
});

stories("A1-12 a person at the boot menu: longer than T, without a reset", () => {
  const world = card({ plan });
  world.bootFaults.a = { menuMs: 100_000 };
  world.power(true);
  confirmed(world);
  assert.equal(world.resets, []);
});

stories("A1-12 time at the menu is not taken from the load's budget", () => {
  const world = card({ plan });
  world.bootFaults.a = { menuMs: 800_000, slowStepMs: 4500 };
  world.power(true);
  confirmed(world, hourMs);
  assert.equal(world.resets, []);
});

stories("A1-12 the hold is bounded: it expires, and then T counts", () => {
  const world = card({ plan });
  world.bootFaults.a = { menuMs: 2_000_000 };
  world.power(true);
  assert.is(resetTime(world), 300 + world.config.plan.holdMaxMs + plan.watchdogMs);
});

stories("A1-13 three failed boots take the other slot, six the safe one", () => {
  const world = card({ plan });
  world.bootFaults.a = hang;
  world.power(true);
  confirmed(world);
  assert.is(world.resets.length, 3);
  assert.is(world.agent?.boot.entry?.slot, "b");
  assert.equal(ask(world, "boot.counters"), {
    active: "b",
    failures: { a: 3, b: 0 },
    attempts_max: 3,
  });
  assert.equal(reportsOf(world, "boot:fallback"), [{ from: "a", slot: "b", failures: 3 }]);

  const both = card({ plan });
  both.bootFaults.a = hang;
  both.bootFaults.b = hang;
  both.power(true);
  confirmed(both);
  assert.is(both.resets.length, 6);
  assert.is(both.agent?.boot.entry?.slot, "safe");
  assert.is(reportsOf(both, "boot:died").length, 6, "and is there to be asked");
});

/** Runs `act`; a power cut in it is followed by power coming back. */
function throughCuts(world: World, act: () => void): number {
  for (let cuts = 0; ; cuts++) {
    try {
      if (cuts === 0) act();
      else confirmed(world);
      return cuts;
    } catch (problem) {
      if (!(problem instanceof PowerCut)) throw problem;
      world.power(false);
      world.power(true);
    }
  }
}

stories("A1-13 the counter survives a power cut at any disk operation", () => {
  let cutAt = 0;
  for (let isCut = true; isCut; cutAt++) {
    const world = runningCard({ plan, seed: cutAt + 1 });
    world.bootFaults.a = hang;
    world.disk.operationsLeft = cutAt;
    isCut =
      throughCuts(world, () => {
        world.agent?.reset("operator");
        resetTime(world);
        confirmed(world);
      }) > 0;
    world.disk.operationsLeft = Infinity;
    assert.is(world.agent?.boot.entry?.slot, "b", `cut at ${cutAt}`);
    const failed = world.resets.filter(({ by }) => by === "watchdog").length;
    // A cut between a reset and its being counted hides that one: the hardware then says power.
    const most = isCut ? 4 : 3;
    assert.ok(failed >= 3 && failed <= most, `${failed} failed boots, cut at ${cutAt}`);
    const { a } = ask(world, "boot.counters").failures;
    assert.is(a, 3, `cut at ${cutAt}`);
  }
  assert.ok(cutAt > 50, `${cutAt}: the cut has been at every operation`);
});

stories("A1-14 commanded resets, clean reboots and power cycles are no failures", () => {
  const world = card({ plan });
  world.power(true);
  const next = (): void => {
    const { boots } = world.agent?.boot.journal.value ?? { boots: 0 };
    const isNext = (): boolean => (world.agent?.boot.journal.value.boots ?? 0) > boots;
    assert.ok(world.until(isNext, 10_000));
  };
  world.until(() => world.agent !== null, 10_000);
  const ends: [string, () => void][] = [
    ["commanded", () => world.agent?.reset("operator")],
    ["clean", () => world.shutDown()],
    [
      "power",
      () => {
        world.power(false);
        world.power(true);
      },
    ],
  ];
  for (const [cause, end] of ends) {
    for (let times = 0; times < 4; times++) {
      assert.is(world.agent?.boot.isConfirmed, false);
      end();
      next();
      assert.is(lastEnded(world)?.cause, cause);
    }
  }
  assert.equal(ask(world, "boot.counters").failures, { a: 0, b: 0 });
  assert.is(world.agent?.boot.entry?.slot, "a");
});

stories("A1-15 a confirmed boot clears the counter, once", () => {
  const world = card({ plan });
  world.bootFaults.a = hang;
  world.power(true);
  resetTime(world);
  resetTime(world);
  world.bootFaults.a = {};
  world.until(() => world.agent !== null, 10_000);
  assert.equal(ask(world, "boot.counters").failures, { a: 2, b: 0 });
  confirmed(world);
  assert.equal(ask(world, "boot.counters").failures, { a: 0, b: 0 });
  world.advance(hourMs);
  assert.is(reportsOf(world, "boot:confirmed").length, 1);
});

/** What the agent says of the stretch between hand-off and adoption. */
function gap(world: World): { told: unknown; covered: unknown; shown: unknown; because: string } {
  const [adopted] = reportsOf(world, "boot:adopted");
  const adopt = ask(world, "card.protection").stages.find(({ stage }) => stage === "adopt");
  const { covered, uncovered_ms: shown, because = "" } = adopt ?? {};
  return { told: adopted?.uncovered_ms, covered, shown, because };
}

stories("A1-16 a countdown that never stopped has no gap", () => {
  const { told, shown, because } = gap(runningCard({ plan }));
  assert.equal([told, shown], [0, 0]);
  assert.match(because, /never stopped/);
});

stories("A1-16 a driver that stops the countdown at its probe: the gap is told in ms", () => {
  const { told, covered, shown, because } = gap(
    runningCard({ plan, chip: { stopsAtProbe: true } }),
  );
  assert.equal([told, covered, shown], [350, false, 350]);
  assert.match(because, /nothing shows that it counted/);
  const hung = card({ plan, chip: { stopsAtProbe: true } });
  hung.bootFaults.a = { hang: { stage: "adopt", step: "take_over" } };
  hung.power(true);
  hung.advance(hourMs);
  assert.equal(hung.resets, [], "the gap is a real one");
});

stories(
  "A1-16 a TCO shows a time left when it stands still: only one that fell has counted",
  () => {
    for (const stopsAtProbe of [true, false]) {
      // Longer than the second in which the counter counts.
      const world = runningCard({ plan, model: itcoModel, chip: { stopsAtProbe }, stepMs: 600 });
      const ms = stopsAtProbe ? 1850 : 0;
      assert.is(gap(world).told, ms, `stops: ${stopsAtProbe}`);
      const [adopted] = reportsOf(world, "boot:adopted");
      assert.is(adopted?.remaining_ms === 0, stopsAtProbe);
    }
    const soon = runningCard({ plan, model: itcoModel });
    assert.is(gap(soon).told, 350, "within one second nothing shows it");
  },
);

stories("A1-16 a TCO that shows what the hook saw already has stopped", () => {
  const times = "began=1.00\nloaded=1.10\nadopt_within=60\nbefore=no";
  for (const stopsAtProbe of [true, false]) {
    const world = card({ plan, model: itcoModel, chip: { stopsAtProbe }, stepMs: 600 });
    world.bootHook = `version=1\ndriver=iTCO_wdt\nmethod=leave\n${times}\nleft=4\n`;
    world.power(true);
    confirmed(world);
    assert.is(gap(world).told, stopsAtProbe ? 1850 : 0, `stops: ${stopsAtProbe}`);
  }
});

stories("A1-16 a frozen or silent counter proves nothing: the gap is told", () => {
  for (const defaultMs of [4000, 5000, 30_000]) {
    const frozen = runningCard({ plan, chip: { frozenTimeLeft: true }, model: { defaultMs } });
    assert.equal([gap(frozen).told, gap(frozen).shown], [350, 350], `frozen at ${defaultMs}`);
  }
  const silent = runningCard({ plan, model: { timeLeft: false } });
  assert.equal([gap(silent).told, gap(silent).shown], [350, 350]);
});

stories("a damaged hand-off record is refused and told, and is no failed boot", () => {
  const world = card({ plan });
  world.bootFaults.a = { damagedRecord: true };
  world.power(true);
  confirmed(world);
  assert.is(reportsOf(world, "boot:record_refused").length, 1);
  const { present, problem, record } = ask(world, "boot.record");
  assert.equal([present, record], [true, undefined]);
  assert.match(problem ?? "", /hand-off record refused/);
  assert.is(gap(world).covered, false);
  assert.is(world.agent?.boot.journal.value.boots, 1, "one power-on is one boot");
  assert.equal(reportsOf(world, "boot:died"), []);
  for (let times = 0; times < 4; times++) {
    world.agent?.reset("operator");
    world.until(() => world.agent === null, 10_000);
    confirmed(world);
  }
  assert.is(world.agent?.boot.journal.value.boots, 5);
  assert.is(world.agent?.boot.entry?.slot, "a");
});

stories("the restart of the agent alone is told as such, and its boot goes on confirmed", () => {
  const world = runningCard({ plan });
  world.killAgent();
  world.startAgent();
  world.advance(100);
  assert.is(world.agent?.boot.isConfirmed, true);
  assert.is(reportsOf(world, "agent:started").at(-1)?.restart, true);
  assert.equal(reportsOf(world, "boot:died"), []);
  world.advance(hourMs);
  assert.equal(world.resets, []);
});

stories.run();
