// From the firmware's last refresh to the agent's first: what counts as covered, and what does not.
import { type ChildProcess, spawn } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { configure } from "../../agent/config.ts";
import type { AgentEvent } from "../../agent/events.ts";
import { BootHead } from "../../agent/heads/boot.ts";
import { bootHolderOf, isBootHolder, takeFrom } from "../../agent/io/bootholder.ts";
import { LinuxWatchdog } from "../../agent/io/linuxwatchdog.ts";
import type { Platform } from "../../agent/io/platform.ts";
import { type Arrival, counted, coverage, disagreement } from "../../agent/machines/adoption.ts";
import { type Hook, parseHook } from "../../agent/machines/boothook.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import { encodeBootState } from "../../agent/wire/bootstate.ts";
import { encodeHandOff, type HandOff } from "../../agent/wire/handoff.ts";
import { nativeObstacle, unless } from "../children.ts";
import { i6300esb, Machine } from "../machine.ts";

const adoption = suite("adoption");
const onNative = unless(nativeObstacle(), adoption);

const record = `version=1
driver=i6300esb
method=hold
device=/dev/watchdog0
began=8.20
loaded=8.26
opened=8.27
holder=123
adopt_within=60
before=no
`;

function hookOf(changes: Partial<Hook> = {}): Hook {
  const hook = parseHook(record);
  if (typeof hook === "string") throw new Error(hook);
  return { ...hook, ...changes };
}

adoption("the hook's record is read, and refused where it is not one", () => {
  assert.equal(hookOf(), {
    driver: "i6300esb",
    method: "hold",
    device: "/dev/watchdog0",
    beganMs: 8200,
    loadedMs: 8260,
    openedMs: 8270,
    leftMs: null,
    holder: 123,
    adoptWithinMs: 60_000,
    before: false,
    problem: "",
  });
  const damaged: readonly (readonly [string, RegExp])[] = [
    ["", /version missing/],
    [record.replace("version=1", "version=2"), /version 2/],
    [record.replace("method=hold", "method=feed"), /method/],
    [record.replace("began=8.20", "began=-1"), /times/],
    [record.replace("began=8.20", "began=8.30"), /times that contradict/],
    [record.replace("opened=8.27", "opened=0"), /times that contradict/],
    ["x=1\n".repeat(33), /33 lines/],
  ];
  for (const [text, problem] of damaged) assert.match(String(parseHook(text)), problem);
  const odd = parseHook(`${record.replace("holder=123", "holder=1")}problem=${"p".repeat(999)}\n`);
  assert.ok(typeof odd !== "string" && odd.holder === null && odd.problem.length === 160);
});

/** Firmware armed 20 s at its last refresh, which is this clock's zero. */
const armed = { refreshed_ms: 0, remaining_ms: 20_000, granted_ms: 20_000 };
const arrival: Arrival = {
  countdown: armed,
  hook: hookOf(),
  leftMs: null,
  isActive: false,
  rounds: 1,
  atMs: 10_000,
  oneClock: false,
};
const kept = hookOf({ method: "open_timeout", openedMs: null, holder: null, leftMs: 10_000 });

