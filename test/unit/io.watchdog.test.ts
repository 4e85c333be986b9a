// The agent's watchdog on the scripted driver.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LinuxWatchdog } from "../../agent/io/linuxwatchdog.ts";
import type { WatchdogFacts } from "../../agent/io/watchdog.ts";
import { makeTwin, runChild, twinObstacle, unless } from "../children.ts";
import { i6300esb, itco, Machine } from "../machine.ts";

const ioSuite = suite("io watchdog");
const onTwin = unless(twinObstacle(), ioSuite);

interface Answer {
  value?: unknown;
  error?: { code: string; message: string; details: Record<string, unknown> };
}

function refusal(answer: Answer | undefined): NonNullable<Answer["error"]> {
  if (answer?.error === undefined) throw new Error(`not refused: ${JSON.stringify(answer)}`);
  return answer.error;
}

function resultOf<T>(answer: Answer | undefined): T {
  if (answer?.value === undefined) throw new Error(`no value: ${JSON.stringify(answer)}`);
  return answer.value as T;
}

/** Calls on a LinuxWatchdog whose driver is the scripted one and whose sysfs follows it. */
async function calls(
  list: unknown[][],
  script = "",
  attributes: Record<string, string> = i6300esb,
  change: (machine: Machine, path: string) => void = () => {},
) {
  const machine = new Machine();
  const path = machine.add("watchdog0", "platform/scripted", attributes);
  change(machine, path);
  const twin = makeTwin(path);
  const state = machine.at("sys/class/watchdog/watchdog0/state");
  const args = [path, machine.root, JSON.stringify(list)];
  const child = await runChild("callsagent", args, { env: twin.env(script, state) });
  assert.equal([child.code, child.stderr], [0, ""]);
  const answers = JSON.parse(child.stdout) as Answer[];
  const log = twin.calls().map(({ text }) => text);
  return { path, answers, log, wrote: log.filter((text) => text.startsWith("write")) };
}

const setTimeoutTo = (seconds: string): string => `ioctl request=0xc0045706 in=${seconds}`;

onTwin("opening arms, asks what the driver is, and shows ourselves as the holder", async () => {
  const { answers, log } = await calls([["open"], ["open"], ["isOpen"], ["facts"]]);
  assert.is(log.filter((text) => text.startsWith("open")).length, 1);
  const facts = resultOf<WatchdogFacts>(answers[3]);
  assert.is(answers[2]?.value, true);
  assert.equal([facts.state, facts.bootStatus, facts.holder?.name], ["active", 32, "callsagent"]);
});

onTwin("A2-14 facts and refused calls never open the device", async () => {
  const used = [["facts"], ["refresh"], ["timeLeft"], ["setTimeout", 1000], ["disarm"], ["close"]];
  // The child opens it at the very end, so that there is a log to look at.
  const { answers, log } = await calls([...used, ["open"]]);
  assert.is(log.filter((text) => text.startsWith("open")).length, 1);
  assert.is(log[0], "open flags=0x80001 -> 0");
  for (const answer of answers.slice(1, 5)) assert.is(answer.error?.code, "watchdog.closed");
});

onTwin("A2-13 a watchdog that another process holds: its pid and name are told", async () => {
  const { path, answers } = await calls([["open"], ["isOpen"]], "busy=1", itco, (machine, device) =>
    machine.hold(812, "watchdogd", device),
  );
  const { code, message, details } = refusal(answers[0]);
  assert.is(code, "watchdog.busy");
  assert.match(message, `${path}: it is held by process 812 (watchdogd)`);
  assert.equal(details.holder, { pid: 812, name: "watchdogd" });
  assert.is(answers[1]?.value, false);
});

onTwin("A2-04 the granted timeout is read back, not believed", async () => {
  const { answers, log } = await calls([["open"], ["setTimeout", 11_500]], "step=10");
  assert.is(answers[1]?.value, 20_000);
  assert.ok(log.some((text) => text.startsWith(setTimeoutTo("0b000000"))));
  assert.match(log.at(-3) ?? "", "ioctl request=0x80045707");
});

onTwin("A2-05 a timeout is rounded down to whole seconds, and never to none", async () => {
  const asked = [2500, 2000, 1999, 1500, 1000, 400];
  const { answers } = await calls([["open"], ...asked.map((ms) => ["setTimeout", ms])]);
  assert.equal(
    answers.slice(1).map(({ value }) => value),
    [2000, 2000, 1000, 1000, 1000, 1000],
  );
});

