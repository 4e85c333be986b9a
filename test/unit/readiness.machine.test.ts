/** machines/readiness.ts: the whole table, and what deadlines and hung checks do. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { printTable, step } from "../../agent/machines/fsm.ts";
import * as readiness from "../../agent/machines/readiness.ts";
import { matchesTranscript } from "../golden.ts";

const machine = suite("readiness machine");

const own = { name: "watchdog", isProgram: false, withinMs: 0, everyMs: 0 };
const program = { name: "dataplane", isProgram: true, withinMs: 5000, everyMs: 60_000 };
const plan = { checks: [own, program], settleMs: 10_000, deadlineMs: 100_000 };

const tick = (atMs: number): readiness.Event => ({ kind: "tick", atMs });
const result = (atMs: number, name: string, ok = true, value = "ok"): readiness.Event => {
  return { kind: "result", atMs, name, ok, value };
};

const until = (deadlineMs: number): readiness.Event => ({ kind: "deadline", atMs: 0, deadlineMs });

/** What a series of events led to, with every effect on the way. */
function after(...events: readiness.Event[]) {
  let state = readiness.initial(plan, 0, false);
  const effects: readiness.Effect[] = [];
  for (const event of events) {
    const next = step(readiness.table, state, event);
    state = next.state;
    effects.push(...next.effects);
  }
  return { state, effects, kinds: effects.map(({ kind }) => kind) };
}

const well = [tick(0), result(100, "watchdog"), result(900, "dataplane")];
const states = [
  after().state,
  after(...well, tick(10_000)).state,
  after(...well, tick(10_000), result(20_000, "watchdog", false, "idle"), tick(20_000)).state,
  after(tick(100_000)).state,
];

machine("the table is the one that was reviewed", () => {
  assert.equal(
    states.map(({ kind }) => kind),
    Object.keys(readiness.table),
  );
  const events = [result(30_000, "watchdog"), tick(30_000), until(200_000)];
  matchesTranscript("readiness.txt", printTable(readiness.table, states, events));
});

machine("B12-01 confirmed once, when all pass, after settling", () => {
  assert.not.ok(after(...well, tick(9999)).kinds.includes("confirm"));
  const { kinds } = after(...well, tick(10_000), tick(10_001), tick(11_000));
  assert.is(kinds.filter((kind) => kind === "confirm").length, 1);
});

machine("a deadline that is moved while the boot settles is the one that counts", () => {
  const longer = after(until(200_000), tick(0), tick(199_999));
  assert.is(longer.state.kind, "settling");
  assert.is(after(until(50_000), tick(50_000)).state.kind, "late");
  assert.is(after(tick(100_000), until(200_000), ...well).state.kind, "late");
});

machine("B12-01 the deadline names the failing check, and nothing is confirmed after it", () => {
  const bad = result(50_000, "dataplane", false, "exit 1");
  const { state, effects } = after(tick(0), result(1, "watchdog"), bad, tick(100_000));
  assert.is(state.kind, "late");
  assert.equal(effects.at(-1), { kind: "not_ready", name: "dataplane", value: "exit 1" });
  const healed = after(tick(0), result(1, "watchdog"), bad, tick(100_000), tick(110_000));
  assert.not.ok(healed.kinds.includes("confirm"));
});

machine("B12-02 a hung check withholds the refresh at its deadline and not before", () => {
  assert.equal(after(tick(0), tick(4999)).kinds, ["run"]);
  const { effects, state } = after(tick(0), tick(5000));
  assert.equal(effects.slice(1), [
    { kind: "give_up", name: "dataplane" },
    { kind: "withhold", name: "dataplane" },
  ]);
  assert.is(readiness.failing(state.checks.slice(1))?.value, "no answer within 5000 ms");
  const late = after(tick(0), tick(5000), result(6000, "dataplane"));
  assert.not.ok(late.state.checks[1]?.ok, "an answer that was given up on does not count");
});

machine("B12-03 readiness is withdrawn, comes back, and confirms nothing anew", () => {
  const { kinds } = after(
    ...[...well, tick(10_000)],
    ...[result(20_000, "watchdog", false, "withheld"), tick(20_000), tick(20_100)],
    ...[result(30_000, "watchdog"), tick(30_000)],
  );
  assert.equal(
    kinds.filter((kind) => kind !== "run"),
    ["confirm", "withdrawn", "ready_again"],
  );
});

machine("a program runs again after its pause, one at a time", () => {
  const times = [tick(0), result(900, "dataplane"), tick(60_899), tick(60_900), tick(60_901)];
  const { effects } = after(...times);
  assert.is(effects.filter(({ kind }) => kind === "run").length, 2);
  assert.is(readiness.dueMs(after(tick(0)).state), 5000);
  assert.is(readiness.dueMs(after(...well).state), 60_900);
});

machine("an agent that finds its boot confirmed asks, and does not confirm", () => {
  let state = readiness.initial(plan, 0, true);
  const kinds: string[] = [];
  for (const event of [...well, tick(10_000)]) {
    const next = step(readiness.table, state, event);
    state = next.state;
    kinds.push(...next.effects.map(({ kind }) => kind));
  }
  assert.is(state.kind, "ready");
  assert.not.ok(kinds.includes("confirm"));
});

machine.run();
