/** machines/runtime.ts: the whole table, the verdict, holds, slack and disarming. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { configure } from "../../agent/config.ts";
import type { Judgement } from "../../agent/machines/criteria.ts";
import { printTable, step } from "../../agent/machines/fsm.ts";
import * as runtime from "../../agent/machines/runtime.ts";
import { promiseRangeMs, type RuntimeConfig } from "../../agent/machines/runtimeconfig.ts";
import { matchesTranscript } from "../golden.ts";

const machine = suite("runtime machine");
const promiseMs = 8000;
const config: RuntimeConfig = {
  ...configure({ watchdog: { promise_s: 8, hold_max_s: 60 } }, "0").runtime,
  disarmAllowed: true,
};
const judgement: Judgement = {
  backend: "direct",
  via: "direct",
  hardwareMinMs: 1000,
  hardwareMaxMs: 60_000,
  protected: true,
  protection: "hardware: twin",
  because: "the hardware holds it itself",
  criteria: [],
};
const none: Judgement = { ...judgement, backend: "none", via: "none" };

/** The state after `events` from `first`, and the effects of the last one. */
function from(first: runtime.State, ...events: runtime.Event[]) {
  let state = first;
  let effects: readonly runtime.Effect[] = [];
  for (const event of events) ({ state, effects } = step(runtime.table, state, event));
  const kinds = effects.map((effect) =>
    effect.kind === "report" ? effect.event.kind : effect.kind,
  );
  return { state, effects, kinds };
}

const arm: runtime.Event = { kind: "arm", atMs: 0, promiseMs };
const opened: runtime.Event = { kind: "opened", atMs: 0, grantedMs: promiseMs, askedMs: promiseMs };
const tick = (atMs: number): runtime.Event => ({ kind: "tick", atMs });
const task = (name: string, everyMs: number): runtime.Event => {
  return { kind: "task", atMs: 0, name, everyMs };
};
const checkIn = (name: string, atMs: number): runtime.Event => {
  return { kind: "check_in", atMs, task: name };
};
const hold = (forMs: number, atMs = 0): runtime.Event => ({ kind: "hold", atMs, forMs, by: "op" });
const withhold: runtime.Event = { kind: "withhold", atMs: 100, culprit: "tee" };
const disarm: runtime.Event = { kind: "disarm", atMs: 100, by: "op" };
const disarmed: runtime.Event = { kind: "disarmed", atMs: 100, by: "op" };
const retimed: runtime.Event = {
  kind: "configure",
  atMs: 1,
  preResetMs: 500,
  holdMaxMs: 7000,
};
const failed: runtime.Event = { kind: "failed", atMs: 1, operation: "open", problem: "EIO" };

const idle = runtime.initial(config, judgement);
const armed = from(idle, task("net", 1000), arm, opened).state;
const withheld = from(armed, tick(1000)).state;
const states: runtime.State[] = [
  idle,
  from(idle, arm).state,
  armed,
  from(armed, hold(5000)).state,
  withheld,
  runtime.initial(config, none),
];
const events = [
  ...[arm, opened, failed, task("x", 500), checkIn("net", 1001), tick(2000), hold(5000)],
  ...[withhold, disarm, disarmed, retimed],
];

machine("the table is the one that was reviewed", () => {
  assert.equal(
    states.map(({ kind }) => kind),
    Object.keys(runtime.table),
  );
  matchesTranscript("runtime.txt", printTable(runtime.table, states, events));
});

machine("no cell throws, and each leads to a state of the table", () => {
  for (const state of states) {
    for (const event of events) {
      const next = step(runtime.table, state, event);
      assert.ok(next.state.kind in runtime.table, `${state.kind} x ${event.kind}`);
    }
  }
});

machine("a changed hold and pre-reset time hold at once, in every state", () => {
  for (const state of states) {
    const next = from(state, retimed);
    assert.is(next.state.kind, state.kind);
    assert.equal([next.state.config.preResetMs, next.state.config.holdMaxMs], [500, 7000]);
    assert.equal(next.effects, []);
  }
  const refused = { kind: "refuse", code: "watchdog.range" };
  assert.equal(
    { ...from(armed, retimed, hold(7001)).effects[0], message: "" },
    {
      ...refused,
      message: "",
    },
  );
  assert.is(from(armed, retimed, hold(7000)).state.kind, "holding");
  const late = from(armed, retimed, tick(1000)).state;
  assert.is(runtime.dueMs(late), promiseMs - 500);
});

machine("A2-02 what the hardware holds itself needs no service", () => {
  const direct = from(idle, arm, opened);
  assert.equal(direct.kinds, ["refresh", "wdt:armed"]);
});

machine("A2-04 less granted than promised starts the service, and the difference is told", () => {
  const asked: runtime.Event = { kind: "opened", atMs: 0, grantedMs: 3000, askedMs: promiseMs };
  const { state, kinds, effects } = from(idle, arm, asked);
  assert.equal(kinds, ["serve", "refresh", "wdt:granted", "wdt:armed"]);
  assert.equal(effects[0], { kind: "serve", hardwareMs: 3000, promiseMs });
  assert.is(state.kind === "armed" ? state.promiseMs : 0, promiseMs);
});

