/**
 * Why a serial port could not be opened, for a person: what, the evidence, what to do. The
 * binding's own errors are sentences without codes, so the file system is asked first.
 */
import { accessSync, constants, readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { Failure } from "../errors.ts";
import { type Holder, holders, nameHolder } from "./holder.ts";

/** Ports listed in a message. */
const listedMax = 12;

/** Serial ports that exist here: the stable names first, then the kernel's. */
export function listPorts(): string[] {
  const byId = entries("/dev/serial/by-id").map((name) => `/dev/serial/by-id/${name}`);
  const raw = entries("/dev").filter((name) => /^tty(USB|ACM|AMA)\d+$/.test(name));
  return [...byId, ...raw.map((name) => `/dev/${name}`)];
}

/** What the file system alone already forbids; null when opening may be tried. */
export function obstacle(path: string): Failure | null {
  let stats: Stats;
  try {
    stats = statSync(path);
  } catch (cause) {
    if (codeOf(cause) === "EACCES") return permission(path, null);
    return missing(path, "there is no such file");
  }
  if (!stats.isCharacterDevice()) return missing(path, "it is not a character device");
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch {
    return permission(path, stats);
  }
  return null;
}

/** Gives the binding's refusal its name. */
export function openFailure(path: string, baud: number, cause: Error): Failure {
  const { message } = cause;
  if (/Cannot lock port|temporarily unavailable|resource busy/i.test(message)) return busy(path);
  const found = obstacle(path);
  if (found !== null) return found;
  if (/permission denied/i.test(message)) return permission(path, statSync(path));
  if (/baud/i.test(message)) {
    return new Failure("usage.invalid", `${path} does not support ${baud} Bd. Choose --baud.`, {
      cause,
      evidence: { port: path, baud },
    });
  }
  return new Failure("port.lost", `${path} exists but could not be opened: ${message}.`, {
    cause,
    evidence: { port: path },
  });
}

function missing(path: string, problem: string): Failure {
  const ports = listPorts();
  const shown = ports.slice(0, listedMax).join(", ");
  const more = ports.length > listedMax ? ` and ${ports.length - listedMax} more` : "";
  const seen =
    ports.length > 0
      ? `Ports here: ${shown}${more}.`
      : "No serial port was found under /dev/serial/by-id or as /dev/ttyUSB*, ttyACM*, ttyAMA*: " +
        "is the cable plugged in?";
  return new Failure("port.missing", `no serial port ${path}: ${problem}. ${seen}`, {
    evidence: { port: path, problem, ports },
  });
}

function permission(path: string, stats: Stats | null): Failure {
  const group = stats === null ? null : groupName(stats.gid);
  const owner = group === null ? "" : ` It belongs to group ${group}.`;
  const advice =
    group === null || group === "root"
      ? "Ask for access, or run as root."
      : `Join it: sudo usermod -aG ${group} $USER, then log in again.`;
  return new Failure("port.permission", `no permission for ${path}.${owner} ${advice}`, {
    evidence: { port: path, group },
  });
}

function busy(path: string): Failure {
  const found: Holder[] = holders(path);
  const who =
    found.length > 0
      ? `held by ${found.map(nameHolder).join(" and ")}`
      : "held by a process that this user may not see (try: sudo fuser -v)";
  const advice =
    found.map(({ pid }) => brokerHint(pid)).find((hint) => hint !== "") ??
    "Two readers would split the bytes between them: end that program first, or wait for it with " +
      "--wait-lock.";
  return new Failure("port.busy", `port busy: ${path} ${who}. ${advice}`, {
    evidence: { port: path, holders: found },
  });
}

/** A broker's port is there to be shared; "" for all other holders. */
function brokerHint(pid: number): string {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    if (!words.includes("serve")) return "";
    const socket = words[words.indexOf("--socket") + 1];
    const path = words.includes("--socket") && socket !== undefined ? socket : "SOCKET";
    return `It is shared: attach with --port unix:${path}.`;
  } catch {
    return "";
  }
}

function groupName(gid: number): string {
  let text = "";
  try {
    text = readFileSync("/etc/group", "utf8");
  } catch {
    // A system without the file has numbers for names.
  }
  const line = text.split("\n").find((candidate) => candidate.split(":")[2] === String(gid));
  return line?.split(":")[0] ?? String(gid);
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
