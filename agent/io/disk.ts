import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Failure } from "../errors.ts";

/**
 * A folder of small named files that may lose power at any moment. What `sync` has not covered
 * may survive whole, torn or not at all; what it has covered survives.
 * Errors (full, read-only, I/O) are Failures with code `journal.degraded`.
 */
export interface Disk {
  /** The whole file, or undefined when there is none. */
  read(name: string): Uint8Array | undefined;
  /** Replaces the file's content. Not atomic: a cut leaves any prefix of either content. */
  write(name: string, bytes: Uint8Array): void;
  /** Adds to the file's end, creating it when absent. */
  append(name: string, bytes: Uint8Array): void;
  /** Returns when the file's content, and its name in the folder, are on stable storage. */
  sync(name: string): void;
  /** Removes the file; no error when there is none. */
  remove(name: string): void;
}

/** The real thing: a folder on a file system. */
export class FileDisk implements Disk {
  private readonly folder: string;
  /** Files whose name in the folder is known to be on stable storage. */
  private readonly named = new Set<string>();

  /** Creates the folder when it is not there. Failure `journal.degraded` when it cannot. */
  constructor(folder: string) {
    this.folder = folder;
    attempt(folder, () => makeFolder(resolve(folder)));
  }

  read(name: string): Uint8Array | undefined {
    try {
      const bytes = readFileSync(join(this.folder, name));
      // A file that outlived its writer has its name on disk: nothing here renames.
      this.named.add(name);
      return bytes;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw failure(join(this.folder, name), error);
    }
  }

  write(name: string, bytes: Uint8Array): void {
    const path = join(this.folder, name);
    attempt(path, () => writeFileSync(path, bytes, { mode: 0o600 }));
  }

  append(name: string, bytes: Uint8Array): void {
    const path = join(this.folder, name);
    attempt(path, () => appendFileSync(path, bytes, { mode: 0o600 }));
  }

  /** fsync of the file, and the first time of the folder that names it. */
  sync(name: string): void {
    const path = join(this.folder, name);
    attempt(path, () => syncPath(path));
    if (this.named.has(name)) return;
    attempt(path, () => syncPath(this.folder));
    this.named.add(name);
  }

  remove(name: string): void {
    const path = join(this.folder, name);
    this.named.delete(name);
    attempt(path, () => rmSync(path, { force: true }));
  }
}

/** As `mkdir -p`; Node's own never ends where a folder can be made nowhere, as in /proc. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}

function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function attempt(path: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    throw failure(path, error);
  }
}

function failure(path: string, error: unknown): Failure {
  const { code = "an unknown error" } = error as NodeJS.ErrnoException;
  const message = `state cannot be kept: ${path}: ${code}`;
  return new Failure("journal.degraded", message, { cause: error, evidence: { path, code } });
}
