// Helpers of earlier agents: by pid and start, and while any thread of theirs lives.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HelperLives } from "../../agent/io/helperlives.ts";
import { temporaryFolder } from "../children.ts";

const lives = suite("helper lives");

function stat(proc: string, path: string, state: string, started: number): void {
  mkdirSync(join(proc, path), { recursive: true });
  const numbers = Array.from({ length: 18 }, () => "0").join(" ");
  writeFileSync(join(proc, path, "stat"), `7 (a ) b) ${state} ${numbers} ${started} 0 0`);
}

lives("a process that was noted is known to the next agent until it has ended", async () => {
  const path = join(temporaryFolder(), "helpers");
  const child = spawn("sleep", ["60"], { stdio: "ignore" });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const first = new HelperLives(path);
  const early = join(temporaryFolder(), "made", "helpers");
  new HelperLives(early).note(child.pid ?? 0);
  assert.ok(new HelperLives(early).isAnyLeft, "its folder is made before the first helper");
  first.note(child.pid ?? 0);
  assert.not.ok(first.isAnyLeft, "it is its own");
  const second = new HelperLives(path);
  assert.ok(second.isAnyLeft);
  assert.ok(new HelperLives(path).isAnyLeft, "and to the one after that");
  child.kill("SIGKILL");
  await ended;
  assert.not.ok(second.isAnyLeft);
  new HelperLives(path);
  assert.is(readFileSync(path, "latin1"), "");
});

lives(
  "a dead leader with a thread inside lives, a dead one without is over, another is another",
  () => {
    const folder = temporaryFolder();
    const [path, proc] = [join(folder, "helpers"), join(folder, "proc")];
    stat(proc, "7", "Z", 500);
    stat(proc, "7/task/7", "Z", 500);
    stat(proc, "7/task/8", "R", 501);
    writeFileSync(path, "7 500\nnonsense\n");
    const found = new HelperLives(path, proc);
    assert.ok(found.isAnyLeft);
    stat(proc, "7/task/8", "X", 501);
    assert.not.ok(found.isAnyLeft);
    stat(proc, "7/task/8", "R", 501);
    writeFileSync(path, "7 499\n");
    assert.not.ok(new HelperLives(path, proc).isAnyLeft, "the pid was given again");
    assert.not.ok(new HelperLives(join(folder, "no", "where"), proc).isAnyLeft);
  },
);

lives.run();
