/** Watchdogs that refuse, lie or are missing: kept, reported, or given up in the open. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Failure } from "../../agent/errors.ts";
import type { AgentEvent } from "../../agent/events.ts";
import { WatchdogHead } from "../../agent/heads/watchdog.ts";
import type { WatchdogFacts } from "../../agent/io/watchdog.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { SimChip, SimWatchdog, type WatchdogFaults } from "../../agent/sim/watchdog.ts";
import { plainModel } from "../../agent/sim/watchdogmodels.ts";
import { throwsCode } from "../assert.ts";
import { ask, card, configOf, reportsOf, resetTime, runningCard } from "../worlds.ts";

const stories = suite("watchdog fault stories");
const hourMs = 3_600_000;
const plan = { watchdogMs: 5000 };

/** The twin of a real driver that does not state its limits. */
class HardwareTwin extends SimWatchdog {
  stated: Partial<WatchdogFacts> = {};

  override facts(): WatchdogFacts {
    return { ...super.facts(), kind: "hardware", maxMs: null, ...this.stated };
  }
}

/** The watchdog head alone on such a driver. */
function bench(faults: WatchdogFaults, stated: Partial<WatchdogFacts> = {}, policy = "prefer") {
  const clock = new SimClock();
  const resets: number[] = [];
  const model = { ...plainModel, maxMs: 16_000, defaultMs: 10_000 };
  const chip = new SimChip(clock, model, () => resets.push(clock.now()));
  chip.faults = faults;
  const watchdog = new HardwareTwin(chip, clock);
  watchdog.stated = stated;
  const events: AgentEvent[] = [];
  const make = (): WatchdogHead =>
    new WatchdogHead(
      {
        clock,
        watchdog,
        problem: "",
        noteCulprit: () => undefined,
        clearCulprit: () => undefined,
        lastWords: () => undefined,
        emit: (event) => events.push(event),
      },
      configOf({ watchdog: { policy: policy as "prefer", allow_disarm: true } }),
    );
  const kinds = (): string[] => events.map(({ kind }) => kind);
  return { clock, chip, resets, events, make, kinds, watchdog };
}

stories(
  "A2-04 a driver that clamps in silence: the service holds T2, the difference is told",
  () => {
    const { make, events, clock, resets } = bench({ clamps: true });
    const head = make();
    head.start();
    const told = events.find(({ kind }) => kind === "wdt:granted");
    assert.equal(told, { kind: "wdt:granted", asked_ms: 60_000, granted_ms: 16_000 });
    const status = head.status();
    assert.equal([status.via, status.backend, status.protected], ["service", "service", true]);
    clock.advance(59_999);
    assert.equal(resets, []);
    clock.advance(1);
    assert.equal(resets, [60_000]);
  },
);

stories("A2-03 a driver that takes T2 although the chip holds less: direct by the kernel", () => {
  // As with max_hw_heartbeat_ms: the kernel refreshes the chip in between, and grants T2.
  const { make, events, clock, resets, watchdog } = bench({ grantsMs: 60_000, clamps: true });
  watchdog.serve = () => {
    throw new Error("a service was started beside the kernel's own");
  };
  const head = make();
  head.start();
  const status = head.status();
  assert.equal([status.via, status.hardware_ms, status.promise_ms], ["direct", 60_000, 60_000]);
  assert.not.ok(events.some(({ kind }) => kind === "wdt:granted" || kind === "wdt:refused"));
  clock.advance(60_000);
  assert.equal(resets, [60_000]);
});

stories("A2-04 a driver that refuses: armed with the most it takes, served, and told", () => {
  const { make, events, clock, resets } = bench({});
  const head = make();
  head.start();
  const refused = events.find(({ kind }) => kind === "wdt:refused");
  assert.is(refused?.kind === "wdt:refused" ? refused.operation : "", "set_timeout");
  assert.equal(
    events.find(({ kind }) => kind === "wdt:granted"),
    { kind: "wdt:granted", asked_ms: 60_000, granted_ms: 16_000 },
  );
  assert.equal([head.status().via, head.status().hardware_ms], ["service", 16_000]);
  clock.advance(hourMs);
  assert.equal(resets, [60_000]);
});

