#!/usr/bin/env node
/**
 * Runs the built tests: one process per file, two at a time, each with a deadline.
 *
 *   node test/run.mjs [pattern] [--root folder]
 *
 * `pattern` is a regular expression over names such as `unit/random`. A file may ask for more time
 * with a comment line `// deadline: 300 s`. A file fails when it ran no test, when a test failed,
 * on `only` and on skips without a reason, on output to stderr, when it ended early or late, and
 * when it left a process behind. Of a good file's output only lines that begin with `measured` are
 * shown. The last line is `N passed, N failed, N skipped`, alone.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const repository = join(dirname(fileURLToPath(import.meta.url)), "..");
const parallel = 2;
const deadlineDefaultS = 60;
/** After its totals a file has nothing left to do. */
const leakMs = 2000;
/** A process that a test ended may need a moment to be gone. */
const leaveMs = 500;
const leavePollMs = 50;
/** Bound on kept output per file; what comes later is counted only. */
const outputCharactersMax = 1_000_000;

/** Process groups that are running now. */
const running = new Set();

/** Ends a whole process group; false when there is none left. */
function killGroup(pid, signal = "SIGKILL") {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false;
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// What is in the files themselves ---------------------------------------------------------------

/** The source of a built file; itself where there is no source, as in the runner's own test. */
function sourceOf(root, name) {
  const typescript = join(repository, "test", `${name}.test.ts`);
  const isOwn = root === join(repository, ".build/test");
  return readFileSync(
    isOwn && existsSync(typescript) ? typescript : join(root, `${name}.test.cjs`),
    "utf8",
  );
}

function deadlineOf(source) {
  const asked = /^\s*\/\/ deadline: (\d+) s$/m.exec(source);
  return asked ? Number(asked[1]) : deadlineDefaultS;
}

/** Calls of `only` and `skip` on what uvu's suite() or the shared test made. */
function shortcutsIn(source) {
  const suites = [...source.matchAll(/\b(\w+) = [^\n;]*\bsuite\(/g)].map((match) => match[1]);
  const calls = source.matchAll(/\b(\w+)\.(only|skip)\(/g);
  return [...calls].filter(([, name]) => name === "test" || suites.includes(name));
}

// What a file's run amounts to -------------------------------------------------------------------

/** uvu's totals, or undefined as long as they are not complete. */
function totalsIn(output) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with the escape
  const plain = output.replaceAll(/\x1b\[[0-9;]*m/g, "");
  const block = /^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)\n {2}Duration: .*$/gm;
  const last = [...plain.matchAll(block)].at(-1);
  if (!last) return undefined;
  const [total, passed, skipped] = last.slice(1).map(Number);
  return { total, passed, skipped };
}

/** Lines of test/skip.ts. */
function skipsIn(output) {
  return [...output.matchAll(/^SKIP (.*?): (.*)$/gm)].map(([, name, reason]) => ({
    name,
    reason: reason.trim(),
  }));
}

/** Every reason for which a run is no success; none for a good one. */
function causesOf({ end, stdout, stderr, source, deadlineS, leftovers }) {
  const totals = totalsIn(stdout);
  const skips = skipsIn(stdout);
  const causes = [];
  if (end.kind === "deadline") causes.push(`did not end within its deadline of ${deadlineS} s`);
  if (end.kind === "leak") {
    causes.push(`leaked handle: still running ${leakMs / 1000} s after its totals, so killed`);
  }
  if (end.kind === "signal") causes.push(`ended by ${end.signal}`);
  if (/^Exiting early/m.test(stderr)) causes.push("ended early, in the middle of a test");
  else if (stderr !== "") causes.push("wrote to stderr");
  if (leftovers.length > 0) causes.push(`left processes behind, now killed: ${leftovers}`);
  if (!totals && end.kind === "exit") causes.push("ran no test: no totals (forgotten run()?)");
  if (totals?.total === 0 && skips.length === 0) causes.push("ran no test: a total of 0");
  if (totals && totals.passed < totals.total) {
    causes.push(`${totals.total - totals.passed} of ${totals.total} tests failed`);
  } else if (end.kind === "exit" && end.status !== 0) causes.push(`exit status ${end.status}`);
  for (const [, suite, call] of shortcutsIn(source)) {
    causes.push(`uses ${suite}.${call}; to leave a test out say why with skip() of test/skip.ts`);
  }
  if (totals?.skipped > 0) causes.push(`${totals.skipped} unexplained skips`);
  for (const { name } of skips.filter(({ reason }) => reason === "")) {
    causes.push(`skip without a reason: ${name}`);
  }
  return causes;
}

/** Colours and certificates of the caller's are no part of a test: the latter cost 30 ms each. */
function environment() {
  const { FORCE_COLOR, NO_COLOR, NODE_OPTIONS, NODE_EXTRA_CA_CERTS, ...rest } = process.env;
  return rest;
}

/** Resolves to how the process ended, having ended it where it would not. */
function supervise(child, deadlineS, output) {
  return new Promise((resolve) => {
    let killed;
    const kill = (kind) => {
      killed ??= kind;
      killGroup(child.pid);
    };
    const deadline = setTimeout(() => kill("deadline"), deadlineS * 1000);
    let leak;
    for (const name of ["stdout", "stderr"]) {
      child[name].setEncoding("utf8").on("data", (text) => {
        if (output[name].length < outputCharactersMax) output[name] += text;
        if (totalsIn(output.stdout)) leak ??= setTimeout(() => kill("leak"), leakMs);
      });
    }
    const done = (end) => {
      clearTimeout(deadline);
      clearTimeout(leak);
      resolve(end);
    };
    child.on("error", (problem) => done({ kind: "signal", signal: problem.message }));
    child.on("exit", (status, signal) => {
      if (killed) done({ kind: killed });
      else done(signal ? { kind: "signal", signal } : { kind: "exit", status });
    });
  });
}

async function runFile(root, name) {
  const source = sourceOf(root, name);
  const deadlineS = deadlineOf(source);
  const output = { stdout: "", stderr: "" };
  const startedMs = performance.now();
  const path = join(root, `${name}.test.cjs`);
  const child = spawn(process.execPath, ["--enable-source-maps", path], {
    cwd: repository,
    env: environment(),
    // A group of its own, so that its children can be ended with it.
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (child.pid) running.add(child.pid);
  const end = await supervise(child, deadlineS, output);
  const tookMs = Math.round(performance.now() - startedMs);
  const leftovers = await endLeftovers(child.pid);
  await closedWithin(child, leaveMs);
  running.delete(child.pid);
  const causes = causesOf({ end, ...output, source, deadlineS, leftovers });
  return { name, tookMs, ...output, causes, totals: totalsIn(output.stdout) };
}

/** The rest of the output arrives; a stranger that inherited the pipes is not waited for. */
function closedWithin({ stdout, stderr }, ms) {
  return new Promise((resolve) => {
    const pipes = [stdout, stderr].filter((pipe) => !pipe.closed);
    const timer = setTimeout(() => {
      for (const pipe of pipes) pipe.destroy();
    }, ms);
    const settle = () => {
      if (!pipes.every((pipe) => pipe.closed)) return;
      clearTimeout(timer);
      resolve();
    };
    for (const pipe of pipes) pipe.on("close", settle);
    settle();
  });
}

/** Ends what a file left running in its process group; returns the names of that. */
async function endLeftovers(pid) {
  for (let waitedMs = 0; membersOf(pid).length > 0; waitedMs += leavePollMs) {
    if (waitedMs >= leaveMs) {
      const names = membersOf(pid);
      killGroup(pid);
      return names;
    }
    await sleep(leavePollMs);
  }
  return [];
}

/** Names of the living processes of a group; the dead whom nobody reaps do not count. */
function membersOf(group) {
  if (!killGroup(group, 0)) return [];
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const stats = pids.map((pid) => /\((.*)\) (\S) \d+ (\d+) /.exec(statOf(pid)));
  return stats
    .filter((stat) => stat && Number(stat[3]) === group && stat[2] !== "Z" && stat[2] !== "X")
    .map(([, name]) => name);
}

/** /proc/<pid>/stat, proc(5): pid (name) state parent group. Empty once the process is gone. */
function statOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return "";
  }
}

// All files --------------------------------------------------------------------------------------

function namesIn(root, pattern) {
  if (!existsSync(root)) return [];
  return readdirSync(root, { recursive: true })
    .filter((path) => path.endsWith(".test.cjs"))
    .map((path) => path.slice(0, -".test.cjs".length))
    .filter((name) => pattern.test(name))
    .sort();
}

function print({ name, tookMs, stdout, stderr, causes, totals }) {
  const tests = `${totals?.passed ?? 0} tests`;
  if (causes.length === 0) {
    console.log(`ok    ${name}  ${tests}  ${tookMs} ms`);
    for (const [line] of stdout.matchAll(/^measured .*$/gm)) console.log(`      ${line}`);
    return;
  }
  console.log(`FAIL  ${name}  ${tookMs} ms`);
  for (const cause of causes) console.log(`      ${cause}`);
  for (const text of [stdout, stderr]) if (text.trim() !== "") console.log(text.trimEnd());
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { root: { type: "string", default: join(repository, ".build/test") } },
    allowPositionals: true,
  });
  const queue = namesIn(values.root, new RegExp(positionals[0] ?? ""));
  if (queue.length === 0) console.log(`no built test in ${values.root} matches`);
  const results = [];
  const worker = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const result = await runFile(values.root, name);
      print(result);
      results.push(result);
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  const skips = results.flatMap(({ stdout }) => skipsIn(stdout));
  for (const { name, reason } of skips) console.log(`skip  ${name}: ${reason}`);
  const passed = results.reduce((sum, { totals }) => sum + (totals?.passed ?? 0), 0);
  const failed = results.reduce((sum, { totals, causes }) => {
    const tests = totals ? totals.total - totals.passed : 0;
    return sum + (causes.length > 0 ? Math.max(tests, 1) : 0);
  }, 0);
  console.log(`${passed} passed, ${failed} failed, ${skips.length} skipped`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

function stopAll() {
  for (const pid of running) killGroup(pid);
}
process.on("exit", stopAll);
for (const [signal, status] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
]) {
  process.on(signal, () => process.exit(status));
}
await main();
