// What is taken from a service manager's environment, and what it gets to hear.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervision } from "../../agent/heads/supervision.ts";
import { ServiceManager } from "../../agent/io/supervisor.ts";
import type { World } from "../../agent/sim/world.ts";
import { native } from "../../native/index.ts";
import { nativeObstacle, unless } from "../children.ts";
import { card, reportsOf } from "../worlds.ts";

const supervision = suite("supervisor");
const onNative = unless(nativeObstacle(), supervision);

const environment = {
  NOTIFY_SOCKET: "/run/systemd/notify",
  WATCHDOG_USEC: "30000000",
  WATCHDOG_PID: "812",
  LISTEN_PID: "812",
  LISTEN_FDS: "2",
  LISTEN_FDNAMES: "watchdog:log",
  PATH: "/bin",
};

supervision(
  "descriptors and times meant for this process are taken, and no child sees them",
  () => {
    const env: Record<string, string | undefined> = { ...environment };
    const manager = new ServiceManager(env, 812, () => undefined);
    assert.equal(manager.inherited, [
      { name: "watchdog", fd: 3 },
      { name: "log", fd: 4 },
    ]);
    assert.is(manager.everyMs, 15_000);
    assert.equal(env, { PATH: "/bin" });
  },
);

supervision("what is meant for another process is neither taken nor closed", () => {
  const manager = new ServiceManager({ ...environment }, 813, () => undefined);
  assert.equal([manager.inherited, manager.everyMs], [[], null]);
  for (const LISTEN_FDS of ["", "-1", "x", "1.5", undefined]) {
    const odd = new ServiceManager({ ...environment, LISTEN_FDS }, 812, () => undefined);
    assert.equal(odd.inherited, []);
  }
  const many = new ServiceManager({ ...environment, LISTEN_FDS: "4000" }, 812, () => undefined);
  assert.is(many.inherited.length, 16);
  assert.is(many.inherited.at(-1)?.name, "unknown");
});

supervision("without a socket nothing is sent", () => {
  const sent: string[] = [];
  const manager = new ServiceManager({}, 812, (_, text) => sent.push(text));
  manager.tell("READY=1");
  manager.keep(5);
  assert.equal([sent, manager.everyMs, manager.takeProblems()], [[], null, []]);
});

supervision("a manager that is gone is a problem once, not with every beat", () => {
  const manager = new ServiceManager({ ...environment }, 812, () => {
    throw new Error("ECONNREFUSED");
  });
  for (let beat = 0; beat < 100; beat++) manager.tell("WATCHDOG=1");
  assert.equal(manager.takeProblems(), [
    "cannot tell the service manager WATCHDOG=1: ECONNREFUSED",
  ]);
  assert.equal(manager.takeProblems(), []);
});

onNative("a socket that cannot be one, and one that nobody reads", () => {
  const { notify } = native();
  for (const path of ["", "relative", `/${"a".repeat(120)}`]) {
    assert.throws(
      () => notify(path, "READY=1"),
      (error: { code: string }) => error.code === "ERR_OUT_OF_RANGE",
    );
  }
  for (const path of ["/nonexistent/notify", "@kennel-nobody"]) {
    assert.throws(
      () => notify(path, "READY=1"),
      (error: { syscall: string }) => error.syscall === "sendmsg",
    );
  }
});

/** A simulated card whose agent is supervised, and what the supervisor heard: `[state, ms]`. */
function supervised(
  everyMs: number | null,
  tasks: { name: string; every_s: number }[] = [],
  busyUntilMs = 0,
) {
  const heard: [string, number][] = [];
  const problems = ["descriptor 3 (log) that was handed over is not used: its name is not known"];
  const world: World = card({
    tasks,
    supervisor: {
      everyMs,
      tell: (state) => {
        if (world.clock.now() < busyUntilMs) return false;
        heard.push([state, world.clock.now()]);
        return true;
      },
      takeProblems: () => problems.splice(0),
    },
  });
  world.power(true);
  return { world, heard };
}

