/**
 * Who else wants this card's watchdog, and what the card's settings do to it: findings with what
 * to do about each. Pure: texts of configuration and names of processes in, findings out.
 */
import type { ConfigText, DoctorFacts } from "../io/system.ts";

/** A system on which nobody else wants the watchdog. */
export const plainSystem: DoctorFacts = {
  systemd: [],
  init: "init",
  enabledUnits: [],
  daemons: [],
  scripts: [],
  processes: [],
  kernelCommandLine: "",
  hasHook: true,
  watchdog: null,
};

export interface Finding {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, with the place. */
  readonly found: string;
  /** What to do about it; empty when it is well. */
  readonly next: string;
}

/** Programs that keep a watchdog for themselves, by the name of their process. */
const competitors = ["watchdog", "wd_keepalive", "watchdogd", "watchdog-mux"] as const;
const competingUnits = [
  "watchdog.service",
  "wd_keepalive.service",
  "watchdogd.service",
  "watchdog-mux.service",
] as const;

/** Kernel threads have no command line: the kernel's own `watchdogd` is no competitor. */
function competes({ name, command }: DoctorFacts["processes"][number]): boolean {
  if (command === "") return false;
  const words = command.split(/[\s\0]+/);
  const isBusybox = /(^|\/)busybox$/.test(words[0] ?? "") && words[1] === "watchdog";
  return isBusybox || competitors.some((known) => known === name);
}

function well(name: string, found: string): Finding {
  return { name, ok: true, found, next: "" };
}

/** Everything that was looked at, in a fixed order; `own`: the agent's own process. */
export function examine(facts: DoctorFacts, own: number): Finding[] {
  return [
    holder(facts, own),
    running(facts, own),
    systemdOwner(facts),
    units(facts),
    daemons(facts),
    openTimeout(facts),
    stopOnReboot(facts),
    earlyUserspace(facts),
  ];
}

function holder({ watchdog, init }: DoctorFacts, own: number): Finding {
  const name = "holder";
  if (watchdog === null) {
    const next = "load the driver of the card's watchdog, or ask for one with --device";
    return { name, ok: false, found: "no watchdog device", next };
  }
  const { holder: who, path } = watchdog;
  if (who === null || who.pid === own) {
    return well(name, `${path}: ${who === null ? "nobody" : "this agent"}`);
  }
  const next =
    who.pid === 1 && init === "systemd"
      ? "set RuntimeWatchdogSec=off in /etc/systemd/system.conf.d/kennel.conf and reboot"
      : `stop and disable ${who.name}: systemctl disable --now ${who.name}`;
  return { name, ok: false, found: `${path} is held by ${who.name} (pid ${who.pid})`, next };
}

function running({ processes }: DoctorFacts, own: number): Finding {
  const name = "competing_process";
  const found = processes.filter((one) => one.pid !== own && competes(one));
  if (found.length === 0) return well(name, "none");
  const [first] = found;
  const list = found.map(({ pid, name: title }) => `${title} (pid ${pid})`).join(", ");
  const unit = first?.name === "busybox" ? "the script that starts busybox watchdog" : first?.name;
  const next = `stop it and keep it from starting: systemctl disable --now ${unit}`;
  return {
    name,
    ok: false,
    found: list,
    next: first?.name === "busybox" ? `remove ${unit}` : next,
  };
}

/** The value that counts of `key` in section [Manager]: the last one. */
export function managerSetting(
  files: readonly ConfigText[],
  key: string,
): { value: string; path: string } | null {
  let last: { value: string; path: string } | null = null;
  for (const { path, text } of files) {
    let section = "";
    for (const line of text.split("\n").map((raw) => raw.trim())) {
      const header = /^\[(.+)\]$/.exec(line);
      if (header !== null) section = header[1] ?? "";
      const [left = "", ...right] = line.split("=");
      if (section !== "Manager" || left.trim() !== key) continue;
      // An empty value is a return to the default.
      const value = right.join("=").trim();
      last = value === "" ? null : { value, path };
    }
  }
  return last;
}

