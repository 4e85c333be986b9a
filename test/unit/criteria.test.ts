/** machines/criteria.ts: what is required of a watchdog, and what follows from what it is. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WatchdogFacts } from "../../agent/io/watchdog.ts";
import {
  hardwareFor,
  type Judgement,
  judge,
  measure,
  pretimeoutFor,
  seconds,
} from "../../agent/machines/criteria.ts";
import { encodeMap } from "../../agent/wire/cbor.ts";
import { packetBytesMax } from "../../agent/wire/command.ts";

const criteria = suite("criteria");

/** A watchdog that meets every criterion for a promise of 60 s. */
const good: WatchdogFacts = {
  path: "/dev/watchdog0",
  identity: "i6300ESB timer",
  kind: "hardware",
  options: 0x8180,
  state: "inactive",
  minMs: 1000,
  maxMs: 2_046_000,
  timeoutMs: 30_000,
  timeLeftMs: null,
  bootStatus: 0x20,
  nowayout: false,
  holder: null,
  openTimeoutS: 15,
  handleBootEnabled: false,
  stopOnReboot: "no",
  pretimeoutMs: 0,
  governor: "panic",
  governors: ["noop", "panic"],
  driver: "i6300esb",
  driverSettings: {},
  minGapMs: null,
};
const wanted = { promiseMs: 60_000, hardwareMaxMs: null, hardwareMinGapMs: 0 };

function of(facts: Partial<WatchdogFacts>, want: Partial<typeof wanted> = {}): Judgement {
  return judge({ ...good, ...facts }, { ...wanted, ...want }, "");
}

const names = [
  ...[
    "present",
    "real_hardware",
    "exclusive",
    "timeout_max",
    "timeout_min",
    "refresh_gap",
    "set_timeout",
  ],
  ...[
    "refresh",
    "granted",
    "refresh_works",
    "time_left",
    "survives_close",
    "stoppable",
    "reset_cause",
    "open_timeout",
  ],
  ...["driver", "boot_countdown", "stop_on_reboot", "pretimeout", "governor"],
];

criteria("A2-01 every criterion is there with its value, what is required, and its verdict", () => {
  const found = of({}).criteria;
  assert.equal(
    found.map(({ name }) => name),
    names,
  );
  for (const { name, value, required, ok } of found) {
    assert.ok(value.length > 0 && required.length > 0, name);
    assert.is(ok, !armed.includes(name), name);
  }
});

criteria("A2-01 what only arming shows is not met before, and says why", () => {
  for (const { name, value, ok } of of({}).criteria.filter(({ name }) => armed.includes(name))) {
    assert.equal([value, ok], ["not measured before it is armed", false], name);
  }
});

const armed = ["granted", "refresh_works", "time_left"];

const failing: [string, Partial<WatchdogFacts>, string, string][] = [
  ["real_hardware", { kind: "software" }, "software", "hardware"],
  ["real_hardware", { kind: "simulated" }, "simulated", "hardware"],
  ["exclusive", { holder: { pid: 1, name: "systemd" } }, "systemd 1", "held by nobody else"],
  ["timeout_max", { maxMs: 59_999 }, "60 s", ">= 60 s"],
  ["timeout_max", { maxMs: 4000 }, "4 s", ">= 60 s"],
  ["timeout_min", { minMs: 61_000 }, "61 s", "<= 60 s"],
  ["set_timeout", { options: 0x8100 }, "no", "yes"],
  ["set_timeout", { options: 0x8100 }, "no", "yes"],
  ["refresh", { options: 0x180 }, "no", "yes"],
  ["survives_close", { options: 0x8080 }, "no", "keeps counting when its owner dies"],
  ["reset_cause", { bootStatus: null }, "not reported", "reported"],
  [
    "open_timeout",
    { openTimeoutS: 0 },
    "0: the kernel refreshes for ever",
    "> 0 s, or a driver that does not refresh by itself",
  ],
  [
    "boot_countdown",
    { handleBootEnabled: true, openTimeoutS: null },
    "kernel refreshes it",
    "left alone, or open_timeout",
  ],
  ["stop_on_reboot", { stopOnReboot: "yes" }, "yes", "no"],
  ["stop_on_reboot", { stopOnReboot: "driver" }, "as the driver has it", "no"],
  ["pretimeout", { pretimeoutMs: 15_000 }, "15 s", "< half the timeout"],
  [
    "governor",
    { pretimeoutMs: 5000, governor: "noop" },
    "noop of noop, panic",
    "panic, if a pretimeout",
  ],
];
for (const [name, facts, value, required] of failing) {
  criteria(`A2-01 ${name} fails on ${JSON.stringify(facts)} and shows what was measured`, () => {
    const failed = of(facts).criteria.filter(({ name, ok }) => !ok && !armed.includes(name));
    const one = failed.find((criterion) => criterion.name === name);
    assert.equal(one, { name, value, required, ok: false });
    if (facts.options !== null) assert.is(failed.length, 1, "and no other one");
  });
}

criteria("nowayout survives a close even without the magic character", () => {
  const found = of({ options: 0x8080, nowayout: true }).criteria;
  assert.is(found.find(({ name }) => name === "survives_close")?.ok, true);
});

