/** A host that comes late: the card's state and gap-free deltas, at any moment, with no pause. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { pendingMax } from "../../agent/ledger.ts";
import type { Random } from "../../agent/sim/random.ts";
import type { World } from "../../agent/sim/world.ts";
import { fuzz } from "../fuzz.ts";
import { LateHost } from "../latehost.ts";
import { ask, runningCard } from "../worlds.ts";

const stories = suite("late attach");
const plan = { watchdogMs: 5000 };
const tasks = [{ name: "dataplane", every_s: 10 }];

/** One of many things that change a card's state. */
function shake(world: World, random: Random): void {
  const { agent } = world;
  if (agent === null) return;
  const deeds: (() => void)[] = [
    () => world.tee.inject("core_panic"),
    () => world.tee.inject("panic", "keystore"),
    () => ask(world, "wdt.hold", { for_ms: 1000 }),
    () => ask(world, "wdt.disarm", { by: "operator" }),
    () => ask(world, "wdt.arm", { promise_ms: 1000 * random.range(30, 90) }),
    () => agent.emit({ kind: "rig:fault", fault: "load" }),
    () => agent.emit({ kind: "crash:kept", record: "x", about: "reset", bytes: 1 }),
  ];
  const count = random.range(1, 6);
  for (let at = 0; at < count; at += 1) {
    agent.call(() => {
      try {
        random.pick(deeds)();
      } catch {
        // What the state of the moment does not allow is refused, as it should be.
      }
    });
  }
}

/** The state that the reports add up to is what the heads themselves say. */
function assertTrue(world: World): void {
  const { agent } = world;
  assert.ok(agent);
  const { state } = agent;
  const status = ask(world, "card.status");
  const { tee, watchdog } = status;
  assert.equal(
    [state.boot, state.stage, state.slot, state.confirmed, state.ready, state.protected],
    [status.boot, status.stage, status.slot, status.confirmed, status.ready, status.protected],
  );
  assert.equal([state.armed, state.backend], [watchdog.armed, watchdog.backend]);
  if (watchdog.armed) assert.is(state.promise_ms, watchdog.promise_ms);
  assert.equal(state.hold_until_ms, watchdog.hold_until_ms);
  assert.equal(state.withheld, watchdog.culprit);
  assert.equal([state.tee.epoch, state.tee.crashes], [tee.epoch, tee.crashes]);
}

stories("B13-01 attached at 1000 moments under load: state and deltas are the true state", () => {
  let attaches = 0;
  fuzz(10, (random) => {
    const world = runningCard({ plan, tasks, seed: random.range(1, 1e6) });
    for (let attach = 0; attach < 100; attach += 1) {
      shake(world, random);
      world.advance(random.int(700));
      const host = new LateHost(world);
      host.attach();
      for (let turn = random.range(1, 4); turn > 0; turn -= 1) {
        world.advance(random.int(60));
        shake(world, random);
      }
      const boot = world.agent?.boot.id;
      world.until(() => host.state?.seq === world.agent?.state.seq, 20_000);
      assert.equal(host.state, world.agent?.state, `attach ${attach}`);
      assert.is(world.agent?.boot.id, boot, "and the card was not reset by it");
      assert.is(host.holes, 0);
      assert.is(host.repeated, 0);
      assertTrue(world);
      host.send("report.unsubscribe", {});
      world.advance(50);
      attaches += 1;
    }
  });
  assert.ok(attaches >= 1000 || process.env.SEED !== undefined, `${attaches}`);
});

/** When the chip was refreshed, with or without a host that takes the state again and again. */
function refreshes(isAsked: boolean): number[] {
  const world = runningCard({ plan, tasks });
  const host = new LateHost(world);
  const times: number[] = [];
  const { driver } = world;
  assert.ok(driver);
  const refresh = driver.refresh.bind(driver);
  driver.refresh = () => {
    times.push(world.clock.now());
    refresh();
  };
  const endMs = world.clock.now() + 300_000;
  while (world.clock.now() < endMs) {
    if (isAsked) host.attach();
    world.advance(100);
  }
  return times;
}

stories("B13-02 the refresh comes at the same moments while a host takes the state", () => {
  const alone = refreshes(false);
  assert.ok(alone.length > 10);
  assert.equal(refreshes(true), alone);
});

stories("B13-03 a lost delta shows as a hole, comes again, and the state is true again", () => {
  const world = runningCard({ plan });
  const host = new LateHost(world);
  host.attach();
  world.advance(500);
  host.losing = 2;
  for (let at = 0; at < 5; at += 1) {
    world.agent?.call(() => world.agent?.emit({ kind: "rig:fault", fault: `${at}` }));
  }
  world.advance(500);
  assert.ok(host.holes > 0, "the hole was noticed");
  assert.ok(world.until(() => host.state?.seq === world.agent?.state.seq, 10_000));
  assert.equal(host.state, world.agent?.state);
});

stories("B13-03 a host that falls behind the spool sees the hole, and takes a new state", () => {
  const world = runningCard({ plan });
  const host = new LateHost(world);
  host.attach();
  world.advance(500);
  host.acknowledges = false;
  host.losing = 10_000;
  for (let at = 0; at < 2 * pendingMax; at += 1) {
    world.agent?.emit({ kind: "rig:fault", fault: `${at}` });
  }
  world.advance(5000);
  host.losing = 0;
  assert.ok(
    world.until(() => host.holes > 0, 60_000),
    "the hole was noticed",
  );
  const { dropped } = world.agent?.state ?? { dropped: { state: 0, safety: 0 } };
  assert.ok(dropped.state > 0, "and the loss is told");
  host.acknowledges = true;
  host.attach();
  assert.ok(world.until(() => host.state?.seq === world.agent?.state.seq, 60_000));
  assert.equal(host.state, world.agent?.state);
});

stories("two hosts: what one acknowledges, the other that had it pushed is not short of", () => {
  const world = runningCard({ plan });
  const [first, second] = [new LateHost(world, 0), new LateHost(world, 1)];
  second.acknowledges = false;
  first.attach();
  second.attach();
  world.advance(500);
  for (let at = 0; at < 100; at += 1) {
    world.agent?.call(() => world.agent?.emit({ kind: "rig:fault", fault: `${at}` }));
    world.advance(20);
  }
  world.advance(40_000);
  assert.equal(first.state, world.agent?.state);
  assert.equal(second.state, world.agent?.state);
  assert.is(second.holes, 0);
});

stories("a state is taken in blocks of one report; a stale block is refused", () => {
  const world = runningCard({ plan });
  const host = new LateHost(world);
  host.send("report.state", { off: 10, seq: 999_999 });
  world.advance(500);
  const [refused] = host.answers("report.state");
  assert.equal(refused?.err, { group: 68, rc: 5 });
});

stories.run();
