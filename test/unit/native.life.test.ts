// Native code dies with the process or not at all: looked at from outside.
import { setTimeout as sleep } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  ended,
  makeTwin,
  nativeObstacle,
  runChild,
  said,
  stamps,
  startChild,
  type Twin,
  twinObstacle,
  unless,
} from "../children.ts";

const lifeSuite = suite("native life");
const onTwin = unless(twinObstacle(), lifeSuite);
const onNative = unless(nativeObstacle(), lifeSuite);

/** A refresh this late is a defect even on a machine that is shared with other work. */
const toleranceMs = 80;

const refreshed = "ioctl request=0x80045705";

function refreshes(twin: Twin): number {
  return twin.calls().filter(({ text }) => text.startsWith(refreshed)).length;
}

function assertNeverDisarmed(twin: Twin): void {
  const texts = twin.calls().map(({ text }) => text);
  assert.not.ok(
    texts.some((text) => text.startsWith("write")),
    texts.join("\n"),
  );
  assert.not.ok(texts.includes("release stopped"), texts.join("\n"));
}

async function live(way: string, flags: string[] = []) {
  const twin = makeTwin();
  const args = [way, twin.device];
  const child = await runChild("lifeanddeath", args, { env: twin.env(), flags });
  return { child, twin };
}

const ends = [
  ["natural end", 0],
  ["process.exit", 7],
  ["exit in a turn of the loop", 7],
] as const;
for (const [way, code] of ends) {
  onTwin(`${way} while open and refreshing: status ${code}, no crash, never disarmed`, async () => {
    const { child, twin } = await live(way);
    assert.equal([child.code, child.signal, child.stderr], [code, null, ""]);
    assertNeverDisarmed(twin);
  });
}

onTwin("an uncaught exception while refreshing ends as usual and never disarms", async () => {
  const { child, twin } = await live("uncaught exception");
  assert.equal([child.code, child.signal], [1, null]);
  assert.match(child.stderr, "on purpose");
  assertNeverDisarmed(twin);
});

onTwin("abort while refreshing never disarms", async () => {
  const { child, twin } = await live("abort");
  assert.is(child.signal, "SIGABRT");
  assertNeverDisarmed(twin);
});

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  onTwin(`A2-09 ${signal}: refreshing ends with the process and no V is written`, async () => {
    const twin = makeTwin();
    const child = startChild("lifeanddeath", ["wait for a signal", twin.device], {
      env: twin.env(),
    });
    const end = ended(child);
    await said(child, "ready");
    await sleep(150);
    child.kill(signal);
    assert.is((await end).signal, signal);
    const count = refreshes(twin);
    assert.ok(count >= 4, `${count} refreshes in 150 ms at T1 = 40 ms`);
    assertNeverDisarmed(twin);
    await sleep(100);
    assert.is(refreshes(twin), count);
  });
}

onTwin("A2-09 SIGSTOP past the deadline: waking up does not revive the promise", async () => {
  const twin = makeTwin();
  const child = startChild("lifeanddeath", ["wait for a signal", twin.device, "1000"], {
    env: twin.env(),
  });
  const end = ended(child);
  await said(child, "ready");
  child.kill("SIGSTOP");
  await sleep(1100);
  const before = refreshes(twin);
  child.kill("SIGCONT");
  await sleep(150);
  child.kill("SIGKILL");
  await end;
  assert.is(refreshes(twin), before);
  assertNeverDisarmed(twin);
});

onTwin("a device closed under the service is kept by the service", async () => {
  const { child, twin } = await live("device closed under the service");
  assert.equal([child.code, child.stderr], [0, ""]);
  const count = Number(/refreshes (\d+)/.exec(child.stdout)?.[1]);
  assert.ok(count >= 6, child.stdout);
  assertNeverDisarmed(twin);
});

onTwin("device and service collected without close: no crash, no V", async () => {
  const { child, twin } = await live("collected without close", ["--expose-gc"]);
  assert.equal([child.code, child.signal, child.stderr], [0, null, ""]);
  assert.equal(child.stdout, "ready\nalive\n");
  assert.is(twin.calls().at(-1)?.text, "release counting");
  assertNeverDisarmed(twin);
});

onTwin("a worker that ends does not end the service of the main thread", async () => {
  const { child } = await live("a worker ends while the service runs");
  assert.equal([child.code, child.stderr], [0, ""]);
  assert.match(child.stdout, /refreshes [1-9]/);
});

for (const order of ["main first", "workers only"]) {
  onNative(`two workers load the addon, leave all open and end (${order})`, async () => {
    const child = await runChild("inworkers", [order]);
    assert.equal([child.code, child.signal, child.stderr], [0, null, ""]);
    const words = "bigint ERR_MAIN_THREAD_ONLY\n";
    assert.is(child.stdout, `${words}${words}done\n`);
  });
}

onNative("A2-08 JS loop blocked 5 s: refreshes go on and stop at D - T1", async () => {
  const [hardwareMs, promiseMs] = [400, 4400];
  const child = await runChild("blockedloop", [`${hardwareMs}`, `${promiseMs}`, "5000"]);
  assert.equal([child.code, child.stderr], [0, ""]);
  const { fromNs } = JSON.parse(child.stdout) as { fromNs: string };
  const times = stamps(child.bytes).map((ns) => Number(ns - BigInt(fromNs)) / 1e6);
  const gaps = times.slice(1).map((time, index) => time - (times[index] ?? Number.NaN));
  const widest = Math.max(...gaps);
  assert.ok(widest <= hardwareMs / 2 + toleranceMs, `widest gap ${widest} ms`);
  assert.ok(times.length >= (promiseMs - hardwareMs) / (hardwareMs / 2), `${times}`);
  const last = times.at(-1) ?? Number.NaN;
  const final = promiseMs - hardwareMs;
  assert.ok(last >= final - 5 && last <= final + toleranceMs, `last refresh at ${last} ms`);
});

lifeSuite.run();
