// kenneld under a service manager that keeps its watchdog open, on the scripted driver.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { native } from "../../native/index.ts";
import { makeTwin, temporaryFolder, twinObstacle, unless } from "../children.ts";
import { FdStore } from "../fdstore.ts";
import { ask, Cable } from "../programs.ts";

const programs = suite("fd store");
const onTwin = unless(twinObstacle(), programs);

interface Told {
  readonly boot: string;
  readonly seq: number;
  readonly kind: string;
  readonly data: Record<string, unknown>;
}

async function reportsOf(cable: Cable, kind: string): Promise<Told[]> {
  const { data } = await ask(cable.host, "reports", "--keep");
  return (data.reports as Told[]).filter((report) => report.kind === kind);
}

for (const abstract of [false, true]) {
  const kind = abstract ? "an abstract" : "a";
  onTwin(`B15-01 three agents, one open: ${kind} socket keeps the watchdog between`, async () => {
    const twin = makeTwin();
    const folder = temporaryFolder();
    const cable = new Cable();
    const socket = abstract ? `@kennel-${process.pid}` : join(folder, "notify");
    const args = ["--device", twin.device, "--state", folder, "--port", cable.card];
    const store = new FdStore(socket, twin.env("timeleft=-95"), args);
    await store.after("s", "says READY=1");
    assert.is(store.count("says FDSTORE=1 FDNAME=watchdog"), 1);
    assert.is(store.count("kept 1"), 1);
    await store.after("t", "says STOPPING=1");
    await store.after("s", "says READY=1");
    // Whoever is answered knows that the reports before are on disk.
    assert.is((await reportsOf(cable, "wdt:handed_over")).length, 1);
    await store.after("k", "ended -9");
    await store.after("s", "says READY=1");
    const calls = twin.calls().map(({ text }) => text);
    const of = (start: string): number => calls.filter((text) => text.startsWith(start)).length;
    assert.equal([of("open"), of("inherited"), of("write"), of("release stopped")], [1, 2, 0, 0]);
    assert.ok(of("ioctl request=0x80045705") >= 3, "each of them refreshed it");
    const gaps = (await reportsOf(cable, "boot:unobserved")).map(({ data }) => data.by);
    assert.equal(gaps, ["note", "unknown"], "the time nobody looked is told");
    const over = await reportsOf(cable, "wdt:handed_over");
    assert.equal(
      over.map(({ boot, data }) => [Number.parseInt(boot, 10), data.path]),
      [
        [2, twin.device],
        [3, twin.device],
      ],
      "and the counters went on",
    );
    assert.equal(await reportsOf(cable, "agent:supervisor"), []);
    await store.after("t", "ended 0");
    await store.quit();
    cable.close();
    assert.is(store.stderr, "");
  });
}

onTwin("B15-02 a new agent that fails to start leaves the countdown to the next one", async () => {
  const twin = makeTwin();
  const state = temporaryFolder();
  const config = join(state, "settings.json");
  writeFileSync(config, "{}");
  const args = ["--device", twin.device, "--state", state, "--config", config];
  const store = new FdStore(join(state, "notify"), twin.env("timeleft=-95"), args);
  await store.after("s", "says READY=1");
  await store.after("t", "ended 0");
  writeFileSync(config, '{"no such": "setting"}');
  await store.after("sw", "ended 2");
  writeFileSync(config, "{}");
  await store.after("s", "says READY=1");
  const calls = twin.calls().map(({ text }) => text);
  const of = (start: string): number => calls.filter((text) => text.startsWith(start)).length;
  assert.equal([of("open"), of("inherited"), of("write"), of("release stopped")], [1, 2, 0, 0]);
  assert.is(store.count("kept"), 1, "and it stays in the store all the while");
  await store.after("t", "ended 0");
  await store.quit();
  assert.match(store.stderr, "no such is no setting");
});

