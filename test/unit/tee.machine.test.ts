import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TeeFacts, TeeResult } from "../../agent/io/tee.ts";
import { step } from "../../agent/machines/fsm.ts";
import { table } from "../../agent/machines/tee.ts";
import type { EventOf } from "../../agent/machines/teeanswers.ts";
import { teeConfig } from "../../agent/machines/teeconfig.ts";
import { above, chooseRung, type ladder, waitMs } from "../../agent/machines/teeladder.ts";
import {
  emptyHistory,
  fearedHistory,
  pruned,
  rebased,
  withTrigger,
} from "../../agent/machines/teerecord.ts";
import { readResult } from "../../agent/machines/teesignals.ts";
import {
  dueMs,
  type Effect,
  type Event,
  initial,
  type State,
  steps,
} from "../../agent/machines/teestate.ts";

const machine = suite("tee machine");

const facts: TeeFacts = {
  present: true,
  usable: true,
  simulated: true,
  name: "sim",
  powers: ["session", "supplicant", "tee_os"],
  hardwareStatus: true,
  because: "a test",
};
const config = teeConfig([{ name: "keystore" }, { name: "face" }]);
const good: TeeResult = { errno: null, ret: 0, origin: 4 };
const panicked: TeeResult = { errno: null, ret: 0xffff3024, origin: 3 };
const cut: TeeResult = { errno: null, ret: 0xffff000e, origin: 2 };
const foreign: TeeResult = { errno: null, ret: 0xffff0006, origin: 3 };
const refusal: TeeResult = { errno: null, ret: 0xffff0001, origin: 4 };

/** Answers what a state waits for, as a TEE without faults does. */
function answerTo(state: State, atMs: number): Event | null {
  if (!("recovery" in state)) return null;
  const { pending, performMs } = state.recovery;
  const [key] = pending;
  const { epoch } = state.core;
  if (key === undefined) return { kind: "tick", atMs: performMs };
  if (key.startsWith("open")) {
    return { kind: "done", atMs, epoch, key, session: { context: epoch, id: key.length } };
  }
  const hardware = { handle: 1, names: [] };
  if (key === "save_hardware") return { kind: "done", atMs, epoch, key, hardware };
  return { kind: "done", atMs, epoch, key };
}

/** Every state on the way from `state` until nothing is waited for. */
function walk(state: State, atMs: number): State[] {
  const seen = [state];
  for (let at = state; ; ) {
    const event = answerTo(at, atMs);
    if (event === null) return seen;
    at = step(table, at, event).state;
    seen.push(at);
    assert.ok(seen.length < 50, "a recovery ends");
  }
}

function send(state: State, ...events: Event[]): State {
  return events.reduce((at, event) => step(table, at, event).state, state);
}

/** One sample of every state: a TEE that crashes with two calls under way. */
function samples(): State[] {
  const ready = walk(initial(config, facts, emptyHistory, 0), 0).at(-1) as State;
  assert.is(ready.kind, "ready");
  const busy = send(
    ready,
    { kind: "call", atMs: 10, id: 1, service: "keystore", command: 7, class: "once" },
    { kind: "call", atMs: 10, id: 2, service: "face", command: 8, class: "idempotent" },
  );
  const suspect = send(busy, { kind: "late", atMs: 20, what: "test" });
  const crashed = send(suspect, { kind: "crash", atMs: 30, epoch: 1, service: null, result: cut });
  const kinds = new Set<string>();
  const recovering = walk(crashed, 40).filter(({ kind }) => {
    const isNew = kind !== "ready" && !kinds.has(kind);
    kinds.add(kind);
    return isNew;
  });
  const never = teeConfig(config.services, { cardReset: false });
  const noPower = { ...facts, powers: [] };
  const crash: Event = { kind: "crash", atMs: 30, epoch: 1, service: null, result: cut };
  const lost = (core: State["core"]): State => send({ kind: "ready", core }, crash);
  const escalate = lost({ ...busy.core, facts: noPower });
  const degraded = lost({ ...busy.core, config: never, facts: noPower });
  const spent = { ...busy.core.history, resetsMs: [10, 20] };
  const unrecoverable = lost({ ...busy.core, facts: noPower, history: spent });
  return [busy, suspect, ...recovering, degraded, unrecoverable, escalate];
}

