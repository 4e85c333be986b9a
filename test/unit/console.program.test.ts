import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { listExits } from "../../agent/console/exits.ts";
import { runConsole } from "../../agent/console/program.ts";
import { terminal } from "../../agent/console/terminal.ts";
import { exitCodes, policy } from "../../agent/errors.ts";
import { hello, nic7 } from "../consolecard.ts";
import { PaperTerminal, type Ran, run, ScriptedCard } from "../consolerig.ts";
import { plainPlan } from "../plans.ts";

const test = suite("console program");

const esc = "\x1b";

/** The one object that `--json` prints. */
function objectOf({ stdout, stderr }: Ran): Record<string, unknown> {
  assert.is(stderr, "");
  assert.is(stdout.trimEnd().split("\n").length, 1, "one line");
  return JSON.parse(stdout);
}

const usageErrors = [
  "frobnicate",
  "wdt frobnicate",
  "status --frobnicate",
  "status extra",
  "echo",
  "wdt",
  "rig",
  "",
  "wdt hold",
  "wdt hold --for",
  "wdt hold --for soon",
  "wdt hold --for 0",
  "wdt hold --for -5",
  "wdt arm --promise 99999999999",
  "--baud fast status",
  "--baud -1 status",
  "--seed 1.5 status",
  "--timeout 0 status",
  "reports --since x",
  "reports --since :4",
  "help frobnicate",
  "--port /dev/card --sim status",
];

for (const line of usageErrors) {
  test(`kennel ${line}: a usage error, for people and as JSON`, async () => {
    const card = nic7();
    const plain = await run(card, line);
    assert.is(plain.exit, 2);
    assert.is(plain.stdout, "");
    assert.match(plain.stderr, /^kennel: .+\.\n/);
    assert.not.match(plain.stderr, /\n\s+at |error: |Error/);
    const asked = await run(card, `${line} --json`);
    const object = objectOf(asked) as { ok: boolean; error: Record<string, unknown> };
    assert.is(object.ok, false);
    assert.is(object.error.code, "usage.invalid");
    assert.is(object.error.exit, 2);
    assert.is(asked.exit, 2);
    const sent = card.names.filter((name) => name !== "card.hello");
    assert.equal(sent, [], "nothing was asked of the card");
  });
}

test("every command prints one JSON object with the answer as the card gave it", async () => {
  const lines = [
    "hello",
    "status",
    "boot timeline",
    "boot history",
    "wdt status",
    "wdt probe",
    "wdt arm",
    "wdt hold --for 5 --yes",
    "tee status",
    "tee sessions",
    "tee crashes",
    "tee recover --yes",
    "tee unquarantine --yes",
    "tee crash",
    "reports",
    "rig faults",
    "rig hang",
    "echo hi",
    "reset --yes",
    "help exit-codes",
    "help",
    "--help",
    "wdt --help",
    "--version",
  ];
  for (const line of lines) {
    const ran = await run(nic7(), `${line} --json`);
    const object = objectOf(ran);
    assert.is(object.ok, true, line);
    assert.is(ran.exit, 0, line);
    assert.ok(object.data !== undefined && object.command !== undefined, line);
  }
  const { data, command } = objectOf(await run(nic7(), "hello --json"));
  assert.equal(data, hello);
  assert.is(command, "hello");
  assert.is(objectOf(await run(nic7(), "wdt probe --json")).command, "wdt probe");
});

test("options of the program are taken before and after the command", async () => {
  const before = await run(nic7(), "--port /dev/x --baud 9600 --json hello");
  const after = await run(nic7(), "hello --json --baud 9600 --port /dev/x");
  assert.equal(before.targets, [{ kind: "port", path: "/dev/x", baud: 9600 }]);
  assert.equal(after.targets, before.targets);
  assert.is(after.stdout, before.stdout);
});

