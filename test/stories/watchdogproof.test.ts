/** Refreshes that do nothing: found out on the open device, got round, or told before the reset. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AgentEvent } from "../../agent/events.ts";
import { WatchdogHead } from "../../agent/heads/watchdog.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { SimChip, SimWatchdog, type WatchdogFaults } from "../../agent/sim/watchdog.ts";
import { plainModel, type WatchdogModel } from "../../agent/sim/watchdogmodels.ts";
import { ask, configOf, reportsOf, resetTime, runningCard } from "../worlds.ts";

const stories = suite("watchdog proof stories");
const plan = { watchdogMs: 5000 };

/** The watchdog head alone, ticking by its own due times. */
function bench(faults: WatchdogFaults, model: Partial<WatchdogModel> = {}, minGapS = 0) {
  const clock = new SimClock();
  const resets: number[] = [];
  const chip = new SimChip(clock, { ...plainModel, ...model }, () => resets.push(clock.now()));
  chip.faults = faults;
  const events: AgentEvent[] = [];
  const nothing = (): void => undefined;
  const watchdog = new SimWatchdog(chip, clock);
  const io = { clock, watchdog, problem: "", noteCulprit: nothing, clearCulprit: nothing };
  const head = new WatchdogHead(
    { ...io, lastWords: nothing, emit: (event) => events.push(event) },
    configOf({ watchdog: { allow_disarm: true, hardware_min_gap_s: minGapS } }),
  );
  head.start();
  const run = (ms: number): void => {
    const endMs = clock.now() + ms;
    while (clock.now() < endMs && resets.length === 0) {
      clock.advance(Math.min(Math.max(head.dueMs - clock.now(), 0), endMs - clock.now()));
      head.tick(clock.now());
    }
  };
  const value = (name: string): string =>
    head.probe().criteria.find((one) => one.name === name)?.value ?? "absent";
  const told = (kind: string): AgentEvent[] => events.filter((event) => event.kind === kind);
  return { clock, chip, watchdog, resets, head, run, value, told };
}

for (const [name, model] of [
  ["direct", {}],
  ["service", { maxMs: 30_000 }],
] as const) {
  stories(`A2-01 ${name}: a refresh is shown to refresh, within half of T2`, () => {
    const { head, run, value, told } = bench({ clamps: true }, model);
    assert.is(head.status().via, name);
    assert.equal([value("refresh_works"), value("time_left")], ["not known yet", "not known yet"]);
    run(31_000);
    assert.equal([value("refresh_works"), value("time_left")], ["yes", "falls"]);
    assert.is(
      value("granted"),
      name === "direct" ? "60 s of 60 s asked for" : "30 s of 30 s asked for",
    );
    assert.equal([...told("wdt:refused"), ...told("wdt:refresh_by")], []);
  });

  stories(`A2-01 ${name}: where KEEPALIVE is dead, SETTIMEOUT refreshes, and that is told`, () => {
    const { run, value, told, resets, head } = bench({ deafKeepAlive: true, clamps: true }, model);
    run(20_000);
    assert.equal(told("wdt:refresh_by").length, 1);
    assert.is(value("refresh_works"), "yes, by SETTIMEOUT: KEEPALIVE does nothing");
    run(3_600_000);
    assert.equal(resets, [], "kept alive for an hour");
    assert.equal(told("wdt:refresh_by").length, 1);
    // And no longer than promised: the service places its last SETTIMEOUT as it would a refresh.
    const lastMs = head.status().last_check_in_ms ?? 0;
    head.send({ kind: "withhold", atMs: lastMs, culprit: "test" });
    run(3_600_000);
    assert.equal(resets, [lastMs + 60_000]);
  });

  stories(`A2-01 ${name}: where nothing refreshes, that is told before the reset`, () => {
    const { run, value, told, resets, clock } = bench({ deaf: true, clamps: true }, model);
    run(20_000);
    assert.equal(resets, []);
    const [refused, ...more] = told("wdt:refused");
    assert.equal(more, []);
    assert.match(
      refused?.kind === "wdt:refused" ? `${refused.operation}: ${refused.problem}` : "",
      /^refresh: refreshes do not refresh: .* expect a reset in \d+ s$/,
    );
    assert.is(value("refresh_works"), "no");
    run(3_600_000);
    assert.equal(resets.length, 1);
    assert.is(clock.now(), name === "direct" ? 60_000 : 30_000);
  });
}

stories("A2-01 a device that goes deaf after years is found out before it resets the card", () => {
  const { chip, run, value, told, resets } = bench({});
  run(3_600_000);
  chip.faults = { deaf: true };
  run(50_000);
  assert.equal([resets.length, told("wdt:refused").length, value("refresh_works")], [0, 1, "no"]);
  const lapse = bench({});
  lapse.run(3_600_000);
  lapse.chip.faults = { deafKeepAlive: true };
  lapse.run(3_600_000);
  assert.equal([lapse.resets.length, lapse.told("wdt:refresh_by").length], [0, 1]);
});

