import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import type { WatchdogFacts } from "./watchdog.ts";

/** Where the kernel's trees are mounted; a test gives its own. */
export interface Roots {
  readonly sys: string;
  readonly dev: string;
  readonly proc: string;
}

export const realRoots: Roots = { sys: "/sys", dev: "/dev", proc: "/proc" };

/** Parameters of a driver's module that are read; real ones have up to six. */
const driverSettingsMax = 16;
/** watchdog_info.identity holds 32 bytes. */
const identityMax = 32;
/** The identity of drivers/watchdog/softdog.c. */
const softwareIdentity = "Software Watchdog";

/** The file's text without surrounding blanks, or null when it cannot be read. */
function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}

/** A whole number as the kernel prints it, decimal or 0x hexadecimal; null for anything else. */
function readNumber(path: string): number | null {
  const text = readText(path);
  if (text === null || !/^(\d{1,15}|0x[\da-f]{1,8})$/i.test(text)) return null;
  return Number(text);
}

/** A bool as module parameters show it. */
function readSwitch(path: string): boolean | null {
  const text = readText(path);
  if (text === "Y" || text === "1") return true;
  return text === "N" || text === "0" ? false : null;
}

/** The watchdog core's module parameter: 1, 0, or -1 for what each driver asks for. */
function readStopOnReboot(path: string): WatchdogFacts["stopOnReboot"] {
  const words = { "1": "yes", "0": "no", "-1": "driver" } as const;
  return words[(readText(path) ?? "") as keyof typeof words] ?? null;
}

/**
 * Drivers that name no device of theirs (`parent` of struct watchdog_device) have no link to their
 * module; by the identity that their source gives them. Seen: Linux 6.1's i6300esb and softdog.
 */
const modulesByIdentity: Readonly<Record<string, string>> = {
  "i6300ESB timer": "i6300esb",
  "Software Watchdog": "softdog",
  "SBSA Generic Watchdog": "sbsa_gwdt",
  "imx2+ watchdog": "imx2_wdt",
};

function moduleOf(folder: string, identity: string, roots: Roots): string | null {
  const link = readLink(join(folder, "device", "driver", "module"));
  if (link !== null) return printable(basename(link));
  const name = Object.hasOwn(modulesByIdentity, identity) ? modulesByIdentity[identity] : undefined;
  if (name === undefined) return null;
  return existsSync(join(roots.sys, "module", name)) ? name : null;
}

/** The module behind a class entry and its parameters; null and none for a built-in or old one. */
function readDriver(
  folder: string,
  identity: string,
  roots: Roots,
): Pick<WatchdogFacts, "driver" | "driverSettings"> {
  const driver = moduleOf(folder, identity, roots);
  if (driver === null) return { driver, driverSettings: {} };
  const parameters = join(roots.sys, "module", driver, "parameters");
  const names = listFolder(parameters).sort().slice(0, driverSettingsMax);
  const read = (name: string): [string, string] => {
    return [printable(name), printable(readText(join(parameters, name)) ?? "")];
  };
  return { driver, driverSettings: Object.fromEntries(names.map(read)) };
}

/** Seconds in the file, as milliseconds. */
function readSecondsMs(path: string): number | null {
  const seconds = readNumber(path);
  return seconds === null ? null : seconds * 1000;
}

/** A limit; drivers that state none show 0. */
function readLimitMs(path: string): number | null {
  return readSecondsMs(path) || null;
}

/** `watchdog0` for /dev/watchdog0, for its alias /dev/watchdog and for links to either. */
export function kernelName(path: string): string {
  let name = basename(path);
  try {
    name = basename(realpathSync(path));
  } catch {
    // A node that is absent keeps the name it would have.
  }
  return name === "watchdog" ? "watchdog0" : name;
}

/** Number of the misc device /dev/watchdog (10:130), which is watchdog0 by another name. */
const miscDevice = 0xa82;

/** Whether two device numbers, the one of `path` and another, are one watchdog. */
export function isSameDevice(expected: number, found: number, path: string): boolean {
  if (expected === found) return true;
  if (kernelName(path) !== "watchdog0") return false;
  return found === miscDevice || (expected === miscDevice && (found & 0xff) === 0);
}

