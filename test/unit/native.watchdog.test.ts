import { suite } from "uvu";
import * as assert from "uvu/assert";
import { native, type SystemError } from "../../native/index.ts";
import {
  makeTwin,
  nativeObstacle,
  runChild,
  type Twin,
  twinObstacle,
  unless,
} from "../children.ts";

const watchdogSuite = suite("native watchdog");
const onTwin = unless(twinObstacle(), watchdogSuite);
const onNative = unless(nativeObstacle(), watchdogSuite);

interface Answer {
  value?: unknown;
  error?: SystemError;
}

/** Makes the calls in a child on a scripted watchdog; answers[0] is that of opening it. */
async function calls(list: unknown[][], script = "", twin: Twin = makeTwin()) {
  const child = await runChild("callsnative", [twin.device, JSON.stringify(list)], {
    env: twin.env(script),
    flags: ["--expose-gc"],
  });
  assert.is(child.stderr, "");
  assert.is(child.code, 0);
  const answers = JSON.parse(child.stdout) as Answer[];
  return { answers, log: twin.calls().map(({ text }) => text) };
}

// Numbers and layouts written out from include/uapi/linux/watchdog.h, not computed.
const identityHex = "5468697274792d74776f206279746573206f66206964656e7469747920333221";
const expectedCalls = [
  `ioctl request=0x80285700 in=${"00".repeat(40)} out=8081000004030201${identityHex} -> 0`,
  "ioctl request=0x80045701 in=00000000 out=00810000 -> 0",
  "ioctl request=0x80045702 in=00000000 out=20000000 -> 0",
  "ioctl request=0x80045703 in=00000000 out=00000000 -> -25",
  "ioctl request=0x80045704 in=02000000 out=02000000 -> 0",
  "ioctl request=0x80045705 in=00000000 out=00000000 -> 0",
  "ioctl request=0xc0045706 in=2c010000 out=2c010000 -> 0",
  "ioctl request=0x80045707 in=00000000 out=2c010000 -> 0",
  "ioctl request=0xc0045708 in=05000000 out=05000000 -> 0",
  // The granted pretimeout is read back: the core does not write it into the argument.
  "ioctl request=0x80045709 in=00000000 out=05000000 -> 0",
  "ioctl request=0x80045709 in=00000000 out=05000000 -> 0",
  "ioctl request=0x8004570a in=00000000 out=07000000 -> 0",
  "write bytes=00 -> 1",
];

onTwin("every request has the number and the bytes the kernel expects", async () => {
  const { answers, log } = await calls([
    ["getSupport"],
    ["getStatus"],
    ["getBootStatus"],
    ["getTemp"],
    ["setOptions", 2],
    ["keepAlive"],
    ["setTimeout", 300],
    ["getTimeout"],
    ["setPretimeout", 5],
    ["getPretimeout"],
    ["getTimeLeft"],
    ["write"],
  ]);
  // 0x80001 is O_WRONLY | O_CLOEXEC.
  assert.is(log[0], "open flags=0x80001 -> 0");
  assert.equal(log.slice(1, 1 + expectedCalls.length), expectedCalls);
  const values = answers.map(({ value }) => value);
  assert.equal(values[1], {
    options: 0x8180,
    firmwareVersion: 0x01020304,
    identity: "Thirty-two bytes of identity 32!",
  });
  assert.equal(values.slice(2, 4), [0x8100, 0x20]);
  assert.equal(values.slice(7), [300, 300, 5, 5, 7, null]);
  assert.is(answers[4]?.error?.code, "ENOTTY");
});

onTwin("a set timeout returns what the driver granted", async () => {
  const { answers } = await calls([["setTimeout", 12]], "step=10");
  assert.equal(answers[1], { value: 20 });
});

onTwin("a refusal is an error shaped like Node's", async () => {
  const { answers } = await calls([["setTimeout", 3000]]);
  assert.equal(answers[1]?.error, {
    name: "Error",
    code: "EINVAL",
    errno: -22,
    syscall: "WDIOC_SETTIMEOUT",
    path: "/dev/kennel-twin0",
    message: "EINVAL: invalid argument, WDIOC_SETTIMEOUT '/dev/kennel-twin0'",
  });
});