test("KENNEL_PORT names the card, --port and --sim go before it, none is an error", async () => {
  const env = { KENNEL_PORT: "/dev/serial/by-id/nic7" };
  const named = await run(nic7(), "hello", { env });
  assert.equal(named.targets, [{ kind: "port", path: "/dev/serial/by-id/nic7", baud: 115_200 }]);
  const other = await run(nic7(), "hello --port /dev/ttyUSB0", { env });
  assert.equal(other.targets, [{ kind: "port", path: "/dev/ttyUSB0", baud: 115_200 }]);
  const sim = await run(nic7(), "hello --sim --seed 7", { env });
  assert.equal(sim.targets, [{ kind: "sim", seed: 7 }]);
  const none = await run(nic7(), "hello", { env: {} });
  assert.is(none.exit, 2);
  assert.match(none.stderr, /which card\? Give --port PATH or set KENNEL_PORT; --sim/);
});

test("--timeout bounds one answer", async () => {
  const card = nic7({ "card.hello": () => null });
  const ran = await run(card, "status --timeout 0.5 --json");
  assert.is(ran.exit, exitCodes.timeout);
  const { error } = objectOf(ran) as { error: { code: string; details: { waited_ms: number } } };
  assert.is(error.code, "link.timeout");
  assert.is(error.details.waited_ms, 500);
  assert.ok(card.clock.now() < 600);
});

test("dangerous commands send nothing without --yes, say what they do, and exit 10", async () => {
  for (const line of ["reset", "wdt disarm", "wdt hold --for 60"]) {
    const card = nic7();
    const plain = await run(card, line);
    assert.is(plain.exit, exitCodes.unsafe, line);
    assert.equal(plain.targets, [], "the port was not even opened");
    assert.match(plain.stderr, /Nothing was sent; add --yes to do it\./);
    const asked = await run(card, `${line} --json`);
    const { error } = objectOf(asked) as { error: { code: string; details: { effect: string } } };
    assert.is(error.code, "safety.unconfirmed");
    assert.ok(error.details.effect.length > 20);
    assert.equal(card.names, [], line);
  }
});

test("with --yes they are sent as asked", async () => {
  const card = nic7();
  await run(card, "wdt hold --for 60 --by lab3 --yes");
  await run(card, "wdt arm --promise 90");
  await run(card, "reset --yes");
  const writes = card.asked.filter(({ header }) => header.op === "write");
  assert.equal(
    writes.map(({ name, body }) => [name, body]),
    [
      ["wdt.hold", { for_ms: 60_000, by: "lab3" }],
      ["wdt.arm", { promise_ms: 90_000 }],
      ["os.reset", {}],
    ],
  );
});

test("X-02 a card of another contract is refused, and told which console it needs", async () => {
  const ran = await run(nic7({ "card.hello": () => ({ ...hello, contract: 2 }) }), "status");
  assert.is(ran.exit, exitCodes.protocol);
  assert.match(ran.stderr, /the card speaks contract 2, this console 1/);
});

test("B11-01 an SMP server that is no Kennel agent is named, and still echoes", async () => {
  const other = new ScriptedCard({ "os.echo": ({ d }) => ({ r: d }) });
  const status = await run(other, "status");
  assert.is(status.exit, exitCodes.refused);
  assert.match(status.stderr, /it is no Kennel agent/);
  assert.is((await run(other, "echo hi")).stdout, "hi\n");
});

test("an echo that comes back changed is an error", async () => {
  const ran = await run(nic7({ "os.echo": () => ({ r: "other" }) }), "echo hi");
  assert.is(ran.exit, exitCodes.protocol);
  assert.match(ran.stderr, /sent "hi" and "other" came back/);
});

test("a card without a rig group says where faults can be injected", async () => {
  const ran = await run(nic7({ "rig.inject": () => ({ rc: 8 }) }), "tee crash");
  assert.is(ran.exit, exitCodes.refused);
  assert.match(ran.stderr, /only a simulated card or a lab image injects faults/);
});

