// What a confirmed boot does to each platform's boot controls: pure, on the twin, and on trees of
// files as the drivers make them. Nothing here has seen the hardware.
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Failure } from "../../agent/errors.ts";
import type { AgentEvent } from "../../agent/events.ts";
import { BootControls } from "../../agent/heads/bootcontrols.ts";
import type { BootControl } from "../../agent/io/bootcontrol.ts";
import { findBootControls } from "../../agent/io/bootcontrols.ts";
import { createVariable, efiVariables, readVariable } from "../../agent/io/efivars.ts";
import {
  confirmPlan,
  describeControl,
  packWatchdog,
  unpackWatchdog,
  type Wish,
} from "../../agent/machines/bootcontrol.ts";
import { type ControlFaults, SimBootControl } from "../../agent/sim/bootcontrol.ts";
import { temporaryFolder } from "../children.ts";

const control = suite("bootcontrol");

const off = { mode: "disabled", intervalS: 0 } as const;
const wish: Wish = { boot: "7-0badcafe", nextReset: off };
const guarded: Wish = { ...wish, nextReset: { mode: "standard", intervalS: 180 } };

/** A BlueField as it boots after `mlxbf-bootctl --watchdog-swap 90`. */
const swapPending = {
  post_reset_wdog: "90",
  reset_action: "emmc",
  second_reset_action: "swap_emmc",
  os_up: "",
};

function tell(controls: readonly BootControl[]): { told: AgentEvent[]; head: BootControls } {
  const told: AgentEvent[] = [];
  return { told, head: new BootControls(controls, (event) => told.push(event)) };
}

control("A1-15 BlueField: the pending swap and its watchdog are cleared exactly once", () => {
  const card = new SimBootControl("bluefield", swapPending);
  const { head, told } = tell([card]);
  assert.ok(head.confirm(wish));
  assert.equal(card.writes, ["second_reset_action=none", "post_reset_wdog=0", "os_up=1"]);
  assert.equal(
    told.map((event) => ("was" in event ? [event.attribute, event.was, event.value] : event)),
    [
      ["second_reset_action", "swap_emmc", "none"],
      ["post_reset_wdog", "90", "0"],
      ["os_up", "", "1"],
    ],
  );
  assert.equal(confirmPlan("bluefield", { ...card.read(), os_up: "" }, wish).length, 1);
});

control("A1-15 cut after any write, the next boot does not swap", () => {
  const plan = confirmPlan("bluefield", swapPending, wish);
  for (let taken = 1; taken <= plan.length; taken += 1) {
    const card = new SimBootControl("bluefield", swapPending);
    for (const { attribute, value } of plan.slice(0, taken)) card.write(attribute, value);
    assert.is(card.read().second_reset_action, "none", `${taken} writes`);
  }
});

control("other reset actions are somebody's choice and stay", () => {
  const found = { ...swapPending, second_reset_action: "external", post_reset_wdog: "0" };
  assert.equal(
    confirmPlan("bluefield", found, wish).map(({ attribute }) => attribute),
    ["os_up"],
  );
  const { os_up: _none, ...older } = found;
  assert.equal(confirmPlan("bluefield", older, wish), []);
});

control("post_reset_wdog packs interval and mode", () => {
  assert.is(packWatchdog({ mode: "standard", intervalS: 180 }), 0x1_00b4);
  assert.is(packWatchdog({ mode: "time_limit", intervalS: 4095 }), 0x2_0fff);
  assert.is(packWatchdog({ mode: "disabled", intervalS: 180 }), 0);
  for (const mode of ["standard", "time_limit"] as const) {
    const next = { mode, intervalS: 45 };
    assert.equal(unpackWatchdog(packWatchdog(next)), next);
  }
  assert.equal(unpackWatchdog(0), off);
});

