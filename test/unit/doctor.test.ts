// Who else wants the watchdog: found by /proc and by configuration, with what to do about it.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readDoctorFacts } from "../../agent/io/doctor.ts";
import { examine, managerSetting } from "../../agent/machines/doctor.ts";
import { i6300esb, Machine } from "../machine.ts";

const doctor = suite("doctor");

const own = 900;
const active = { ...i6300esb, state: "active" };

/** A card with systemd, an i6300ESB and our hook, on which all is well. */
function wellCard(): Machine {
  const machine = new Machine();
  machine.add("watchdog0", "pci0000:00/x", i6300esb);
  machine.write("proc/1/comm", "systemd");
  machine.write("proc/cmdline", "console=ttyS0 root=/dev/vda1");
  machine.write("run/kennel/boot-hook", "version=1");
  machine.write("sys/module/watchdog/parameters/open_timeout", "60");
  machine.write("sys/module/watchdog/parameters/stop_on_reboot", "0");
  machine.write("etc/systemd/system.conf", "[Manager]\n#RuntimeWatchdogSec=30\n");
  return machine;
}

/** What is wrong, by name. */
function wrong(machine: Machine): Record<string, { found: string; next: string }> {
  const [watchdog] = machine.find();
  const findings = examine(readDoctorFacts(watchdog?.facts() ?? null, machine.root), own);
  for (const { ok, next } of findings) assert.is(ok, next === "", "what is wrong has a next step");
  return Object.fromEntries(
    findings.filter(({ ok }) => !ok).map(({ name, found, next }) => [name, { found, next }]),
  );
}

doctor("a card on which all is well", () => {
  assert.equal(wrong(wellCard()), {});
});

doctor("B10-02 a process that runs: each competitor by its name, the kernel's thread not", () => {
  const rows: readonly (readonly [comm: string, command: string, isFound: boolean])[] = [
    ["watchdog", "/usr/sbin/watchdog", true],
    ["wd_keepalive", "/usr/sbin/wd_keepalive", true],
    ["watchdogd", "watchdogd\0-T\0 60", true],
    ["watchdog-mux", "/usr/sbin/watchdog-mux", true],
    ["busybox", "/bin/busybox\0watchdog\0-t\0 5\0/dev/watchdog", true],
    ["watchdogd", "", false],
    ["busybox", "/bin/busybox\0sh", false],
    ["my-watchdog-ui", "/opt/my-watchdog-ui", false],
  ];
  for (const [comm, command, isFound] of rows) {
    const machine = wellCard();
    machine.write("proc/77/comm", comm);
    machine.write("proc/77/cmdline", command);
    const { competing_process } = wrong(machine);
    assert.is(competing_process !== undefined, isFound, command);
    if (isFound) assert.match(competing_process?.found ?? "", `${comm} (pid 77)`);
  }
});

doctor("B10-02 a holder is named with its process, our own agent is none", () => {
  const machine = new Machine();
  const path = machine.add("watchdog0", "pci0000:00/x", active);
  machine.write("proc/1/comm", "systemd");
  machine.hold(42, "watchdogd", path);
  const { holder } = wrong(machine);
  assert.match(holder?.found ?? "", "is held by watchdogd (pid 42)");
  assert.match(holder?.next ?? "", "systemctl disable --now watchdogd");
  const ours = new Machine();
  ours.hold(own, "kenneld", ours.add("watchdog0", "pci0000:00/x", active));
  assert.is(wrong(ours).holder, undefined);
  const first = new Machine();
  first.hold(1, "systemd", first.add("watchdog0", "pci0000:00/x", active));
  assert.match(wrong(first).holder?.next ?? "", "RuntimeWatchdogSec=off");
  assert.match(wrong(new Machine()).holder?.found ?? "", "no watchdog device");
});

