/** A whole card becomes ready, or does not: what is checked, confirmed and told to the platform. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { configure } from "../../agent/config.ts";
import type { Failure } from "../../agent/errors.ts";
import { SimBootControl } from "../../agent/sim/bootcontrol.ts";
import type { ProgramFault } from "../../agent/sim/programs.ts";
import { itcoModel } from "../../agent/sim/watchdogmodels.ts";
import { simConfig, World } from "../../agent/sim/world.ts";
import { encodeMap } from "../../agent/wire/cbor.ts";
import type { ResponseOf } from "../../agent/wire/commands.ts";
import { ask, confirmed, reportsOf, resetTime } from "../worlds.ts";

const stories = suite("ready stories");

const dataplane = { name: "dataplane", command: ["/opt/dataplane-well"], within_s: 5 };
const path = "/opt/dataplane-well";
/** A BlueField that booted on trial: the reset after the next one would swap back. */
const swapPending = { post_reset_wdog: "90", second_reset_action: "swap_emmc", os_up: "" };
const cleared = ["second_reset_action=none", "post_reset_wdog=0", "os_up=1"];

interface Options {
  readonly programs?: (typeof dataplane)[];
  readonly within_s?: number;
  readonly control?: SimBootControl;
  /** Of the program, from the start. */
  readonly fault?: ProgramFault;
}

/** A card with one program among its checks, powered on and adopted. */
function started(options: Options = {}): World {
  const { programs = [dataplane], within_s = 120, control, fault } = options;
  const boot = { programs, ready_within_s: within_s };
  const world = new World({ seed: 7, config: simConfig({ boot, watchdog: { promise_s: 60 } }) });
  if (control !== undefined) world.controls.push(control);
  if (fault !== undefined) world.programFaults.set(path, fault);
  world.power(true);
  assert.ok(world.until(() => world.agent !== null, 60_000));
  return world;
}

stories("B12-01 ready after every approved check passed, and never before", () => {
  const world = started();
  const before = ask(world, "card.readiness");
  assert.not.ok(before.ready);
  assert.equal(
    before.checks.map(({ name }) => name),
    ["watchdog", "tee", "journal", "dataplane"],
  );
  confirmed(world);
  assert.ok(ask(world, "card.readiness").ready);
});

stories("B12-01 at the deadline the failing check is named, and the boot stays unconfirmed", () => {
  const world = started({ fault: "fails" });
  world.advance(200_000);
  assert.equal(reportsOf(world, "boot:not_ready"), [{ check: "dataplane", value: "status 1" }]);
  world.programFaults.clear();
  world.advance(200_000);
  assert.not.ok(world.agent?.boot.isConfirmed);
  const { ready, checks } = ask(world, "card.readiness");
  assert.not.ok(ready, "the deadline has passed");
  assert.ok(checks.every(({ ok }) => ok));
  assert.is(world.resets.length, 0, "a check that fails is no reason for a reset");
});

stories("B12-02 a check that hangs is refreshed through until its deadline, and not after", () => {
  const world = started({ fault: "hangs" });
  const startMs = world.clock.now();
  const { chip } = world;
  assert.ok(world.until(() => reportsOf(world, "wdt:withheld").length > 0, 60_000));
  assert.ok(world.clock.now() - startMs >= dataplane.within_s * 1000 - 1000);
  assert.is(reportsOf(world, "wdt:withheld")[0]?.culprit, "check dataplane");
  const refreshedMs = chip.refreshedMs ?? Number.NaN;
  const resetMs = resetTime(world);
  assert.ok(Math.abs(resetMs - refreshedMs - 60_000) <= 1000, "the reset comes at T2");
});

stories("B12-03 readiness is withdrawn when a check fails later, and comes back", () => {
  const world = started();
  confirmed(world);
  world.programFaults.set(path, "fails");
  world.advance(70_000);
  assert.not.ok(ask(world, "card.readiness").ready);
  world.programFaults.clear();
  world.advance(70_000);
  assert.ok(ask(world, "card.readiness").ready);
  assert.equal(reportsOf(world, "boot:readiness"), [
    { ready: false, check: "dataplane" },
    { ready: true, check: "" },
  ]);
  assert.is(reportsOf(world, "boot:confirmed").length, 1);
});

stories("A1-15 the pending swap is cleared once, after readiness and not before", () => {
  const control = new SimBootControl("bluefield", swapPending);
  const world = started({ control });
  world.advance(29_000);
  assert.equal(control.writes, []);
  confirmed(world);
  assert.equal(control.writes, cleared);
  world.advance(600_000);
  world.stopAgent();
  world.startAgent();
  world.advance(200_000);
  assert.equal(control.writes, cleared, "not again, and not by the next agent");
  assert.equal(world.agent?.controls.describe(), [
    "bluefield: watchdog after reset disabled, second reset none",
  ]);
});

stories("A1-15 a boot that never gets ready leaves the pending swap as it is", () => {
  const control = new SimBootControl("bluefield", swapPending);
  const world = started({ control, fault: "fails" });
  world.advance(400_000);
  assert.equal(control.writes, []);
});

