// Real programs that the agent asks: how they end, and that one that hangs ends with its children.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ProgramAnswer } from "../../agent/io/program.ts";
import { runProgram } from "../../agent/io/programs.ts";
import { temporaryFolder } from "../children.ts";

const programs = suite("io programs");

function ask(...command: string[]): Promise<ProgramAnswer> {
  return new Promise((resolve) => void runProgram(command, resolve));
}

programs("status 0 passes, anything else does not, and the first line is kept", async () => {
  assert.equal(await ask("/bin/sh", "-c", "exit 0"), { ok: true, value: "status 0" });
  assert.equal(await ask("/bin/sh", "-c", "echo 12 ports; exit 3"), {
    ok: false,
    value: "12 ports",
  });
  assert.equal(await ask("/bin/sh", "-c", "kill -9 $$"), { ok: false, value: "ended by SIGKILL" });
  assert.is((await ask("/bin/sh", "-c", "yes | head -c 9000")).value, "y");
  assert.is((await ask("/bin/sh", "-c", "printf '\\033[2J%0200d' 1")).value.length, 80);
});

programs("a program that is not there did not pass", async () => {
  const { ok, value } = await ask("/no/such/program");
  assert.not.ok(ok);
  assert.match(value, /ENOENT/);
});

programs("one that is given up on ends with what it started, and tells nothing", async () => {
  const file = join(temporaryFolder(), "pid");
  let told = false;
  const script = `sleep 100 & echo $! >"$1.new"; mv "$1.new" "$1"; wait`;
  const cancel = runProgram(["/bin/sh", "-c", script, "sh", file], () => {
    told = true;
  });
  while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 5));
  const pid = Number(readFileSync(file, "utf8"));
  cancel();
  const isAlive = (): boolean => {
    // One that waits to be reaped has ended as well.
    const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, "utf8") : "";
    return stat !== "" && !/\) [ZX] /.test(stat);
  };
  while (isAlive()) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.not.ok(told);
});

programs.run();
