/** machines/resetcause.ts: the whole truth table, and what a card makes of it. */
import { spawnSync } from "node:child_process";
import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LinuxPlatform } from "../../agent/io/platform.ts";
import type { Cause, HardwareCause } from "../../agent/machines/bootrecord.ts";
import * as bootrecord from "../../agent/machines/bootrecord.ts";
import { causeOf, evidenceText, hardwareCause } from "../../agent/machines/resetcause.ts";
import { temporaryFolder } from "../children.ts";
import { card, confirmed, lastEnded, reportsOf, resetTime, runningCard } from "../worlds.ts";

const causes = suite("reset cause");

const statuses = {
  none: null,
  silent: 0,
  card: 0x20,
  power: 0x10,
  over: 0x40,
  both: 0x30,
} as const;
const firmwares = ["unknown", "power", "watchdog", "panic"] as const;

/** Rows: boot status. Columns: the firmware's word, as in `firmwares`. Without a crash record. */
const machine: Record<keyof typeof statuses, readonly HardwareCause[]> = {
  none: ["unknown", "power", "watchdog", "panic"],
  silent: ["unknown", "power", "watchdog", "panic"],
  card: ["watchdog", "unknown", "watchdog", "unknown"],
  power: ["power", "power", "unknown", "unknown"],
  over: ["power", "power", "unknown", "unknown"],
  both: ["unknown", "unknown", "unknown", "unknown"],
};

/** Rows: the machine's word. Columns: no note, then notes of each cause. */
const notes = [null, "watchdog", "commanded", "clean", "unknown"] as const;
const settled: Record<HardwareCause, readonly Cause[]> = {
  unknown: ["unknown", "watchdog", "commanded", "clean", "unknown"],
  power: ["power", "power", "commanded", "clean", "power"],
  watchdog: ["watchdog", "watchdog", "watchdog", "watchdog", "watchdog"],
  panic: ["panic", "panic", "panic", "panic", "panic"],
};

causes("A2-18 boot status and firmware: the whole table, and no guess where they disagree", () => {
  for (const [row, expected] of Object.entries(machine)) {
    const bootStatus = statuses[row as keyof typeof statuses];
    for (const [at, firmware] of firmwares.entries()) {
      for (const crashed of [null, false]) {
        const found = hardwareCause({ bootStatus, crashed, firmware });
        assert.is(found, expected[at], `${row}, firmware ${firmware}`);
      }
      assert.is(hardwareCause({ bootStatus, crashed: true, firmware }), "panic");
    }
  }
});

causes("A2-18 the machine's word and our note: the whole table", () => {
  for (const [hardware, expected] of Object.entries(settled)) {
    for (const [at, note] of notes.entries()) {
      assert.is(causeOf(hardware as HardwareCause, note), expected[at], `${hardware}, ${note}`);
    }
  }
});

causes("the evidence is told in words", () => {
  const said = evidenceText({ bootStatus: 0x20, crashed: null, firmware: "unknown" });
  assert.is(said, "bootstatus 0x20, crash record not known, firmware unknown");
  const none = evidenceText({ bootStatus: null, crashed: true, firmware: "power" });
  assert.is(none, "bootstatus not reported, crash record new, firmware power");
});

causes("what firmware left as unknown is completed by the kernel, and nothing else is", () => {
  const begin = { randomId: "0a", machine: "", hardware: "unknown", attemptsMax: 3 } as const;
  const first = bootrecord.beginBoot(bootrecord.emptyRecord(false, 3), begin).record;
  const { record } = bootrecord.beginBoot(first, begin);
  assert.is(bootrecord.amend(record, "panic").past.at(-1)?.cause, "panic");
  assert.is(bootrecord.amend(record, "power").past.at(-1)?.cause, "unknown");
  const power = bootrecord.beginBoot(first, { ...begin, hardware: "power" }).record;
  assert.is(bootrecord.amend(power, "watchdog").past.at(-1)?.cause, "power");
});

causes("crash records are listed by name and time, other records are not", () => {
  const folder = join(temporaryFolder(), "pstore");
  assert.equal(new LinuxPlatform(null, folder).crashRecords(), []);
  mkdirSync(folder);
  for (const name of [
    "dmesg-ramoops-1",
    "dmesg-ramoops-0",
    "console-ramoops-0",
    "pmsg-ramoops-0",
  ]) {
    writeFileSync(join(folder, name), "");
    utimesSync(join(folder, name), 1000, 1718.9);
  }
  const found = new LinuxPlatform(null, folder).crashRecords();
  assert.equal(found, ["dmesg-ramoops-0@1718", "dmesg-ramoops-1@1718"]);
});

