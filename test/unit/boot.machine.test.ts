/** machines/boot.ts: the whole table, and what refusals, budgets and holds are to do. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { configure } from "../../agent/config.ts";
import * as boot from "../../agent/machines/boot.ts";
import { printTable, step } from "../../agent/machines/fsm.ts";
import { matchesTranscript } from "../golden.ts";

const machine = suite("boot machine");
const { plan } = configure({}, "0");
const limits = { minMs: 1000, maxMs: 60_000 };

/** The state after `events`, and the effects of the last one. */
function after(...events: boot.Event[]) {
  let state = boot.initial(plan);
  let effects: readonly boot.Effect[] = [];
  for (const event of events) ({ state, effects } = step(boot.table, state, event));
  return { state, effects, kinds: effects.map(({ kind }) => kind) };
}

const power: boot.Event = { kind: "power", atMs: 0, boot: "1-a", slot: "a", failures: 0 };
const install: boot.Event = { kind: "install", atMs: 10, limits, policy: "prefer" };
const enable: boot.Event = { kind: "enable", atMs: 20, timeoutMs: 30_000 };
const granted: boot.Event = { kind: "granted", atMs: 20, grantedMs: 30_000 };
const handOff: boot.Event = { kind: "hand_off", atMs: 500 };
const start: boot.Event = { kind: "start", atMs: 600 };
const adopted: boot.Event = { kind: "adopted", atMs: 700 };
const ready: boot.Event = { kind: "ready", atMs: 800 };
const loading = [power, install, enable, granted];
const absent: boot.Event = { kind: "install", atMs: 10, limits: null, policy: "require" };

const states: boot.State[] = [
  boot.initial(plan),
  after(power).state,
  after(power, install).state,
  after(...loading).state,
  after(...loading, handOff).state,
  after(...loading, handOff, start).state,
  after(...loading, handOff, start, adopted).state,
  after(power, absent).state,
];
const stepped: boot.Event = { kind: "step", atMs: 900, name: "verify" };
const hold = (forMs: number, atMs = 900): boot.Event => ({ kind: "hold", atMs, forMs });
const tick = (atMs: number): boot.Event => ({ kind: "tick", atMs });
const events = [
  ...[power, install, enable, granted, stepped, hold(5000), tick(900)],
  ...[handOff, start, adopted, ready],
];

machine("the table is the one that was reviewed", () => {
  assert.equal(
    states.map(({ kind }) => kind),
    Object.keys(boot.table),
  );
  matchesTranscript("boot.txt", printTable(boot.table, states, events));
});

machine("no cell throws, and each leads to a state of the table", () => {
  for (const state of states) {
    for (const event of events) {
      const next = step(boot.table, state, event);
      assert.ok(next.state.kind in boot.table, `${state.kind} x ${event.kind}`);
    }
  }
});

machine("A1-01 the stages follow one another and their times never go back", () => {
  const { state } = after(...loading, handOff, start, adopted, ready);
  assert.is(state.kind, "runtime");
  const log = "log" in state ? state.log : [];
  const names = ["power_on", "os_load", "hand_off", "adopt", "runtime"];
  assert.equal(
    log.map(({ stage }) => stage),
    names,
  );
  for (const [at, entry] of log.entries()) {
    assert.is(entry.endMs, log[at + 1]?.startMs ?? null);
    assert.ok(entry.endMs === null || entry.endMs >= entry.startMs);
  }
});

const refused: [string, boot.State, boot.Event, string][] = [
  ["enable before power-on", boot.initial(plan), enable, "boot.not_installed"],
  ["enable before install", after(power).state, enable, "boot.not_installed"],
  ["hand-off before install", after(power).state, handOff, "boot.not_armed"],
  ["hand-off before enable", after(power, install).state, handOff, "boot.not_armed"],
  ["hold before enable", after(power, install).state, hold(5000), "boot.not_armed"],
  ["enable twice", after(...loading).state, enable, "boot.out_of_order"],
  ["install twice", after(power, install).state, install, "boot.out_of_order"],
  ["enable after hand-off", after(...loading, handOff).state, enable, "boot.revoked"],
  ["hold after hand-off", after(...loading, handOff).state, hold(5000), "boot.revoked"],
  ["adopt before start", after(...loading, handOff).state, adopted, "boot.out_of_order"],
];
for (const [name, state, event, code] of refused) {
  machine(`A1-02 ${name} is refused with ${code} and changes nothing`, () => {
    const next = step(boot.table, state, event);
    assert.is(next.state, state);
    assert.equal(
      next.effects.map((effect) => (effect.kind === "refuse" ? effect.code : effect.kind)),
      [code],
    );
  });
}