doctor("systemd's own watchdog: the last setting that counts, over main file and drop-ins", () => {
  const rows: readonly (readonly [files: Record<string, string>, isFound: boolean])[] = [
    [{ "etc/systemd/system.conf": "[Manager]\nRuntimeWatchdogSec=30" }, true],
    [{ "usr/lib/systemd/system.conf.d/10-wd.conf": "[Manager]\n RuntimeWatchdogSec = 1min" }, true],
    [
      {
        "usr/lib/systemd/system.conf.d/10-wd.conf": "[Manager]\nRuntimeWatchdogSec=30",
        "etc/systemd/system.conf.d/10-wd.conf": "",
      },
      false,
    ],
    [
      {
        "usr/lib/systemd/system.conf.d/10-wd.conf": "[Manager]\nRuntimeWatchdogSec=30",
        "etc/systemd/system.conf.d/90-kennel.conf": "[Manager]\nRuntimeWatchdogSec=off",
      },
      false,
    ],
    [{ "etc/systemd/system.conf": "[Manager]\nRuntimeWatchdogSec=30\nRuntimeWatchdogSec=" }, false],
    [{ "etc/systemd/system.conf": "[Other]\nRuntimeWatchdogSec=30" }, false],
    [{ "etc/systemd/system.conf": "[Manager]\nRuntimeWatchdogSec=default" }, true],
    [{ "proc/cmdline": "quiet systemd.watchdog_sec=20" }, true],
    [
      { "proc/1/comm": "init", "etc/systemd/system.conf": "[Manager]\nRuntimeWatchdogSec=9" },
      false,
    ],
  ];
  for (const [files, isFound] of rows) {
    const machine = wellCard();
    for (const [path, text] of Object.entries(files)) machine.write(path, text);
    const { systemd_watchdog } = wrong(machine);
    assert.is(systemd_watchdog !== undefined, isFound, JSON.stringify(files));
  }
  assert.is(managerSetting([], "RuntimeWatchdogSec"), null);
});

doctor("enabled units, daemons' files and scripts that start busybox' watchdog", () => {
  const unit = wellCard();
  unit.write("etc/systemd/system/multi-user.target.wants/watchdog.service", "");
  unit.write("etc/systemd/system/multi-user.target.wants/ssh.service", "");
  assert.match(wrong(unit).competing_unit?.next ?? "", "disable --now watchdog.service");
  const rows: readonly (readonly [path: string, text: string, isFound: boolean])[] = [
    ["etc/watchdog.conf", "watchdog-device = /dev/watchdog", true],
    ["etc/watchdog.conf", "#watchdog-device = /dev/watchdog\nlog-dir = /var/log", false],
    ["etc/watchdogd.conf", "device /dev/watchdog {\n timeout = 20\n}", true],
    ["etc/inittab", "::respawn:/sbin/watchdog -F -t 5 /dev/watchdog0", true],
    ["etc/init.d/S15watchdog", "watchdog -t 5 /dev/watchdog", true],
    ["etc/init.d/rcS", "# watchdog /dev/watchdog\nmount -a", false],
  ];
  for (const [path, text, isFound] of rows) {
    const machine = wellCard();
    machine.write(path, text);
    assert.is(wrong(machine).competing_setting !== undefined, isFound, `${path}: ${text}`);
  }
});

doctor("A1-17 what the kernel does to a countdown, and whether the hook ran", () => {
  const machine = wellCard();
  machine.write("sys/module/watchdog/parameters/open_timeout", "0");
  machine.write("sys/module/watchdog/parameters/stop_on_reboot", "-1");
  assert.equal(Object.keys(wrong(machine)), ["open_timeout", "stop_on_reboot"]);
  machine.write("sys/module/watchdog/parameters/handle_boot_enabled", "N");
  assert.equal(Object.keys(wrong(machine)), ["stop_on_reboot"]);
  const bare = new Machine();
  bare.add("watchdog0", "pci0000:00/x", i6300esb);
  assert.match(wrong(bare).boot_hook?.next ?? "", "rebuild the initramfs");
});

doctor.run();
