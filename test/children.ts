/**
 * Programs run as child processes, for what cannot be tested from inside: life and death of native
 * code, and a scripted watchdog that is preloaded under the addon.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { native } from "../native/index.ts";
import { skip } from "./skip.ts";

/** Longer than any program here needs; it is killed then and its result says so. */
const deadlineMs = 20_000;

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  /** What the child wrote to its descriptor 3. */
  readonly bytes: Buffer;
}

export interface ChildOptions {
  readonly env?: Record<string, string>;
  /** Of node itself, such as --expose-gc. */
  readonly flags?: readonly string[];
}

let root: string | undefined;

/** A new folder, removed when the test process exits. */
export function temporaryFolder(): string {
  if (root === undefined) {
    const made = mkdtempSync(join(tmpdir(), "kennel-"));
    process.on("exit", () => rmSync(made, { recursive: true, force: true }));
    root = made;
  }
  return mkdtempSync(join(root, "test-"));
}

/** Starts test/fixtures/<name>.ts, as built beside the tests. */
export function startChild(
  name: string,
  args: readonly string[],
  options: ChildOptions = {},
): ChildProcess {
  const program = join(__dirname, "..", "fixtures", `${name}.cjs`);
  return spawn(process.execPath, [...(options.flags ?? []), program, ...args], {
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
}

/** Collects what a child says and waits for its end. */
export function ended(child: ChildProcess): Promise<Ended> {
  let stdout = "";
  let stderr = "";
  const bytes: Buffer[] = [];
  child.stdio[3]?.on("data", (some) => bytes.push(some));
  child.stdout?.on("data", (bytes) => {
    stdout += bytes;
  });
  child.stderr?.on("data", (bytes) => {
    stderr += bytes;
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), deadlineMs);
  return new Promise((resolve) => {
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr, bytes: Buffer.concat(bytes) });
    });
  });
}

export function runChild(
  name: string,
  args: readonly string[],
  options?: ChildOptions,
): Promise<Ended> {
  return ended(startChild(name, args, options));
}

/** Resolves once the child has printed a line that contains `text`. */
export function said(child: ChildProcess, text: string): Promise<void> {
  let heard = "";
  return new Promise((resolve, reject) => {
    child.stdout?.on("data", (bytes) => {
      heard += bytes;
      if (heard.includes(text)) resolve();
    });
    child.on("close", () => reject(new Error(`ended before it said ${text}, but: ${heard}`)));
  });
}

/** Times that a refresh service with kind `pipe` wrote, CLOCK_MONOTONIC nanoseconds. */
export function stamps(bytes: Buffer): bigint[] {
  const count = Math.floor(bytes.length / 8);
  return Array.from({ length: count }, (_, index) => bytes.readBigUInt64LE(index * 8));
}

/** One call that the scripted watchdog has seen. */
export interface TwinCall {
  readonly atNs: bigint;
  /** Such as `ioctl request=0x80045705 in=00000000 out=00000000 -> 0`. */
  readonly text: string;
}

/** The scripted watchdog of test/fixtures/watchdogpreload.c. */
export interface Twin {
  readonly device: string;
  /** For the child; `script` is described in the C file. */
  env(script?: string, statePath?: string): Record<string, string>;
  calls(): TwinCall[];
}

let library: string | undefined;

/** Why the addon cannot be tested here, or "" when it can. */
export function nativeObstacle(): string {
  try {
    native();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

/** Why no scripted watchdog can be made here, or "" when it can. */
export function twinObstacle(): string {
  const obstacle = nativeObstacle();
  if (obstacle !== "") return obstacle;
  const found = spawnSync("cc", ["--version"]).status === 0;
  return found ? "" : "there is no C compiler (cc): install one to test the ioctl layer";
}

type Body = () => void | Promise<void>;

/** `add`, which takes a test, unless there is an obstacle: then what it takes is left out. */
export function unless(
  obstacle: string,
  add: (name: string, body: Body) => void,
): (name: string, body: Body) => void {
  return obstacle === "" ? add : (name) => skip(name, obstacle);
}

function buildLibrary(): string {
  if (library !== undefined) return library;
  const path = join(temporaryFolder(), "twin.so");
  const source = join(__dirname, "../../../test/fixtures/watchdogpreload.c");
  const flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path, source, "-ldl"];
  const built = spawnSync("cc", flags, { encoding: "utf8" });
  if (built.status !== 0) throw new Error(`cc failed: ${built.stderr}`);
  library = path;
  return path;
}

/** A fresh one with its own log; `device` is the path it answers for. */
export function makeTwin(device = "/dev/kennel-twin0"): Twin {
  const log = join(temporaryFolder(), "calls.log");
  const path = buildLibrary();
  return {
    device,
    env: (script = "", statePath = "") => ({
      // A sanitizer that the tests run under stays the first.
      LD_PRELOAD: [process.env.LD_PRELOAD, path].filter(Boolean).join(":"),
      TWIN_DEVICE: device,
      TWIN_LOG: log,
      TWIN_SCRIPT: script,
      ...(statePath === "" ? {} : { TWIN_STATE: statePath }),
    }),
    calls: () =>
      readFileSync(log, "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => {
          const blank = line.indexOf(" ");
          return { atNs: BigInt(line.slice(0, blank)), text: line.slice(blank + 1) };
        }),
  };
}