stories("A1-15 an operator's next swap survives a restart of the agent", () => {
  const control = new SimBootControl("bluefield", swapPending);
  const world = started({ control });
  confirmed(world);
  control.set("second_reset_action", "swap_emmc");
  world.killAgent();
  world.startAgent();
  world.advance(200_000);
  assert.is(control.read().second_reset_action, "swap_emmc");
});

stories("A1-15 an agent that dies while it clears leaves the rest to the next one", () => {
  const control = new SimBootControl("bluefield", swapPending);
  const world = started({ control });
  const write = control.write.bind(control);
  control.write = (attribute, value) => {
    write(attribute, value);
    control.write = write;
    world.killAgent();
    throw new Error("killed");
  };
  assert.ok(world.until(() => control.writes.length > 0, 200_000));
  assert.equal(control.writes, cleared.slice(0, 1));
  world.startAgent();
  world.advance(200_000);
  assert.ok(world.agent?.boot.isConfirmed);
  assert.equal(control.writes, cleared);
});

stories("a store that is busy is tried again, one that refuses is told of and left", () => {
  const busy = new SimBootControl("uboot", { bootcount: "2" });
  busy.faults = { refusesFirst: 2 };
  const world = started({ control: busy });
  confirmed(world);
  assert.equal(busy.writes, ["bootcount=0"]);
  assert.is(reportsOf(world, "boot:control_refused").length, 1);

  const broken = new SimBootControl("uboot", { bootcount: "2" });
  broken.faults = { refuses: true };
  const other = started({ control: broken });
  confirmed(other);
  assert.is(reportsOf(other, "boot:control_refused").length, 1);
});

stories("A1-14 a commanded reset is noted for our loader", () => {
  const control = new SimBootControl("uefi", {});
  const world = started({ control });
  world.agent?.reset("host");
  resetTime(world);
  assert.equal(control.writes, ["closing=commanded"]);
});

stories("B10-02 A1-17 adoption counts as uncovered while the kernel may refresh for ever", () => {
  const adopt = (world: World) =>
    ask(world, "card.protection").stages.find(({ stage }) => stage === "adopt");
  const fed = new World({ seed: 7, config: simConfig(), model: itcoModel });
  fed.chip.faults = { openTimeoutS: 0 };
  fed.power(true);
  confirmed(fed);
  assert.match(adopt(fed)?.because ?? "", /open_timeout=0/);
  assert.match(ask(fed, "card.protection").next.join("; "), /open_timeout/);
  const bounded = new World({ seed: 7, config: simConfig(), model: itcoModel });
  bounded.chip.faults = { openTimeoutS: 30 };
  bounded.power(true);
  confirmed(bounded);
  assert.match(adopt(bounded)?.because ?? "", /the countdown never stopped/);
});

stories(
  "the doctor's findings leave in packets, and the console asks until it has them all",
  () => {
    const world = started();
    const first = ask(world, "card.doctor");
    assert.ok(first.more);
    assert.is(first.findings[0]?.name, "holder");
    assert.ok(first.findings.every(({ ok }) => ok));
  },
);

stories("the doctor tells what firmware has pending; foreign text never outgrows a packet", () => {
  const control = new SimBootControl("bluefield", swapPending);
  const world = started({ control });
  const { agent } = world;
  const all = () => {
    const findings: ResponseOf<"card.doctor">["findings"] = [];
    for (let more = true; more; ) {
      const answer = ask(world, "card.doctor", { from: findings.length });
      const { length } = encodeMap(answer);
      assert.ok(length < 1900, `${length} bytes`);
      findings.push(...answer.findings);
      more = answer.more;
    }
    return findings;
  };
  assert.match(all().at(-1)?.found ?? "", /^bluefield: .*second reset swap_emmc$/);
  const bad = { name: "holder", ok: false, found: "\u{1f415}".repeat(400), next: "犬".repeat(400) };
  Object.assign(agent?.io ?? {}, { examine: () => [bad, bad, bad, bad] });
  assert.equal(all()[0]?.next, "?".repeat(200));
});

const mistakes: readonly (readonly [unknown, RegExp])[] = [
  [{ programs: [{ name: "tee", command: ["/x"] }] }, /two checks named "tee"/],
  [{ programs: [{ name: "x", command: ["x"] }] }, /absolute path/],
  [{ programs: [{ name: "x", command: [] }] }, /absolute path/],
  [{ programs: [{ name: "", command: ["/x"] }] }, /without a name/],
  [{ programs: [{ name: "x", command: ["/x"], within_s: 0 }] }, /within_s/],
  [{ programs: [{ name: "x", command: ["/x"], every_s: 0 }] }, /every_s/],
  [{ ready_within_s: 30 }, /settle for 30 seconds/],
  [{ next_reset: { mode: "standard", interval_s: 44 } }, /45 to 4095/],
];

stories("a mistake in the approved list is refused by name", () => {
  for (const [boot, message] of mistakes) {
    try {
      configure({ boot } as Parameters<typeof configure>[0], "0");
      assert.unreachable(String(message));
    } catch (error) {
      assert.match((error as Failure).message, message);
    }
  }
});

stories.run();
