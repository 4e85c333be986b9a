/** machines/bootrecord.ts: what counts as a failed boot, which slot is next, and who is blamed. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type BootRecord,
  beginBoot,
  type Cause,
  closing,
  confirm,
  emptyRecord,
  type HardwareCause,
  mark,
  pastMax,
  reopen,
  startTrial,
} from "../../agent/machines/bootrecord.ts";
import type { Random } from "../../agent/sim/random.ts";
import { fuzz } from "../fuzz.ts";

const records = suite("boot record");
const attemptsMax = 3;
let machines = 0;

/** The next boot, of another kernel unless a machine is named. */
function next(record: BootRecord, hardware: HardwareCause, machine = `m${machines++}`) {
  return beginBoot(record, { randomId: "0a", machine, hardware, attemptsMax });
}

/** As many boots as causes are given, none of them confirmed: how the last one began. */
function boots(record: BootRecord, ...causes: HardwareCause[]) {
  let begun = next(record, "power");
  for (const cause of causes) begun = next(begun.record, cause);
  return begun;
}

const empty = emptyRecord(false, attemptsMax);

records("A1-13 three failed boots in a row take the other slot, no fewer", () => {
  const two = boots(empty, "watchdog", "watchdog");
  assert.is(two.entry.slot, "a");
  assert.equal(two.record.failures, { a: 2, b: 0 });
  assert.is(two.fallback, null);
  const three = next(two.record, "watchdog");
  assert.is(three.entry.slot, "b");
  assert.is(three.record.active, "b");
  assert.equal(three.fallback, { from: "a", slot: "b", failures: 3 });
});

records("A1-13 when both slots fail the safe one is booted and stays", () => {
  const all = Array.from({ length: 6 }, () => "watchdog" as const);
  const safe = boots(empty, ...all);
  assert.is(safe.entry.slot, "safe");
  assert.equal(safe.record.failures, { a: 3, b: 3 });
  const later = next(safe.record, "watchdog");
  assert.is(later.entry.slot, "safe");
  assert.equal(later.record.failures, { a: 3, b: 3 }, "the safe slot has no count");
  assert.is(later.fallback, null);
});

records("A1-13 a panic and an unknown end count as failures too", () => {
  assert.equal(boots(empty, "panic", "unknown").record.failures, { a: 2, b: 0 });
});

records("A1-14 power cycles, commanded and clean ends are no failures", () => {
  assert.equal(boots(empty, "power", "power", "power", "power").record.failures, { a: 0, b: 0 });
  for (const cause of ["commanded", "clean"] as const) {
    let { record } = boots(empty, "watchdog");
    for (let times = 0; times < 5; times++) {
      record = next(closing(record, cause, "host"), "unknown").record;
    }
    assert.equal(record.failures, { a: 1, b: 0 }, cause);
    assert.is(record.past.at(-1)?.cause, cause);
    assert.is(record.past.at(-1)?.culprit, "host");
  }
});

records(
  "A1-14 a restart of the agent alone is none, and keeps slot, trial and confirmation",
  () => {
    const first = next(startTrial(empty, "b"), "power", "same");
    const confirmed = confirm(first.record);
    const again = next(confirmed, "unknown", "same");
    assert.is(again.previous?.cause, "agent_restart");
    assert.is(again.entry.slot, "b");
    assert.is(again.entry.confirmed, true);
    assert.equal(again.record.failures, { a: 0, b: 0 });
    const pending = startTrial(again.record, "a");
    assert.is(next(pending, "unknown", "same").record.trial, "a");
  },
);

records("a confirmed boot that dies later is no failed boot", () => {
  const { record } = boots(empty, "watchdog", "watchdog");
  const died = next(confirm(record), "watchdog");
  assert.is(died.entry.slot, "a");
  assert.equal(died.record.failures, { a: 0, b: 0 });
});

records("a slot on trial gets one boot; only by confirming it becomes active", () => {
  const trial = next(startTrial(confirm(boots(empty).record), "b"), "unknown");
  assert.is(trial.entry.slot, "b");
  assert.is(trial.record.active, "a");
  const back = next(trial.record, "watchdog");
  assert.is(back.entry.slot, "a");
  assert.equal(back.record.failures, { a: 0, b: 1 });
  assert.equal(back.fallback, { from: "b", slot: "a", failures: 1 });
  const kept = next(confirm(trial.record), "watchdog");
  assert.is(kept.entry.slot, "b");
  assert.is(kept.record.active, "b");
});

records("a trial leads out of the safe slot", () => {
  const all = Array.from({ length: 6 }, () => "watchdog" as const);
  const trial = next(startTrial(boots(empty, ...all).record, "a"), "unknown");
  assert.is(trial.entry.slot, "a");
  assert.is(next(confirm(trial.record), "power").entry.slot, "a");
});

