// The refresh thread on descriptors of ours, which tell when it refreshed.
import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type NativeRuntimeService, native, type SystemError } from "../../native/index.ts";
import {
  makeTwin,
  nativeObstacle,
  runChild,
  stamps,
  temporaryFolder,
  twinObstacle,
  unless,
} from "../children.ts";

const runtimeSuite = suite("native runtime");
const onNative = unless(nativeObstacle(), runtimeSuite);
const onTwin = unless(twinObstacle(), runtimeSuite);

/** A refresh this late is a defect even on a machine that is shared with other work. */
const toleranceMs = 80;

interface Recording {
  readonly service: NativeRuntimeService;
  readonly fd: number;
  readonly startNs: bigint;
  /** Refresh times in ms after the start. */
  timesMs(): number[];
}

/** A running service whose refreshes are stamped into a file. */
function record(hardwareMs: number, promiseMs: number, minGapMs = 0): Recording {
  const path = join(temporaryFolder(), "stamps");
  const fd = openSync(path, "w");
  const startNs = native().monotonicNs();
  const options = { fd, kind: "pipe", hardwareMs, promiseMs, minGapMs } as const;
  const service = new (native().RuntimeService)(options);
  const timesMs = (): number[] =>
    stamps(readFileSync(path)).map((ns) => Number(ns - startNs) / 1e6);
  return { service, fd, startNs, timesMs };
}

/** Waits, with a bound, for what the thread is to do. */
async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 500 && !condition(); turn++) await sleep(2);
}

function assertNear(actual: number | undefined, expected: number, what: string): void {
  const fits = actual !== undefined && actual >= expected - 1 && actual <= expected + toleranceMs;
  assert.ok(fits, `${what}: ${actual} ms, expected ${expected} ms`);
}

onNative("refreshes T1/2 apart, the last at D - T1, then none until D moves", async () => {
  const { service, fd, startNs, timesMs } = record(200, 550);
  await sleep(700);
  const times = timesMs();
  const expected = [0, 100, 200, 300, 350];
  assert.is(times.length, expected.length, `${times}`);
  for (const [index, due] of expected.entries()) assertNear(times[index], due, `refresh ${index}`);
  const beforeMs = Number(native().monotonicNs() - startNs) / 1e6;
  service.checkIn();
  await until(() => timesMs().length > expected.length);
  // At once: the thread had nothing left to wait for, and a futex woke it.
  assertNear(timesMs()[expected.length], beforeMs, "refresh after the deadline moved");
  service.stop();
  closeSync(fd);
});

onNative("with T2 = T1 there is one refresh for each check-in and no other", async () => {
  const { service, fd, timesMs } = record(300, 300);
  for (let count = 1; count < 5; count++) {
    await until(() => timesMs().length >= count);
    assert.is(timesMs().length, count);
    service.checkIn();
  }
  await until(() => timesMs().length >= 5);
  await sleep(400);
  assert.is(timesMs().length, 5);
  service.stop();
  closeSync(fd);
});

onNative("refreshes keep the shortest gap the hardware bears", async () => {
  const { service, fd, timesMs } = record(300, 300, 100);
  for (let turn = 0; turn < 30; turn++) {
    service.checkIn();
    await sleep(10);
  }
  service.stop();
  closeSync(fd);
  const times = timesMs();
  const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  assert.ok(times.length >= 3 && Math.min(...gaps) >= 100, `${gaps}`);
});

onNative("idle it wakes at most twice in T1/2, and check-ins do not wake it", async () => {
  const { service, fd, startNs } = record(400, 60_000);
  for (let count = 0; count < 200_000; count++) service.checkIn();
  await sleep(1000);
  const { wakeups, refreshes } = service.stats();
  const halves = Number(native().monotonicNs() - startNs) / 200e6;
  service.stop();
  closeSync(fd);
  assert.ok(refreshes >= 5 && wakeups <= 2 * halves, `${wakeups} wake-ups in ${halves} T1/2`);
});

onNative("after stop there is no refresh; stop and check-in may be repeated", async () => {
  const { service, fd, timesMs } = record(40, 10_000);
  await sleep(100);
  assert.ok(service.stats().running);
  assert.equal([service.stop(), service.stop()], [true, true]);
  const count = timesMs().length;
  service.checkIn();
  await sleep(100);
  assert.is(timesMs().length, count);
  assert.is(service.stats().running, false);
  assert.is(service.stats().refreshes, count);
  closeSync(fd);
});

