// B10: the protection report in every combination of what can guard a card.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type ProtectionFacts,
  protectionKey,
  protectionOf,
  weakOf,
} from "../../agent/machines/protection.ts";
import type { CoveragePlan } from "../../agent/wire/coverageplan.ts";
import { plainPlan } from "../plans.ts";

const test = suite("protection");

const { driver, owner } = plainPlan;
if (driver === undefined || owner === undefined) throw new Error("whole");

const whole: ProtectionFacts = {
  plan: plainPlan,
  kind: "hardware",
  via: "direct",
  protection: "hardware: iTCO_wdt",
  isArmed: true,
  isHeld: false,
  interruptedMs: 0,
  boot: { isChosen: true, slot: "a", failures: { a: 0, b: 0 }, attemptsMax: 3 },
  tee: { state: "ready", simulated: false, rungs: ["session", "supplicant"] },
  access: { policy: "keys", keys: 1 },
};

const { driver: _driver, owner: _owner, reboot: _reboot, firmware: _firmware, ...bare } = plainPlan;

const guards = [
  { kind: "hardware", via: "direct", plan: plainPlan, by: "hardware" },
  { kind: "hardware", via: "service", plan: plainPlan, by: "service" },
  { kind: "simulated", via: "direct", plan: plainPlan, by: "simulated" },
  { kind: "none", via: "none", plan: bare, by: "none" },
] as const;

const slots = [
  { failures: { a: 0, b: 0 }, isChosen: true, slot: "a", valid: true },
  { failures: { a: 0, b: 3 }, isChosen: true, slot: "a", valid: false },
  { failures: { a: 3, b: 3 }, isChosen: true, slot: "safe", valid: false },
  { failures: { a: 0, b: 0 }, isChosen: false, slot: "a", valid: false },
] as const;

const tees = [
  { state: "ready", simulated: false, rungs: ["session", "tee_os"], weak: false },
  { state: "ready", simulated: false, rungs: [], weak: true },
  { state: "degraded", simulated: false, rungs: ["session"], weak: true },
  { state: "ready", simulated: true, rungs: ["session"], weak: true },
  { state: "absent", simulated: false, rungs: [], weak: false },
];

test("B10-01 the report agrees with every combination of guard, fallback and TEE", () => {
  for (const { by, ...guard } of guards) {
    for (const { valid, ...boot } of slots) {
      for (const { weak, ...tee } of tees) {
        const isArmed = by !== "none";
        const report = protectionOf({
          ...whole,
          ...guard,
          isArmed,
          boot: { ...boot, attemptsMax: 3 },
          tee: { ...tee, rungs: [...tee.rungs] },
        });
        const isReal = guard.kind === "hardware";
        const what = JSON.stringify([guard.kind, guard.via, boot, tee]);
        assert.is(report.protected, isReal, what);
        assert.is(report.stages.find(({ stage }) => stage === "runtime")?.by, by, what);
        assert.is(report.fallback.valid, valid, what);
        assert.is(report.tee.weak, weak, what);
        const canReset = isReal && tee.state !== "absent";
        assert.is(report.tee.reachable.includes("card_reset"), canReset, what);
        // B10-03: a step for the guard, for power_on, for the fallback and for the TEE.
        const least = 1 + Number(!isReal) + Number(!valid) + Number(weak);
        assert.ok(report.next.length >= least, `${report.next.join("; ")}: ${what}`);
      }
    }
  }
});

const weaknesses: [string, Partial<ProtectionFacts>, string, RegExp][] = [
  [
    "refreshed by somebody else",
    { plan: { ...plainPlan, owner: { ...owner, name: "systemd", service: false } } },
    "runtime",
    /other owner/,
  ],
  [
    "open_timeout is infinite",
    { plan: { ...plainPlan, core: { handle_boot_enabled: true, open_timeout_ms: 0 } } },
    "adopt",
    /open_timeout/,
  ],
  ["a hold", { isHeld: true }, "runtime", /hold/],
  ["disarmed", { isArmed: false, plan: { ...plainPlan, disarmed_ms: 60_000 } }, "runtime", /arm/],
  ["the countdown was seen to stop", { interruptedMs: 350 }, "adopt", /lock/],
  [
    "a reboot that stops it",
    { plan: { ...plainPlan, driver: { ...driver, stop_on_reboot: true } } },
    "reboot",
    /stop_on_reboot/,
  ],
  ["a kernel timer", { kind: "software", plan: softdog() }, "runtime", /softdog/],
  ["a simulated one", { kind: "simulated" }, "runtime", /simulated/],
];

function softdog(): CoveragePlan {
  const { firmware: _none, driver: hardware, ...rest } = plainPlan;
  if (hardware === undefined) throw new Error("whole");
  return { ...rest, driver: { ...hardware, at_probe: "ignores", software: true } };
}

for (const [name, change, stage, step] of weaknesses) {
  test(`B10-02 never protected: ${name}`, () => {
    const report = protectionOf({ ...whole, ...change });
    assert.is(report.protected, false);
    assert.is(report.stages.find((row) => row.stage === stage)?.covered, false);
    assert.match(report.next.join("; "), step);
    assert.ok(weakOf(report).split(" ").includes(stage));
    assert.is.not(protectionKey(report), protectionKey(protectionOf(whole)));
  });
}

test("a card with everything is weak before the arming alone", () => {
  const report = protectionOf(whole);
  assert.is(report.protected, true);
  assert.is(weakOf(report), "power_on");
  assert.equal(
    report.stages.map(({ uncovered_ms }) => uncovered_ms),
    [800, 0, 0, 0, 0, 0],
  );
});

test.run();
