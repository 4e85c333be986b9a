import { closeSync, constants, openSync, readdirSync, readSync, statSync } from "node:fs";
import { hostname, machine, release, type, version } from "node:os";
import { join } from "node:path";
import { native } from "../../native/index.ts";
import { sha256 } from "./digest.ts";
import { efiVariables, readVariable } from "./efivars.ts";
import { ownThreads, type Thread } from "./threads.ts";

/** What the agent asks of the machine it runs on, beyond its devices. */
export interface Platform {
  /** Changes with every boot of the card, not with a restart of the agent. */
  machineBootId(): string;
  /**
   * What tells this card from others, for its whole life: 16 hexadecimal digits made of what the
   * board says of itself, which they do not betray; `unknown` where it says nothing.
   */
  deviceId(): string;
  /** Eight random hexadecimal digits, to keep boot ids apart when counters are lost. */
  randomId(): string;
  /** The hand-off record that firmware left, byte for byte; null when there is none. */
  handOff(): Uint8Array | null;
  /** What firmware keeps from boot to boot, byte for byte; null when there is none. */
  firmwareBoots(): Uint8Array | null;
  /** The clock of the hand-off record's times is the agent's own. */
  readonly isOneClock: boolean;
  /** What the early userspace hook left for the agent; null without one. */
  bootHook(): string | null;
  /**
   * What the hardware or firmware says ended the previous boot; `unknown` when nobody can say.
   * The watchdog's own flag is read from the watchdog, not here.
   */
  resetCause(): "power" | "panic" | "unknown";
  /**
   * Crash records that the kernel has kept over the reset, each as name and time, such as
   * `dmesg-efi-171@1718000000`; old ones stay until somebody removes them.
   */
  crashRecords(): string[];
  /** The kernel's words at its panic, of these records; empty where none of them has any. */
  panicText(records: readonly string[]): string;
  /**
   * The kernel's log as these records have it, the one with the panic first; at most about
   * `charactersMax`. Empty where there is nothing to read.
   */
  crashText(records: readonly string[], charactersMax: number): string;
  /** What the kernel was started with; empty when it does not say. Source: /proc/cmdline. */
  commandLine(): string;
  /** Asks the operating system for an orderly reboot. Returns at once. */
  reboot(): void;
  /** Fields of `uname`, for SMP os info. */
  names(): {
    os: string;
    host: string;
    release: string;
    version: string;
    machine: string;
    /** What the hardware calls itself; `unknown` where it does not. */
    platform: string;
  };
  /** The agent's own threads, the first one first. */
  threads(): Thread[];
  /** Sets the date, in milliseconds since 1970. Why that did not work; null when it did. */
  setDate(ms: number): string | null;
}

/** So much of a crash record is looked through. */
const crashBytesMax = 256 * 1024;

/**
 * Where a board says which one it is; what survives a new installation first. Sources: Linux
 * Documentation/ABI/testing/sysfs-firmware-dmi-ids, devicetree specification 2.3.1, machine-id(5).
 */
const boardFiles = [
  { path: "/sys/class/dmi/id/product_uuid", says: "uuid" },
  { path: "/proc/device-tree/serial-number", says: "serial" },
  { path: "/etc/machine-id", says: "machine" },
] as const;

/** What makers leave in who do not number their boards. */
function isFiller(said: string): boolean {
  const digits = said.replaceAll("-", "").toLowerCase();
  return (
    /^(.)\1*$/.test(digits) ||
    digits === "03000200040005000006000700080009" ||
    /filled|default|not specified|none/.test(said.toLowerCase())
  );
}

const panicSaid = /Kernel panic - not syncing: ([\x20-\x7e]{1,200})/;

/** Written by boot/linux/boot-hook.sh. */
export const hookFile = "/run/kennel/boot-hook";
const hookCharactersMax = 4096;
/** Twice the longest hand-off record, so that one that is too long shows as such. */
const fileBytesMax = 8192;

/** The real thing: Linux. */
export class LinuxPlatform implements Platform {
  private readonly handOffFile: string | null;
  private readonly pstore: string;

  /** `handOffFile`: the record as a plain file instead of the UEFI variable. */
  constructor(handOffFile: string | null, pstore = "/sys/fs/pstore") {
    this.handOffFile = handOffFile;
    this.pstore = pstore;
  }

  /** Firmware counts from power-on, Linux from the start of its kernel. */
  readonly isOneClock = false;