const cases: readonly (readonly [string, Partial<Arrival>, number])[] = [
  ["held: from loading to opening", {}, 70],
  ["locked by firmware", { hook: hookOf({ method: "lock", openedMs: null }) }, 0],
  [
    "the hook was told that it is locked, and firmware knows that it is not",
    { countdown: { ...armed, locked: false }, hook: hookOf({ method: "lock", openedMs: null }) },
    10_000,
  ],
  [
    "locked, and yet alive after its deadline",
    { hook: hookOf({ method: "lock" }), atMs: 71_000 },
    71_000,
  ],
  ["held, but only in times to come", { atMs: 5000 }, 5000],
  ["a hook of times to come armed it, without firmware", { countdown: null, atMs: 5000 }, 5000],
  ["held, but it could not be opened", { hook: hookOf({ openedMs: null }) }, 10_000],
  ["kept by the driver, and it counts", { hook: kept, leftMs: 8000 }, 0],
  ["kept by the driver, who refreshed it", { hook: kept, leftMs: 55_000 }, 0],
  ["stopped, and as much is shown as before", { hook: kept, leftMs: 10_000 }, 10_000],
  ["kept by the driver, and nothing shows it", { hook: kept }, 10_000],
  [
    "the hook came after the reset was due",
    { hook: hookOf({ beganMs: 30_000, openedMs: 31_000 }), atMs: 32_000 },
    31_000,
  ],
  ["the driver was there before the hook", { hook: hookOf({ before: true }) }, 8270],
  ["no hook, and the rest of the countdown is there", { hook: null, leftMs: 10_000 }, 0],
  ["no hook, less is left than on one clock", { hook: null, leftMs: 6000 }, 0],
  ["no hook, more is left than there can be", { hook: null, leftMs: 13_000 }, 10_000],
  ["no hook, one clock, and less is left", { hook: null, leftMs: 6000, oneClock: true }, 10_000],
  ["no hook, all of it is left so soon", { hook: null, leftMs: 20_000, atMs: 900 }, 900],
  ["no hook, and somebody opened it", { hook: null, leftMs: 9000, isActive: true }, 10_000],
  ["kept by the driver, till one opened it", { hook: kept, leftMs: 8e3, isActive: true }, 10_000],
  ["no hook, two rounds, in the first", { hook: null, leftMs: 3000, rounds: 2, atMs: 7000 }, 0],
  ["no hook, two rounds, in the second", { hook: null, leftMs: 6000, rounds: 2, atMs: 14_000 }, 0],
  ["no hook, two rounds, all of one", { hook: null, leftMs: 10_000, rounds: 2 }, 10_000],
  ["no hook, nothing shows it", { hook: null }, 10_000],
  ["a hook that is switched off", { hook: hookOf({ method: "none", loadedMs: null }) }, 10_000],
  ["no firmware: the hook armed it", { countdown: null }, 8270],
  ["no firmware and no hook", { countdown: null, hook: null }, 10_000],
];

adoption("A1-16 the gap of each way, in milliseconds; nothing unseen counts as covered", () => {
  for (const [what, changes, uncoveredMs] of cases) {
    assert.is(coverage({ ...arrival, ...changes }).uncoveredMs, uncoveredMs, what);
  }
});

adoption("what is left is that of a countdown where Linux or a change of it says so", () => {
  const alone = { ...arrival, hook: null, leftMs: 19_000 };
  assert.is(counted(alone), false);
  assert.is(counted({ ...alone, isActive: true }), true);
  assert.is(counted({ ...alone, isActive: true, leftMs: null }), false);
  assert.is(counted({ ...alone, hook: kept }), true);
  assert.is(counted({ ...alone, hook: hookOf({ leftMs: 19_000 }) }), false);
});

adoption("the hardware must be the one that firmware armed", () => {
  const granted_ms = 20_000;
  const same: readonly (readonly [string, string])[] = [
    ["i6300esb", "i6300ESB timer"],
    ["iTCO", "iTCO_wdt"],
    ["SBSA generic watchdog", "SBSA Generic Watchdog"],
    ["simulated i6300ESB", "simulated i6300ESB"],
    ["arm_smc_wdt", "arm_smc_wdt"],
  ];
  for (const [backend, identity] of same) {
    assert.is(disagreement({ backend, granted_ms }, { identity, timeLeftMs: null }, false), null);
  }
  const other = { identity: "iTCO_wdt", timeLeftMs: 19_000 };
  assert.match(disagreement({ backend: "i6300esb", granted_ms }, other, false) ?? "", /Linux has/);
  const long = { identity: "iTCO_wdt", timeLeftMs: 30_000 };
  assert.match(
    disagreement({ backend: "iTCO", granted_ms }, long, false) ?? "",
    /30000 ms are left/,
  );
  assert.is(disagreement({ backend: "iTCO", granted_ms }, long, true), null);
});

// A boot of our firmware on Linux ---------------------------------------------------------------

const handOff: HandOff = {
  version: 1,
  boot: "41-0badcafe",
  slot: "b",
  failures: 2,
  backend: "i6300esb",
  countdown: {
    min_ms: 1000,
    max_ms: 2_046_000,
    granted_ms: 20_000,
    remaining_ms: 20_000,
    refreshed_ms: 3300,
  },
  hardware_cause: "watchdog",
  stages: [
    { stage: "power_on", start_ms: 0, end_ms: 240, by: "nobody", steps: [] },
    { stage: "os_load", start_ms: 240, end_ms: 3300, by: "firmware", steps: [] },
    { stage: "hand_off", start_ms: 3300, by: "countdown", steps: [] },
  ],
};

