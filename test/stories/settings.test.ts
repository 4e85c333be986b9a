// Settings over the line: what they change and when, what survives, what is refused.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RuntimeSettings } from "../../agent/answers/settings.ts";
import { SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import { simConfig } from "../../agent/sim/world.ts";
import { throwsCode } from "../assert.ts";
import { RawHost } from "../rawhost.ts";
import { card, confirmed, reportsOf, resetTime, runningCard } from "../worlds.ts";

const settings = suite("settings");
const promiseMs = 60_000;

function running(options: Parameters<typeof runningCard>[0] = {}) {
  const world = runningCard({ watchdog: { promise_s: promiseMs / 1000 }, ...options });
  const host = new RawHost(world);
  const read = (name: string) =>
    new TextDecoder().decode(host.ask("settings.read", { name }).val as Uint8Array);
  const write = (name: string, val: string | Uint8Array) =>
    host.ask("settings.write", { name, val });
  return { world, host, read, write };
}

settings("a value waits for the commit, and then holds at once", () => {
  const { world, host, read, write } = running();
  assert.equal(write("watchdog/hold_max_s", "30"), {});
  assert.is(read("watchdog/hold_max_s"), "30");
  assert.equal(host.ask("wdt.hold", { for_ms: 31_000 }).state, "holding", "not in effect yet");
  host.ask("settings.commit");
  assert.equal(host.ask("wdt.hold", { for_ms: 31_000 }), { err: { group: 66, rc: 3 } });
  assert.is(host.ask("wdt.hold", { for_ms: 30_000 }).state, "holding");
  const [told, ...more] = reportsOf(world, "card:setting");
  assert.equal(more, []);
  assert.is(told?.name, "watchdog/hold_max_s");
  assert.is(told?.value, "30");
});

settings("the announcement of a reset comes when the changed setting says", () => {
  const { world, host, write } = running({ tasks: [{ name: "net", every_s: 20 }] });
  write("watchdog/pre_reset_s", new TextEncoder().encode("3"));
  host.ask("settings.commit");
  world.stuckTasks.add("net");
  world.until(() => reportsOf(world, "wdt:pre_reset").length > 0, 200_000);
  assert.is(reportsOf(world, "wdt:pre_reset")[0]?.reset_in_ms, 3000);
});

settings("the time to become ready is moved while the boot settles", () => {
  const world = card({ watchdog: { promise_s: 20 } });
  const host = new RawHost(world);
  world.power(true);
  world.until(() => world.agent !== null, 100_000);
  world.advance(1000);
  host.ask("settings.write", { name: "boot/ready_within_s", val: "1800" });
  host.ask("settings.commit");
  assert.is(world.agent?.ready.state.plan.deadlineMs, 1_800_000);
});

settings("a name changes at once and is what the card answers to a greeting", () => {
  const { host, read, write } = running();
  write("name", "nic-left");
  host.ask("settings.commit");
  assert.is(host.ask("card.hello").name, "nic-left");
  assert.is(read("name"), '"nic-left"');
});

settings("a promise holds from the next start on, everything that follows from it too", () => {
  const { world, host, write } = running();
  write("watchdog/promise_s", "40");
  host.ask("settings.commit");
  host.ask("settings.save");
  assert.is(host.ask("wdt.state").promise_ms, promiseMs, "what runs goes on as promised");
  world.shutDown();
  confirmed(world);
  assert.is(host.ask("wdt.state").promise_ms, 40_000);
  assert.is(world.agent?.ready.state.plan.settleMs, 20_000);
});

settings("what was not saved is gone with the agent; what was saved is back", () => {
  const { world, host, read, write } = running();
  write("name", "kept");
  host.ask("settings.commit");
  host.ask("settings.save");
  write("name", "lost");
  host.ask("settings.commit");
  world.power(false);
  world.power(true);
  confirmed(world);
  assert.is(read("name"), '"kept"');
  assert.is(host.ask("card.hello").name, "kept");
  write("name", "other");
  host.ask("settings.load");
  assert.is(host.ask("card.hello").name, "kept", "loading forgets what was only set");
});

settings("a deleted setting is the settings file's again", () => {
  const { host, read, write } = running();
  write("watchdog/hold_max_s", "30");
  host.ask("settings.commit");
  const before = Number(read("watchdog/hold_max_s"));
  host.ask("settings.delete", { name: "watchdog/hold_max_s" });
  host.ask("settings.commit");
  assert.is(before, 30);
  assert.is(host.ask("wdt.hold", { for_ms: 31_000 }).state, "holding");
  assert.equal(host.ask("settings.delete", { name: "name" }), {}, "none was set");
});

settings("a part of the settings is saved by the name above it", () => {
  const { world, host, read, write } = running();
  write("watchdog/hold_max_s", "30");
  write("name", "unsaved");
  host.ask("settings.save", { name: "watchdog" });
  world.shutDown();
  confirmed(world);
  assert.equal([read("watchdog/hold_max_s"), read("name")], ["30", '"sim"']);
});

settings("a disk that takes nothing is told of when something is to be saved", () => {
  const { world, host, write } = running();
  write("name", "kept");
  world.disk.faults = { readOnly: true };
  const { rc, rsn } = host.ask("settings.save");
  assert.is(rc, 1);
  assert.match(String(rsn), /not saved: the disk is read-only/);
  assert.is(host.ask("card.status").journal, "degraded");
});

settings("saved settings that are damaged are told of, and the settings file holds", () => {
  const { world, host, read, write } = running();
  write("name", "kept");
  host.ask("settings.save");
  write("name", "again");
  host.ask("settings.save");
  for (const name of world.disk.names().filter((one) => one.startsWith("settings."))) {
    const bytes = world.disk.read(name) ?? new Uint8Array();
    world.disk.write(name, bytes.fill(0, 24));
    world.disk.sync(name);
  }
  world.reset("reboot");
  confirmed(world);
  assert.is(read("name"), '"sim"');
  const told = reportsOf(world, "journal:recovered").filter(({ file }) => file === "settings");
  assert.equal(told, [{ file: "settings", outcome: "defaults" }]);
});

settings(
  "a saved value that is out of range by now is left out, told of, and spoils no other",
  () => {
    const disk = new SimDisk(new Random(1));
    const first = new RuntimeSettings(disk, simConfig());
    first.write("name", "kept");
    first.write("watchdog/promise_s", "4");
    first.save();
    const later = simConfig({ watchdog: { promise_s: 60, hardware_min_gap_s: 5 } });
    const second = new RuntimeSettings(disk, later);
    assert.is(second.config.name, "kept");
    assert.is(second.config.runtime.promiseMs, 60_000);
    const told: unknown[] = [];
    second.tell((event) => told.push(event));
    const problem = "watchdog/promise_s is 4; it is at least 10 seconds here";
    assert.equal(told, [{ kind: "card:setting_refused", name: "watchdog/promise_s", problem }]);
    second.tell((event) => told.push(event));
    assert.is(told.length, 1, "once");
  },
);

settings("every value that is out of its range is refused and changes nothing", () => {
  const wrong: readonly (readonly [string, string])[] = [
    ["name", "60"],
    ["name", ""],
    ["name", "x".repeat(33)],
    ["watchdog/promise_s", "0.9"],
    ["watchdog/promise_s", "86401"],
    ["watchdog/promise_s", '"60"'],
    ["watchdog/promise_s", "NaN"],
    ["watchdog/hold_max_s", "0"],
    ["watchdog/hold_max_s", "1e9"],
    ["watchdog/pre_reset_s", "-1"],
    ["watchdog/pre_reset_s", "[1]"],
    ["boot/ready_within_s", "0"],
    ["name", `"${"x".repeat(2000)}"`],
  ];
  const disk = new SimDisk(new Random(1));
  const held = new RuntimeSettings(disk, simConfig());
  for (const [name, value] of wrong) {
    const before = new TextDecoder().decode(held.read(name));
    throwsCode(() => held.write(name, value), "config.invalid");
    assert.is(new TextDecoder().decode(held.read(name)), before, `${name} ${value}`);
  }
});

settings("a power cut in the middle of saving leaves the old values or the new ones", () => {
  for (let operations = 0; operations < 6; operations += 1) {
    const { world, host, read, write } = running();
    write("name", "first");
    host.ask("settings.save");
    write("name", "second");
    world.disk.operationsLeft = operations;
    try {
      host.ask("settings.save");
    } catch {
      // The card died of it.
    }
    world.power(false);
    world.power(true);
    confirmed(world);
    assert.ok(['"first"', '"second"'].includes(read("name")), `${operations} operations`);
  }
});

settings("settings that cannot change are read as they are in effect", () => {
  const { read } = running({ tasks: [{ name: "net", every_s: 2 }] });
  assert.is(read("lab"), "true");
  assert.is(read("watchdog/policy"), '"prefer"');
  assert.is(read("watchdog/hardware_max_s"), "null");
  assert.is(read("tasks"), '["net:2"]');
  assert.is(read("boot/checks"), '["watchdog","tee","journal"]');
});

settings("a reset of the card by its watchdog does not undo what was saved", () => {
  const { world, host, read, write } = running({ tasks: [{ name: "net", every_s: 2 }] });
  write("name", "kept");
  host.ask("settings.save");
  world.hangKernel();
  resetTime(world);
  confirmed(world);
  assert.is(read("name"), '"kept"');
});

settings.run();