onTwin("A2-04 a refused timeout names the limits and stays armed at what it had", async () => {
  const { path, answers, wrote } = await calls([["open"], ["setTimeout", 3_000_000], ["isOpen"]]);
  assert.equal(answers[1]?.error, {
    code: "watchdog.range",
    message:
      `${path} refuses a timeout of 3000 s: it states a minimum of 1 s and a maximum of 2046 s. ` +
      "It stays armed with 30 s.",
    details: { path, requestedMs: 3e6, minMs: 1000, maxMs: 2_046_000, grantedMs: 30_000 },
  });
  assert.is(answers[2]?.value, true);
  assert.equal(wrote, []);
});

onTwin("a driver with a fixed timeout says so; one that cannot read back is believed", async () => {
  const fixed = await calls([["open"], ["setTimeout", 5000]], "settimeout=-95");
  assert.is(fixed.answers[1]?.error?.code, "watchdog.range");
  assert.match(fixed.answers[1]?.error?.message ?? "", "its timeout is fixed");
  const blind = await calls([["open"], ["setTimeout", 5000]], "gettimeout=-95");
  assert.is(blind.answers[1]?.value, 5000);
});

onTwin(
  "a pretimeout is read back in ms; one that is no shorter than the timeout is out of range",
  async () => {
    const { answers } = await calls([["open"], ["setPretimeout", 5900], ["setPretimeout", 30_000]]);
    assert.is(answers[1]?.value, 5000);
    assert.is(answers[2]?.error?.code, "watchdog.range");
  },
);

onTwin("time left is milliseconds, or null where the driver cannot say", async () => {
  const known = await calls([["open"], ["timeLeft"]]);
  assert.is(known.answers[1]?.value, 7000);
  const unknown = await calls([["open"], ["timeLeft"]], "timeleft=-95");
  assert.is(unknown.answers[1]?.value, null);
});

onTwin("refresh falls back from KEEPALIVE to a write and from that to SETTIMEOUT", async () => {
  const plain = await calls([["open"], ["refresh"]]);
  assert.match(plain.log.at(-3) ?? "", "ioctl request=0x80045705");
  const second = await calls([["open"], ["refresh"]], "keepalive=-95");
  assert.equal(second.wrote, ["write bytes=00 -> 1"]);
  const third = await calls([["open"], ["refresh"]], "keepalive=-95 writes=-95");
  assert.match(third.log.at(-3) ?? "", setTimeoutTo("1e000000"));
  const broken = await calls([["open"], ["refresh"]], "keepalive=-5");
  assert.is(broken.answers[1]?.error?.code, "watchdog.device");
  assert.match(broken.answers[1]?.error?.message ?? "", "EIO");
  assert.equal(broken.wrote, []);
});

onTwin("told to refresh by SETTIMEOUT it sets the timeout that the device has", async () => {
  const by = ["refreshBy", "settimeout"];
  const { log } = await calls([["open"], ["setTimeout", 9000], by, ["refresh"]]);
  assert.ok(log.at(-3)?.startsWith(setTimeoutTo("09000000")), log.join("\n"));
  assert.not.ok(log.some((text) => text.includes("0x80045705")));
  const plan = { hardwareMs: 100, promiseMs: 2000, minGapMs: 0 };
  const served = await calls([["open"], by, ["serve", plan], ["wait", 250], ["stop"]]);
  const set = served.log.filter((text) => text.startsWith(setTimeoutTo("1e000000")));
  assert.ok(set.length >= 4, served.log.join("\n"));
  assert.not.ok(served.log.some((text) => text.includes("0x80045705")));
});

onTwin("close leaves the countdown running; a service on it ends as well", async () => {
  const plan = { hardwareMs: 1000, promiseMs: 5000, minGapMs: 0 };
  const { log, wrote, answers } = await calls([["open"], ["serve", plan], ["close"], ["isOpen"]]);
  assert.equal(wrote, []);
  assert.is(log.at(-1), "release counting");
  assert.is(answers[3]?.value, false);
});