stories("A2-04 a device that refuses and tells nothing of itself is refreshed all the same", () => {
  const { make, clock, watchdog, events, resets } = bench({ refuses: true }, { timeoutMs: null });
  const head = make();
  head.start();
  assert.equal([head.status().via, head.status().hardware_ms], ["service", 1000]);
  assert.match(String(JSON.stringify(events)), /What it runs with is not known/);
  for (let minutes = 0; minutes < 60; minutes++) {
    clock.advance(head.dueMs - clock.now());
    head.tick(clock.now());
  }
  assert.equal([resets, watchdog.isOpen], [[], true]);
});

stories("A2-04 a driver that grants more than the promise: what is promised is what comes", () => {
  const { make, events, clock, resets } = bench({ clamps: true, grantsMs: 90_000 });
  const head = make();
  head.start();
  assert.equal(
    events.find(({ kind }) => kind === "wdt:granted"),
    { kind: "wdt:granted", asked_ms: 60_000, granted_ms: 90_000 },
  );
  assert.equal([head.status().via, head.status().promise_ms], ["direct", 90_000]);
  clock.advance(hourMs);
  assert.equal(resets, [90_000]);
});

stories("A2-04 on a whole card that refuses every timeout, T2 is kept", () => {
  const world = runningCard({ plan, chip: { refuses: true } });
  const status = ask(world, "wdt.state");
  assert.equal([status.via, status.hardware_ms, status.promise_ms], ["service", 5000, 60_000]);
  assert.equal(reportsOf(world, "wdt:granted"), [{ asked_ms: 60_000, granted_ms: 5000 }]);
  world.advance(hourMs);
  assert.equal(world.resets, []);
});

stories(
  "no thread to be had for the service: T2 becomes what the hardware holds, and it lives",
  () => {
    const { make, clock, watchdog, events, resets, kinds } = bench({});
    watchdog.serve = () => {
      throw new Failure("watchdog.device", "pthread_create: EAGAIN");
    };
    const head = make();
    head.start();
    const { via, hardware_ms, promise_ms, protected: isProtected } = head.status();
    assert.equal([via, hardware_ms, promise_ms, isProtected], ["direct", 16_000, 16_000, true]);
    const refused = events.findLast(({ kind }) => kind === "wdt:refused");
    assert.match(
      JSON.stringify(refused),
      /"serve".*EAGAIN; only what the hardware holds.*16000 ms/,
    );
    const count = kinds().length;
    while (clock.now() < hourMs) {
      clock.advance(head.dueMs - clock.now());
      head.tick(clock.now());
    }
    assert.equal([resets, kinds().slice(count).includes("wdt:refused")], [[], false]);
    clock.advance(16_000);
    assert.is(resets.length, 1);
  },
);

stories(
  "a driver that says it runs with nothing is refreshed for the least that Linux counts",
  () => {
    const { make, clock, resets, watchdog } = bench({});
    watchdog.setTimeout = () => 0;
    const head = make();
    head.start();
    assert.equal([head.status().via, head.status().hardware_ms], ["service", 1000]);
    for (let minutes = 0; minutes < 60; minutes++) {
      clock.advance(head.dueMs - clock.now());
      head.tick(clock.now());
    }
    assert.equal(resets, []);
  },
);

stories("a refresh that does nothing: the card is reset, it does not pretend", () => {
  const world = runningCard({ plan });
  world.chip.faults = { deaf: true };
  const { refreshedMs } = world.chip;
  assert.is(resetTime(world), (refreshedMs ?? Number.NaN) + 60_000);
});

for (const grantsMs of [60_000, 2000]) {
  const via = grantsMs === 60_000 ? "direct" : "service";
  stories(
    `A2-12 nowayout, ${via}: it stays armed, says that it cannot stop, and is refreshed`,
    () => {
      const { make, events, chip, clock, resets } = bench({
        clamps: true,
        noWayOut: true,
        grantsMs,
      });
      const head = make();
      head.start();
      assert.is(head.status().via, via);
      head.send({ kind: "disarm", atMs: clock.now(), by: "operator" });
      const told = events.at(-1);
      assert.is(told?.kind === "wdt:refused" ? told.operation : "", "disarm");
      assert.match(told?.kind === "wdt:refused" ? told.problem : "", /never to stop/);
      assert.equal(
        [head.status().armed, head.status().protected, chip.running],
        [true, true, true],
      );
      for (let turn = 0; turn < 100; turn++) {
        clock.advance(15_000);
        head.tick(clock.now());
      }
      assert.equal(resets, []);
      const lastMs = clock.now();
      clock.advance(hourMs);
      assert.equal(resets, [lastMs + 60_000]);
    },
  );
}