onNative("a descriptor closed and used again for another file is never written to", async () => {
  const { service, fd } = record(20, 10_000);
  closeSync(fd);
  const path = join(temporaryFolder(), "precious");
  const again = openSync(path, "w");
  assert.is(again, fd);
  await sleep(100);
  service.stop();
  assert.is(readFileSync(path).length, 0);
  closeSync(again);
});

onNative("a full pipe is a counted failure that neither blocks nor ends the thread", async () => {
  const path = join(temporaryFolder(), "fifo");
  assert.is(spawnSync("mkfifo", [path]).status, 0);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  // A pipe holds 64 kB; there is room for 16 stamps.
  const bytes = Buffer.alloc(65_536);
  assert.is(writeSync(fd, bytes, 0, bytes.length - 16 * 8), bytes.length - 16 * 8);
  const options = { kind: "pipe", hardwareMs: 10, promiseMs: 60_000, minGapMs: 0 } as const;
  const service = new (native().RuntimeService)({ ...options, fd });
  await sleep(400);
  assert.is(service.stats().refreshes, 16);
  assert.ok(service.stats().failures >= 3);
  const { lastError, refreshes } = service.stats();
  assert.match(lastError, /^EAGAIN: /);
  assert.is(readSync(fd, bytes), 65_536);
  await sleep(50);
  assert.ok(service.stats().refreshes > refreshes, "refreshes again once there is room");
  assert.ok(service.stop());
  closeSync(fd);
});

onNative("lateness is counted and sampled for every refresh, in a bounded ring", async () => {
  const { service, fd } = record(10, 60_000);
  await sleep(300);
  service.stop();
  const { refreshes, lateMinNs, lateMaxNs } = service.stats();
  const samples = [...service.samples()];
  assert.is(samples.length, refreshes);
  assert.is(Math.min(...samples), lateMinNs);
  assert.is(Math.max(...samples), lateMaxNs);
  assert.ok(lateMinNs >= 0 && lateMaxNs < toleranceMs * 1e6, `${lateMinNs} to ${lateMaxNs} ns`);
  closeSync(fd);
});

onNative("the thread is named, takes no signals and says how it is scheduled", async () => {
  const { service, fd } = record(1000, 2000);
  const tasks = readdirSync("/proc/self/task").map((task) =>
    readFileSync(`/proc/self/task/${task}/status`, "utf8"),
  );
  const status = tasks.find((text) => text.includes("kennel-refresh")) ?? "";
  const blocked = BigInt(`0x${/SigBlk:\s*([\da-f]+)/.exec(status)?.[1] ?? "0"}`);
  // Signal n is bit n - 1; 9 and 19 cannot be blocked, 32 and 33 are the C library's own.
  for (const signal of [1, 2, 10, 11, 12, 13, 14, 15, 17, 64]) {
    assert.ok((blocked >> BigInt(signal - 1)) & 1n, `signal ${signal} is not blocked`);
  }
  const { scheduling, lockedBytes, lockError } = service.stats();
  assert.match(scheduling, /^SCHED_FIFO$|^SCHED_OTHER \(E[A-Z]+: .+\)$/);
  assert.ok(lockError === "" ? lockedBytes > 65_536 : /^E[A-Z]+: /.test(lockError), lockError);
  service.stop();
  closeSync(fd);
});

onNative("without privileges it refreshes all the same and says what it lacks", () => {
  const program = join(__dirname, "../fixtures/serveonce.cjs");
  const limited = 'ulimit -l 16 && exec "$0" "$@"';
  const args = ["-c", limited, process.execPath, program, "/dev/null", "nobody"];
  const { stdout, stderr } = spawnSync("sh", args, { encoding: "utf8" });
  assert.is(stderr, "");
  const said = JSON.parse(stdout);
  assert.is(said.scheduling, "SCHED_OTHER (EPERM: operation not permitted)");
  assert.match(said.lockError, /^E(NOMEM|PERM|AGAIN): /);
  assert.ok(said.refreshes >= 4 && said.failures === 0, stdout);
});

