// deadline: 120 s
// Both programs as users start them, with a serial cable between them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { nativeObstacle, unless } from "../children.ts";
import { ask, bench, Program } from "../programs.ts";

const programs = suite("programs");
const wired = unless(nativeObstacle(), programs);

wired("the console asks an agent over a serial cable and says that it is simulated", () =>
  bench(async ({ cable, agent }) => {
    await agent("--name", "cable");
    const status = await ask(cable.host, "status");
    assert.is(status.code, 0);
    assert.is(status.data.backend, "simulated");
    assert.is(status.data.protected, false);
    const hello = await ask(cable.host, "hello");
    assert.is(hello.data.name, "cable");
    const echo = await ask(cable.host, "echo", "hi there");
    assert.ok(JSON.stringify(echo.data).includes("hi there"));
  }),
);

wired("an agent survives kill -9 of the console that follows its reports", () =>
  bench(async ({ cable, agent }) => {
    await agent();
    const follower = new Program("kennel", ["--port", cable.host, "reports", "--follow"]);
    await follower.says("agent:started");
    await follower.kill("SIGKILL");
    const status = await ask(cable.host, "status");
    assert.is(status.code, 0);
  }),
);

wired("after kill -9 the agent has a new boot id and every unacknowledged report", () =>
  bench(async ({ cable, agent }) => {
    const first = await agent();
    const before = await ask(cable.host, "reports", "--keep");
    assert.ok(before.data.reports.length >= 5);
    await first.kill("SIGKILL");
    await agent();
    const after = await ask(cable.host, "reports", "--keep");
    const keys = new Set(after.data.reports.map((one: Identity) => `${one.boot}:${one.seq}`));
    for (const { boot, seq } of before.data.reports as Identity[]) {
      assert.ok(keys.has(`${boot}:${seq}`), `report ${boot}:${seq} was lost`);
    }
    const boots = new Set(after.data.reports.map(({ boot }: Identity) => boot));
    assert.is(boots.size, 2);
    const status = await ask(cable.host, "status");
    assert.is(status.data.last_cause, "agent_restart");
    assert.not.equal(status.data.boot, before.data.reports[0].boot);
  }),
);

interface Identity {
  readonly boot: string;
  readonly seq: number;
}

wired("reports that were acknowledged do not come again", () =>
  bench(async ({ cable, agent }) => {
    await agent();
    const first = await ask(cable.host, "reports");
    assert.ok(first.data.reports.length >= 5);
    const second = await ask(cable.host, "reports");
    const seen = new Set(first.data.reports.map(({ boot, seq }: Identity) => `${boot}:${seq}`));
    for (const { boot, seq } of second.data.reports as Identity[]) {
      assert.not.ok(seen.has(`${boot}:${seq}`), `report ${boot}:${seq} came again`);
    }
    assert.is(second.code, 0);
  }),
);

wired("a task that stops checking in is named before the simulated reset", () =>
  bench(async ({ cable, agent }) => {
    const started = await agent("--promise", "2", "--task", "dataplane=1");
    const { code, stderr } = await started.ended;
    assert.is(code, 1);
    assert.match(stderr, /simulated watchdog expired/);
    await agent();
    const { data } = await ask(cable.host, "reports", "--keep");
    const withheld = data.reports.find(({ kind }: { kind: string }) => kind === "wdt:withheld");
    assert.is(withheld.data.culprit, "dataplane");
  }),
);

wired("SIGTERM ends the agent at once, with exit 0 and its reports kept", () =>
  bench(async ({ agent }) => {
    const started = await agent();
    const { code, stderr } = await started.kill("SIGTERM");
    assert.is(code, 0);
    assert.is(stderr, "");
  }),
);

programs("A2-15 without a watchdog, require refuses to start and says what to do", async () => {
  const { code, stderr } = await new Program("kenneld", ["--watchdog", "require"]).ended;
  assert.is(code, 3);
  assert.match(stderr, /a hardware watchdog is required/);
  assert.match(stderr, /--watchdog prefer/);
});

wired("A2-15 without a watchdog, prefer runs and every status says it is unprotected", () =>
  bench(async ({ cable, agent }) => {
    await agent("--watchdog", "prefer");
    for (const words of [["status"], ["wdt", "status"], ["wdt", "probe"]]) {
      const { data } = await ask(cable.host, ...words);
      assert.is(data.protected, false, words.join(" "));
      assert.is(data.backend, "simulated", words.join(" "));
    }
  }),
);

programs("mistakes in options and settings are named, with exit 2", async () => {
  const folder = mkdtempSync(join(tmpdir(), "kennel-settings-"));
  const file = join(folder, "settings.json");
  writeFileSync(file, '{"watchdog": {"promise_s": "long"}}');
  const cases: [string[], RegExp][] = [
    [["--promise", "soon"], /--promise soon: expected a number/],
    [["--promise", "0"], /promise_s is 0; it can be 1 to 86400/],
    [["--watchdog", "perhaps"], /watchdog.policy: expected one of require, prefer, simulate/],
    [["--no-such-option"], /no-such-option/],
    [["--task", "dataplane"], /expected NAME=SECONDS/],
    [["--config", file], /watchdog.promise_s: expected number/],
    [["--config", join(folder, "absent")], /absent: ENOENT/],
  ];
  try {
    for (const [options, message] of cases) {
      const { code, stderr } = await new Program("kenneld", options).ended;
      assert.is(code, 2, options.join(" "));
      assert.match(stderr, message);
      assert.not.match(stderr, /\n\s+at /);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

programs.run();
