// The early-userspace hook under every shell that an initramfs may have, in a scratch root.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HookRoot, hookFolder, pci, shells } from "../boothook.ts";

const hook = suite("boot hook");

const scripts = [
  "boot-hook.sh",
  "initramfs-tools/hooks/kennel",
  "initramfs-tools/scripts/init-top/kennel",
  "dracut/90kennel/kennel.sh",
];

hook("every shell can read every script", () => {
  assert.ok(shells.length >= 2, "busybox and another shell are here");
  for (const [program = "", ...args] of shells) {
    for (const script of scripts) {
      const { stderr } = spawnSync(program, [...args, "-n", join(hookFolder, script)]);
      assert.is(String(stderr), "", `${program} ${script}`);
    }
  }
});

hook("the service is restarted for ever, watched, and leaves its device behind", () => {
  const unit = readFileSync(join(hookFolder, "kennel.service"), "utf8");
  for (const line of ["Type=notify", "Restart=always", "StartLimitIntervalSec=0"]) {
    assert.match(unit, `\n${line}\n`);
  }
  assert.match(unit, /\nWatchdogSec=\d+\n/);
  assert.match(unit, /\nFileDescriptorStoreMax=[1-9]\n/);
  // Neither of these may end the guard: a stop is not a reason to disarm.
  assert.not.match(unit, /allow-disarm|RuntimeWatchdogSec|StartLimitAction|FailureAction/);
});