onNative("plans that cannot be kept are refused", () => {
  const good = { fd: 1, kind: "pipe", hardwareMs: 100, promiseMs: 200, minGapMs: 0 } as const;
  const wrong: [object, string][] = [
    [{ promiseMs: 99 }, "ERR_OUT_OF_RANGE"],
    [{ minGapMs: 51 }, "ERR_OUT_OF_RANGE"],
    [{ minGapMs: -1 }, "ERR_OUT_OF_RANGE"],
    [{ hardwareMs: 0.5 }, "ERR_OUT_OF_RANGE"],
    [{ promiseMs: Number.POSITIVE_INFINITY }, "ERR_OUT_OF_RANGE"],
    [{ hardwareMs: "100" }, "ERR_OUT_OF_RANGE"],
    [{ timeoutS: -1 }, "ERR_OUT_OF_RANGE"],
    [{ timeoutS: 1.5 }, "ERR_OUT_OF_RANGE"],
    [{ kind: "file" }, "ERR_INVALID_ARG_TYPE"],
    [{ fd: 1_000_000 }, "EBADF"],
    [{ fd: -1 }, "EBADF"],
  ];
  for (const [change, code] of wrong) {
    assert.throws(
      () => new (native().RuntimeService)({ ...good, ...change }),
      (error: SystemError) => error.code === code,
      JSON.stringify(change),
    );
  }
});

async function onWatchdog(script: string, how = "") {
  const twin = makeTwin();
  const fromMs = performance.now();
  const child = await runChild("serveonce", [twin.device, how], { env: twin.env(script) });
  const tookMs = performance.now() - fromMs;
  assert.equal([child.code, child.stderr], [0, ""]);
  return { said: JSON.parse(child.stdout), tookMs, texts: twin.calls().map(({ text }) => text) };
}

onTwin("a watchdog without KEEPALIVE is refreshed by writing a byte that is not V", async () => {
  const { said, texts } = await onWatchdog("keepalive=-95");
  assert.ok(said.refreshes >= 4 && said.failures === 0, JSON.stringify(said));
  const writes = texts.filter((text) => text.startsWith("write"));
  assert.equal(writes, Array(said.refreshes).fill("write bytes=00 -> 1"));
  assert.is(texts.filter((text) => text.includes("0x80045705")).length, 1);
});

onTwin("told to refresh by SETTIMEOUT it sets that timeout and never calls KEEPALIVE", async () => {
  const { said, texts } = await onWatchdog("", "settimeout");
  assert.ok(said.refreshes >= 4 && said.failures === 0, JSON.stringify(said));
  const set = texts.filter((text) => text.startsWith("ioctl request=0xc0045706 in=07000000"));
  assert.is(set.length, said.refreshes);
  assert.not.ok(texts.some((text) => text.includes("0x80045705") || text.startsWith("write")));
});

onTwin("a driver that cannot set its timeout is refreshed by KEEPALIVE after all", async () => {
  const { said, texts } = await onWatchdog("settimeout=-95", "settimeout");
  assert.ok(said.refreshes >= 4 && said.failures === 0, JSON.stringify(said));
  assert.is(texts.filter((text) => text.includes("0xc0045706")).length, 1);
  assert.is(texts.filter((text) => text.includes("0x80045705")).length, said.refreshes);
});

onTwin("a refused refresh is tried again before the hardware expires", async () => {
  const { said, texts } = await onWatchdog("failures=3");
  assert.is(said.failures, 3);
  assert.match(said.lastError, /^EIO: /);
  assert.ok(said.refreshes >= 3, JSON.stringify(said));
  assert.not.ok(texts.some((text) => text.startsWith("write")));
});

onTwin("a device that refuses everything is tried eight times in T1, not in a loop", async () => {
  const { said } = await onWatchdog("keepalive=-5");
  assert.is(said.refreshes, 0);
  const most = said.servedMs / 12.5 + 1;
  assert.ok(said.failures >= 8 && said.failures <= most, `${said.failures} of ${most} attempts`);
});

onTwin("a driver that does not return costs stop one second and the exit nothing", async () => {
  const { said, tookMs } = await onWatchdog("stallms=15000");
  assert.is(said.stopped, false);
  assert.ok(said.stopMs >= 990 && said.stopMs < 5000, `${said.stopMs} ms`);
  assert.ok(tookMs < 10_000, `${tookMs} ms`);
});

runtimeSuite.run();
