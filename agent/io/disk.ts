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
