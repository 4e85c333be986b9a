/** What a card's decision about who may command it rests on: its key file, its name, signatures. */
import { randomBytes } from "node:crypto";
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { sha256 } from "./digest.ts";
import { verifier } from "./ed25519.ts";

/** The authorised keys as they stand; the same object while the file is the same. */
export interface KeyFile {
  /** Empty where there is a problem. */
  readonly text: string;
  /** Why the whole file does not count; null: it does. */
  readonly problem: string | null;
}

export interface Authority {
  keyFile(): KeyFile;
  /** Checks Ed25519 signatures by one public key. */
  verifier(publicKey: Uint8Array): (message: Uint8Array, signature: Uint8Array) => boolean;
  /** Bytes that nobody can foretell. */
  random(length: number): Uint8Array;
  /** What the hardware calls this card; empty where it says nothing. */
  device(): string;
}

/** A file with 32 keys is below 8 kB; what is longer is none. */
const fileBytesMax = 65_536;
const writableByOthers = 0o022n;

/** Where the hardware's own serial number stands, in the order in which it is believed. */
const serialFiles = [
  "/proc/device-tree/serial-number",
  "/sys/class/dmi/id/product_serial",
  "/sys/class/dmi/id/board_serial",
];
/** Told to nobody as it is, says machine-id(5): what goes over the line is a hash of it. */
const machineIdFile = "/etc/machine-id";
/** What makers put there who put nothing there. */
const noSerial = /^$|^0+$|not specified|to be filled|default string|^none$/i;

/** The real thing: a file that is looked at for every command, so that revoking works at once. */
export class FileAuthority implements Authority {
  readonly verifier = verifier;
  private readonly path: string;
  private readonly serials: readonly string[];
  private seen = "";
  private file: KeyFile = { text: "", problem: null };

  constructor(path: string, serials = serialFiles) {
    this.path = path;
    this.serials = serials;
  }

  random(length: number): Uint8Array {
    return new Uint8Array(randomBytes(length));
  }

  device(): string {
    for (const path of this.serials) {
      const serial = readLine(path);
      if (!noSerial.test(serial)) return serial;
    }
    const id = readLine(machineIdFile);
    if (id === "") return "";
    return `machine-${Buffer.from(sha256(Buffer.from(`kennel ${id}`))).toString("hex", 0, 8)}`;
  }

  keyFile(): KeyFile {
    const found = this.look();
    const mark = typeof found === "string" ? found : found.mark;
    if (mark !== this.seen) {
      this.seen = mark;
      this.file =
        typeof found === "string"
          ? { text: "", problem: found }
          : { text: found.text, problem: null };
    }
    return this.file;
  }

  /** The file's content, or why it does not count. */
  private look(): { mark: string; text: string } | string {
    let fd: number;
    try {
      fd = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return code === "ENOENT" ? `there is no ${this.path}` : `${this.path}: ${code}`;
    }
    try {
      const stat = fstatSync(fd, { bigint: true });
      if (!stat.isFile()) return `${this.path} is no file`;
      if (stat.size > BigInt(fileBytesMax)) return `${this.path} is over ${fileBytesMax} bytes`;
      const folder = dirname(this.path);
      const problem =
        untrusted(this.path, stat) ?? untrusted(folder, statSync(folder, { bigint: true }));
      if (problem !== null) return problem;
      const bytes = Buffer.alloc(Number(stat.size));
      const length = readSync(fd, bytes, 0, bytes.length, 0);
      const text = bytes.toString("latin1", 0, length);
      return { mark: `\0${text}`, text };
    } catch (error) {
      return `${this.path}: ${(error as NodeJS.ErrnoException).code}`;
    } finally {
      closeSync(fd);
    }
  }
}

/** As sshd has it (StrictModes): who could write there could authorise himself. */
function untrusted(path: string, stat: BigIntStats): string | null {
  const own = BigInt(process.getuid?.() ?? 0);
  if (stat.uid !== 0n && stat.uid !== own) {
    return `${path} belongs to user ${stat.uid}: chown root ${path}`;
  }
  const isSticky = stat.isDirectory() && (stat.mode & 0o1000n) !== 0n;
  if ((stat.mode & writableByOthers) === 0n || isSticky) return null;
  return `${path} can be written by others: chmod go-w ${path}`;
}

/** Empty where there is none. */
function readLine(path: string): string {
  try {
    return readFileSync(path, "latin1").replace(/\0/g, "").trim();
  } catch {
    return "";
  }
}