onTwin("a second open is EBUSY and leaves the first alone", async () => {
  const { answers } = await calls([["again"], ["keepAlive"]]);
  assert.is(answers[1]?.error?.code, "EBUSY");
  assert.is(answers[1]?.error?.syscall, "open");
  assert.equal(answers[2], { value: null });
});

onTwin("closing writes no V and the device keeps counting", async () => {
  const { log } = await calls([["keepAlive"], ["close"]]);
  assert.equal(log.slice(-2), ["close", "release counting"]);
  assert.not.ok(log.some((line) => line.startsWith("write")));
});

onTwin("a collected object closes without V", async () => {
  const { log } = await calls([["collect"]]);
  assert.equal(log, ["open flags=0x80001 -> 0", "close", "release counting"]);
});

onTwin("magicClose writes exactly one V and closes", async () => {
  const { answers, log } = await calls([["magicClose"], ["fd"]]);
  assert.equal(log.slice(-3), ["write bytes=56 -> 1", "close", "release stopped"]);
  assert.equal(answers[2], { value: -1 });
});

onTwin("a magicClose whose write fails leaves the device open", async () => {
  const { answers, log } = await calls([["magicClose"], ["keepAlive"]], "writes=-5");
  assert.is(answers[1]?.error?.code, "EIO");
  assert.equal(answers[2], { value: null });
  assert.equal(log.slice(1, 3), [
    "write bytes=56 -> -5",
    "ioctl request=0x80045705 in=00000000 out=00000000 -> 0",
  ]);
});

onTwin("after close every call is EBADF and closing again does nothing", async () => {
  const methods = ["getSupport", "getStatus", "getBootStatus", "getTemp", "keepAlive"];
  methods.push("getTimeout", "getPretimeout", "getTimeLeft", "write", "magicClose");
  const used = [...methods.map((method) => [method]), ["setTimeout", 5], ["setOptions", 1]];
  const { answers, log } = await calls([["close"], ...used, ["close"], ["fd"]]);
  const after = answers.slice(2, 2 + used.length);
  assert.equal(
    after.map(({ error }) => error?.code),
    used.map(() => "EBADF"),
  );
  assert.equal(answers.slice(-2), [{ value: null }, { value: -1 }]);
  assert.equal(log, ["open flags=0x80001 -> 0", "close", "release counting"]);
});

onTwin("write refuses V and values that are not a byte", async () => {
  const { answers, log } = await calls([
    ["write", 0x56],
    ["write", 256],
    ["write", 1.5],
  ]);
  for (const answer of answers.slice(1)) assert.is(answer.error?.code, "ERR_OUT_OF_RANGE");
  assert.equal(
    log.filter((line) => line.startsWith("write")),
    [],
  );
});

onNative("arguments that are no whole number are refused before the driver sees them", () => {
  const device = new (native().Watchdog)("/dev/null");
  for (const wrong of [-1, 0.5, Number.NaN, 2 ** 31, "5", undefined, null]) {
    try {
      device.setTimeout(wrong as number);
      assert.unreachable();
    } catch (error) {
      assert.is((error as SystemError).code, "ERR_OUT_OF_RANGE");
    }
  }
  device.close();
});

onNative("a path that does not exist and a file that is no watchdog say so", () => {
  const open = (): unknown => new (native().Watchdog)("/dev/kennel-absent");
  assert.throws(open, (error: SystemError) => {
    assert.equal(
      [error.code, error.errno, error.syscall, error.path],
      ["ENOENT", -2, "open", "/dev/kennel-absent"],
    );
    return error.message === "ENOENT: no such file or directory, open '/dev/kennel-absent'";
  });
  const device = new (native().Watchdog)("/dev/null");
  assert.throws(
    () => device.getSupport(),
    (error: SystemError) => error.code === "ENOTTY" && error.syscall === "WDIOC_GETSUPPORT",
  );
  device.close();
});

watchdogSuite.run();