const misbehaviour: readonly (readonly [ControlFaults, RegExp])[] = [
  [{ ignoresMode: true }, /65716 was written to post_reset_wdog, and post_reset_wdog reads 180/],
  [{ ignores: true }, /none was written to second_reset_action.*reads swap_emmc/],
  [{ refuses: true }, /second_reset_action: none was refused: EIO/],
];

control("firmware that ignores the mode, everything, or refuses is told of, once", () => {
  for (const [faults, problem] of misbehaviour) {
    const card = new SimBootControl("bluefield", swapPending);
    card.faults = faults;
    const { head, told } = tell([card]);
    assert.not.ok(head.confirm(guarded));
    assert.not.ok(head.confirm(guarded));
    const refused = told.filter(({ kind }) => kind === "boot:control_refused");
    assert.is(refused.length, 1);
    assert.match(JSON.stringify(refused[0]), problem);
    assert.not.ok(card.writes.includes("os_up=1"), "a boot that is not confirmed is not up");
  }
});

control("a control that fails does not keep the others from being set", () => {
  const broken = new SimBootControl("pensando", { running: "1", success: "" });
  broken.faults = { refuses: true };
  const counter = new SimBootControl("uboot", { bootcount: "2" });
  assert.not.ok(tell([broken, counter]).head.confirm(wish));
  assert.equal(counter.writes, ["bootcount=0"]);
});

// Trees of files ---------------------------------------------------------------------------------

class Tree {
  readonly sys = temporaryFolder();

  write(path: string, text: string | Uint8Array, mode = 0o644): void {
    mkdirSync(dirname(join(this.sys, path)), { recursive: true });
    writeFileSync(join(this.sys, path), text);
    chmodSync(join(this.sys, path), mode);
  }

  read(path: string): string {
    return readFileSync(join(this.sys, path), "utf8");
  }

  variable(name: string, data: string): void {
    const path = `firmware/efi/efivars/${name}-${efiVariables.vendor}`;
    this.write(path, Buffer.concat([Buffer.from([7, 0, 0, 0]), Buffer.from(data)]));
  }
}

control("nothing is found where there is nothing", () => {
  assert.equal(findBootControls(temporaryFolder()), []);
});

control("A1-15 BlueField, both places its driver has had", () => {
  for (const folder of ["MLNXBF04:00", "MLNXBF04:00/driver"]) {
    const tree = new Tree();
    for (const [name, text] of Object.entries(swapPending)) {
      tree.write(`bus/platform/devices/${folder}/${name}`, `${text}\n`);
    }
    const [card, ...others] = findBootControls(tree.sys);
    assert.is(others.length, 0);
    assert.is(card?.kind, "bluefield");
    assert.ok(tell([card as BootControl]).head.confirm(wish));
    assert.is(tree.read(`bus/platform/devices/${folder}/second_reset_action`), "none\n");
    assert.is(tree.read(`bus/platform/devices/${folder}/post_reset_wdog`), "0\n");
    assert.is(tree.read(`bus/platform/devices/${folder}/os_up`), "1\n");
  }
});

control("A1-15 Pensando: success is written while the boot state machine runs", () => {
  const tree = new Tree();
  const bsm = "firmware/pensando/bsm";
  const states = { wdt: "1", fwid: "0", attempt: "1", track: "0", stage: "0", running: "0x1" };
  for (const [name, text] of Object.entries(states)) tree.write(`${bsm}/${name}`, `${text}\n`);
  tree.write(`${bsm}/success`, "", 0o200);
  const [card] = findBootControls(tree.sys);
  assert.ok(card !== undefined);
  const { head, told } = tell([card]);
  // The files do not clear `running` as the driver does: that must be noticed.
  assert.not.ok(head.confirm(wish));
  assert.match(JSON.stringify(told), /1 was written to success, and running reads 0x1/);
  assert.is(tree.read(`${bsm}/success`), "1\n");
  tree.write(`${bsm}/running`, "0x0\n");
  assert.ok(head.confirm(wish));
});