/** Events to meet each state with: those that are meant for it and those that come too late. */
function eventsFor(state: State): readonly (readonly [string, Event])[] {
  const { epoch, calls, canary } = state.core;
  const atMs = 50;
  const call = calls.find(({ phase }) => phase !== "waiting")?.id ?? 1;
  const sentIn = calls.find(({ id }) => id === call)?.epoch ?? epoch;
  const key = "recovery" in state ? (state.recovery.pending[0] ?? "none") : "none";
  const session = { context: epoch - 1, id: 9 };
  const canaryKey = { key: `canary ${canary.probe}` };
  const reply = (result: TeeResult, inEpoch = sentIn): Event => {
    return { kind: "reply", atMs, epoch: inEpoch, call, result, applied: false };
  };
  const failed = (result: TeeResult | null): EventOf<"failed"> => {
    return { kind: "failed", atMs, epoch, key, result, problem: "test" };
  };
  const late = Math.min(dueMs(state), 1_000_000);
  return [
    ["call", { kind: "call", atMs, id: 3, service: "face", command: 1, class: "once" }],
    ["reply", reply(good)],
    ["reply dead", reply(panicked)],
    ["reply unclear", reply(cut)],
    ["reply stale", reply(foreign)],
    ["reply old", reply(good, sentIn - 1)],
    ["late", { kind: "late", atMs, what: "test" }],
    ["alive", { kind: "alive", atMs, probe: canary.probe }],
    ["crash", { kind: "crash", atMs, epoch, service: "face", result: panicked }],
    ["crash old", { kind: "crash", atMs, epoch: epoch - 1, service: null, result: cut }],
    ["done", { kind: "done", atMs, epoch, key }],
    ["done old", { kind: "done", atMs, epoch: epoch - 1, key, session }],
    ["failed", failed(refusal)],
    ["failed dead", failed(cut)],
    ["failed own", failed(null)],
    ["canary dead", { ...failed(cut), key: `canary ${canary.probe}` }],
    ["canary refused", { ...failed(refusal), key: `canary ${canary.probe}` }],
    ["waits", { kind: "waits", atMs, epoch, key, on: "supplicant" }],
    ["waits old", { kind: "waits", atMs, epoch: epoch - 1, key, on: "helper" }],
    ["canary waits", { ...canaryKey, kind: "waits", atMs, epoch, on: "helper" }],
    ["tick early", { kind: "tick", atMs: 41 }],
    ["tick due", { kind: "tick", atMs: late }],
    ["recover", { kind: "recover", atMs, by: "test" }],
    ["unquarantine", { kind: "unquarantine", atMs, name: null }],
  ];
}

/** An effect in a word or two. */
function wordOf(effect: Effect): string {
  switch (effect.kind) {
    case "report":
      return effect.event.kind;
    case "perform":
      return effect.operation.kind;
    case "answer":
      return effect.verdict;
    case "send":
      return effect.how;
    default:
      return effect.kind;
  }
}

function print(): string {
  const lines = samples().flatMap((state) =>
    eventsFor(state).map(([name, event]) => {
      const next = step(table, state, event);
      const still = next.state === state && next.effects.length === 0;
      const to = still ? "." : next.state.kind;
      const words = next.effects.map(wordOf).join(" ");
      return `${state.kind.padEnd(19)}${name.padEnd(16)}${to.padEnd(19)}${words}`.trimEnd();
    }),
  );
  return `${lines.join("\n")}\n`;
}

const golden = join(__dirname, "../../../test/transcripts/tee.txt");

machine("every cell does what the printed table says", () => {
  const printed = print();
  if (process.env.UPDATE !== undefined) writeFileSync(golden, printed);
  assert.ok(existsSync(golden), "test/transcripts/tee.txt is there; UPDATE=1 writes it");
  assert.fixture(printed, readFileSync(golden, "utf8"));
});

machine("every state and every event has its cell, and no cell throws", () => {
  const states = samples();
  const kinds = Object.keys(table).sort();
  assert.equal(states.map(({ kind }) => kind as string).sort(), kinds);
  const columns = new Set(Object.values(table).flatMap((row) => Object.keys(row)));
  for (const state of states) {
    const met = new Set(eventsFor(state).map(([, { kind }]) => kind as string));
    assert.equal(met, columns);
    // Whatever order events come in, the machine is in one of its states and goes on.
    for (const [, first] of eventsFor(state)) {
      const next = step(table, state, first).state;
      for (const [, second] of eventsFor(next)) {
        assert.ok(kinds.includes(step(table, next, second).state.kind));
      }
    }
  }
});