/**
 * The process that has `path`, or another name of the same watchdog, open; null when none is found,
 * which is also the answer when /proc hides other users' processes. Source: /proc/PID/fd.
 */
export function findHolder(path: string, roots: Roots): { pid: number; name: string } | null {
  const kernel = kernelName(path);
  const names = new Set([path, join(roots.dev, kernel)]);
  if (kernel === "watchdog0") names.add(join(roots.dev, "watchdog"));
  for (const pid of listFolder(roots.proc).filter((entry) => /^\d+$/.test(entry))) {
    const folder = join(roots.proc, pid, "fd");
    for (const fd of listFolder(folder)) {
      if (!names.has(readLink(join(folder, fd)) ?? "")) continue;
      const name = readText(join(roots.proc, pid, "comm")) ?? "unknown";
      return { pid: Number(pid), name };
    }
  }
  return null;
}

function listFolder(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

/** A driver's identity fit for a terminal; `unknown` when it is empty. */
export function printable(identity: string): string {
  return identity.replace(/[^\x20-\x7e]/g, "?").slice(0, identityMax) || "unknown";
}

export function kindOf(identity: string): "hardware" | "software" {
  return identity === softwareIdentity ? "software" : "hardware";
}

/**
 * What sysfs says of the watchdog at `path`, which is not opened. The attribute `status` is never
 * read: reading it clears a bit of it.
 */
export function readFacts(path: string, roots: Roots): Omit<WatchdogFacts, "holder"> {
  const folder = join(roots.sys, "class", "watchdog", kernelName(path));
  const identity = printable(readText(join(folder, "identity")) ?? "");
  const state = readText(join(folder, "state"));
  const nowayout = readNumber(join(folder, "nowayout"));
  const core = join(roots.sys, "module", "watchdog", "parameters");
  const governor = readText(join(folder, "pretimeout_governor"));
  const governors = readText(join(folder, "pretimeout_available_governors")) ?? "";
  return {
    path,
    identity,
    kind: kindOf(identity),
    options: readNumber(join(folder, "options")),
    state: state === "active" || state === "inactive" ? state : "unknown",
    minMs: readLimitMs(join(folder, "min_timeout")),
    maxMs: readLimitMs(join(folder, "max_timeout")),
    timeoutMs: readSecondsMs(join(folder, "timeout")),
    timeLeftMs: readSecondsMs(join(folder, "timeleft")),
    bootStatus: readNumber(join(folder, "bootstatus")),
    nowayout: nowayout === null ? null : nowayout !== 0,
    openTimeoutS: readNumber(join(core, "open_timeout")),
    handleBootEnabled: readSwitch(join(core, "handle_boot_enabled")),
    stopOnReboot: readStopOnReboot(join(core, "stop_on_reboot")),
    pretimeoutMs: readSecondsMs(join(folder, "pretimeout")),
    governor: governor === null || governor === "" ? null : printable(governor),
    governors: governors
      .split(/\s+/)
      .filter((name) => name !== "")
      .map(printable)
      .slice(0, 8),
    ...readDriver(folder, identity, roots),
    minGapMs: null,
  };
}

/**
 * Paths of all watchdogs, hardware before software, then by number. Drivers outside the kernel's
 * watchdog core have no sysfs entry and are found by their node.
 */
export function findPaths(roots: Roots): string[] {
  const listed = [...listFolder(join(roots.sys, "class", "watchdog")), ...listFolder(roots.dev)];
  const names = [...new Set(listed.filter((name) => /^watchdog\d+$/.test(name)))];
  if (names.length === 0 && listed.includes("watchdog")) names.push("watchdog");
  const order = (name: string): number => {
    const software = readFacts(join(roots.dev, name), roots).kind === "software";
    return Number(name.slice("watchdog".length)) + (software ? 1_000_000 : 0);
  };
  return names.sort((one, other) => order(one) - order(other)).map((name) => join(roots.dev, name));
}
