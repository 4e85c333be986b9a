// What real kernels did in QEMU (drivers i6300esb and iTCO_wdt, Linux 6.1 and 6.12), as plans.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { coverageOf, gapText, longestGapMs } from "../../agent/machines/coverage.ts";
import { ColdBoot } from "../../agent/sim/coldboot.ts";
import type { CoveragePlan } from "../../agent/wire/coverageplan.ts";
import { throwsCode } from "../assert.ts";
import { plainPlan } from "../plans.ts";

const test = suite("coverage");

const { firmware, driver, owner } = plainPlan;
if (firmware === undefined || driver === undefined || owner === undefined) throw new Error("whole");

/** Nobody ever opens the device: what the kernel was seen to do. */
const { owner: _owner, reboot: _reboot, ...unowned } = plainPlan;
const itco = { ...driver, heartbeat_ms: 10_000, expiries: 2 };
const i6300esb = { ...driver, name: "i6300esb", at_probe: "stops" as const, heartbeat_ms: 10_000 };
const locked = { ...firmware, locks: true };

/** When the reset comes of a hang of all programs right after the driver was loaded, or null. */
function resetAfter(plan: CoveragePlan): number | null {
  const atMs = driver === undefined ? 0 : driver.probe_ms + 1;
  const { intervals } = coverageOf({ ...plan, until_ms: 20_000 });
  const fate = intervals.findLast(({ fromMs }) => fromMs <= atMs)?.fates.programs;
  const seenMs = new ColdBoot(plan, { what: "programs", atMs }).run(1_000_000);
  if (fate?.kind !== "reset") assert.is(seenMs, null);
  return seenMs;
}

const seen: [string, CoveragePlan, number | null][] = [
  [
    "iTCO_wdt as it comes: the kernel refreshes for ever",
    { ...unowned, driver: itco, core: { handle_boot_enabled: true, open_timeout_ms: 0 } },
    null,
  ],
  [
    "iTCO_wdt with open_timeout=15: 15 s - 10 s + two expiries after it was loaded",
    { ...unowned, driver: itco, core: { handle_boot_enabled: true, open_timeout_ms: 15_000 } },
    driver.probe_ms + 5000 + 20_000,
  ],
  [
    "iTCO_wdt with handle_boot_enabled=0: the firmware's countdown goes on",
    { ...unowned, driver: itco, core: { handle_boot_enabled: false, open_timeout_ms: 0 } },
    firmware.leaves_ms + 30_000,
  ],
  ["i6300esb: the countdown is stopped when it is loaded", { ...unowned, driver: i6300esb }, null],
  [
    "i6300esb after the lock: its own timeout from when it was loaded",
    { ...unowned, driver: i6300esb, firmware: locked },
    driver.probe_ms + 10_000,
  ],
  [
    "a driver that knows of no countdown: that of the firmware goes on",
    { ...unowned, driver: { ...driver, at_probe: "ignores" } },
    firmware.leaves_ms + 30_000,
  ],
];

for (const [name, plan, resetMs] of seen) {
  test(`seen in QEMU: ${name}`, () => assert.is(resetAfter(plan), resetMs));
}

function gapsOf(plan: CoveragePlan): string[] {
  return coverageOf(plan).gaps.map((gap) => gapText(gap, plan));
}

test("A1-16 the gap of a driver that stops the countdown is measured in seconds", () => {
  const plan = { ...plainPlan, driver: i6300esb };
  assert.equal(gapsOf(plan), [
    "from 13.5 s to 41.2 s a hang is never caught: " +
      "i6300esb stops the running countdown when it is loaded",
  ]);
  assert.is(longestGapMs(coverageOf(plan).gaps), 27_700);
  assert.equal(gapsOf({ ...plan, firmware: locked, owner: { ...owner, open_ms: 20_000 } }), []);
});

test("A1-17 an agent that never comes is named as what open_timeout=0 does not catch", () => {
  const core = { handle_boot_enabled: true, open_timeout_ms: 0 };
  const why = "open_timeout=0 lets the kernel refresh for a userspace that never comes";
  const found = coverageOf({ ...plainPlan, core }).gaps;
  assert.equal(
    found.map(({ hang, fromMs, toMs, why }) => [hang, fromMs, toMs, why]),
    [["programs", 13_500, 41_200, why]],
  );
});

test("a firmware that stops its countdown, a reboot, and a second owner leave gaps", () => {
  const stops = { ...plainPlan, firmware: { ...firmware, stops: true } };
  assert.match(gapsOf(stops)[0] ?? "", /^from 9\.3 s to 41\.2 s a hang is never .* firmware stops/);
  const reboots = { ...plainPlan, driver: { ...driver, stop_on_reboot: true } };
  assert.match(gapsOf(reboots)[0] ?? "", /^from 6\.0 s to 10\.0 s of a reboot a hang .* stop_on/);
  const other = { ...plainPlan, owner: { ...owner, name: "systemd", service: false } };
  assert.match(gapsOf(other).join(), / a hang of the agent is .*: systemd refreshes/);
});

test("a plan that resets a card that is well says when", () => {
  const slow = { ...plainPlan, firmware: { ...firmware, refreshes_ms: [], timeout_ms: 9000 } };
  assert.is(coverageOf(slow).wellResetMs, 800 + 9000);
});

test("a plan out of order or with a timeout of 0 is refused", () => {
  const wrong: CoveragePlan[] = [
    { ...plainPlan, user_ms: 5 },
    { ...plainPlan, until_ms: 40_000 },
    { ...plainPlan, driver: { ...driver, probe_ms: 50_000 } },
    { ...plainPlan, owner: { ...owner, timeout_ms: 0 } },
  ];
  for (const plan of wrong) throwsCode(() => coverageOf(plan), "config.invalid");
});

test.run();
