/** config.ts: the settings file, its ranges, and what is derived from it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { configure, parseSettings } from "../../agent/config.ts";
import { throwsCode } from "../assert.ts";

const config = suite("config");

config("an empty file gives a card with defaults", () => {
  const found = configure(parseSettings("{}", "settings.json"), "1.2.3");
  assert.is(found.name, "card");
  assert.is(found.version, "1.2.3");
  assert.is(found.lab, false);
  assert.is(found.watchdogPolicy, "prefer");
  assert.is(found.hardwareMaxMs, null);
  assert.is(found.runtime.promiseMs, 60_000);
  assert.is(found.runtime.disarmAllowed, false);
  assert.is(found.runtime.holdMaxMs, found.plan.holdMaxMs);
  assert.is(found.readyAfterMs, 30_000);
  assert.equal(found.tasks, []);
});

config("what is set is taken, seconds as milliseconds", () => {
  const json = JSON.stringify({
    name: "nic7",
    lab: true,
    watchdog: {
      policy: "require",
      promise_s: 4,
      hardware_max_s: 1.5,
      hardware_min_gap_s: 0.25,
      allow_disarm: true,
      hold_max_s: 30,
      pre_reset_s: 4.5,
    },
    tee: { policy: "simulate" },
    tasks: [{ name: "dataplane", every_s: 2.5 }],
  });
  const found = configure(parseSettings(json, "settings.json"), "0");
  assert.equal([found.name, found.lab, found.watchdogPolicy], ["nic7", true, "require"]);
  assert.equal([found.runtime.promiseMs, found.hardwareMaxMs], [4000, 1500]);
  assert.equal([found.hardwareMinGapMs, configure({}, "0").hardwareMinGapMs], [250, 0]);
  assert.equal([found.runtime.disarmAllowed, found.runtime.holdMaxMs], [true, 30_000]);
  assert.is(found.runtime.slackWindowMs, 40_000);
  assert.equal([found.runtime.preResetMs, configure({}, "0").runtime.preResetMs], [4500, 10_000]);
  assert.is(found.teePolicy, "simulate");
  assert.equal(found.tasks, [{ name: "dataplane", everyMs: 2500 }]);
});

config("a hold is never longer than the boot plan's, whatever the settings say", () => {
  const found = configure({ watchdog: { hold_max_s: 1e9 } }, "0");
  assert.is(found.runtime.holdMaxMs, found.plan.holdMaxMs);
});

const wrong: [string, string, RegExp][] = [
  ["no JSON", "{", /settings refused/],
  ["no object", "[]", /settings\.json/],
  ["a name that is a number", '{"name": 7}', /name/],
  ["a member nobody knows", '{"promise_s": 60}', /settings\.json\.promise_s is no setting/],
  ["a misspelt member", '{"watchdog": {"promise": 60}}', /settings\.json\.watchdog\.promise is no/],
  ["one in a list", '{"tasks": [{"name": "x", "every_s": 1, "late": 2}]}', /tasks\.0\.late is no/],
  ["a policy nobody knows", '{"watchdog": {"policy": "maybe"}}', /watchdog\.policy/],
  ["a span that is a text", '{"watchdog": {"promise_s": "60"}}', /watchdog\.promise_s/],
  ["a task without its span", '{"tasks": [{"name": "x"}]}', /tasks.*every_s/],
];
for (const [name, json, message] of wrong) {
  config(`refused, naming the member: ${name}`, () => {
    const failure = throwsCode(() => parseSettings(json, "settings.json"), "config.invalid");
    assert.match(failure.message, message);
  });
}

const outside: [Parameters<typeof configure>[0], RegExp][] = [
  [{ watchdog: { promise_s: 0 } }, /watchdog\.promise_s is 0; it can be 1 to 86400/],
  [{ watchdog: { promise_s: 86_401 } }, /watchdog\.promise_s/],
  [{ watchdog: { promise_s: Number.NaN } }, /watchdog\.promise_s/],
  [{ watchdog: { hardware_max_s: 0.5 } }, /watchdog\.hardware_max_s/],
  [{ watchdog: { hardware_min_gap_s: -1 } }, /hardware_min_gap_s is -1; it can be 0 to half/],
  [{ watchdog: { hardware_min_gap_s: 31 } }, /watchdog\.hardware_min_gap_s/],
  [{ watchdog: { hold_max_s: 0 } }, /watchdog\.hold_max_s/],
  [{ watchdog: { pre_reset_s: 0 } }, /watchdog\.pre_reset_s/],
  [{ watchdog: { hold_max_s: -1 } }, /watchdog\.hold_max_s/],
  [{ tasks: [{ name: "x", every_s: 0 }] }, /tasks\[0\]\.every_s/],
  [{ tasks: [{ name: "x", every_s: -2 }] }, /tasks\[0\]\.every_s/],
  [{ tasks: [{ name: "", every_s: 2 }] }, /tasks\[0\]\.name/],
  [
    {
      tasks: [
        { name: "x", every_s: 2 },
        { name: "x", every_s: 3 },
      ],
    },
    /tasks\[1\]\.name/,
  ],
];
for (const [settings, message] of outside) {
  config(`out of range: ${JSON.stringify(settings)}`, () => {
    const failure = throwsCode(() => configure(settings, "0"), "config.invalid");
    assert.match(failure.message, message);
  });
}

config("the ends of the ranges are in them", () => {
  for (const promise_s of [1, 86_400]) {
    assert.is(configure({ watchdog: { promise_s } }, "0").runtime.promiseMs, promise_s * 1000);
  }
});

config.run();