/** systemd's words for "no watchdog"; `default` leaves the timeout and takes the device. */
const offWords = ["off", "0", "0s", "0sec", "false", "no"];

function systemdOwner({ systemd, init, kernelCommandLine }: DoctorFacts): Finding {
  const name = "systemd_watchdog";
  if (init !== "systemd") return well(name, `init is ${init}`);
  const asked = /(?:^|\s)systemd\.watchdog_sec=(\S+)/.exec(kernelCommandLine)?.[1];
  const setting = managerSetting(systemd, "RuntimeWatchdogSec");
  const value = asked ?? setting?.value ?? "off";
  if (offWords.includes(value.toLowerCase())) return well(name, "RuntimeWatchdogSec is off");
  const where = asked === undefined ? setting?.path : "the kernel's command line";
  return {
    name,
    ok: false,
    found: `RuntimeWatchdogSec=${value} in ${where}: PID 1 refreshes whatever happens to the rest`,
    next:
      asked === undefined
        ? "set RuntimeWatchdogSec=off in /etc/systemd/system.conf.d/kennel.conf and reboot"
        : "remove systemd.watchdog_sec from the kernel's command line",
  };
}

function units({ enabledUnits }: DoctorFacts): Finding {
  const name = "competing_unit";
  const found = competingUnits.filter((unit) => enabledUnits.includes(unit));
  if (found.length === 0) return well(name, "none");
  const list = found.join(" ");
  return { name, ok: false, found: `enabled: ${list}`, next: `systemctl disable --now ${list}` };
}

/** A daemon's file that names a device; or a script that starts busybox' watchdog on one. */
function daemons({ daemons: files, scripts }: DoctorFacts): Finding {
  const name = "competing_setting";
  for (const { path, text } of files) {
    const line = linesOf(text).find((candidate) => /^(watchdog-device|device)\b/.test(candidate));
    if (line === undefined) continue;
    const next = `remove the line, or the daemon that reads ${path}`;
    return { name, ok: false, found: `${path}: ${line}`, next };
  }
  for (const { path, text } of scripts) {
    const line = linesOf(text).find((candidate) => /\bwatchdog\b.*\/dev\/watchdog/.test(candidate));
    if (line === undefined) continue;
    return { name, ok: false, found: `${path}: ${line}`, next: `remove the line from ${path}` };
  }
  return well(name, "none");
}

function linesOf(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "" && !line.startsWith("#"));
}

function openTimeout({ watchdog }: DoctorFacts): Finding {
  const name = "open_timeout";
  const { openTimeoutS = null, handleBootEnabled = null } = watchdog ?? {};
  if (openTimeoutS === null) return well(name, "not shown by this kernel");
  if (openTimeoutS > 0) return well(name, `${openTimeoutS} s`);
  if (handleBootEnabled === false) return well(name, "0, and the kernel refreshes nothing");
  return {
    name,
    ok: false,
    found: "0: the kernel refreshes for ever for an agent that never comes",
    next: "install the boot hook, or add watchdog.open_timeout=60 to the kernel's command line",
  };
}

function stopOnReboot({ watchdog }: DoctorFacts): Finding {
  const name = "stop_on_reboot";
  const stops = watchdog?.stopOnReboot ?? null;
  if (stops === null) return well(name, "not shown by this kernel");
  if (stops === "no") return well(name, "no");
  return {
    name,
    ok: false,
    found: stops === "yes" ? "yes: a reboot that hangs is not ended" : "as the driver has it",
    next: "add watchdog.stop_on_reboot=0 to the kernel's command line",
  };
}

function earlyUserspace({ hasHook }: DoctorFacts): Finding {
  const name = "boot_hook";
  if (hasHook) return well(name, "ran in this boot");
  return {
    name,
    ok: false,
    found: "did not run in this boot: the way to the agent may have a gap",
    next: "install boot/linux for initramfs-tools or dracut and rebuild the initramfs",
  };
}