hook("the magic character is written by nobody", () => {
  const text = readFileSync(join(hookFolder, "boot-hook.sh"), "utf8");
  const code = text.replaceAll(/^\s*#.*$/gm, "");
  assert.not.match(code, /['"\s]V['"\s]|printf.*>&9|echo.*>&9/);
});

/** Ends the holder that a hook left; its end is what hands the device over. */
function letGo(holder: number): void {
  process.kill(holder, "SIGTERM");
}

for (const shell of shells) {
  const under = `under ${shell[0]}`;

  hook(`A1-16 an unlocked i6300ESB is opened in the step that loads it, ${under}`, () => {
    const root = new HookRoot();
    root.addPci(pci.i6300esb, 2);
    root.modprobe(`[ "$1" = i6300esb ] || exit 0\n${root.registers}`);
    const { status, record } = root.run(shell);
    assert.is(status, 0);
    assert.is(record.get("method"), "hold");
    assert.is(record.get("device"), "/dev/watchdog0");
    assert.is(record.get("began"), "1.25");
    assert.is(record.get("opened"), "1.31");
    assert.is(record.get("before"), "no");
    assert.not.ok(record.has("left"), "this driver tells no time left");
    assert.not.ok(record.has("problem"), record.get("problem"));
    const holder = Number(record.get("holder"));
    assert.is(root.descriptor(holder, 9), "/dev/null", "the holder has the device open");
    assert.match(root.read("log"), /^i6300esb heartbeat=60$/m);
    letGo(holder);
  });

  hook(`an i6300ESB that firmware locked needs a deadline and nobody to hold it, ${under}`, () => {
    for (const lock of [3, 7]) {
      const root = new HookRoot();
      root.addPci(pci.i6300esb, lock);
      root.write("etc/kennel/boot.conf", "# ours\nadopt_within=25\n");
      root.modprobe(`[ "$1" = i6300esb ] || exit 0\n${root.registers}`);
      const { record } = root.run(shell);
      assert.is(record.get("method"), "lock");
      assert.not.ok(record.has("holder"));
      assert.match(root.read("log"), /^i6300esb heartbeat=25$/m);
    }
  });

  hook(`a lock that boot.conf counts on and is not set: the device is held, ${under}`, () => {
    const root = new HookRoot();
    root.addPci(pci.i6300esb, 2);
    root.write("etc/kennel/boot.conf", "method=lock\n");
    root.modprobe(`[ "$1" = i6300esb ] || exit 0\n${root.registers}`);
    const { record } = root.run(shell);
    assert.is(record.get("method"), "hold");
    assert.match(record.get("problem") ?? "", /not locked/);
    letGo(Number(record.get("holder")));
  });

  hook(`A1-17 a TCO gets its open_timeout before its driver registers, ${under}`, () => {
    const root = new HookRoot();
    root.addPci(pci.lpc);
    const parameter = '"$ROOT/sys/module/watchdog/parameters/open_timeout"';
    root.modprobe(
      `case $1 in\nwatchdog) mkdir -p "$ROOT/sys/module/watchdog/parameters"\n` +
        `echo "\${2#open_timeout=}" >${parameter} ;;\n` +
        `iTCO_wdt) cat ${parameter} >>"$ROOT/log"\n${root.registers}\n` +
        'echo 17 >"$ROOT/sys/class/watchdog/watchdog0/timeleft" ;;\nesac',
    );
    const { record } = root.run(shell);
    assert.is(record.get("method"), "open_timeout");
    assert.is(record.get("left"), "17");
    const log = root.read("log").trim().split("\n");
    assert.is(log[0], "watchdog open_timeout=60");
    assert.equal(log.slice(-2), ["iTCO_wdt heartbeat=60", "60"]);
  });

  hook(`a core that is built in gets it through its parameter, ${under}`, () => {
    const root = new HookRoot();
    root.addPci(pci.lpc);
    root.write("sys/module/watchdog/parameters/open_timeout", "0\n");
    root.modprobe(`[ "$1" = iTCO_wdt ] || exit 0\n${root.registers}`);
    const { record } = root.run(shell);
    assert.is(record.get("method"), "open_timeout");
    assert.is(root.read("sys/module/watchdog/parameters/open_timeout"), "60\n");
  });

  hook(`where the core cannot be told, the device is held instead, ${under}`, () => {
    const root = new HookRoot();
    root.addPci(pci.lpc);
    root.write("etc/kennel/boot.conf", "method=leave\n");
    root.write("sys/module/watchdog/parameters/handle_boot_enabled", "Y\n");
    root.modprobe(`[ "$1" = iTCO_wdt ] || exit 0\n${root.registers}`);
    const { record } = root.run(shell);
    assert.is(record.get("method"), "hold");
    assert.match(record.get("problem") ?? "", /handle_boot_enabled/);
    letGo(Number(record.get("holder")));
  });

  hook(`A1-09 no watchdog: prefer boots on and says so, require stops, ${under}`, () => {
    const root = new HookRoot();
    const preferred = root.run(shell);
    assert.is(preferred.status, 0);
    assert.match(preferred.record.get("problem") ?? "", /no watchdog was found/);
    root.write("etc/kennel/boot.conf", "policy=require");
    assert.is(root.run(shell).status, 3);
  });

  hook(`damaged settings are noted, never run, and cost no protection, ${under}`, () => {
    const root = new HookRoot();
    root.addPci(pci.i6300esb);
    root.modprobe(`[ "$1" = i6300esb ] || exit 0\n${root.registers}`);
    root.write(
      "etc/kennel/boot.conf",
      'driver=$(touch "$KENNEL_ROOT/hit")\nmethod=no\nadopt_within=0\n' +
        "x=`id`\ny=1\n\0\u{1}=\u{7f}\n",
    );
    const { status, record } = root.run(shell);
    assert.is(status, 0);
    assert.is(record.get("method"), "hold");
    assert.match(record.get("problem") ?? "", /no word.*no method no.*1 to 9999.*no setting y/);
    assert.throws(() => root.read("hit"));
    letGo(Number(record.get("holder")));
  });

  hook(`an initramfs without modprobe loads from a folder, ${under}`, () => {
    const root = new HookRoot();
    root.addPci(pci.i6300esb);
    root.write("etc/kennel/boot.conf", "insmod_from=/modules\n");
    root.write("modules/03-i6300esb.ko", "");
    root.write("bin/insmod", `#!/bin/sh\nROOT=${root.root}\necho "$*" >>"$ROOT/log"\n`);
    spawnSync("chmod", ["755", root.at("bin/insmod")]);
    spawnSync("sh", ["-c", `cat >>${root.at("bin/insmod")}`], { input: root.registers });
    const { record } = root.run(shell);
    assert.is(record.get("method"), "hold");
    assert.match(root.read("log"), /\/modules\/03-i6300esb\.ko heartbeat=60$/m);
    letGo(Number(record.get("holder")));
  });
}

hook("under systemd the holder's first argument begins with @, or switch_root would end it", () => {
  const root = new HookRoot();
  root.addPci(pci.i6300esb);
  root.modprobe(`[ "$1" = i6300esb ] || exit 0\n${root.registers}`);
  root.write("run/systemd/system/x", "");
  const { record } = root.run(["dash"]);
  const holder = Number(record.get("holder"));
  const first = (): string | undefined => readFileSync(`/proc/${holder}/cmdline`, "utf8")[0];
  // It becomes the holder just after the hook has ended.
  for (let tries = 0; first() !== "@" && tries < 100; tries += 1) spawnSync("sleep", ["0.02"]);
  assert.is(first(), "@");
  letGo(holder);
});

hook.run();