const verdicts: [string, Partial<WatchdogFacts>, Partial<typeof wanted>, Partial<Judgement>][] = [
  ["T2 below T1max", {}, {}, { backend: "direct", via: "direct", protected: true }],
  ["A2-02 T2 = T1max", { maxMs: 60_000 }, {}, { backend: "direct", via: "direct" }],
  ["T2 one above T1max", { maxMs: 59_999 }, {}, { backend: "service", via: "service" }],
  [
    "A2-05 T2 in parts of a second",
    {},
    { promiseMs: 2500 },
    {
      backend: "service",
      via: "service",
      because: "the hardware counts whole seconds and holds 2 s of the promised 2.5 s",
    },
  ],
  ["no maximum stated", { maxMs: null }, {}, { backend: "direct", hardwareMaxMs: Infinity }],
  ["a cap", {}, { hardwareMaxMs: 10_000 as never }, { backend: "service", hardwareMaxMs: 10_000 }],
  ["a cap above", { maxMs: 5000 }, { hardwareMaxMs: 9000 as never }, { hardwareMaxMs: 5000 }],
  [
    "A2-16 softdog is no hardware",
    { kind: "software" },
    {},
    {
      backend: "direct",
      protected: false,
      protection: "software: a kernel timer dies with the kernel",
    },
  ],
  [
    "simulated",
    { kind: "simulated", maxMs: 5000 },
    {},
    { backend: "simulated", via: "service", protected: false },
  ],
  [
    "A2-13 another owner",
    { holder: { pid: 1, name: "systemd" } },
    {},
    { backend: "none", via: "none", protected: false, protection: "other-owner: systemd (pid 1)" },
  ],
];
for (const [name, facts, want, expected] of verdicts) {
  criteria(`verdict: ${name}`, () => {
    const judgement = of(facts, want);
    for (const [key, value] of Object.entries(expected)) {
      assert.equal(judgement[key as keyof Judgement], value, key);
    }
    assert.ok(judgement.because.length > 0);
  });
}

criteria("A2-13 the reason names device and holder", () => {
  const { because } = of({ holder: { pid: 7, name: "watchdogd" } });
  assert.is(because, "/dev/watchdog0 is held by watchdogd (pid 7)");
});

criteria("no device: nothing protects, and the problem is passed on", () => {
  const judgement = judge(null, wanted, "no /dev/watchdog0");
  assert.equal([judgement.backend, judgement.protected], ["none", false]);
  assert.is(judgement.protection, "none: no /dev/watchdog0");
  assert.equal(
    judgement.criteria.map(({ name, ok }) => [name, ok]),
    [["present", false]],
  );
});

criteria("T1 asked for is T2 within what the hardware holds", () => {
  const judgement = of({ minMs: 2000, maxMs: 10_000 });
  assert.is(hardwareFor(judgement, 5000), 5000);
  assert.is(hardwareFor(judgement, 60_000), 10_000);
  assert.is(hardwareFor(judgement, 1000), 2000);
  assert.is(hardwareFor(of({ maxMs: null }), 60_000), 60_000);
});

criteria("a pretimeout that a regular refresh would meet is cleared, a shorter one kept", () => {
  const set = [0, 4999, 5000, 8000, 12_000].map((ms) => pretimeoutFor(ms, 10_000));
  assert.equal(set, [0, 4999, 0, 0, 0]);
});

criteria("a boot countdown that the kernel bridges for a bounded time is all right", () => {
  const found = of({ handleBootEnabled: true, openTimeoutS: 15 }).criteria;
  assert.is(found.find(({ name }) => name === "boot_countdown")?.ok, true);
});

criteria("every criterion of a talkative device fits one packet", () => {
  const long = "x".repeat(32);
  const facts = { ...good, identity: long, holder: { pid: 4_194_304, name: "y".repeat(15) } };
  const found = measure(
    { ...facts, driverSettings: { heartbeat: long, nowayout: long, timer: long } },
    wanted,
  );
  const probe = { backend: "service", via: "service", because: long + long + long };
  const rest = { protected: true, identity: long, path: "/dev/watchdog0" };
  const bytes = encodeMap({ ...probe, ...rest, criteria: found });
  assert.ok(bytes.length < packetBytesMax - 64, `${bytes.length} bytes`);
});

criteria("the driver is shown with the parameters it was loaded with", () => {
  const found = of({ driverSettings: { heartbeat: "30", nowayout: "N" } }).criteria;
  const shown = found.find(({ name }) => name === "driver")?.value;
  assert.is(shown, "i6300esb heartbeat=30 nowayout=N");
});

criteria("spans are shown in seconds", () => {
  assert.equal([seconds(2500), seconds(60_000), seconds(Infinity)], ["2.5 s", "60 s", "unlimited"]);
});

criteria(
  "A2-01 whether a disarm would stop the hardware is told, also where sysfs hides it",
  () => {
    const said = (facts: Partial<WatchdogFacts>): string | undefined =>
      measure({ ...good, ...facts }, wanted).find(({ name }) => name === "stoppable")?.value;
    assert.is(said({}), "yes");
    assert.is(said({ nowayout: true }), "no");
    assert.match(said({ driver: "imx2_wdt" }) ?? "", /^no: the kernel would refresh it/);
    assert.is(said({ driver: null }), "yes");
  },
);

criteria.run();
