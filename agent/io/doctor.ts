/** What the doctor looks at, read from the card; a test gives its own root. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hookFile } from "./platform.ts";
import type { ConfigText, DoctorFacts } from "./system.ts";
import type { WatchdogFacts } from "./watchdog.ts";

/** More of a file says nothing new, and a doctor must not fill the memory of his patient. */
const charactersMax = 65_536;
const filesMax = 64;
const processesMax = 4096;

/** A drop-in of a later folder hides one of the same name of an earlier one. Source: systemd(1). */
const systemdFolders = ["usr/lib/systemd", "run/systemd", "etc/systemd"];
const unitFolders = ["etc/systemd/system", "run/systemd/system"];
const daemonFiles = ["etc/watchdog.conf", "etc/watchdogd.conf"];

export function readDoctorFacts(watchdog: WatchdogFacts | null, root = "/"): DoctorFacts {
  const at = (path: string): string => join(root, path);
  const texts = (paths: readonly string[]): ConfigText[] => {
    return paths.slice(0, filesMax).flatMap((path) => {
      const text = readText(at(path));
      return text === null ? [] : [{ path: `/${path}`, text }];
    });
  };
  const scripts = listFolder(at("etc/init.d")).map((name) => `etc/init.d/${name}`);
  return {
    systemd: texts([...mainFile(root), ...dropIns(root)]),
    init: (readText(at("proc/1/comm")) ?? "unknown").trim(),
    enabledUnits: enabledUnits(root),
    daemons: texts(daemonFiles),
    scripts: texts(["etc/inittab", "etc/rc.local", ...scripts]),
    processes: processes(at("proc")),
    kernelCommandLine: readText(at("proc/cmdline")) ?? "",
    hasHook: readText(at(hookFile.slice(1))) !== null,
    watchdog,
  };
}

/** The first that is there, from the administrator's to the vendor's. */
function mainFile(root: string): string[] {
  const paths = systemdFolders.toReversed().map((folder) => `${folder}/system.conf`);
  const found = paths.find((path) => readText(join(root, path)) !== null);
  return found === undefined ? [] : [found];
}

/** By name over all folders, each name once. */
function dropIns(root: string): string[] {
  const byName = new Map<string, string>();
  for (const folder of systemdFolders) {
    for (const name of listFolder(join(root, folder, "system.conf.d"))) {
      if (name.endsWith(".conf")) byName.set(name, `${folder}/system.conf.d/${name}`);
    }
  }
  return [...byName].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, path]) => path);
}

/** Units that a target wants. */
function enabledUnits(root: string): string[] {
  const units = unitFolders.flatMap((folder) => {
    const wants = listFolder(join(root, folder)).filter((name) => name.endsWith(".wants"));
    return wants.flatMap((name) => listFolder(join(root, folder, name)));
  });
  return [...new Set(units)].sort();
}

function processes(proc: string): DoctorFacts["processes"] {
  const numbers = listFolder(proc).filter((name) => /^\d+$/.test(name));
  return numbers.slice(0, processesMax).flatMap((pid) => {
    const name = readText(join(proc, pid, "comm"))?.trim();
    if (name === undefined || !/watchdog|wd_keepalive|busybox/.test(name)) return [];
    const command = (readText(join(proc, pid, "cmdline")) ?? "").replaceAll("\0", " ").trim();
    return [{ pid: Number(pid), name, command }];
  });
}

function listFolder(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8").slice(0, charactersMax);
  } catch {
    return null;
  }
}