  bootHook(): string | null {
    return readBytes(hookFile)?.toString("utf8").slice(0, hookCharactersMax) ?? null;
  }

  machineBootId(): string {
    return readText("/proc/sys/kernel/random/boot_id");
  }

  deviceId(): string {
    for (const { path, says } of boardFiles) {
      const said = readText(path).replaceAll("\0", "").trim();
      if (said === "" || isFiller(said)) continue;
      // A digest: /etc/machine-id is not to be shown, and a serial number is its owner's own.
      const digest = sha256(new TextEncoder().encode(`kennel device ${says} ${said}`));
      return Buffer.from(digest).toString("hex").slice(0, 16);
    }
    return "unknown";
  }

  randomId(): string {
    // The kernel's own random numbers: loading the crypto module would slow every start.
    return readText("/proc/sys/kernel/random/uuid").slice(0, 8);
  }

  handOff(): Uint8Array | null {
    if (this.handOffFile !== null) return readBytes(this.handOffFile);
    return readVariable(efiVariables.handOff);
  }

  firmwareBoots(): Uint8Array | null {
    return readVariable(efiVariables.boot);
  }

  /** Names alone: what is in them belongs to others. Source: Documentation/ABI/testing/pstore. */
  crashRecords(): string[] {
    try {
      const names = readdirSync(this.pstore).filter((name) => name.startsWith("dmesg-"));
      const seconds = (name: string): number => {
        return Math.floor(statSync(join(this.pstore, name)).mtimeMs / 1000);
      };
      return names.sort().map((name) => `${name}@${seconds(name)}`);
    } catch {
      return [];
    }
  }

  /** One panic is several records, each with a piece of the kernel's log. */
  panicText(records: readonly string[]): string {
    for (const record of records) {
      const said = panicSaid.exec(this.textOf(record))?.[1];
      if (said !== undefined) return said.trim();
    }
    return "";
  }

  crashText(records: readonly string[], charactersMax: number): string {
    const texts = records.map((record) => ({ record, text: this.textOf(record) }));
    const [first, ...others] = texts.filter(({ text }) => panicSaid.test(text));
    const rest = first === undefined ? texts : texts.filter((one) => one !== first);
    const ordered = first === undefined ? others.concat(rest) : [first, ...rest];
    const parts = ordered.map(({ record, text }) => `== ${record}\n${text.trimEnd()}`);
    const whole = parts.join("\n").slice(0, charactersMax);
    return whole.replace(/[^\t\n\x20-\x7e]/g, "?");
  }

  private textOf(record: string): string {
    const name = record.slice(0, record.lastIndexOf("@"));
    const bytes = readBytes(join(this.pstore, name), crashBytesMax);
    return bytes?.toString("latin1") ?? "";
  }

  /** Nothing on a plain Linux system tells a power cut from a reset button. */
  resetCause(): "unknown" {
    return "unknown";
  }

  commandLine(): string {
    return readText("/proc/cmdline");
  }

  /** Runs `reboot`, which may hang: the watchdog is left counting behind it. */
  reboot(): void {
    import("node:child_process").then(({ spawn }) => {
      const child = spawn("reboot", [], { stdio: "ignore", detached: true });
      child.on("error", () => undefined);
      child.unref();
    });
  }

  names(): ReturnType<Platform["names"]> {
    return {
      os: type(),
      host: hostname(),
      release: release(),
      version: version(),
      machine: machine(),
      platform: hardwareName(),
    };
  }

  threads(): Thread[] {
    return ownThreads();
  }

  setDate(ms: number): string | null {
    try {
      native().setDate(ms);
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}

/** A device tree's model ends with a zero byte. Source: Documentation/ABI/testing/sysfs-*. */
function hardwareName(): string {
  const model = readText("/proc/device-tree/model").replaceAll("\0", "");
  const name = model === "" ? readText("/sys/class/dmi/id/product_name") : model;
  return name === "" ? "unknown" : name;
}

function readText(path: string): string {
  return readBytes(path)?.toString("utf8").trim() ?? "";
}

/** At most `bytesMax`, and without waiting: nothing that is read here may hold the guard. */
function readBytes(path: string, bytesMax = fileBytesMax): Buffer | null {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const bytes = Buffer.alloc(bytesMax);
      return bytes.subarray(0, readSync(fd, bytes));
    } finally {
      closeSync(fd);
    }
  } catch {
    return null;
  }
}