function boot(
  disk: SimDisk,
  machine: string,
  changes: Partial<HandOff> = {},
  left: Partial<Platform> = {},
) {
  const clock = new SimClock();
  clock.advance(10_000);
  const platform: Platform = {
    machineBootId: () => machine,
    deviceId: () => "unknown",
    randomId: () => "12345678",
    handOff: () => encodeHandOff({ ...handOff, ...changes }),
    firmwareBoots: () => null,
    isOneClock: false,
    bootHook: () => record,
    resetCause: () => "unknown",
    crashRecords: () => [],
    panicText: () => "",
    crashText: () => "",
    commandLine: () => "",
    reboot: () => undefined,
    names: () => ({ os: "", host: "", release: "", version: "", machine: "", platform: "" }),
    threads: () => [],
    setDate: () => null,
    ...left,
  };
  const told: AgentEvent[] = [];
  const head = new BootHead({ clock, disk, platform }, configure({}, "0"), (event) => {
    told.push(event);
  });
  head.open(null);
  head.tell({ epoch: 1, tee_crashes: 0, crash_records: 0 });
  head.start();
  const [watchdog] = new Machine().find();
  assert.is(watchdog, undefined);
  head.adopted(null, { identity: "iTCO_wdt", timeLeftMs: null } as never);
  return { head, told };
}

adoption("A1-15 A1-16 the agent takes the firmware's boot as its own, on Linux' clock", () => {
  const disk = new SimDisk(new Random(1));
  const { head, told } = boot(disk, "m1");
  assert.is(head.id, "41-0badcafe");
  assert.is(head.entry?.slot, "b");
  assert.is(head.counters().failures.b, 2);
  assert.is(head.uncoveredMs, 70);
  const { stages } = head.timeline();
  assert.equal(
    stages.map(({ stage, start_ms }) => [stage, start_ms]),
    [
      ["power_on", 0],
      ["os_load", 240],
      ["hand_off", 3300],
      ["adopt", 13_300],
      ["runtime", 13_300],
    ],
  );
  const kinds = told.map(({ kind }) => kind);
  assert.ok(kinds.includes("boot:hook") && kinds.includes("boot:disagrees"), kinds.join(" "));
  head.ready();
  assert.is(head.counters().failures.b, 0);

  const again = boot(disk, "m1");
  assert.is(again.head.entry?.slot, "b");
  assert.ok(again.head.isConfirmed, "another agent on the same boot");
  assert.is.not(again.head.id, head.id);
  assert.is(again.head.firmwareId, "41-0badcafe", "firmware knows this boot by one name");
  assert.not.ok(again.told.some(({ kind }) => kind === "boot:hook"));

  const next = boot(disk, "m2", { boot: "42-00000001", slot: "a", failures: 0 });
  assert.is(next.head.id, "42-00000001");
  assert.not.ok(next.head.isConfirmed);
  assert.is(next.head.history().boots.at(-2)?.cause, "watchdog", "by the firmware's word");
});

adoption(
  "A1-10 A1-15 a damaged record leaves the boot its name, by the firmware's own store",
  () => {
    const ended = { stage: "hand_off", step: "kernel_entry", uptime_ms: 3300 } as const;
    const entry = { ...ended, slot: "b", confirmed: false, cause: "unknown" } as const;
    const firmwareBoots = encodeBootState({
      version: 1,
      boots: 41,
      active: "a",
      failures: { a: 3, b: 2 },
      attempts_max: 3,
      current: { ...entry, boot: "41-0badcafe" },
      previous: { ...entry, boot: "40-00000001", cause: "watchdog" },
    });
    const damaged = (): Uint8Array => encodeHandOff(handOff).fill(0, 40, 44);
    const left = { handOff: damaged, firmwareBoots: () => firmwareBoots };

    const disk = new SimDisk(new Random(1));
    const { head, told } = boot(disk, "m1", {}, left);
    assert.ok(told.some(({ kind }) => kind === "boot:record_refused"));
    assert.is(head.firmwareId, "41-0badcafe", "the loader confirms no other name");
    assert.is(head.id, "41-0badcafe");
    assert.is(head.entry?.slot, "b");
    assert.equal(head.counters().failures, { a: 0, b: 2 });
    assert.is(head.history().boots.at(-2)?.cause, "watchdog");
    assert.is(
      boot(disk, "m1", {}, left).head.firmwareId,
      "41-0badcafe",
      "for a later agent as well",
    );

    // Without a record nobody knows whether our loader ran: its store may be of an older boot.
    const around = boot(new SimDisk(new Random(1)), "m1", {}, { ...left, handOff: () => null });
    assert.is(around.head.firmwareId, around.head.id);
    assert.is(around.head.id, "1-12345678");
    const lost = { ...left, firmwareBoots: () => firmwareBoots.slice(0, 30) };
    assert.is(boot(new SimDisk(new Random(1)), "m1", {}, lost).head.firmwareId, "1-12345678");
  },
);