machine(
  "every waiting state wants a tick at an absolute time, and the tick changes something",
  () => {
    for (const state of samples()) {
      if (state.kind === "degraded" || state.kind === "unrecoverable") continue;
      const atMs = dueMs(state);
      assert.ok(Number.isFinite(atMs), `${state.kind} has a deadline`);
      const next = step(table, state, { kind: "tick", atMs });
      assert.ok(next.state !== state, `the tick of ${state.kind} at ${atMs} changes it`);
      assert.ok(
        next.state.kind !== state.kind || dueMs(next.state) > atMs || next.effects.length > 0,
        `${state.kind} does not spin`,
      );
    }
  },
);

machine("a recovery that is left alone ends by its deadline in every step", () => {
  for (const state of samples()) {
    let at = state;
    let ticks = 0;
    const isOver = ({ kind }: State): boolean => {
      return ["degraded", "unrecoverable", "escalate", "ready"].includes(kind);
    };
    while (!isOver(at)) {
      at = step(table, at, { kind: "tick", atMs: dueMs(at) }).state;
      ticks += 1;
      assert.ok(ticks < 100, `${state.kind} comes to an end`);
    }
    if (at.kind === "escalate") {
      const last = at.core.history.resetsMs.at(-1) ?? Infinity;
      assert.ok(last <= 50 + config.recoveryMaxMs + config.suspectMs + config.callMaxMs);
    }
    assert.equal(at.kind === "ready" ? [] : at.core.calls, []);
  }
});

machine("the way of a recovery is its steps in their order", () => {
  const names = samples().map(({ kind }) => kind as string);
  assert.equal(
    names.filter((kind) => (steps as readonly string[]).includes(kind)),
    [...steps],
  );
});

machine("results are read as measured on a real TEE", () => {
  const readings: readonly (readonly [TeeResult, string])[] = [
    [good, "ok"],
    [panicked, "dead session"],
    [cut, "unclear"],
    [{ ...cut, origin: 4 }, "answer"],
    [{ errno: null, ret: 0xffff0006, origin: 3 }, "stale"],
    [{ errno: null, ret: 0xffff0006, origin: 4 }, "answer"],
    [{ errno: null, ret: 0xffff000c, origin: 4, supplicantLost: true }, "dead supplicant"],
    [{ errno: null, ret: 0xffff000c, origin: 3, supplicantLost: true }, "dead supplicant"],
    [{ errno: null, ret: 0xffff000c, origin: 4 }, "answer"],
    [{ errno: "ENODEV", ret: 0, origin: 0 }, "unclear"],
    [{ errno: "EINVAL", ret: 0, origin: 0 }, "dead session"],
    [{ errno: "ENOMEM", ret: 0, origin: 0 }, "answer"],
  ];
  for (const [result, wanted] of readings) {
    const reading = readResult(result);
    const said = reading.kind === "dead" ? `dead ${reading.rung}` : reading.kind;
    assert.is(said, wanted, JSON.stringify(result));
  }
});

machine("the ladder skips what the platform cannot do and what is used up, and says so", () => {
  const tried = (rung: (typeof ladder)[number], count: number) =>
    Array.from({ length: count }, (_, index) => ({ atMs: index, rung }));
  const powers = facts.powers;
  const at = 1_000;
  assert.is(chooseRung("session", powers, [], config, at).rung, "session");
  const used = chooseRung("session", powers, tried("session", 3), config, at);
  assert.is(used.rung, "supplicant");
  assert.match(used.skipped[0]?.because ?? "", /tried 3 times/);
  const bare = chooseRung("session", ["session"], tried("session", 3), config, at);
  assert.is(bare.rung, "card_reset");
  assert.equal(
    bare.skipped.map(({ rung }) => rung),
    ["session", "supplicant", "tee_os"],
  );
  assert.match(bare.skipped[1]?.because ?? "", /no such power/);
  const later = chooseRung("session", powers, tried("session", 3), config, 2 + config.windowMs);
  assert.is(later.rung, "session", "attempts are forgotten after the window");
  assert.is(above("card_reset"), "card_reset");
  assert.equal(
    [0, 1, 2, 3].map((index) => waitMs("tee_os", index, config)),
    [100, 1_000, 10_000, 10_000],
  );
});