test("reports are acknowledged after they were printed, newest of each boot", async () => {
  const card = nic7();
  await run(card, "reports");
  const acknowledged = card.asked.filter(({ name }) => name === "report.acknowledge");
  assert.equal(
    acknowledged.map(({ body }) => body),
    [
      { boot: "11-5c7712de", seq: 8 },
      { boot: "12-9f3a61c0", seq: 2 },
    ],
  );
});

test("reports that nobody could read are not acknowledged", async () => {
  const card = nic7();
  const closed = new PaperTerminal();
  closed.refuses = Object.assign(new Error("write EPIPE"), { code: "EPIPE" });
  const ran = await run(card, "reports", { terminal: closed });
  assert.is(ran.exit, 0);
  assert.not.ok(card.names.includes("report.acknowledge"));
});

test("reports --keep acknowledges nothing", async () => {
  const card = nic7();
  await run(card, "reports --keep");
  assert.not.ok(card.names.includes("report.acknowledge"));
});

test("reports --since takes a sequence of this boot or of a named one", async () => {
  const card = nic7();
  await run(card, "reports --since 1");
  await run(card, "reports --since 11-5c7712de:8");
  const reads = card.asked.filter(({ name }) => name === "report.read");
  assert.equal(
    reads.map(({ body }) => body),
    [
      { boot: "12-9f3a61c0", since: 1 },
      { boot: "11-5c7712de", since: 8 },
    ],
  );
});

test("a signal ends a wait with exit 130, as JSON as well", async () => {
  const card = nic7({ "card.status": () => null });
  const stop = new AbortController();
  card.clock.at(1000, () => stop.abort());
  const ran = await run(card, "status --json --timeout 300", { stop: stop.signal });
  assert.is(ran.exit, 130);
  const { error } = objectOf(ran) as { error: { code: string } };
  assert.is(error.code, "console.interrupted");
  assert.ok(card.clock.now() < 1100);
});

test("colours are for a terminal that does not refuse them", async () => {
  const painted = new PaperTerminal(true);
  assert.ok((await run(nic7(), "status", { terminal: painted })).stdout.includes(esc));
  assert.not.ok((await run(nic7(), "status")).stdout.includes(esc));
  const asJson = new PaperTerminal(true);
  assert.not.ok((await run(nic7(), "status --json", { terminal: asJson })).stdout.includes(esc));
});

test("NO_COLOR and TERM=dumb refuse colours, an empty NO_COLOR does not", () => {
  const tty = Object.assign(new PassThrough(), { isTTY: true });
  const pipe = new PassThrough();
  assert.is(terminal(tty, pipe, {}).colours, true);
  assert.is(terminal(tty, pipe, { NO_COLOR: "" }).colours, true);
  assert.is(terminal(tty, pipe, { NO_COLOR: "1" }).colours, false);
  assert.is(terminal(tty, pipe, { NO_COLOR: "0" }).colours, false);
  assert.is(terminal(tty, pipe, { TERM: "dumb" }).colours, false);
  assert.is(terminal(pipe, tty, {}).colours, false);
});

test("a hostile card cannot move the cursor: control characters are shown, not sent", async () => {
  const evil = `nic${esc}]0;owned\x07\u202e`;
  const ran = await run(nic7({ "card.hello": () => ({ ...hello, name: evil }) }), "hello");
  assert.not.ok(ran.stdout.includes(esc) || ran.stdout.includes("\u202e"));
  assert.match(ran.stdout, /nic\\u\{1b\}\]0;owned\\u\{7\}\\u\{202e\}/);
});

test("an error without a name is a defect, said in one line and without a stack", async () => {
  const broken = {
    terminal: new PaperTerminal(),
    env: {},
    stop: new AbortController().signal,
    script: "",
    open: () => Promise.reject(new TypeError("x is undefined")),
  };
  assert.is(await runConsole(["hello", "--port", "/dev/x"], broken), 1);
  assert.is(
    broken.terminal.stderr,
    "kennel: a defect of the console itself: x is undefined. Please report it.\n",
  );
});

