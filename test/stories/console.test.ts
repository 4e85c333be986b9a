// deadline: 120 s
// The console as people start it: on a simulated card inside, and on one behind real terminals.
import { existsSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { nativeObstacle, unless } from "../children.ts";
import { type Answer, ask, Program } from "../programs.ts";

const console_ = suite("console");
const wired = unless(nativeObstacle(), console_);

async function sim(...words: string[]): Promise<Answer> {
  const { code, stdout } = await new Program("kennel", ["--sim", "--json", ...words]).ended;
  return { code, ...JSON.parse(stdout) };
}

console_(
  "every command works on a private simulated card, and says that it is simulated",
  async () => {
    const lines = [
      "hello",
      "status",
      "boot timeline",
      "boot history",
      "wdt status",
      "wdt probe",
      "wdt hold --for 10 --yes",
      "tee status",
      "tee crash",
      "reports",
      "rig faults",
      "rig hang",
      "echo hi",
      "get /log",
      "get /timeline.svg",
      "settings",
      "settings watchdog/hold_max_s 30 --save",
      "settings watchdog/hold_max_s --default",
      "reset --yes",
    ];
    for (const line of lines) {
      const { code, ok, error } = await sim(...line.split(" "));
      assert.is(code, 0, `${line}: ${error?.message}`);
      assert.is(ok, true);
    }
    const status = await sim("status");
    assert.is(status.data.stage, "runtime");
    assert.is(status.data.backend, "simulated");
    assert.is(status.data.protected, false);
  },
);

console_("the same seed gives the same card, another seed another", async () => {
  const [first, again, other] = await Promise.all([
    sim("status", "--seed", "7"),
    sim("status", "--seed", "7"),
    sim("status", "--seed", "8"),
  ]);
  assert.equal(first.data, again.data);
  assert.not.equal(first.data.boot, other.data.boot);
});

console_("a private card is followed through hours of its time in moments", async () => {
  const { code, data } = await sim("reports", "--follow", "--for", "3600");
  assert.is(code, 0);
  assert.ok(data.received > 5);
  assert.equal(data.gaps, []);
});

console_("a port that does not exist is an error object and exit 3", async () => {
  const { code, ok, error } = await ask("/dev/does-not-exist", "status");
  assert.is(code, 3);
  assert.is(ok, false);
  assert.is(error.code, "port.missing");
  assert.is(error.exit, 3);
});

console_("output into a closed pipe ends quietly", async () => {
  const program = new Program("kennel", ["--sim", "help"]);
  program.child.stdout?.destroy();
  const { code, stderr } = await program.ended;
  assert.is(stderr, "");
  assert.is(code, 0);
});

interface Bench {
  readonly card: Program;
  readonly ports: readonly [string, string];
}

/** A simulated card on two terminals, at four times the pace of life. */
async function withCard(body: (bench: Bench) => Promise<void>) {
  const card = new Program("kennel", ["card", "--json", "--pace", "4"], 60_000);
  try {
    await card.says("\n");
    const { data } = JSON.parse(card.stdout);
    assert.is(data.ports[0], data.port);
    await body({ card, ports: data.ports });
  } finally {
    await card.kill("SIGKILL");
  }
}

/** Asks until the card, which boots, answers. */
async function untilUp(port: string): Promise<Answer> {
  for (let attempts = 0; attempts < 20; attempts++) {
    const answer = await ask(port, "status", "--timeout", "1");
    if (answer.code !== 6) return answer;
  }
  throw new Error("the card did not come up");
}

wired("a card on terminals answers two consoles at once, each on its line", () =>
  withCard(async ({ ports: [own, guest] }) => {
    await untilUp(own);
    const [first, second] = await Promise.all([ask(own, "status"), ask(guest, "hello")]);
    assert.is(first.code, 0, first.error?.message);
    assert.is(second.code, 0, second.error?.message);
    assert.is(second.data.boot, first.data.boot);
  }),
);

wired("a second console on the same line is told who has it, and exits 4", () =>
  withCard(async ({ ports: [own] }) => {
    await untilUp(own);
    const follower = new Program("kennel", ["--port", own, "reports", "--follow"]);
    await follower.says("agent:started");
    const { code, error } = await ask(own, "status");
    assert.is(code, 4);
    assert.is(error.details.holders[0].pid, follower.child.pid);
    assert.match(error.message, /held by pid \d+ \(node, user /);
    await follower.kill("SIGKILL");
    assert.is((await ask(own, "status")).code, 0, "free again");
  }),
);

wired("SIGINT ends reports --follow with a summary and exit 130", () =>
  withCard(async ({ ports: [own] }) => {
    await untilUp(own);
    const follower = new Program("kennel", ["--port", own, "reports", "--follow"]);
    await follower.says("agent:started");
    const { code, stdout } = await follower.kill("SIGINT");
    assert.is(code, 130);
    assert.match(stdout, /\d+ reports of 1 boot\n$/);
  }),
);

wired("reports --follow goes on over resets of the card, and misses none", () =>
  withCard(async ({ ports: [own, guest] }) => {
    await untilUp(own);
    const follower = new Program("kennel", ["--port", own, "reports", "--follow"], 30_000);
    await follower.says("agent:started");
    assert.is((await ask(guest, "reset", "--yes")).code, 0);
    await follower.says("cause=commanded");
    await follower.says("2-");
    const { stdout } = await follower.kill("SIGINT");
    const seqs = (boot: string) =>
      [...stdout.matchAll(new RegExp(`^${boot}-\\w+:(\\d+) `, "gm"))].map(([, seq]) => Number(seq));
    for (const boot of ["1", "2"]) {
      const found = seqs(boot);
      assert.ok(found.length > 4, stdout);
      assert.equal(
        found,
        found.map((_, index) => index + 1),
      );
    }
  }),
);

wired("a card ends by itself, at a signal, and when its parent does", async () => {
  const timed = await new Program("kennel", ["card", "--for", "0.2"]).ended;
  assert.is(timed.code, 0);
  assert.match(
    timed.stdout,
    /^card: \/dev\/pts\/\d+\ncard: \/dev\/pts\/\d+\nsimulated from seed 1/,
  );
  await withCard(async ({ card, ports: [own] }) => {
    const { code } = await card.kill("SIGTERM");
    assert.is(code, 130);
    assert.not.ok(existsSync(own));
  });
  const orphan = await new Program("kennel", ["card", "--while-stdin"]).ended;
  assert.is(orphan.code, 0, "its stdin was at its end already");
});

/** The day at three times its pace. */
const quickDay = ["demo", "--pace", "3"];

wired("npm start: the day is shown over the line, and both sides count the same", async () => {
  const demo = new Program("kennel", [...quickDay, "--for", "10.5"], 60_000);
  await demo.says("attach from another terminal");
  const guest = /--port (\S+) status/.exec(demo.stdout)?.[1] ?? "";
  const status = await untilUp(guest);
  assert.is(status.data.backend, "simulated");
  const { code, stdout, stderr } = await demo.ended;
  assert.is(code, 0, stderr);
  for (const stage of ["power_on", "os_load", "hand_off", "adopt", "runtime"]) {
    assert.match(stdout, new RegExp(`^stage ${stage}: .*budget`, "m"));
  }
  assert.match(stdout, /^tee: restored in /m);
  assert.match(stdout, /^watchdog reset: cause watchdog, died in runtime/m);
  assert.match(stdout, /^fallback: slot a failed \d times, now slot b$/m);
  const counts = /^reports: (\d+) received, (\d+) sent by the card$/m.exec(stdout);
  assert.ok(counts !== null && Number(counts[1]) > 30, stdout);
  assert.is(counts?.[1], counts?.[2]);
  assert.not.match(stdout, /not seen/);
});

wired("the demonstration takes its card with it, whichever way it ends", async () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
    const demo = new Program("kennel", [...quickDay, "--for", "30"], 60_000);
    await demo.says("attach from another terminal");
    const port = /simulated card on (\/dev\/pts\/\d+)/.exec(demo.stdout)?.[1] ?? "";
    assert.ok(existsSync(port));
    const { code, stdout } = await demo.kill(signal);
    if (signal !== "SIGKILL") {
      assert.is(code, 130);
      assert.match(stdout, /^stages: /m);
    }
    await gone(port);
  }
});

/** Waits until a terminal is gone, as it is once its owner is. */
async function gone(path: string): Promise<void> {
  for (let waits = 0; existsSync(path); waits++) {
    if (waits > 200) throw new Error(`${path} is still there`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

console_.run();