machine("a history keeps its ages over a reset, and a lost one is feared", () => {
  const attempts = [{ atMs: 1_000, rung: "tee_os" as const }];
  const history = { ...emptyHistory, attempts, resetsMs: [4_000] };
  const after = rebased(history, 5_000, 100);
  assert.equal(after.attempts, [{ atMs: 100 - 4_000, rung: "tee_os" }]);
  assert.equal(after.resetsMs, [100 - 1_000]);
  assert.equal(pruned(after, config, 100 - 4_000 + config.windowMs).attempts, []);
  const feared = fearedHistory(config, 100);
  for (const rung of ["session", "supplicant", "tee_os"] as const) {
    assert.is(feared.attempts.filter((attempt) => attempt.rung === rung).length, 2);
  }
  assert.is(feared.resetsMs.length, config.resetsMax - 1);
});

machine("the second crash of one command quarantines that command alone", () => {
  const name = { service: "keystore", command: 7 };
  const once = withTrigger(emptyHistory, name, 2);
  assert.equal(once.quarantined, []);
  const other = withTrigger(once, { service: "keystore", command: 8 }, 2);
  const twice = withTrigger(other, name, 2);
  assert.equal(twice.quarantined, [name]);
});

/** The time at which the machine next wants to be asked, and what it then says of the TEE. */
function crashesBy(state: State, untilMs: number): number {
  let at = state;
  while (dueMs(at) < untilMs) at = step(table, at, { kind: "tick", atMs: dueMs(at) }).state;
  return at.core.history.crashes;
}

machine("a canary whose helper is only starting is no silence of the TEE", () => {
  const ready = walk(initial(config, facts, emptyHistory, 0), 0).at(-1) as State;
  const sentMs = dueMs(ready);
  let at = step(table, ready, { kind: "tick", atMs: sentMs }).state;
  const { epoch, canary } = at.core;
  const key = `canary ${canary.probe}`;
  const startMs = 30_000;
  for (let atMs = sentMs; atMs <= sentMs + startMs; atMs += 500) {
    assert.is(at.kind, "ready");
    if (dueMs(at) <= atMs) at = step(table, at, { kind: "tick", atMs }).state;
    at = step(table, at, { kind: "waits", atMs, epoch, key, on: "helper" }).state;
  }
  const readyMs = sentMs + startMs;
  const deadMs = readyMs + config.canaryLateMs + config.suspectMs;
  assert.is(crashesBy(at, deadMs), 0, "its time counts from then");
  assert.is(crashesBy(at, deadMs + 1), 1, "and it does count");
});

machine("an opening that waits for a supplicant is told once and leads to no stronger rung", () => {
  const [, opening] = walk(initial(config, facts, emptyHistory, 0), 0);
  assert.is(opening?.kind, "restore_tee");
  const key = "open keystore";
  let at = opening as State;
  const told: string[] = [];
  const waitMs = 2 * config.recoveryMaxMs;
  for (let atMs = 0; atMs <= waitMs; atMs += 2_000) {
    assert.ok(dueMs(at) > atMs, "nothing is due while it waits");
    const next = step(table, at, { kind: "waits", atMs, epoch: 1, key, on: "supplicant" });
    told.push(...next.effects.map(wordOf));
    at = next.state;
  }
  assert.equal(told, ["tee:degraded"]);
  assert.is(dueMs(at), waitMs + config.openMaxMs, "without more signs its time is over");
  const effects = walk(at, waitMs).flatMap((state) => {
    const event = answerTo(state, waitMs);
    return event === null ? [] : step(table, state, event).effects.map(wordOf);
  });
  assert.ok(effects.includes("tee:restored"), "what was told as waiting is told as over");
  at = step(table, at, { kind: "waits", atMs: 0, epoch: 9, key, on: "supplicant" }).state;
  assert.is(dueMs(at), waitMs + config.openMaxMs, "a sign of another epoch counts for nothing");
});

machine("each limit leaves room for one whole try within the recovery", () => {
  const { stepMaxMs, restartMaxMs, reattachMaxMs, openMaxMs, recoveryMaxMs } = config;
  const opensMs = openMaxMs * config.services.length;
  assert.ok(7 * stepMaxMs + restartMaxMs + reattachMaxMs + opensMs < recoveryMaxMs);
  assert.ok(config.canaryLateMs < config.suspectMs);
  assert.ok(config.callLateMs < config.callMaxMs);
});

machine.run();