machine("A2-04 more granted than promised: the promise is what will happen", () => {
  const more: runtime.Event = { kind: "opened", atMs: 0, grantedMs: 20_000, askedMs: promiseMs };
  const { state, kinds } = from(idle, arm, more);
  assert.equal(kinds, ["refresh", "wdt:granted", "wdt:armed"]);
  assert.equal(state.kind === "armed" ? [state.promiseMs, state.deadlineMs] : [], [20_000, 20_000]);
});

machine(
  "a promise outside its range is refused: no refresh storm, no watchdog that never comes",
  () => {
    const { min, max } = promiseRangeMs;
    for (const asked of [0, -1, min - 1, max + 1, Number.NaN, Infinity]) {
      const { state, kinds } = from(idle, { ...arm, promiseMs: asked } as runtime.Event);
      assert.is(state, idle, `${asked}`);
      assert.equal(kinds, ["refuse"]);
    }
    for (const asked of [min, max]) {
      assert.is(from(idle, { ...arm, promiseMs: asked } as runtime.Event).state.kind, "arming");
    }
  },
);

machine("while everybody is on time each quarter of T2 gets one refresh", () => {
  assert.is(runtime.dueMs(armed), 1000, "the task is due first");
  const { state } = from(armed, checkIn("net", 900), tick(1000), checkIn("net", 1800));
  assert.equal(from(state, tick(1999)).kinds, []);
  const refreshed = from(state, tick(2000));
  assert.equal(refreshed.kinds, ["refresh"]);
  assert.is(refreshed.state.kind === "armed" ? refreshed.state.deadlineMs : 0, 2000 + promiseMs);
});

machine("A2-11 a missed deadline withholds: the cause is noted before it is told", () => {
  const { state, effects, kinds } = from(armed, tick(1000));
  assert.is(state.kind === "withheld" ? state.culprit : "", "net");
  assert.equal(kinds, ["note_cause", "wdt:withheld"]);
  assert.equal(effects[0], { kind: "note_cause", culprit: "net" });
  const told = effects[1]?.kind === "report" ? effects[1].event : null;
  assert.equal(told, { kind: "wdt:withheld", culprit: "net", reset_in_ms: promiseMs - 1000 });
  assert.is(runtime.dueMs(state), promiseMs * 0.75, "a quarter of T2 before the reset");
  for (const atMs of [1001, 4000, 5999]) assert.equal(from(state, tick(atMs)).kinds, []);
  assert.is(from(armed, checkIn("net", 999), tick(1000)).state.kind, "armed");
});

machine("A2-19 a quarter of T2 before the reset, or as long as is set, it is told once", () => {
  const last = from(withheld, tick(6000));
  assert.equal(last.effects, [
    { kind: "last_words", culprit: "net", checkedInMs: 0, deadlineMs: promiseMs },
    {
      kind: "report",
      event: {
        kind: "wdt:pre_reset",
        cause: "watchdog",
        culprit: "net",
        deadline_ms: promiseMs,
        reset_in_ms: 2000,
      },
    },
  ]);
  assert.is(runtime.dueMs(last.state), Infinity);
  assert.equal(from(last.state, tick(7999)).kinds, []);
  const back = from(last.state, checkIn("net", 7000));
  assert.equal(back.kinds, ["refresh", "wdt:slack", "clear_cause", "wdt:resumed"]);
  const short = runtime.initial({ ...config, preResetMs: 500 }, judgement);
  assert.is(runtime.dueMs(from(short, arm, opened, withhold).state), promiseMs - 500);
  const late = from(armed, { ...withhold, atMs: 7500 } as runtime.Event);
  assert.ok(runtime.dueMs(late.state) <= 7500, "a late verdict leaves no quarter: at once");
});

machine("the refresh resumes when the culprit checks in, and the noted cause is taken back", () => {
  const { state, kinds } = from(withheld, checkIn("net", 3000));
  assert.is(state.kind, "armed");
  assert.equal(kinds, ["refresh", "clear_cause", "wdt:resumed"]);
  assert.is(state.kind === "armed" ? state.deadlineMs : 0, 3000 + promiseMs);
  assert.is(state.tasks.find(({ name }) => name === "net")?.late, 1);
});

machine("a culprit that comes back while another one is away makes that one the culprit", () => {
  const two = from(armed, task("disk", 1500), tick(1000)).state;
  const other = from(two, checkIn("net", 2000));
  assert.is(other.state.kind === "withheld" ? other.state.culprit : "", "disk");
  assert.equal(other.kinds, ["note_cause", "wdt:withheld"]);
  const again = from(other.state, checkIn("net", 2100));
  assert.equal([again.state.kind, again.kinds], ["withheld", []]);
  assert.is(from(again.state, checkIn("disk", 2200)).state.kind, "armed");
});