causes("the kernel's words at its panic are found in whichever piece has them", () => {
  const folder = join(temporaryFolder(), "panics");
  mkdirSync(folder);
  const piece = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  piece("dmesg-efi-1", "Panic#1 Part1\n<4>[ 3.1] Call Trace:\n");
  piece("dmesg-efi-2", "Panic#1 Part2\n<0>[ 3.0] Kernel panic - not syncing: out of luck\u0007\n");
  const platform = new LinuxPlatform(null, folder);
  assert.is(platform.panicText(["dmesg-efi-1@5", "dmesg-efi-2@5"]), "out of luck");
  assert.is(platform.panicText(["dmesg-efi-1@5", "dmesg-efi-9@5"]), "");
});

const plan = { watchdogMs: 5000 };

causes("A2-18 a panic that the watchdog ended is a panic; the same record later is none", () => {
  const world = runningCard({ plan });
  world.crashRecords.push("dmesg-sim-1@1");
  world.hangKernel();
  resetTime(world);
  confirmed(world);
  assert.is(lastEnded(world)?.cause, "panic", "although the firmware saw the watchdog's flag");
  assert.is(lastEnded(world)?.culprit, "simulated panic");
  assert.match(String(reportsOf(world, "boot:evidence").at(-1)?.evidence), /crash record new/);
  world.hangKernel();
  resetTime(world);
  confirmed(world);
  assert.is(lastEnded(world)?.cause, "watchdog");
  assert.match(String(reportsOf(world, "boot:evidence").at(-1)?.evidence), /crash record none/);
});

causes("A2-18 where the firmware knows nothing, a new crash record makes it a panic", () => {
  const world = runningCard({ plan });
  world.crashRecords.push("dmesg-sim-1@1");
  world.hangKernel();
  world.reset("reboot");
  confirmed(world);
  assert.is(lastEnded(world)?.cause, "panic");
  world.hangKernel();
  world.reset("reboot");
  confirmed(world);
  assert.is(lastEnded(world)?.cause, "unknown", "an old record proves nothing");
});

causes("A2-18 on one card: power, watchdog, clean, commanded and unknown told apart", () => {
  const world = card({ plan });
  world.power(true);
  confirmed(world);
  const ends: [Cause, () => void][] = [
    ["power", () => [world.power(false), world.power(true)]],
    ["watchdog", () => world.hangAgent(Infinity)],
    ["clean", () => world.shutDown()],
    ["commanded", () => world.agent?.reset("host")],
    ["unknown", () => world.reset("reboot")],
  ];
  for (const [cause, end] of ends) {
    const boot = world.agent?.boot.id;
    end();
    world.until(() => world.agent !== null && world.agent.boot.id !== boot, 200_000);
    confirmed(world);
    assert.is(lastEnded(world)?.cause, cause);
  }
});

causes("A2-18 an agent that was stopped for itself does not make the end of the boot clean", () => {
  const world = runningCard({ plan });
  world.stopAgent();
  world.reset("reboot");
  confirmed(world);
  const { cause, culprit } = lastEnded(world) ?? {};
  assert.equal([cause, culprit], ["unknown", "agent stopped"], "nobody can say what followed");
  world.stopAgent();
  world.power(false);
  world.power(true);
  confirmed(world);
  assert.is(lastEnded(world)?.cause, "power");
  world.stopAgent();
  resetTime(world);
  confirmed(world);
  assert.is(lastEnded(world)?.cause, "watchdog", "the one that was left counting");
});

causes("A2-18 what was noted before the agent is stopped outlives the stop", () => {
  const world = runningCard({ plan, tasks: [{ name: "fabric", every_s: 2 }] });
  world.agent?.boot.noteClosing("commanded", "host");
  world.shutDown();
  confirmed(world);
  assert.equal([lastEnded(world)?.cause, lastEnded(world)?.culprit], ["commanded", "host"]);
  world.stuckTasks.add("fabric");
  assert.ok(world.until(() => world.agent?.watchdog.state.kind === "withheld", 10_000));
  world.stopAgent();
  resetTime(world);
  world.stuckTasks.clear();
  confirmed(world);
  assert.equal([lastEnded(world)?.cause, lastEnded(world)?.culprit], ["watchdog", "fabric"]);
});

causes("A1-10 a hand-off file without end, or a pipe that nobody fills, holds nobody up", () => {
  assert.is(new LinuxPlatform("/dev/zero").handOff()?.length, 8192);
  const pipe = join(temporaryFolder(), "pipe");
  assert.is(spawnSync("mkfifo", [pipe]).status, 0);
  assert.is(new LinuxPlatform(pipe).handOff()?.length, 0);
  assert.is(new LinuxPlatform("/nonexistent").handOff(), null);
});

causes.run();