stories("A2-12 a device that does stop is disarmed, and can be armed again", () => {
  const { make, kinds, chip, clock, resets } = bench({ clamps: true });
  const head = make();
  head.start();
  head.send({ kind: "disarm", atMs: clock.now(), by: "operator" });
  assert.is(kinds().at(-1), "wdt:disarmed");
  assert.equal([chip.running, head.status().armed, head.status().protected], [false, false, false]);
  assert.is(head.status().protection, "unprotected: disarmed");
  clock.advance(hourMs);
  assert.equal(resets, []);
  head.send({ kind: "arm", atMs: clock.now(), promiseMs: 30_000 });
  assert.equal([chip.running, head.status().via], [true, "service"]);
  clock.advance(hourMs);
  assert.equal(resets, [hourMs + 30_000]);
});

stories("closing never disarms", () => {
  const { make, chip } = bench({ clamps: true });
  const head = make();
  head.start();
  head.close();
  assert.is(chip.running, true);
});

stories("A2-13 a device that another one holds: named, not fought over, and no crash", () => {
  const world = card({ plan, chip: { busy: { pid: 1, name: "systemd" } } });
  world.power(true);
  assert.ok(world.until(() => world.agent !== null, 10_000));
  const status = ask(world, "card.status");
  assert.equal([status.backend, status.protected], ["none", false]);
  assert.is(status.protection, "other-owner: systemd (pid 1)");
  assert.is(world.driver?.isOpen, false);
  const { make } = bench({ busy: { pid: 1, name: "systemd" } }, {}, "require");
  const failure = throwsCode(make, "watchdog.busy");
  assert.match(failure.message, /systemd \(pid 1\)/);
});

stories(
  "A2-13 a holder that only opening reveals leaves the card unprotected, and says why",
  () => {
    const { make, chip } = bench({ busy: { pid: 7, name: "keeper" } }, { holder: null });
    const head = make();
    head.start();
    assert.equal([head.status().state, head.status().protected], ["unprotected", false]);
    assert.match(head.status().protection, /unprotected: watchdog busy: held by pid 7 \(keeper\)/);
    const strict = bench({ busy: { pid: 7, name: "keeper" } }, { holder: null }, "require").make();
    throwsCode(() => strict.start(), "watchdog.missing");
    assert.is(chip.running, false);
  },
);

stories("A2-14 looking at a device does not arm it", () => {
  const { make, chip, watchdog } = bench({});
  const head = make();
  head.probe();
  head.status();
  assert.equal([chip.running, watchdog.isOpen], [false, false]);
});

stories("A2-15 a simulated watchdog says so everywhere, and does not count as protection", () => {
  const world = runningCard({ plan });
  const status = ask(world, "card.status");
  assert.equal([status.backend, status.protected], ["simulated", false]);
  assert.equal([status.watchdog.backend, status.watchdog.protected], ["simulated", false]);
  assert.equal(
    [ask(world, "wdt.probe").backend, ask(world, "card.hello").simulated],
    ["simulated", true],
  );
  const { stages, next } = ask(world, "card.protection");
  assert.ok(stages.every(({ covered }) => !covered));
  assert.ok(next.some((line) => line.includes("simulated")));
  assert.is(reportsOf(world, "wdt:armed").at(-1)?.backend, "simulated");
});

stories("A2-15 require refuses a simulated watchdog and a missing one, with the way out", () => {
  for (const chip of [{}, { absent: true }]) {
    const world = card({ plan, chip, watchdog: { policy: "require" } });
    world.power(true);
    assert.ok(world.until(() => world.halted !== null, 10_000));
    assert.match(world.halted ?? "", /a hardware watchdog is required/);
    assert.match(world.halted ?? "", /--watchdog prefer/);
    assert.is(world.agent, null);
  }
});

stories("A2-12 a host that asks for the impossible is told so, and nothing changes", () => {
  const world = runningCard({ chip: { noWayOut: true }, watchdog: { allow_disarm: true } });
  throwsCode(() => ask(world, "wdt.disarm"), "watchdog.nowayout");
  assert.is(ask(world, "wdt.state").armed, true);
});

stories.run();
