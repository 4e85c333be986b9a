// What a card's settings amount to: drivers as Linux shows them, and what is assumed else.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WatchdogFacts } from "../../agent/io/watchdog.ts";
import { type CardFacts, cardPlan } from "../../agent/machines/cardplan.ts";
import { coverageOf } from "../../agent/machines/coverage.ts";
import type { WatchdogState } from "../../agent/wire/commands.ts";

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

test("steps that the hook marks are the times of driver and hook", () => {
  const marks = [
    { name: "driver_probe", at_ms: 12_000 },
    { name: "hook_open", at_ms: 12_100 },
  ];
  const stages = card.stages.map((stage) =>
    stage.stage === "hand_off" ? { ...stage, steps: marks } : stage,
  );
  const { driver, hook } = cardPlan({ ...card, stages });
  assert.equal([driver?.probe_ms, hook], [12_000, { open_ms: 12_100, passes: true }]);
});

test.run();
