/**
 * The process that early userspace left with the watchdog open, so that nobody else could take it
 * before the agent. Its end closes the device without the magic character: the countdown goes on,
 * with the last refresh that the kernel adds, and the agent opens it at once.
 */
import type { SystemError } from "../../native/index.ts";
import type { Hook } from "../machines/boothook.ts";
import { findHolder, kernelName, type Roots } from "./watchdogfacts.ts";

/** A process that was told to end is gone within a millisecond; this is for a loaded machine. */
const triesMax = 1000;
/** From this try on it is not asked any more. */
const killFromTry = 200;
const tryEveryMs = 1;

/** Who has the watchdog at `path`, by whatever name, open for the hook; null = nobody. */
export function bootHolderOf(path: string, hook: Hook | null): number | null {
  if (hook === null || hook.device === "") return null;
  return kernelName(hook.device) === kernelName(path) ? hook.holder : null;
}

/** True when process `pid` has the watchdog at `path` open: only then may it be ended. */
export function isBootHolder(path: string, roots: Roots, pid: number): boolean {
  return findHolder(path, roots)?.pid === pid;
}

/**
 * Ends the holder and opens the device. `open` throws what the last try threw, when the device is
 * still held after a second.
 */
export function takeFrom<T>(pid: number, open: () => T): T {
  signal(pid, "SIGTERM");
  for (let tries = 0; ; tries += 1) {
    try {
      return open();
    } catch (error) {
      if ((error as SystemError).code !== "EBUSY" || tries >= triesMax) throw error;
    }
    if (tries === killFromTry) signal(pid, "SIGKILL");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, tryEveryMs);
  }
}

function signal(pid: number, name: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended by itself: the device is free, or somebody else has it, and opening tells.
  }
}
