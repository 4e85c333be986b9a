// What a card's settings amount to: drivers as Linux shows them, and what is assumed else.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WatchdogFacts } from "../../agent/io/watchdog.ts";
import { type Hook, parseHook } from "../../agent/machines/boothook.ts";
import { type CardFacts, cardPlan } from "../../agent/machines/cardplan.ts";
import { coverageOf } from "../../agent/machines/coverage.ts";
import type { WatchdogState } from "../../agent/wire/commands.ts";

import { fuzz } from "../fuzz.ts";

const test = suite("card plan");

const facts: WatchdogFacts = {
  path: "/dev/watchdog0",
  identity: "iTCO_wdt",
  kind: "hardware",
  options: 0x8180,
  state: "inactive",
  minMs: null,
  maxMs: null,
  timeoutMs: 30_000,
  timeLeftMs: 20_000,
  bootStatus: 0,
  nowayout: false,
  holder: null,
  openTimeoutS: 0,
  handleBootEnabled: true,
  stopOnReboot: "no",
  pretimeoutMs: 0,
  governor: null,
  governors: [],
  driver: "iTCO_wdt",
  driverSettings: { heartbeat: "30", nowayout: "N" },
  minGapMs: null,
};

const state: WatchdogState = {
  state: "armed",
  backend: "direct",
  via: "direct",
  protected: true,
  protection: "hardware: iTCO_wdt",
  armed: true,
  hardware_ms: 60_000,
  promise_ms: 60_000,
  now_ms: 100_000,
  refreshes: 3,
  failures: 0,
};

function span(stage: "power_on" | "os_load" | "hand_off" | "adopt", start_ms: number) {
  const steps = stage === "os_load" ? [{ name: "load_kernel", at_ms: 4000 }] : [];
  return { stage, start_ms, end_ms: start_ms + 1, budget_ms: 0, refreshed_by: "", steps };
}

const card: CardFacts = {
  stages: [
    span("power_on", 0),
    span("os_load", 800),
    span("hand_off", 9000),
    span("adopt", 15_000),
    { stage: "runtime", start_ms: 16_000, budget_ms: 0, refreshed_by: "agent", steps: [] },
  ],
  beganMs: 0,
  firmwareMs: 30_000,
  wasInterrupted: false,
  found: facts,
  state,
  everyMs: 15_000,
  commandLine: "quiet root=/dev/sda1",
  hook: null,
  firmwareLocks: null,
};

/** What is never caught with these facts, as `hang: why`. */
function gaps(change: Partial<CardFacts>, of: Partial<WatchdogFacts> = {}): string[] {
  const found = change.found === null ? null : { ...facts, ...of };
  const { gaps } = coverageOf(cardPlan({ ...card, ...change, found }));
  return gaps.map(({ hang, why }) => `${hang}: ${why}`);
}

test("Debian's defaults leave an agent that never comes to the kernel", () => {
  assert.match(gaps({})[0] ?? "", /^programs: open_timeout=0/);
  assert.equal(gaps({}, { openTimeoutS: 60 }), []);
  assert.equal(gaps({}, { handleBootEnabled: false }), []);
  assert.match(gaps({}, { driver: "i6300esb", openTimeoutS: 60 })[0] ?? "", /^machine: i6300esb/);
});

test("stop_on_reboot counts, of the core and of the driver alike", () => {
  assert.match(gaps({}, { openTimeoutS: 60, stopOnReboot: "driver" })[0] ?? "", /stop_on_reboot/);
  assert.match(gaps({}, { openTimeoutS: 60, stopOnReboot: "yes" })[0] ?? "", /stop_on_reboot/);
});

test("another owner, a kernel timer, a card without firmware or device are told apart", () => {
  const holder = { pid: 1, name: "systemd" };
  assert.match(gaps({}, { openTimeoutS: 60, holder })[0] ?? "", /agent_loop: systemd \(pid 1\)/);
  const softdog = { driver: "softdog", kind: "software", openTimeoutS: 60 } as const;
  assert.match(gaps({}, softdog)[1] ?? "", /machine: softdog is a timer of the kernel/);
  assert.equal(gaps({ firmwareMs: null }, { openTimeoutS: 60 }), [
    "machine: nothing is armed before",
  ]);
  assert.equal(gaps({ firmwareMs: null, found: null }), ["machine: nothing is armed before"]);
});

