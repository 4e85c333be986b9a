// What is said of watchdogs nobody has opened. Needs no addon.
import { closeSync, openSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findWatchdogs, handedOverFirst, LinuxWatchdog } from "../../agent/io/linuxwatchdog.ts";
import type { WatchdogFacts } from "../../agent/io/watchdog.ts";
import { i6300esb, itco, Machine, softdog } from "../machine.ts";

const factsSuite = suite("io watchdog facts");

const esbFacts: Omit<WatchdogFacts, "path"> = {
  identity: "i6300ESB timer",
  kind: "hardware",
  options: 0x8180,
  state: "inactive",
  minMs: 1000,
  maxMs: 2_046_000,
  timeoutMs: 30_000,
  timeLeftMs: null,
  bootStatus: 32,
  nowayout: false,
  holder: null,
  openTimeoutS: null,
  handleBootEnabled: null,
  stopOnReboot: null,
  pretimeoutMs: 0,
  governor: null,
  governors: [],
  driver: null,
  driverSettings: {},
  minGapMs: null,
};

factsSuite("B15-01 the watchdog that was handed over comes before a better one found since", () => {
  const found = ["/dev/zero", "/dev/full", "/dev/null", "/dev/none"].map(
    (path) => new LinuxWatchdog(path),
  );
  const plain = openSync(__filename, "r");
  const handed = openSync("/dev/null", "r");
  const paths = (fds: number[]) => handedOverFirst(found, fds).map(({ path }) => path);
  assert.equal(paths([plain, handed]), ["/dev/null", "/dev/zero", "/dev/full", "/dev/none"]);
  const asFound = found.map(({ path }) => path);
  for (const fds of [[], [plain], [1_000_000]]) assert.equal(paths(fds), asFound);
  closeSync(plain);
  closeSync(handed);
});

factsSuite(
  "A2-14 facts come from sysfs alone; status, which reading changes, is left alone",
  () => {
    const machine = new Machine();
    const path = machine.add("watchdog0", "pci0000:00/0000:00:04.0", i6300esb);
    const [watchdog] = machine.find();
    assert.equal(watchdog?.facts(), { ...esbFacts, path });
    assert.is(watchdog?.isOpen, false);
  },
);

factsSuite("a driver that names no device of its own is known by its identity, if loaded", () => {
  const machine = new Machine();
  machine.add("watchdog0", "virtual", i6300esb);
  assert.is(machine.find()[0]?.facts().driver, null, "no such module is loaded");
  machine.write("sys/module/i6300esb/parameters/heartbeat", "20");
  const { driver, driverSettings } = machine.find()[0]?.facts() ?? {};
  assert.equal([driver, driverSettings], ["i6300esb", { heartbeat: "20" }]);
});

factsSuite("a driver that states no limits, an active one, its holder and open_timeout", () => {
  const machine = new Machine();
  const path = machine.add("watchdog0", "platform/iTCO_wdt.1.auto", itco);
  machine.write("sys/module/watchdog/parameters/open_timeout", "15");
  machine.hold(1, "systemd", "/dev/console");
  machine.hold(4242, "wd keeper", path);
  assert.equal(machine.find()[0]?.facts(), {
    ...esbFacts,
    path,
    identity: "iTCO_wdt",
    state: "active",
    minMs: null,
    maxMs: null,
    timeLeftMs: 19_000,
    nowayout: true,
    holder: { pid: 4242, name: "wd keeper" },
    openTimeoutS: 15,
  });
});