// The holder ------------------------------------------------------------------------------------

function holder(script: string): Promise<{ child: ChildProcess; pid: number }> {
  return new Promise((resolve) => {
    const child = spawn("/bin/sh", ["-c", `${script}\necho up; exec sleep 100`], {
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    });
    child.stdout?.once("data", () => resolve({ child, pid: child.pid ?? 0 }));
  });
}

adoption(
  "A1-16 the boot's holder is ended only when it has the device, and the device is opened",
  async () => {
    for (const script of ["", "trap '' TERM"]) {
      const machine = new Machine();
      const path = machine.add("watchdog0", "pci0000:00/x", { ...i6300esb, state: "active" });
      const roots = { sys: machine.at("sys"), dev: machine.at("dev"), proc: machine.at("proc") };
      const { child, pid } = await holder(script);
      assert.not.ok(isBootHolder(path, roots, pid));
      machine.hold(pid, "sleep", path);
      assert.ok(isBootHolder(path, roots, pid));
      const ended = new Promise((resolve) => child.once("exit", (_status, name) => resolve(name)));
      let busy = script === "" ? 3 : 300;
      const opened = takeFrom(pid, () => {
        busy -= 1;
        if (busy >= 0) throw Object.assign(new Error("busy"), { code: "EBUSY" });
        return "open";
      });
      assert.is(opened, "open");
      assert.is(await ended, script === "" ? "SIGTERM" : "SIGKILL");
    }
  },
);

onNative(
  "a process that the hook's record names and that has not the device is left alone",
  async () => {
    // Any character device will do: it is opened before it turns out to be no watchdog.
    const watchdog = new LinuxWatchdog("/dev/full");
    const { child, pid } = await holder("");
    watchdog.bootHolder = pid;
    assert.throws(() => watchdog.open(), /use as a watchdog/);
    const ended = new Promise((resolve) => child.once("exit", (_status, name) => resolve(name)));
    child.kill("SIGINT");
    assert.is(await ended, "SIGINT", "nobody else has ended it");
  },
);

adoption("the hook's holder is known by every name of its device, and for no other device", () => {
  const hook = hookOf();
  assert.is(bootHolderOf("/dev/watchdog0", hook), 123);
  assert.is(bootHolderOf("/dev/watchdog", hook), 123, "the alias of the first one");
  assert.is(bootHolderOf("/dev/watchdog1", hook), null);
  assert.is(bootHolderOf("/dev/watchdog", hookOf({ device: "" })), null);
  assert.is(bootHolderOf("/dev/watchdog0", null), null);
});

adoption("a device that somebody else has stays busy, and the error is his", () => {
  let tries = 0;
  assert.throws(() => {
    takeFrom(2 ** 30, () => {
      tries += 1;
      throw Object.assign(new Error("no such driver"), { code: "ENODEV" });
    });
  }, /no such driver/);
  assert.is(tries, 1);
});

adoption("facts do not call the boot's holder a holder", () => {
  const machine = new Machine();
  const path = machine.add("watchdog0", "pci0000:00/x", { ...i6300esb, state: "active" });
  machine.hold(4242, "sleep", path);
  const [watchdog] = machine.find();
  assert.is(watchdog?.facts().holder?.pid, 4242);
  if (watchdog !== undefined) watchdog.bootHolder = 4242;
  assert.is(watchdog?.facts().holder, null);
});

adoption.run();