test("every exit status and every failure stands in help exit-codes", () => {
  const exits = listExits();
  assert.equal(
    exits.map(({ exit }) => exit),
    Object.values(exitCodes),
  );
  const codes = exits.flatMap((entry) => entry.codes);
  assert.equal(codes.sort(), Object.keys(policy).sort());
});

test("boot timeline draws this and earlier boots; what the card says is escaped", async () => {
  const folder = mkdtempSync(join(tmpdir(), "kennel-svg-"));
  const path = join(folder, "boots.svg");
  const ran = await run(nic7(), `--json boot timeline --svg ${path}`);
  const { data } = objectOf(ran) as { data: { earlier: { boot: string }[] } };
  assert.equal(
    data.earlier.map(({ boot }) => boot),
    ["11-5c7712de", "10-00aa11bb"],
  );
  const svg = readFileSync(path, "utf8");
  assert.is(svg.match(/<rect [^>]*><title>/g)?.length, 5 + 3 + 5);
  assert.match(
    svg,
    /<title>os_load: from 2\.1 s, took 42\.6 s, budget 5 min 00 s, margin 4 min 17 s/,
  );
  assert.match(svg, /watchdog in hand_off \/ kernel_init, dataplane/);
  assert.equal(svg.match(/, running,/g)?.length, 1, "one stage of one boot runs");
  const hostile = nic7({ "card.hello": () => ({ ...hello, name: 'x"<script>&' }) });
  await run(hostile, `boot timeline --boots 0 --svg ${path}`);
  const drawn = readFileSync(path, "utf8");
  assert.match(drawn, /Boots of x&quot;&lt;script&gt;&amp;</);
  assert.is(drawn.match(/<rect [^>]*><title>/g)?.length, 5);
  rmSync(folder, { recursive: true });
  assert.is((await run(nic7(), `boot timeline --svg ${path}`)).exit, exitCodes.usage);
});

test("a card that does not know earlier timelines shows the present one", async () => {
  const old = nic7({ "boot.timelines": () => ({ rc: 8 }) });
  const { exit, stdout } = await run(old, "boot timeline");
  assert.is(exit, 0);
  assert.match(stdout, /running/);
  assert.not.match(stdout, /kernel_init/);
});

test("a coverage plan in a file is explained without any card", async () => {
  const folder = mkdtempSync(join(tmpdir(), "kennel-plan-"));
  const path = join(folder, "plan.json");
  const explain = async (text: string): Promise<Ran> => {
    writeFileSync(path, text);
    return await run(new ScriptedCard({}), `--json wdt explain --plan ${path}`);
  };
  const good = await explain(JSON.stringify(plainPlan));
  assert.is(good.exit, 0);
  const { data } = objectOf(good) as { data: { covered: boolean; plan: unknown } };
  assert.equal([data.covered, data.plan], [true, plainPlan]);
  assert.is((await explain(good.stdout)).stdout, good.stdout, "what it says is a plan as well");
  const core = { handle_boot_enabled: true, open_timeout_ms: 0 };
  const gap = await explain(JSON.stringify({ ...plainPlan, core }));
  assert.is(gap.exit, exitCodes.verdict);
  assert.match(gap.stdout, /"from_ms":13500,"to_ms":41200,"hang":"programs","code":"open_timeout"/);
  for (const wrong of [
    "{",
    "{}",
    "null",
    "7",
    '{"data":null}',
    '{"data":{"plan":[]}}',
    JSON.stringify({ ...plainPlan, user_ms: 1 }),
  ]) {
    assert.is((await explain(wrong)).exit, exitCodes.usage);
  }
  rmSync(folder, { recursive: true });
  assert.is((await run(new ScriptedCard({}), `wdt explain --plan ${path}`)).exit, exitCodes.usage);
});

test.run();
