/** Crash records over the line: the worst first, resumed, checked, kept until confirmed. */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { World } from "../../agent/sim/world.ts";
import { LateHost } from "../latehost.ts";
import { ask, confirmed, lastEnded, reportsOf, resetTime, runningCard } from "../worlds.ts";

const stories = suite("crash records");
const plan = { watchdogMs: 5000 };
const tasks = [{ name: "dataplane", every_s: 10 }];

/** A card that was reset because its dataplane stood still, and runs again. */
function crashed(options = {}): World {
  const world = runningCard({ plan, tasks, ...options });
  world.stuckTasks.add("dataplane");
  resetTime(world);
  world.stuckTasks.clear();
  confirmed(world);
  return world;
}

interface Fetched {
  readonly text: string;
  readonly offs: readonly number[];
}

/** Asks for a record block by block from `had`; `until` may break it off. */
function fetch(world: World, name: string, had: Buffer, until: () => boolean): Fetched {
  const host = new LateHost(world);
  const offs: number[] = [];
  let whole = had;
  for (;;) {
    const before = host.answers("report.crash").length;
    host.send("report.crash", { name, off: whole.length });
    const isAnswered = (): boolean => host.answers("report.crash").length > before;
    if (!world.until(() => isAnswered() || until(), 10_000) || until()) break;
    const { off, total, data } = host.answers("report.crash").at(-1) ?? {};
    assert.is(off, whole.length);
    offs.push(Number(off));
    whole = Buffer.concat([whole, data as Uint8Array]);
    if (whole.length === total) break;
  }
  return { text: whole.toString(), offs };
}

const never = (): boolean => false;

stories("B4-01 after a reset: cause, stage and culprit stand in the first 512 bytes", () => {
  const world = crashed();
  const [crash, ...others] = ask(world, "report.crashes").crashes;
  assert.equal(others, []);
  assert.is(crash?.name, `reset-${lastEnded(world)?.boot}.txt`);
  const { text, offs } = fetch(world, crash?.name ?? "", Buffer.alloc(0), never);
  const first = text.slice(0, 512);
  assert.match(first, /^kennel crash record 1\ncause: watchdog\nstage: runtime, step .*\n/);
  assert.match(first, /culprit: dataplane\n/);
  assert.match(first, /last words: dataplane, 10000 ms before the reset/);
  assert.match(text, /events, latest first:\n\d+ .*\n\d+ wdt:withheld \{"culprit":"dataplane"/);
  assert.ok(offs.length > 1, "several blocks");
  assert.is(createHash("sha256").update(text).digest("hex"), crash?.sha256);
  assert.is(reportsOf(world, "crash:kept").length, 1);
});

stories("B4-01 what is worse comes first, and a power cut leaves the least", () => {
  const world = crashed();
  world.power(false);
  world.power(true);
  confirmed(world);
  world.tee.inject("core_panic");
  world.advance(60_000);
  const abouts = ask(world, "report.crashes").crashes.map(({ about }) => about);
  assert.equal(abouts, ["reset", "tee", "lost"]);
});

stories("B4-02 a transfer that a reset of the card breaks off goes on at the next block", () => {
  const world = crashed();
  const [crash] = ask(world, "report.crashes").crashes;
  const name = crash?.name ?? "";
  const whole = fetch(world, name, Buffer.alloc(0), never).text;
  // The line goes with the second block under way.
  const host = new LateHost(world);
  host.send("report.crash", { name });
  assert.ok(world.until(() => host.answers("report.crash").length > 0, 5000));
  const had = Buffer.from(host.answers("report.crash")[0]?.data as Uint8Array);
  host.send("report.crash", { name, off: had.length });
  world.advance(5);
  world.power(false);
  world.power(true);
  confirmed(world);
  assert.is(host.answers("report.crash").length, 1);
  const { text, offs } = fetch(world, name, had, never);
  assert.is(offs[0], had.length);
  assert.is(text, whole);
  assert.is(createHash("sha256").update(text).digest("hex"), crash?.sha256);
});

stories("B4-03 an urgent report waits for one block at the most, however many are asked", () => {
  const world = crashed({ baud: 9600 });
  const [crash] = ask(world, "report.crashes").crashes;
  const name = crash?.name ?? "";
  const host = new LateHost(world);
  host.attach();
  world.advance(5000);
  // As fast as a client can ask: eight blocks in one packet, again and again.
  const eight = Array.from({ length: 8 }, () => ["report.crash", { name, off: 0 }] as const);
  host.sendAll(eight);
  world.advance(700);
  const saidMs = world.clock.now();
  world.agent?.call(() => world.agent?.emit({ kind: "agent:defect", what: "urgent" }));
  const isTold = () => host.heard.some(({ body }) => body.kind === "agent:defect");
  assert.ok(world.until(isTold, 30_000));
  const tookMs = world.clock.now() - saidMs;
  // 1024 bytes are 1.5 kB in frames: 1.6 s at 9600 Bd. Refusals of the others are short.
  assert.ok(tookMs < 2600, `${tookMs} ms`);
  const blocks = host.answers("report.crash").filter((answer) => "data" in answer);
  const busy = host.answers("report.crash").filter((answer) => "err" in answer);
  assert.is(blocks.length, 1);
  assert.equal(busy[0]?.err, { group: 68, rc: 10 });
});

stories("B4-04 a record goes with its digest alone, over a power cut as well", () => {
  const world = crashed();
  const [crash] = ask(world, "report.crashes").crashes;
  const name = crash?.name ?? "";
  const host = new LateHost(world);
  host.send("report.crash_confirm", { name, sha256: "0".repeat(64) });
  world.advance(500);
  assert.equal(host.answers("report.crash_confirm")[0]?.err, { group: 68, rc: 9 });
  world.reset("watchdog");
  confirmed(world);
  assert.ok(ask(world, "report.crashes").crashes.some((one) => one.name === name));
  host.send("report.crash_confirm", { name, sha256: crash?.sha256 });
  world.advance(500);
  world.power(false);
  world.power(true);
  confirmed(world);
  assert.not(ask(world, "report.crashes").crashes.some((one) => one.name === name));
  assert.is(reportsOf(world, "crash:confirmed").length, 1);
});

stories("B3-02 a boot that never got to say anything leaves a record with what is on disk", () => {
  const world = runningCard({ plan });
  const boot = world.agent?.boot.id;
  world.hangKernel();
  resetTime(world);
  confirmed(world);
  const [crash] = ask(world, "report.crashes").crashes;
  const { text } = fetch(world, crash?.name ?? "", Buffer.alloc(0), never);
  assert.match(text, /last words: none\n/);
  assert.match(text, new RegExp(`boot: ${boot}`));
  assert.match(text, /events, latest first:\n\d+ /);
  assert.match(text, /kernel log: none of this end/);
});

stories("B3-03 a panic leaves the kernel's words", () => {
  const world = runningCard({ plan });
  world.hangKernel();
  world.crashRecords.push(`dmesg-sim-0@${Math.round(world.clock.now())}`);
  resetTime(world);
  confirmed(world);
  const [crash] = ask(world, "report.crashes").crashes;
  const { text } = fetch(world, crash?.name ?? "", Buffer.alloc(0), never);
  assert.match(text, /cause: panic/);
  assert.match(text, /culprit: simulated panic/);
  assert.match(text, /kernel log:\n== dmesg-sim-0@/);
});

stories.run();