machine("A1-03 hand-off refreshes once, after everything but the revocation", () => {
  assert.equal(after(...loading, handOff).kinds, ["entered", "mark", "refresh", "revoke"]);
});

const ranges: [number, "armed" | "refused"][] = [
  [999, "refused"],
  [1000, "armed"],
  [60_000, "armed"],
  [60_001, "refused"],
];
machine(
  "A1-06 a timeout outside the device's range is refused, never clamped; 0 is its most",
  () => {
    for (const [timeoutMs, expected] of ranges) {
      const { state, effects } = after(power, install, { ...enable, timeoutMs } as boot.Event);
      assert.is(state.kind === "os_load" ? "armed" : "refused", expected, `${timeoutMs}`);
      const [first] = effects;
      if (expected === "armed") assert.equal(first, { kind: "arm", timeoutMs });
      else assert.is(first?.kind === "refuse" ? first.code : "", "boot.range");
    }
    const { effects } = after(power, install, { kind: "enable", atMs: 20, timeoutMs: 0 });
    assert.equal(effects[0], { kind: "arm", timeoutMs: 60_000 });
  },
);

machine("a completed step earns a refresh up to the stage's budget and none past it", () => {
  const budgetMs = boot.budgetMs(plan, "os_load");
  const last = 20 + budgetMs;
  assert.equal(after(...loading, { kind: "step", atMs: last, name: "x" }).kinds, ["refresh"]);
  const late = after(...loading, { kind: "step", atMs: last + 1, name: "x" });
  assert.equal(late.effects, [{ kind: "over_budget", stage: "os_load", overMs: 1 }]);
  assert.is(boot.expiresMs(late.state), 20 + 30_000, "the countdown was not moved");
});

machine("without a hold no tick refreshes: a hang in a step is not masked", () => {
  const { state } = after(...loading);
  for (const atMs of [21, 5000, 29_999]) {
    assert.equal(step(boot.table, state, tick(atMs)), { state, effects: [] });
  }
});

machine("A1-12 a hold is 1 ms to its maximum, and ends by itself", () => {
  for (const forMs of [0, -1, Number.NaN, plan.holdMaxMs + 1]) {
    const { state, effects } = after(...loading, hold(forMs));
    assert.is(effects[0]?.kind === "refuse" ? effects[0].code : "", "boot.range", `${forMs}`);
    assert.is(state.kind === "os_load" ? state.holdUntilMs : 0, null);
  }
  const held = after(...loading, hold(plan.holdMaxMs, 1000));
  const endMs = 1000 + plan.holdMaxMs;
  assert.equal(step(boot.table, held.state, tick(endMs - 1)).effects, [{ kind: "refresh" }]);
  const ended = step(boot.table, held.state, tick(endMs));
  assert.equal(ended.effects, [{ kind: "refresh" }], "the last one");
  assert.equal(step(boot.table, ended.state, tick(endMs + 1)).effects, []);
});

machine("A1-12 time held is not spent budget, however the holds overlap", () => {
  const budgetMs = boot.budgetMs(plan, "os_load");
  const holds = [...loading, hold(400_000, 1000), hold(400_000, 301_000)];
  const heldMs = 700_000;
  const inTime = after(...holds, { kind: "step", atMs: 20 + heldMs + budgetMs, name: "x" });
  assert.equal(inTime.kinds, ["refresh"]);
  const late = after(...holds, { kind: "step", atMs: 21 + heldMs + budgetMs, name: "x" });
  assert.equal(late.kinds, ["over_budget"]);
});

machine("A1-09 no watchdog: require stops before anything is armed, prefer boots without", () => {
  assert.equal(after(power, absent).kinds, ["refuse"]);
  assert.is(after(power, absent).state.kind, "stopped");
  const none: boot.Event = { kind: "install", atMs: 10, limits: null, policy: "prefer" };
  const without = after(power, none, enable);
  assert.equal(without.kinds, ["entered", "mark"]);
  assert.is(boot.expiresMs(without.state), null);
  assert.equal(after(power, none, enable, handOff).kinds, ["entered", "mark", "revoke"]);
});

machine("A1-15 a boot is confirmed once", () => {
  const once = after(...loading, handOff, start, adopted, ready);
  assert.equal(once.kinds, ["confirm", "mark"]);
  assert.equal(step(boot.table, once.state, ready), { state: once.state, effects: [] });
});

machine.run();