factsSuite("what the running kernel is told: core and driver parameters, governors", () => {
  const machine = new Machine();
  const governors = { pretimeout_governor: "panic", pretimeout_available_governors: "noop\npanic" };
  machine.add("watchdog0", "platform/one", { ...i6300esb, pretimeout: "8", ...governors });
  const core = "sys/module/watchdog/parameters";
  machine.write(`${core}/handle_boot_enabled`, "Y");
  machine.write(`${core}/stop_on_reboot`, "-1");
  machine.write("sys/module/i6300esb/parameters/nowayout", "N");
  machine.write("sys/module/i6300esb/parameters/heartbeat", "30");
  machine.drive("platform/one", "watchdog0", "i6300esb");
  const facts = machine.find()[0]?.facts();
  assert.equal([facts?.handleBootEnabled, facts?.stopOnReboot], [true, "driver"]);
  assert.equal(
    [facts?.pretimeoutMs, facts?.governor, facts?.governors],
    [8000, "panic", ["noop", "panic"]],
  );
  assert.is(facts?.driver, "i6300esb");
  assert.equal(facts?.driverSettings, { heartbeat: "30", nowayout: "N" });
  const seen = ["N", "Y", "2"].map((text) => {
    machine.write(`${core}/handle_boot_enabled`, text);
    machine.write(`${core}/stop_on_reboot`, text === "N" ? "0" : text === "Y" ? "1" : "7");
    const { handleBootEnabled, stopOnReboot } = machine.find()[0]?.facts() ?? {};
    return [handleBootEnabled, stopOnReboot];
  });
  assert.equal(seen, [
    [false, "no"],
    [true, "yes"],
    [null, null],
  ]);
});

factsSuite("a holder by the alias /dev/watchdog is the holder of watchdog0 and of no other", () => {
  const machine = new Machine();
  machine.add("watchdog0", "platform/one", itco);
  machine.add("watchdog1", "platform/two", itco);
  machine.hold(77, "old daemon", machine.at("dev/watchdog"));
  assert.equal(
    machine.find().map((watchdog) => watchdog.facts().holder?.pid ?? null),
    [77, null],
  );
  machine.write("dev/watchdog", "");
  const roots = { sys: machine.at("sys"), dev: machine.at("dev"), proc: machine.at("proc") };
  const alias = new LinuxWatchdog(machine.at("dev/watchdog"), roots).facts();
  assert.equal([alias.identity, alias.holder?.pid], ["iTCO_wdt", 77]);
});

factsSuite("A2-16 softdog is software and is chosen after all hardware", () => {
  const machine = new Machine();
  machine.add("watchdog0", "virtual", softdog);
  machine.add("watchdog10", "platform/ten", itco);
  machine.add("watchdog2", "pci0000:00/0000:00:04.0", i6300esb);
  const found = machine.find().map((watchdog) => watchdog.facts());
  assert.equal(
    found.map(({ path, kind }) => [path.slice(machine.at("dev/").length), kind]),
    [
      ["watchdog2", "hardware"],
      ["watchdog10", "hardware"],
      ["watchdog0", "software"],
    ],
  );
});

factsSuite(
  "without sysfs attributes a watchdog is found by its node and nothing is made up",
  () => {
    const machine = new Machine();
    machine.write("dev/watchdog", "");
    machine.write("dev/watchdogd.pid", "");
    const [watchdog, ...others] = machine.find();
    assert.equal(others, []);
    assert.equal(watchdog?.facts(), {
      path: machine.at("dev/watchdog"),
      identity: "unknown",
      kind: "hardware",
      options: null,
      state: "unknown",
      minMs: null,
      maxMs: null,
      timeoutMs: null,
      timeLeftMs: null,
      bootStatus: null,
      nowayout: null,
      holder: null,
      openTimeoutS: null,
      handleBootEnabled: null,
      stopOnReboot: null,
      pretimeoutMs: null,
      governor: null,
      governors: [],
      driver: null,
      driverSettings: {},
      minGapMs: null,
    });
  },
);

factsSuite("attributes that are no numbers and identities that are no text do no harm", () => {
  const machine = new Machine();
  const identity = `\u001b[31m${"x".repeat(40)}`;
  const broken = { timeout: "soon", options: "0xzz", min_timeout: "-1", nowayout: "" };
  machine.add("watchdog0", "platform/odd", { ...i6300esb, ...broken, identity, state: "maybe" });
  const facts = machine.find()[0]?.facts();
  assert.is(facts?.identity, `?[31m${"x".repeat(27)}`);
  assert.equal(
    [facts?.timeoutMs, facts?.options, facts?.minMs, facts?.nowayout, facts?.state],
    [null, null, null, null, "unknown"],
  );
});

factsSuite("no watchdog at all is an empty list", () => {
  assert.equal(findWatchdogs("/nonexistent/sys", "/nonexistent/dev", "/nonexistent/proc"), []);
});

factsSuite.run();
