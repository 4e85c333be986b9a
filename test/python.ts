/** Debian's Python with python3-cbor2: an implementation that shares nothing with ours. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** Debian's own: packages of Debian are not seen by another one that comes first in PATH. */
const interpreter = "/usr/bin/python3";
const root = join(__dirname, "../../..");

/** Why the scripts of test/independent/ cannot run here; null when they can. */
export function pythonLack(): string | null {
  const { status } = spawnSync(interpreter, ["-c", "import cbor2"], { stdio: "ignore" });
  return status === 0 ? null : "needs python3-cbor2 (Debian: apt-get install python3-cbor2)";
}

/** Runs a script of test/independent/; what it said, and its exit status. */
export function runPython(script: string, ...words: string[]): { status: number; said: string } {
  const path = join(root, "test/independent", script);
  // -B: nothing is left behind beside the scripts.
  const run = spawnSync(interpreter, ["-B", path, ...words], { encoding: "utf8" });
  return { status: run.status ?? -1, said: `${run.stdout}${run.stderr}` };
}
