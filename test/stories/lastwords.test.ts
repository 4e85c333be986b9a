/** What a card says before it is reset, on the line and to its own next boot. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { eventsMax, LastWords } from "../../agent/heads/lastwords.ts";
import { SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import type { World } from "../../agent/sim/world.ts";
import { confirmed, HostTwin, reportsOf, resetTime, runningCard } from "../worlds.ts";

const stories = suite("last words");
const tasks = [{ name: "dataplane", every_s: 10 }];
const plan = { watchdogMs: 5000 };

function stuck(promise_s = 60): World {
  const world = runningCard({ plan, tasks, watchdog: { promise_s } });
  world.stuckTasks.add("dataplane");
  return world;
}

/** Reports of a kind that reached the host, with their time of arrival. */
function heard(host: HostTwin, kind: string) {
  return host.reports.filter(({ report }) => report.kind === kind);
}

for (const [promise_s, leadMs] of [
  [60, 10_000],
  [20, 5000],
] as const) {
  stories(
    `A2-19 B7-01 the host hears of it ${leadMs} ms before the reset, T2 ${promise_s} s`,
    () => {
      const world = stuck(promise_s);
      const host = new HostTwin(world);
      host.send("report.subscribe", { for_ms: 600_000 });
      const resetMs = resetTime(world);
      const [told, ...more] = heard(host, "wdt:pre_reset");
      assert.equal(more, []);
      assert.ok(
        told !== undefined && Math.abs(told.atMs - (resetMs - leadMs)) < 500,
        `${told?.atMs}`,
      );
      const { cause, culprit, deadline_ms, reset_in_ms } = told.report.data;
      assert.equal([cause, culprit, reset_in_ms], ["watchdog", "dataplane", leadMs]);
      assert.is(deadline_ms, Math.round(resetMs));
    },
  );
}

stories("A2-19 the next boot reports the last words once, and the boot they belong to", () => {
  const world = stuck();
  const boot = world.agent?.boot.id;
  resetTime(world);
  world.stuckTasks.clear();
  confirmed(world);
  const [words, ...more] = reportsOf(world, "boot:last_words");
  assert.equal(more, []);
  const { trail, refreshed_ago_ms, ...rest } = words ?? {};
  const stage = "runtime";
  assert.equal(rest, { boot, cause: "watchdog", culprit: "dataplane", stage, reset_in_ms: 10_000 });
  assert.is(refreshed_ago_ms, 50_000);
  assert.match(String(trail), /wdt:withheld boot:readiness$/);
  assert.is(world.disk.read("last")?.length, 0, "forgotten once the report is on disk");
  world.reset("reboot");
  confirmed(world);
  assert.is(reportsOf(world, "boot:last_words").length, 1, "not a second time");
});

stories("A2-19 a task that comes back takes the last words back", () => {
  const world = stuck();
  assert.ok(world.until(() => reportsOf(world, "wdt:pre_reset").length > 0, 120_000));
  assert.ok(world.disk.read("last") !== undefined);
  world.stuckTasks.clear();
  world.advance(10_000);
  assert.is(reportsOf(world, "wdt:resumed").length, 1);
  assert.is(world.disk.read("last")?.length, 0);
  world.power(false);
  world.power(true);
  confirmed(world);
  assert.equal(reportsOf(world, "boot:last_words"), []);
});

stories("last words that no reset followed are none: the agent alone was started again", () => {
  const world = stuck();
  assert.ok(world.until(() => reportsOf(world, "wdt:pre_reset").length > 0, 120_000));
  world.stuckTasks.clear();
  world.killAgent();
  world.startAgent();
  confirmed(world);
  assert.equal(reportsOf(world, "boot:last_words"), []);
});

stories("B7-01 a commanded reset is announced as such, and told of at the next boot", () => {
  const world = runningCard({ plan });
  const nowMs = world.clock.now();
  world.agent?.reset("operator");
  const [told] = reportsOf(world, "wdt:pre_reset");
  assert.equal(told, {
    cause: "commanded",
    culprit: "operator",
    deadline_ms: Math.round(nowMs + 250),
    reset_in_ms: 250,
  });
  world.advance(1000);
  confirmed(world);
  const [words] = reportsOf(world, "boot:last_words");
  assert.equal([words?.cause, words?.culprit], ["commanded", "operator"]);
});

stories("B7-01 a defect of the agent is announced, with the true deadline", () => {
  const world = runningCard({ plan });
  const host = new HostTwin(world);
  host.send("report.subscribe", { for_ms: 600_000 });
  world.advance(1000);
  world.agent?.call(() => {
    throw new Error("a defect");
  });
  const resetMs = resetTime(world);
  const [told] = heard(host, "wdt:pre_reset");
  assert.equal([told?.report.data.culprit, told?.report.data.deadline_ms], ["agent", resetMs]);
  confirmed(world);
  assert.is(reportsOf(world, "boot:last_words")[0]?.culprit, "agent");
});

stories("a disk that takes nothing delays nothing: the host is told all the same", () => {
  const world = stuck();
  world.disk.faults = { full: true };
  const host = new HostTwin(world);
  host.send("report.subscribe", { for_ms: 600_000 });
  resetTime(world);
  assert.is(heard(host, "wdt:pre_reset").length, 1);
});

const words = {
  boot: "7-0badcafe",
  machine: "m1",
  cause: "watchdog",
  culprit: "net",
  stage: "runtime",
  atMs: 90_000.4,
  refreshedMs: 50_000,
  deadlineMs: 100_000,
} as const;
const event = (atMs: number) => ({ atMs, event: { kind: "wdt:refreshed" } }) as const;

stories("the last 64 events are kept, in one record that a power cut cannot bend", () => {
  const disk = new SimDisk(new Random(3));
  const many = Array.from({ length: 300 }, (_, at) => event(at));
  new LastWords(disk).store(words, many);
  const bytes = disk.read("last") ?? new Uint8Array();
  assert.ok(bytes.length > eventsMax * 20 && bytes.length < 8192, `${bytes.length}`);
  disk.powerLoss();
  const told = new LastWords(disk).read("m2", "7-0badcafe");
  assert.is(told?.kind === "boot:last_words" ? told.refreshed_ago_ms : 0, 40_000);
  assert.is(new LastWords(disk).read("m2", "6-00000000"), null, "not of the boot before");
  assert.is(new LastWords(disk).read("m1", "7-0badcafe"), null, "nothing was reset");
  for (let at = 0; at < bytes.length; at += 97) {
    const hurt = bytes.slice();
    hurt[at] = (hurt[at] ?? 0) ^ 0x40;
    disk.write("last", hurt);
    const found = new LastWords(disk).read("m2", "7-0badcafe");
    assert.is(found?.kind, "journal:recovered", `byte ${at}`);
  }
});

stories.run();