machine("a final withholding never resumes", () => {
  const final = from(armed, withhold);
  assert.equal(final.kinds, ["note_cause", "wdt:withheld"]);
  const { state, kinds } = from(final.state, checkIn("net", 200), tick(300), checkIn("net", 400));
  assert.equal([state.kind, kinds], ["withheld", []]);
  assert.is(state.kind === "withheld" ? state.culprit : "", "tee");
  assert.is(from(withheld, withhold, checkIn("net", 1100)).state.kind, "withheld");
});

machine("A1-12 a hold is 1 ms to its maximum, refreshes although a task is late, and ends", () => {
  for (const forMs of [0, -5, Number.NaN, 60_001]) {
    const { state, kinds } = from(armed, hold(forMs));
    assert.equal([state, kinds], [armed, ["refuse"]], `${forMs}`);
  }
  assert.is(from(armed, hold(60_000)).state.kind, "holding");
  const { state, kinds } = from(armed, hold(4000, 500));
  assert.equal(kinds, ["refresh", "wdt:hold"]);
  const later = from(state, tick(2500));
  assert.equal([later.state.kind, later.kinds], ["holding", ["refresh"]]);
  const ended = from(later.state, tick(4500));
  assert.equal([ended.state.kind, ended.kinds], ["armed", ["refresh", "wdt:hold_ended"]]);
  assert.is(from(ended.state, tick(5499)).state.kind, "armed", "deadlines count anew");
  assert.is(from(ended.state, tick(5500)).state.kind, "withheld");
});

machine("A2-12 disarming is refused unless it is allowed", () => {
  const bolted = runtime.initial({ ...config, disarmAllowed: false }, judgement);
  const { state, effects } = from(bolted, arm, opened, disarm);
  assert.is(state.kind, "armed");
  const [refusal] = effects;
  assert.is(refusal?.kind === "refuse" ? refusal.code : "", "safety.unconfirmed");
  const allowed = from(armed, disarm);
  assert.equal([allowed.state.kind, allowed.kinds], ["armed", ["stop"]], "not before it stopped");
  const gone = from(allowed.state, disarmed);
  assert.equal([gone.state.kind, gone.kinds], ["idle", ["wdt:disarmed"]]);
});

machine("A2-12 a device that refuses to stop stays armed, and that is told", () => {
  const refused: runtime.Event = { kind: "failed", atMs: 1, operation: "disarm", problem: "no" };
  const { state, kinds } = from(armed, disarm, refused);
  assert.equal([state.kind, kinds], ["armed", ["wdt:refused"]]);
});

machine("disarmed while withheld: no reset will come, so the noted cause is taken back", () => {
  assert.equal(from(withheld, disarm, disarmed).kinds, ["clear_cause", "wdt:disarmed"]);
});

machine(
  "a device that cannot be opened leaves the card unprotected, and arming may be retried",
  () => {
    const { state, kinds } = from(idle, arm, failed);
    assert.equal([state.kind, kinds], ["unprotected", ["wdt:refused"]]);
    const again = from(state, { ...arm, promiseMs: 4000 } as runtime.Event);
    assert.equal(again.effects, [{ kind: "open", hardwareMs: 4000 }]);
    const nothing = from(runtime.initial(config, none), arm);
    assert.equal([nothing.state.kind, nothing.kinds], ["unprotected", ["refuse"]]);
  },
);

machine("A2-20 small slack is warned of once per window, and the next window warns again", () => {
  const bare = from(idle, arm, opened).state;
  const windowMs = config.slackWindowMs;
  const low = promiseMs * 0.75 + 1;
  const first = from(bare, tick(low));
  assert.equal(first.kinds, ["refresh", "wdt:slack"]);
  const [, warning] = first.effects;
  const told = warning?.kind === "report" ? warning.event : null;
  assert.equal(told, { kind: "wdt:slack", slack_ms: promiseMs - low, promise_ms: promiseMs });
  const second = from(first.state, tick(low * 2));
  assert.equal(second.kinds, ["refresh"], "the same window");
  let { state } = second;
  for (let atMs = low * 2 + 2000; atMs < windowMs; atMs += 2000)
    ({ state } = from(state, tick(atMs)));
  const last = state.kind === "armed" ? state.checkedInMs : 0;
  const next = from(state, tick(last + low));
  assert.ok(last + low >= windowMs, "a new window");
  assert.equal(next.kinds, ["refresh", "wdt:slack"]);
  assert.equal(from(bare, tick(promiseMs * 0.75)).kinds, ["refresh"], "just enough slack");
});

machine("the smallest slack of a window is kept", () => {
  const bare = from(idle, arm, opened).state;
  const { state } = from(bare, tick(5000), tick(7500), tick(10_000));
  assert.is(state.kind === "armed" ? state.slack.minMs : 0, 3000);
});

machine("tasks are bounded, and one that is unknown cannot check in", () => {
  let state = idle;
  for (let at = 0; at < config.tasksMax; at++) ({ state } = from(state, task(`t${at}`, 1000)));
  assert.equal(from(state, task("more", 1000)).kinds, ["refuse"]);
  assert.equal(from(state, task("t3", 500)).kinds, [], "a known one may change its span");
  assert.equal(from(state, checkIn("stranger", 1)).kinds, ["refuse"]);
});

machine.run();