control("A1-15 U-Boot: the counter is found on each kind of device", () => {
  const places = [
    "class/misc/bootcount",
    "bus/platform/devices/44e3e000.bootcount",
    "bus/i2c/devices/0-0008",
  ];
  for (const place of places) {
    const tree = new Tree();
    tree.write(`${place}/bootcount`, "2\n");
    const [card] = findBootControls(tree.sys);
    assert.is(card?.kind, "uboot");
    assert.ok(tell([card as BootControl]).head.confirm(wish));
    assert.is(tree.read(`${place}/bootcount`), "0\n");
  }
});

control("an attribute that the kernel refuses is a failure that names it", () => {
  const tree = new Tree();
  mkdirSync(join(tree.sys, "class/misc"), { recursive: true });
  // A folder in the place of the attribute refuses even root.
  mkdirSync(join(tree.sys, "class/misc/x/bootcount"), { recursive: true });
  const [card] = findBootControls(tree.sys);
  try {
    card?.write("bootcount", "0");
    assert.unreachable();
  } catch (error) {
    assert.instance(error, Failure);
    assert.is((error as Failure).code, "boot.control");
    assert.match((error as Failure).message, /bootcount: 0 was refused: EISDIR/);
  }
});

control("A1-15 UEFI: a new variable with this boot's id, and never a second one", () => {
  const tree = new Tree();
  tree.variable(efiVariables.boot, "state");
  const [card] = findBootControls(tree.sys);
  assert.is(card?.kind, "uefi");
  const { head, told } = tell([card as BootControl]);
  assert.ok(head.confirm(wish));
  const folder = join(tree.sys, "firmware/efi/efivars");
  const path = join(folder, `${efiVariables.confirm}-${efiVariables.vendor}`);
  assert.equal([...readFileSync(path)].slice(0, 4), [7, 0, 0, 0]);
  assert.is(Buffer.from(readVariable(efiVariables.confirm, folder) ?? []).toString(), wish.boot);
  assert.ok(head.confirm(wish), "the same boot is confirmed already");
  assert.is(told.length, 1);
  assert.not.ok(head.confirm({ ...wish, boot: "8-0badcafe" }));
  assert.match(JSON.stringify(told[1]), /earlier boot that no loader of ours took in/);
});

control("A1-14 UEFI: a commanded reset is noted once, and nowhere else", () => {
  const tree = new Tree();
  tree.variable(efiVariables.boot, "state");
  tree.write("class/misc/bootcount/bootcount", "2\n");
  const { head, told } = tell(findBootControls(tree.sys));
  head.closing();
  head.closing();
  const folder = join(tree.sys, "firmware/efi/efivars");
  assert.is(Buffer.from(readVariable(efiVariables.closing, folder) ?? []).toString(), "commanded");
  assert.is(told.length, 1);
  assert.is(tree.read("class/misc/bootcount/bootcount"), "2\n");
});

control("a variable of another length is not ours", () => {
  const folder = temporaryFolder();
  const path = join(folder, `${efiVariables.boot}-${efiVariables.vendor}`);
  writeFileSync(path, "abc");
  assert.is(readVariable(efiVariables.boot, folder), null);
  writeFileSync(path, new Uint8Array(8193));
  assert.is(readVariable(efiVariables.boot, folder), null);
  assert.throws(
    () => createVariable("X", new Uint8Array(1), join(folder, "absent")),
    /not mounted/,
  );
});

control("for people", () => {
  assert.is(
    describeControl("bluefield", swapPending),
    "watchdog after reset standard 90 s, second reset swap_emmc",
  );
  assert.is(describeControl("uboot", { bootcount: "3" }), "bootcount 3");
});

control("a link of a class is followed", () => {
  const tree = new Tree();
  tree.write("devices/x/bootcount", "1\n");
  mkdirSync(join(tree.sys, "class/misc"), { recursive: true });
  symlinkSync(join(tree.sys, "devices/x"), join(tree.sys, "class/misc/bootcount"));
  assert.is(findBootControls(tree.sys).length, 1);
});

control.run();