supervision(
  "ready comes once and first, then the verdict at the asked pace or faster; problems are told",
  () => {
    const { world, heard } = supervised(5000);
    world.advance(60_000);
    assert.is(heard[0]?.[0], "READY=1");
    assert.ok(heard.slice(1).every(([state]) => state === "WATCHDOG=1"));
    // While the card settles the agent wakes every second, and then says so every third.
    assert.ok(heard.length >= 11 && heard.length <= 21, `${heard.length}`);
    assert.is(reportsOf(world, "agent:supervisor").length, 1);
    world.stopAgent();
    assert.is(heard.at(-1)?.[0], "STOPPING=1");
  },
);

supervision("a supervisor too busy to hear that the agent is ready is told again", () => {
  for (const everyMs of [5000, null]) {
    const { world, heard } = supervised(everyMs, [], 20_000);
    world.advance(60_000);
    const [first, second] = heard;
    assert.is(first?.[0], "READY=1");
    assert.ok(Number(first?.[1]) >= 20_000 && Number(first?.[1]) <= 21_000, `${first?.[1]}`);
    assert.is(second?.[0], everyMs === null ? undefined : "WATCHDOG=1");
  }
  const { world, heard } = supervised(null, [], Infinity);
  world.advance(200_000);
  assert.equal([heard, world.resets], [[], []]);
});

supervision("a descriptor that a busy manager did not take is sent with the next state", () => {
  const sent: (string | number | undefined)[][] = [];
  let isBusy = true;
  const manager = new ServiceManager({ ...environment }, 812, (_, text, ...fd) => {
    if (isBusy) throw new Error("EAGAIN");
    sent.push([text.split("\n")[0] ?? "", ...fd]);
  });
  manager.keep(5);
  assert.is(manager.tell("READY=1"), false);
  isBusy = false;
  assert.is(manager.tell("READY=1"), true);
  manager.tell("WATCHDOG=1");
  assert.equal(sent, [["FDSTORE=1", 5], ["READY=1"], ["WATCHDOG=1"]]);
  isBusy = true;
  manager.keep(5);
  manager.forget();
  isBusy = false;
  manager.tell("WATCHDOG=1");
  assert.equal(sent.at(-1), ["WATCHDOG=1"]);
  assert.is(sent.length, 4, "what is to be forgotten is not kept after all");
});

supervision("an agent that is awake anyway tells its verdict, and is not woken for it", () => {
  const heard: string[] = [];
  const tell = (state: string): boolean => heard.push(state) > 0;
  const told = new Supervision({ everyMs: 20_000, tell, takeProblems: () => [] }, () => undefined);
  for (let nowMs = 0; nowMs <= 600_000; nowMs += 15_000) {
    assert.ok(nowMs <= told.dueMs, `due at ${told.dueMs} ms, before ${nowMs} ms`);
    told.speak(nowMs, () => true);
  }
  assert.equal(heard, ["READY=1", ...Array(41).fill("WATCHDOG=1")]);
  // Awake all the time, it says so twice as often as asked and no more.
  for (let nowMs = 600_001; nowMs <= 700_000; nowMs += 1) told.speak(nowMs, () => true);
  assert.is(heard.length, 42 + 10);
});

supervision("a blocked loop is silent; one that withholds the refresh on purpose is not", () => {
  const blocked = supervised(1000);
  blocked.world.advance(30_000);
  blocked.world.hangAgent(Infinity);
  const count = blocked.heard.length;
  blocked.world.advance(20_000);
  assert.is(blocked.heard.length, count);

  const tasks = [{ name: "fabric", every_s: 2 }];
  const late = supervised(1000, tasks);
  late.world.advance(30_000);
  late.world.stuckTasks.add("fabric");
  assert.ok(late.world.until(() => late.world.agent?.watchdog.state.kind === "withheld", 10_000));
  const fromMs = late.world.clock.now();
  late.world.advance(30_000);
  const beats = late.heard.filter(([, atMs]) => atMs > fromMs).length;
  assert.ok(beats >= 29, `restarted before the promised reset it would revive the card: ${beats}`);
  assert.ok(late.world.until(() => late.world.resets.length > 0, 60_000));
});

supervision.run();