stories("A2-01 what cannot be told is not claimed", () => {
  const blind = bench({}, { timeLeft: false });
  blind.run(600_000);
  assert.is(blind.value("refresh_works"), "cannot be told (no time left)");
  assert.is(blind.value("time_left"), "not offered");
  const frozen = bench({ frozenTimeLeft: true, deafKeepAlive: false });
  frozen.run(600_000);
  assert.is(frozen.value("refresh_works"), "cannot be told (time left is frozen)");
  assert.is(frozen.value("time_left"), "frozen");
  for (const { told, resets } of [blind, frozen]) {
    assert.equal([...told("wdt:refused"), ...told("wdt:refresh_by"), ...resets], []);
  }
});

for (const [what, faults, read] of [
  ["cleared", {}, 0],
  ["that cannot be cleared is told", { keepsPretimeout: true }, 8000],
] as const) {
  stories(`A2-19 a stale pretimeout is ${what}, as read back`, () => {
    const { head, chip, told, watchdog, value } = bench({ stalePretimeout: true, clamps: true });
    assert.equal(told("wdt:pretimeout"), []);
    watchdog.setPretimeout(8000);
    chip.faults = { ...chip.faults, ...faults, grantsMs: 6000 };
    head.send({ kind: "disarm", atMs: 0, by: "test" });
    head.send({ kind: "arm", atMs: 0, promiseMs: 60_000 });
    assert.equal(told("wdt:pretimeout"), [
      { kind: "wdt:pretimeout", was_ms: 8000, set_ms: 0, read_ms: read },
    ]);
    assert.equal([watchdog.pretimeout(), value("pretimeout")], [read, read === 0 ? "none" : "8 s"]);
  });
}

stories("a pretimeout that fits is set again and kept", () => {
  const { head, told, watchdog } = bench({});
  watchdog.setPretimeout(8000);
  head.send({ kind: "disarm", atMs: 0, by: "test" });
  head.send({ kind: "arm", atMs: 0, promiseMs: 60_000 });
  assert.equal([watchdog.pretimeout(), told("wdt:pretimeout")], [8000, []]);
});

stories("a chip that bears no hasty refresh is served with its gap, and no proof breaks it", () => {
  const { chip, run, head, resets } = bench({ clamps: true }, { maxMs: 30_000, minGapMs: 5000 });
  assert.is(head.status().via, "service");
  chip.gapMinMs = Infinity;
  run(3_600_000);
  assert.ok(chip.gapMinMs >= 5000, `${chip.gapMinMs}`);
  assert.equal(resets, []);
});

for (const [via, maxMs] of [
  ["direct", 2_046_000],
  ["service", 30_000],
] as const) {
  stories(
    `A2-06 ${via}: the gap that the operator set is kept, however often one checks in`,
    () => {
      const { chip, run, head, clock, value, resets } = bench({}, { maxMs }, 5);
      assert.is(head.status().via, via);
      assert.is(value("refresh_gap"), "5 s");
      chip.gapMinMs = Infinity;
      run(31_000);
      if (via === "direct") assert.is(value("refresh_works"), "yes");
      for (let held = 0; held < 100; held++) {
        head.send({ kind: "hold", atMs: clock.now(), forMs: 60_000, by: "test" });
        run(700 + held * 10);
      }
      run(600_000);
      assert.ok(chip.gapMinMs >= 5000 - 1e-6, `${chip.gapMinMs}`);
      assert.equal(resets, []);
      const lastMs = head.checkedInMs ?? Number.NaN;
      clock.advance(100_000);
      assert.ok((resets[0] ?? 0) >= lastMs + 60_000 - 1e-6 && (resets[0] ?? 0) <= lastMs + 65_000);
    },
  );
}

stories("A2-06 a gap longer than half of the timeout cannot be kept, and is told", () => {
  const { head } = bench({}, { maxMs: 6000 }, 5);
  const gap = head.probe().criteria.find(({ name }) => name === "refresh_gap");
  assert.equal([gap?.value, gap?.required, gap?.ok], ["5 s", "<= 3 s, half of T1", false]);
});

stories("a proof costs no wake-ups once it is done", () => {
  const { run, head, clock } = bench({});
  run(120_000);
  assert.is(head.dueMs, (head.status().last_check_in_ms ?? 0) + 15_000);
  assert.ok(head.dueMs > clock.now());
});

stories("on a whole card with a dead KEEPALIVE: no reset, and the host is told", () => {
  const world = runningCard({ plan, chip: { deafKeepAlive: true } });
  world.advance(3_600_000);
  assert.equal([world.resets, reportsOf(world, "wdt:refresh_by").length], [[], 1]);
  const works = ask(world, "wdt.probe").criteria.find(({ name }) => name === "refresh_works");
  assert.equal([works?.ok, works?.value.slice(0, 18)], [true, "yes, by SETTIMEOUT"]);
  world.hangAgent(Infinity);
  assert.ok(resetTime(world) > 3_600_000);
});

stories.run();
