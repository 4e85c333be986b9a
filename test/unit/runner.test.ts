// deadline: 120 s
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const runner = suite("runner");
const repository = join(__dirname, "../../..");
const script = join(repository, "test/run.mjs");

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Source of a test file around `body`, as plain as a built one. */
function file(body: string, ending = "sample.run();"): string {
  const uvu = JSON.stringify(join(repository, "node_modules/uvu"));
  return `const sample = require(${uvu}).suite("sample");\n${body}\n${ending}\n`;
}

/** The runner takes only built files, so its samples for skip() print what it prints. */
function skipLine(name: string, reason: string): string {
  return `console.log(${JSON.stringify(`SKIP ${name}: ${reason}`)});`;
}

function folderOf(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), "kennel-runner-"));
  for (const [name, text] of Object.entries(files)) {
    const path = join(root, `${name}.test.cjs`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return root;
}

/** Runs the runner over `files`. */
async function outcomeOf(files: Record<string, string>, pattern?: string): Promise<Outcome> {
  const root = folderOf(files);
  const args = [script, "--root", root, ...(pattern === undefined ? [] : [pattern])];
  try {
    return await new Promise((resolve) => {
      execFile(process.execPath, args, (problem, stdout, stderr) => {
        resolve({ status: Number(problem?.code ?? 0), stdout, stderr });
      });
    });
  } finally {
    rmSync(root, { recursive: true });
  }
}

function lastLine(outcome: Outcome): string {
  return outcome.stdout.trimEnd().split("\n").at(-1) ?? "";
}

/** Demands that a folder with this one file fails, with `cause` among the causes. */
async function failsWith(text: string, cause: RegExp, counts: string): Promise<Outcome> {
  const outcome = await outcomeOf({ "unit/sample": text });
  const [head, ...rest] = outcome.stdout.split("\n");
  assert.match(head ?? "", /^FAIL {2}unit\/sample {2}\d+ ms$/);
  const causes = rest.filter((line) => line.startsWith("      ")).join("\n");
  assert.match(causes, cause);
  assert.is(lastLine(outcome), counts);
  assert.is(outcome.status, 1);
  assert.is(outcome.stderr, "");
  return outcome;
}

const good = 'sample("works", () => {});';

runner("a good folder passes with the right counts, one short line per file", async () => {
  const outcome = await outcomeOf({
    "unit/one": file(good),
    "unit/two": file(`${good}\n${good}\nsample("waits", async () => {});`),
    "stories/three": file(`${skipLine("A0-00 a story", "needs a card")}\n${good}`),
    "stories/four": file(skipLine("all of it", "needs a card")),
  });
  const lines = outcome.stdout.trimEnd().split("\n");
  const shape = lines.map((line) => line.replace(/\d+ ms$/, "N ms"));
  assert.equal(shape.slice(0, 4).sort(), [
    "ok    stories/four  0 tests  N ms",
    "ok    stories/three  1 tests  N ms",
    "ok    unit/one  1 tests  N ms",
    "ok    unit/two  3 tests  N ms",
  ]);
  assert.equal(shape.slice(4).sort(), [
    "5 passed, 0 failed, 2 skipped",
    "skip  A0-00 a story: needs a card",
    "skip  all of it: needs a card",
  ]);
  assert.is(lastLine(outcome), "5 passed, 0 failed, 2 skipped");
  assert.is(outcome.status, 0);
});

runner("a pattern chooses files, and one that matches nothing fails", async () => {
  const files = { "unit/one": file(good), "unit/two": file(good) };
  const one = await outcomeOf(files, "^unit/o");
  assert.is(lastLine(one), "1 passed, 0 failed, 0 skipped");
  assert.is(one.status, 0);
  const none = await outcomeOf(files, "three");
  assert.is(lastLine(none), "0 passed, 0 failed, 0 skipped");
  assert.is(none.status, 1);
});

runner("what a good file measured is shown, and nothing else it says", async () => {
  const says = ["hello", "measured T2: 30.01 s", "not measured"].map((line) => `${line}\n`);
  const body = `sample("says", () => void console.log(${JSON.stringify(`\n${says.join("")}`)}));`;
  const outcome = await outcomeOf({ "unit/one": file(body) });
  const [, measured, last] = outcome.stdout.split("\n");
  assert.is(measured, "      measured T2: 30.01 s");
  assert.is(last, "1 passed, 0 failed, 0 skipped");
});

runner("a file that forgot run() fails", async () => {
  await failsWith(file(good, ""), /ran no test: no totals/, "0 passed, 1 failed, 0 skipped");
});

runner("a file without a test fails", async () => {
  await failsWith(file(""), /ran no test: a total of 0/, "0 passed, 1 failed, 0 skipped");
});

runner("a failing test fails its file, and the whole output is shown", async () => {
  const body = `${good}\nsample("breaks", () => { throw new Error("on purpose"); });`;
  const outcome = await failsWith(
    file(body),
    /1 of 2 tests failed/,
    "1 passed, 1 failed, 0 skipped",
  );
  assert.match(outcome.stdout, /FAIL {2}sample {2}"breaks"/);
  assert.match(outcome.stdout, /on purpose/);
});

runner("a hook that throws fails its file, though uvu exits with 0", async () => {
  const body = `sample.before(() => { throw new Error("hook"); });\n${good}`;
  await failsWith(file(body), /1 of 1 tests failed/, "0 passed, 1 failed, 0 skipped");
});

for (const call of ["only", "skip"]) {
  runner(`a file that uses ${call} fails, even where uvu counts nothing as skipped`, async () => {
    const cause = new RegExp(`uses sample\\.${call};`);
    const body = `${call === "only" ? "" : good}\nsample.${call}("this one", () => {});`;
    await failsWith(file(body), cause, "1 passed, 1 failed, 0 skipped");
  });
}

runner("a skip that uvu counts and nobody explained fails", async () => {
  const body = `${good}\nsample["sk" + "ip"]("this one", () => {});`;
  await failsWith(file(body), /1 unexplained skips/, "1 passed, 1 failed, 0 skipped");
});

runner("a skip with an empty reason fails", async () => {
  const body = `${skipLine("a story", "")}\n${good}`;
  await failsWith(file(body), /skip without a reason: a story/, "1 passed, 1 failed, 1 skipped");
});

runner("a leaked handle is named as such, not waited for until the deadline", async () => {
  const body = `${good}\nsetInterval(() => {}, 1000);`;
  await failsWith(file(body), /leaked handle/, "1 passed, 1 failed, 0 skipped");
});

runner("a file that hangs is ended at the deadline it asked for", async () => {
  const body =
    '// deadline: 1 s\nsample("hangs", () => new Promise(() => setInterval(() => {}, 1)));';
  await failsWith(file(body), /deadline of 1 s/, "0 passed, 1 failed, 0 skipped");
});

runner("a file that blocks its event loop is ended at its deadline too", async () => {
  const body = '// deadline: 1 s\nsample("spins", () => { for (;;); });';
  await failsWith(file(body), /deadline of 1 s/, "0 passed, 1 failed, 0 skipped");
});

runner("a test that settles never and leaves nothing to wait for fails", async () => {
  const body = 'sample("stalls", () => new Promise(() => {}));';
  await failsWith(file(body), /ended early/, "0 passed, 1 failed, 0 skipped");
});

runner("process.exit(0) inside a test fails", async () => {
  const body = 'sample("leaves", () => process.exit(0));';
  await failsWith(file(body), /ended early/, "0 passed, 1 failed, 0 skipped");
});

runner("an exit status other than 0 fails, though every test passed", async () => {
  const body = `${good}\nprocess.on("exit", () => { process.exitCode = 7; });`;
  await failsWith(file(body), /exit status 7/, "1 passed, 1 failed, 0 skipped");
});

runner("a crash by signal is named", async () => {
  const body = 'sample("dies", () => process.kill(process.pid, "SIGSEGV"));';
  await failsWith(file(body), /ended by SIGSEGV/, "0 passed, 1 failed, 0 skipped");
});

runner("anything on stderr fails", async () => {
  const body = `${good}\nconsole.error("a warning");`;
  const outcome = await failsWith(file(body), /wrote to stderr/, "1 passed, 1 failed, 0 skipped");
  assert.match(outcome.stdout, /^a warning$/m);
});

runner("a process left behind is ended and fails its file", async () => {
  const noted = join(mkdtempSync(join(tmpdir(), "kennel-runner-")), "pid");
  const body = `sample("leaves a child", () => {
    const child = require("node:child_process").spawn("sleep", ["60"], { stdio: "ignore" });
    require("node:fs").writeFileSync(${JSON.stringify(noted)}, String(child.pid));
    child.unref();
  });`;
  await failsWith(
    file(body),
    /left processes behind, now killed: sleep$/m,
    "1 passed, 1 failed, 0 skipped",
  );
  assert.not.ok(isRunning(Number(readFileSync(noted, "utf8"))));
  rmSync(dirname(noted), { recursive: true });
});

runner("a runner that is told to end takes its running files along", async () => {
  const noted = join(mkdtempSync(join(tmpdir(), "kennel-runner-")), "pid");
  const body = `require("node:fs").writeFileSync(${JSON.stringify(noted)}, String(process.pid));
    sample("hangs", () => new Promise(() => setInterval(() => {}, 1)));`;
  const root = folderOf({ "unit/sample": file(body) });
  const child: ChildProcess = spawn(process.execPath, [script, "--root", root]);
  const ended = new Promise((resolve) => child.on("exit", resolve));
  while (!existsSync(noted) || readFileSync(noted, "utf8") === "") await pause(20);
  child.kill("SIGTERM");
  assert.is(await ended, 143);
  const pid = Number(readFileSync(noted, "utf8"));
  for (let tries = 0; tries < 100 && isRunning(pid); tries++) await pause(20);
  assert.not.ok(isRunning(pid));
  for (const folder of [root, dirname(noted)]) rmSync(folder, { recursive: true });
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A zombie that nobody reaps in this container has ended too. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

runner.run();
