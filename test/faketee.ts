/** The scripted TEE device of test/fixtures/teepreload.c, for processes that preload it. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "./children.ts";

/** Names and numbers that the C file describes. */
export type Script = Readonly<Record<string, number>>;

export interface FakeTee {
  /** A path that looks like a device, and that the fake answers for. */
  readonly device: string;
  /** What makes a process see the fake. */
  readonly env: Readonly<Record<string, string>>;
  /** From the next call on; a call that hangs looks again and again. */
  script(world: Script): void;
  /** What was asked of it, oldest first. */
  log(): string[];
}

let library: string | undefined;

function buildLibrary(): string {
  if (library !== undefined) return library;
  const path = join(temporaryFolder(), "tee.so");
  const source = join(__dirname, "../../../test/fixtures/teepreload.c");
  const flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path, source, "-ldl"];
  const built = spawnSync("cc", flags, { encoding: "utf8" });
  if (built.status !== 0) throw new Error(`cc failed: ${built.stderr}`);
  library = path;
  return path;
}

export function makeFakeTee(world: Script = {}): FakeTee {
  const folder = temporaryFolder();
  const device = join(folder, "tee0");
  // A character device to whoever only looks at it, and one that nobody has open.
  symlinkSync("/dev/full", device);
  const [log, script] = [join(folder, "calls.log"), join(folder, "script")];
  const write = (numbers: Script): void => {
    const words = Object.entries(numbers).map(([name, number]) => `${name}=${number}`);
    writeFileSync(`${script}.new`, words.join(" "));
    renameSync(`${script}.new`, script);
  };
  write(world);
  return {
    device,
    env: {
      LD_PRELOAD: [process.env.LD_PRELOAD, buildLibrary()].filter(Boolean).join(":"),
      TEE_DEVICE: device,
      TEE_LOG: log,
      TEE_SCRIPT: script,
    },
    script: write,
    log: () => (existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(0, -1) : []),
  };
}