test("what is in force counts, and a command line that asked for more is told", () => {
  const commandLine = "quiet watchdog.open_timeout=60 watchdog.handle_boot_enabled=0";
  const { core, assumed } = cardPlan({ ...card, commandLine });
  assert.equal(core, { handle_boot_enabled: true, open_timeout_ms: 0 });
  assert.match(assumed.join(), /open_timeout=60 was asked for, 0 is in force: a module takes/);
  const hidden = { ...facts, openTimeoutS: null, handleBootEnabled: null };
  const asked = cardPlan({ ...card, commandLine, found: hidden });
  assert.equal(asked.core, { handle_boot_enabled: false, open_timeout_ms: 60_000 });
  const untold = cardPlan({ ...card, found: hidden });
  assert.match(untold.assumed.join(), /open_timeout is 0: the kernel does not show it/);
});

test("of an unknown driver the worse is assumed, unless its countdown ran on", () => {
  const unknown = { ...facts, driver: "new_wdt" };
  const stopped = cardPlan({ ...card, found: unknown, wasInterrupted: true });
  assert.is(stopped.driver?.at_probe, "stops");
  assert.match(stopped.assumed.join(), /new_wdt stops a running countdown/);
  assert.is(cardPlan({ ...card, found: unknown }).driver?.at_probe, "keeps");
});

const record =
  "version=1\ndriver=i6300esb\nmethod=hold\nbegan=3.10\nloaded=3.22\nopened=3.25\n" +
  "adopt_within=60\n";

/** As the agent has it: null where the record is refused. */
function hookOf(text: string): Hook | null {
  const hook = parseHook(text);
  return typeof hook === "string" ? null : hook;
}

test("the hook's record tells when driver and device were taken, on the kernel's clock", () => {
  const { driver, hook, firmware } = cardPlan({ ...card, hook: hookOf(`${record}before=no\n`) });
  assert.equal([driver?.probe_ms, hook], [12_100, { open_ms: 12_250, passes: true }]);
  assert.is(firmware?.locks, false);
  const locked = cardPlan({ ...card, hook: hookOf(record.replace("=hold", "=lock")) });
  assert.is(locked.firmware?.locks, true);
  const hooked = { ...card, hook: hookOf(record.replace("=hold", "=lock")) };
  assert.is(cardPlan({ ...hooked, firmwareLocks: false }).firmware?.locks, false, "firmware knows");
  for (const before of [`${record}before=yes\n`, record]) {
    assert.is(cardPlan({ ...card, hook: hookOf(before) }).driver?.probe_ms, 9000);
  }
  for (const wrong of ["", "version=2\n", record.replace("3.10", "soon")]) {
    assert.is(cardPlan({ ...card, hook: hookOf(wrong) }).hook, undefined);
  }
});

test("a driver that expires twice is planned with the way to the first expiry", () => {
  const { owner, driver } = cardPlan(card);
  assert.equal([driver?.expiries, owner?.timeout_ms], [2, 30_000]);
});

test("whatever the clocks of firmware and kernel say, the plan makes sense", () => {
  fuzz(500, (random) => {
    const anyMs = (): number => random.range(0, 200_000) - 50_000;
    const names = ["mount_root", "load_kernel"];
    const upS = (): number => random.range(0, 99);
    const times = `began=${upS()}\nloaded=${upS()}\nopened=${upS()}\nadopt_within=60\n`;
    const hook = hookOf(`version=1\nmethod=hold\nbefore=no\n${times}`);
    const stages = card.stages
      .filter(() => random.chance(0.8))
      .map((stage) => ({
        ...stage,
        start_ms: anyMs(),
        steps: names.filter(() => random.chance(0.4)).map((name) => ({ name, at_ms: anyMs() })),
      }));
    const state = { ...card.state, armed: random.chance(0.7), hardware_ms: random.pick([0, 9000]) };
    const found = random.chance(0.8) ? { ...facts, timeoutMs: random.pick([0, null, 5]) } : null;
    const firmwareMs = random.pick([null, 0, 30_000]);
    coverageOf(cardPlan({ ...card, stages, state, found, firmwareMs, beganMs: anyMs(), hook }));
  });
});

test.run();