records("a lost record leaves one attempt, not a fresh set", () => {
  const lost = emptyRecord(true, attemptsMax);
  assert.equal(lost.failures, { a: 2, b: 2 });
  assert.is(boots(lost).entry.slot, "a");
  assert.is(boots(lost, "watchdog").entry.slot, "b");
  assert.is(boots(lost, "watchdog", "watchdog").entry.slot, "safe");
});

const noted = { cause: "watchdog", culprit: "dataplane" } as const;
const settled: [string, BootRecord["closing"], HardwareCause, [Cause, string]][] = [
  ["nobody says anything", null, "unknown", ["unknown", ""]],
  ["hardware alone", null, "watchdog", ["watchdog", ""]],
  ["power alone", null, "power", ["power", ""]],
  ["panic alone", null, "panic", ["panic", ""]],
  ["a note alone", noted, "unknown", ["watchdog", "dataplane"]],
  ["a note and hardware that agrees", noted, "watchdog", ["watchdog", "dataplane"]],
  ["a note of a watchdog, but the power went", noted, "power", ["power", ""]],
  [
    "a commanded reset that hung and was ended by the watchdog",
    { cause: "commanded", culprit: "host" },
    "watchdog",
    ["watchdog", "host"],
  ],
  [
    "a commanded power cycle",
    { cause: "commanded", culprit: "host" },
    "power",
    ["commanded", "host"],
  ],
];
for (const [name, note, hardware, [cause, culprit]] of settled) {
  records(`A2-18 the cause of the previous boot is settled: ${name}`, () => {
    const { record } = next({ ...boots(empty).record, closing: note }, hardware);
    assert.is(record.past.at(-1)?.cause, cause);
    assert.is(record.past.at(-1)?.culprit, culprit);
    assert.is(record.closing, null, "a note counts for one boot");
  });
}

records("a reset that did not come is forgotten", () => {
  const { record } = next(reopen(closing(boots(empty).record, "commanded", "x")), "unknown");
  assert.is(record.past.at(-1)?.cause, "unknown");
});

records("how far a boot came is kept for the one after it", () => {
  const { record } = next(mark(boots(empty).record, "os_load", "verify", 1234), "watchdog");
  const { stage, step, uptimeMs } = record.past.at(-1) ?? { stage: "", step: "", uptimeMs: 0 };
  assert.equal([stage, step, uptimeMs], ["os_load", "verify", 1234]);
});

const changes = ["begin", "begin", "begin", "confirm", "trial", "closing", "restart"] as const;

/** One random thing that can happen to a record; the invariants of a boot are checked here. */
function happen(record: BootRecord, random: Random): BootRecord {
  switch (random.pick(changes)) {
    case "confirm": {
      const done = confirm(record);
      const slot = done.current?.slot ?? "safe";
      if (slot !== "safe" && done !== record) assert.is(done.failures[slot], 0);
      return done;
    }
    case "trial":
      return startTrial(record, random.pick(["a", "b"] as const));
    case "closing":
      return closing(record, random.pick(["commanded", "clean", "watchdog"] as const), "x");
    case "restart":
      return next(record, "unknown", record.current?.machine ?? "first").record;
    default:
      return begun(record, random.pick(["watchdog", "power", "panic", "unknown"] as const));
  }
}

function begun(record: BootRecord, hardware: HardwareCause): BootRecord {
  const { record: after, previous, fallback } = next(record, hardware);
  const grown = after.failures.a - record.failures.a + after.failures.b - record.failures.b;
  assert.ok(grown === 0 || grown === 1, "one boot is at most one failure");
  if (after.active !== record.active) {
    assert.is(grown, 1, "slots are switched by a failure alone");
    const isSpent = record.active !== "safe" && record.failures[record.active] >= attemptsMax;
    assert.ok(previous?.slot === record.active || isSpent, "and not by that of a trial");
    const other = record.active === "a" ? "b" : "a";
    assert.ok(after.active === other || after.active === "safe", "one switch at a time");
    if (previous?.slot !== after.current?.slot) assert.is.not(fallback, null);
  }
  const slot = after.current?.slot ?? "safe";
  if (grown === 1 && record.trial === null && slot !== "safe") {
    assert.ok(after.failures[slot] < attemptsMax, "after a failure no slot beyond its attempts");
  }
  assert.is(after.current?.cause, "unknown", "sudden death is recorded as such");
  return after;
}

records("random histories: counts, slots and memory stay within their bounds", () => {
  fuzz(200, (random) => {
    let record = emptyRecord(random.chance(0.2), attemptsMax);
    for (let turn = 0; turn < 100; turn++) {
      record = happen(record, random);
      const { a, b } = record.failures;
      assert.ok(a >= 0 && b >= 0, "never negative");
      assert.ok(record.past.length <= pastMax);
    }
  });
});

records.run();