onTwin("disarm writes V once and the last close stops the device", async () => {
  const { answers, log, wrote } = await calls([["open"], ["disarm"], ["isOpen"], ["facts"]]);
  assert.equal(answers[1], { value: null });
  assert.equal(wrote, ["write bytes=56 -> 1"]);
  assert.equal(log.slice(-3), ["write bytes=56 -> 1", "close", "release stopped"]);
  assert.is(resultOf<WatchdogFacts>(answers[3]).state, "inactive");
});

onTwin("disarm ends a running service before it writes V", async () => {
  const plan = { hardwareMs: 100, promiseMs: 5000, minGapMs: 0 };
  const { answers, log } = await calls([["open"], ["serve", plan], ["disarm"], ["wait", 200]]);
  assert.equal(answers[2], { value: null });
  assert.equal(log.slice(-4), ["close", "write bytes=56 -> 1", "close", "release stopped"]);
});

onTwin(
  "A2-12 nowayout known beforehand: disarm touches nothing and the service goes on",
  async () => {
    const plan = { hardwareMs: 40, promiseMs: 5000, minGapMs: 0 };
    const list = [["open"], ["serve", plan], ["disarm"], ["stats"], ["wait", 100], ["stats"]];
    const attributes = { ...i6300esb, nowayout: "1" };
    const { answers, wrote } = await calls(list, "nowayout=1", attributes);
    assert.is(answers[2]?.error?.code, "watchdog.nowayout");
    assert.equal(wrote, []);
    const counts = [answers[3], answers[5]].map((each) => resultOf<Stats>(each).refreshes);
    assert.ok((counts[1] ?? 0) >= (counts[0] ?? 0) + 3, `${counts}`);
  },
);

interface Stats {
  readonly refreshes: number;
  readonly lateMinMs: number;
  readonly lateMaxMs: number;
}

onTwin("A2-12 nowayout found out by trying: reported, and the device is open again", async () => {
  const { path, answers, log } = await calls([["open"], ["disarm"], ["isOpen"]], "nowayout=1");
  const { code, message, details } = refusal(answers[1]);
  assert.is(code, "watchdog.nowayout");
  assert.match(message, `The driver did not stop: ${path}`);
  assert.equal([details.open, answers[2]?.value], [true, true]);
  const after = log.slice(log.indexOf("release counting"));
  assert.is(after[1], "open flags=0x80001 -> 0");
});

onTwin("A2-04 serve refreshes within the plan, once per device, and reports itself", async () => {
  const plan = { hardwareMs: 100, promiseMs: 2000, minGapMs: 0 };
  const { answers, wrote } = await calls([
    ["open"],
    ["serve", plan],
    ["serve", plan],
    ["setTimeout", 5000],
    ["wait", 320],
    ["checkIn"],
    ["stats"],
    ["stop"],
    ["stop"],
    ["setTimeout", 5000],
  ]);
  const stats = resultOf<Stats>(answers[6]);
  assert.ok(stats.refreshes >= 6 && stats.refreshes <= 8, JSON.stringify(stats));
  assert.ok(stats.lateMinMs >= 0 && stats.lateMaxMs >= stats.lateMinMs && stats.lateMaxMs < 80);
  assert.equal(
    answers.slice(2, 4).map(({ error }) => error?.code),
    ["watchdog.state", "watchdog.state"],
  );
  assert.equal(answers.slice(7), [{ value: null }, { value: null }, { value: 5000 }]);
  assert.equal(wrote, []);
});

onTwin("a plan below the hardware's timeout, a missing node and another kind of file", async () => {
  const plan = { hardwareMs: 100, promiseMs: 50, minGapMs: 0 };
  const wrong = await calls([["open"], ["serve", plan]]);
  assert.is(wrong.answers[1]?.error?.code, "watchdog.range");
  const missing = new LinuxWatchdog("/dev/kennel-absent");
  assert.throws(
    () => missing.open(),
    (error: { code: string }) => error.code === "watchdog.missing",
  );
  const other = new LinuxWatchdog("/dev/null");
  assert.throws(
    () => other.open(),
    (error: { code: string }) => error.code === "watchdog.missing",
  );
  assert.is(other.isOpen, false);
});

onTwin("on a kernel without sysfs the open driver's own words are the facts", async () => {
  const { answers } = await calls([["open"], ["facts"]], "bootstatus=0", {});
  const { identity, options, bootStatus } = resultOf<WatchdogFacts>(answers[1]);
  assert.equal([identity, options, bootStatus], ["Thirty-two bytes of identity 32!", 0x8180, 0]);
});

ioSuite.run();
