/** What a decision about who may command rests on: the key file, and signatures. */
import { randomBytes } from "node:crypto";
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
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
}

/** A file with 32 keys is below 8 kB; what is longer is none. */
const fileBytesMax = 65_536;
const writableByOthers = 0o022n;

/** The real thing: a file that is looked at for every command, so that revoking works at once. */
export class FileAuthority implements Authority {
  readonly verifier = verifier;
  private readonly path: string;
  private seen = "";
  private file: KeyFile = { text: "", problem: null };

  constructor(path: string) {
    this.path = path;
  }

  random(length: number): Uint8Array {
    return new Uint8Array(randomBytes(length));
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