onTwin("what is handed over and is not this watchdog is closed without V and told", async () => {
  const folder = temporaryFolder();
  const plain = join(folder, "plain");
  writeFileSync(plain, "");
  const cases = [
    ["another kind of device", "/dev/null", "/dev/kennel-twin0"],
    ["another number than the path's", "/dev/null", "/dev/zero"],
    ["a plain file", plain, "/dev/kennel-twin0"],
  ] as const;
  for (const [what, extra, device] of cases) {
    const twin = makeTwin(device);
    const cable = new Cable();
    const state = temporaryFolder();
    const answers = device === "/dev/zero" ? { FDSTORE_ANSWERS: "1" } : {};
    const env = { ...twin.env("timeleft=-95"), FDSTORE_EXTRA: extra, ...answers };
    const args = ["--device", device, "--state", state, "--port", cable.card];
    const store = new FdStore(join(state, "notify"), env, args);
    await store.after("s", "says READY=1");
    assert.equal([store.count("dropped"), store.count("kept 1")], [1, 1], what);
    const told = await reportsOf(cable, "agent:supervisor");
    assert.is(told.length, 1, what);
    assert.match(String(told[0]?.data.problem), "descriptor 3 (watchdog) that was handed over");
    const calls = twin.calls().map(({ text }) => text);
    assert.is(calls.filter((text) => text.startsWith("open")).length, 1, what);
    assert.not.ok(
      calls.some((text) => text.startsWith("write")),
      what,
    );
    await store.after("t", "ended 0");
    await store.quit();
    cable.close();
  }
});

onTwin("B15-01 beside a stale one the watchdog is adopted, and stays in the store", async () => {
  const twin = makeTwin();
  const state = temporaryFolder();
  const plain = join(state, "plain");
  writeFileSync(plain, "");
  const args = ["--device", twin.device, "--state", state];
  const env = { ...twin.env("timeleft=-95"), FDSTORE_LATE: plain, FDSTORE_ANSWERS: "1" };
  const store = new FdStore(join(state, "notify"), env, args);
  await store.after("s", "says READY=1");
  await store.after("t", "ended 0");
  await store.after("xs", "says READY=1");
  const lastKept = store.lines.findLast((line) => line.startsWith("kept"));
  assert.equal([store.count("dropped"), lastKept], [1, "kept 1"]);
  await store.after("t", "ended 0");
  await store.after("s", "says READY=1");
  const calls = twin.calls().map(({ text }) => text);
  const of = (start: string): number => calls.filter((text) => text.startsWith(start)).length;
  assert.equal([of("open"), of("inherited"), of("write"), of("release stopped")], [1, 2, 0, 0]);
  await store.after("t", "ended 0");
  await store.quit();
});

onTwin("a disarm takes the watchdog out of the store and stops it by call", async () => {
  const twin = makeTwin();
  const cable = new Cable();
  const state = temporaryFolder();
  const args = ["--device", twin.device, "--state", state, "--port", cable.card, "--allow-disarm"];
  const store = new FdStore(join(state, "notify"), twin.env("timeleft=-95"), args);
  await store.after("s", "says READY=1");
  const { ok } = await ask(cable.host, "wdt", "disarm", "--yes");
  assert.is(ok, true);
  assert.is(store.count("dropped"), 1);
  const calls = twin.calls().map(({ text }) => text);
  const stop = calls.findIndex((text) => text.startsWith("ioctl request=0x80045704 in=01000000"));
  assert.ok(stop > 0, calls.join("\n"));
  assert.is(calls[stop + 1], "write bytes=56 -> 1");
  await store.after("t", "ended 0");
  await store.quit();
  cable.close();
});

onTwin("a manager that reads nothing any more holds up nobody", async () => {
  const twin = makeTwin();
  const folder = temporaryFolder();
  const socket = join(folder, "notify");
  const args = ["--device", twin.device, "--state", folder];
  const store = new FdStore(socket, twin.env("timeleft=-95"), args);
  await store.after("s", "says READY=1");
  store.stall(true);
  let code = "";
  for (let sent = 0; code === "" && sent < 10_000; sent++) {
    try {
      native().notify(socket, "STATUS=x");
    } catch (error) {
      code = (error as { code: string }).code;
    }
  }
  assert.is(code, "EAGAIN");
  store.stall(false);
  await store.after("", "says STATUS=x");
  await store.after("t", "ended 0");
  await store.quit();
});

onTwin("a manager that asks for it hears of the healthy verdict, twice as often", async () => {
  const twin = makeTwin();
  const state = temporaryFolder();
  const env = { ...twin.env("timeleft=-95"), WATCHDOG_USEC: "200000" };
  const store = new FdStore(join(state, "notify"), env, [
    ...["--device", twin.device, "--state", state],
  ]);
  await store.after("s", "says READY=1");
  const from = process.hrtime.bigint();
  await store.after("", "says WATCHDOG=1", 5);
  const tookMs = Number(process.hrtime.bigint() - from) / 1e6;
  assert.ok(tookMs >= 300, `${tookMs} ms for five`);
  await store.after("t", "ended 0");
  await store.quit();
});

programs.run();
