// deadline: 180 s
// Consoles, broker and cards as users start them, with real lines between them.
import { spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
} from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { enframe } from "../../agent/wire/frame.ts";
import { encodeMessage } from "../../agent/wire/smp.ts";
import { native } from "../../native/index.ts";
import { ended, nativeObstacle, said, startChild, temporaryFolder, unless } from "../children.ts";
import { cardOnPty, pushed, shared, stdio, talkingCard } from "../linerig.ts";
import { every, open, served, until } from "../portends.ts";
import { ask, Program } from "../programs.ts";

const lines = suite("lines");
const wired = unless(nativeObstacle(), lines);

wired("several clients ask at once over one line, and each gets its own answers", () =>
  shared(async ({ socket, broker }) => {
    const texts = ["one", "two", "three", "four"];
    const answers = await Promise.all(texts.map((text) => ask(`unix:${socket}`, "echo", text)));
    assert.equal(
      answers.map(({ data }) => data.echo),
      texts,
    );
    assert.is(statSync(socket).mode & 0o777, 0o600, "for this user alone");
    const { code, stdout } = await broker.kill("SIGTERM");
    assert.is(code, 130);
    assert.match(stdout, /served 4 requests, 4 answers; 0 strays, 0 clients cut off/);
    assert.not.ok(existsSync(socket));
  }),
);

wired("console text is passed on to everybody while others ask; one types at a time", () =>
  shared(async ({ pty, socket }) => {
    const [first, second] = [stdio(`unix:${socket}`), stdio(`unix:${socket}`)];
    // The card talks until both are there.
    await until(() => {
      pty.write(Buffer.from("."));
      return first.stdout !== "" && second.stdout !== "";
    }, "both consoles");
    first.child.stdin?.write("ls\r");
    await first.says("<ls\r>");
    await second.says("<ls\r>");
    second.child.stdin?.write("reboot\r");
    await second.says("is typing; yours was dropped");
    assert.match(second.stdout, /client pid \d+ \(node, user \S+, running for \d+ s\) is typing/);
    const { data } = await ask(`unix:${socket}`, "echo", "x");
    assert.is(data.echo, "x");
    for (const one of [first, second]) {
      await one.says("console text");
      one.child.stdin?.end();
      assert.is((await one.ended).code, 0, "the end of stdin is the end");
      assert.not.ok(one.stdout.includes("\u0006\t"), "an answer goes to who asked alone");
      assert.not.ok(one.stdout.includes("reboot"));
    }
  }),
);

wired("a client that does not read is cut off, alone, within a bounded memory", () =>
  shared(async ({ pty, socket, broker }) => {
    const slow = connect(socket).pause();
    const gone = new Promise((resolve) => slow.on("close", resolve));
    const rig = stdio(`unix:${socket}`);
    await until(() => pty.write(Buffer.from(".")) === 1 && rig.stdout !== "", "the reader");
    const line = Buffer.from(`${"x".repeat(1023)}\n`);
    let said = rig.stdout.length;
    // The card talks as fast as the one who reads follows, until the other is cut off.
    await until(() => {
      while (said < rig.stdout.length + 65_536) {
        const taken = pty.write(line);
        said += taken;
        if (taken < line.length) break;
      }
      return broker.stderr.includes("does not read and was cut off");
    }, "the cut");
    assert.match(broker.stderr, /client pid \d+ \(.*\) does not read and was cut off/);
    const still = Buffer.from("\nstill here\n");
    await until(() => pty.write(still) === still.length, "room on the line");
    await until(() => rig.stdout.includes("still here"), "what the other one reads");
    assert.is((await ask(`unix:${socket}`, "echo", "x")).data.echo, "x");
    slow.resume();
    await gone;
    rig.child.stdin?.end();
    await rig.ended;
  }),
);

const socat = spawnSync("socat", ["-V"]).status === 0;
const noSocat = socat ? "" : "needs socat (Debian: apt-get install socat)";
unless(nativeObstacle() || noSocat, lines)(
  "any program for serial lines works on the socket, through socat",
  () =>
    shared(async ({ socket }) => {
      const link = join(temporaryFolder(), "tty");
      const pty = `PTY,raw,echo=0,link=${link}`;
      const child = spawn("socat", [pty, `UNIX-CONNECT:${socket}`], { stdio: "ignore" });
      await until(() => existsSync(link), "socat's terminal");
      assert.is((await ask(link, "echo", "through socat")).data.echo, "through socat");
      child.kill("SIGTERM");
      await ended(child);
    }),
);

wired("a broker's port is busy and its socket named; two do not serve one socket", () =>
  shared(async ({ pty, socket, broker }) => {
    const { code, error } = await ask(pty.path, "hello");
    assert.is(code, 4);
    assert.ok(error.message.includes(`attach with --port unix:${socket}`), error.message);
    const args = ["--port", "exec:cat", "serve", "--socket", socket];
    const other = await new Program("kennel", args).ended;
    assert.is(other.code, 4);
    assert.match(other.stderr, /is served already\. Attach to it: kennel --port unix:/);
    await broker.kill("SIGKILL");
    assert.ok(existsSync(socket), "who is killed leaves its socket behind");
    const stale = await ask(`unix:${socket}`, "hello");
    assert.is(stale.error.code, "port.refused");
    const next = new Program("kennel", args);
    await next.says("serving exec:cat");
    await next.kill("SIGTERM");
  }),
);

const asRoot = process.getuid?.() === 0 ? "" : "hanging up needs root: run as root";
unless(nativeObstacle() || asRoot, lines)(
  "the broker survives the loss of its line, and its clients with it",
  () =>
    shared(async ({ pty, socket, broker }) => {
      const rig = stdio(`unix:${socket}`);
      rig.child.stdin?.write("a");
      await rig.says("<a>");
      pty.hangUp();
      await rig.says("Waiting for it to come back");
      await rig.says("the line is back");
      assert.is((await ask(`unix:${socket}`, "echo", "again")).data.echo, "again");
      assert.match(broker.stderr, /is gone \(unplugged or hung up\).*Waiting for it to come back/);
      rig.child.stdin?.end();
      await rig.ended;
    }),
);

lines(
  "console --stdio: every byte, across a card that goes away; nothing stale; SIGTERM ends it",
  async () => {
    const got: string[] = [];
    const clients: Socket[] = [];
    const serve = (client: Socket): void => {
      const at = clients.push(client) - 1;
      got[at] = "";
      client.on("data", (bytes) => {
        got[at] += bytes.toString("latin1");
      });
    };
    await served("unix", serve, async (path, server) => {
      const rig = stdio(`unix:${path}`);
      rig.child.stdout?.setEncoding("latin1");
      rig.child.stdin?.write(every);
      await until(() => got[0]?.length === 256, "all bytes at the card");
      assert.is(got[0], Buffer.from(every).toString("latin1"));
      clients[0]?.write(every);
      await until(() => rig.stdout.length === 256, "all bytes at the rig");
      assert.is(rig.stdout, Buffer.from(every).toString("latin1"));
      // The card goes away: its socket too, so that the console has to wait for it.
      renameSync(path, `${path}.away`);
      clients[0]?.destroy();
      await until(() => rig.stderr.includes("Waiting for it to come back"), "the loss to be told");
      rig.child.stdin?.write("STALE-CMD");
      await until(() => rig.stderr.includes("what is typed is dropped"), "that to be told");
      renameSync(`${path}.away`, path);
      await until(() => rig.stderr.includes("the line is back"), "the line");
      rig.child.stdin?.write("new");
      await until(() => got[1] === "new", "only what is new");
      const { code } = await rig.kill("SIGTERM");
      assert.is(code, 130);
      assert.ok(server.listening);
    });
  },
);

lines("console --stdio: a rig that stopped reading does not keep it from ending", () => {
  const flood = Buffer.alloc(65_536, "x");
  const serve = (client: Socket): void => {
    const more = (): void => {
      while (client.writable && client.write(flood));
    };
    client.on("drain", more);
    more();
  };
  return served("unix", serve, async (path) => {
    const program = join(__dirname, "../../../dist/kennel.cjs");
    const args = [program, "--port", `unix:${path}`, "console", "--stdio"];
    // A pipe that nobody ever reads.
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "ignore"] });
    const isBlocked = (): boolean => (child.stdout?.readableLength ?? 0) >= 16_384;
    await until(isBlocked, "a full pipe");
    child.kill("SIGTERM");
    const code = await new Promise((resolve) => child.on("exit", resolve));
    assert.is(code, 130);
    child.stdout?.destroy();
  });
});

wired("console on a terminal: keys go as they are, frames are not shown, ~. ends it", async () => {
  const pty = cardOnPty();
  const person = new (native().Pty)();
  let screen = "";
  person.onReady(() => {
    for (let part = person.read(4096); part !== null; part = person.read(4096)) screen += part;
  });
  const fd = openSync(person.path, constants.O_RDWR | constants.O_NOCTTY);
  const program = join(__dirname, "../../../dist/kennel.cjs");
  const args = [program, "--port", pty.path, "console"];
  const child = spawn(process.execPath, args, { stdio: [fd, fd, "pipe"] });
  const done = ended(child);
  let notes = "";
  child.stderr?.on("data", (text) => {
    notes += text;
  });
  await until(() => notes.includes("~. at the start of a line ends"), "the connection");
  person.write(Buffer.from("ls\u0003\u001b[A\r"));
  await until(() => screen.includes("<ls\u0003\u001b[A\r>"), "the card's echo of every key");
  pty.write(enframe(encodeMessage(pushed)));
  pty.write(Buffer.from("login: "));
  await until(() => screen.endsWith("login: "), "the prompt");
  assert.not.ok(screen.includes("\u0006\t"), "frames are not for people");
  person.write(Buffer.from("~?"));
  await until(() => notes.includes("~~  send a ~"), "help");
  person.write(Buffer.from("\r~."));
  assert.is((await done).code, 0);
  closeSync(fd);
  person.close();
  pty.close();
});

// Busy ports ------------------------------------------------------------------------------------

wired("--evict ends a console of ours that has the port, says so, and takes it", async () => {
  const pty = cardOnPty();
  const rig = stdio(pty.path);
  rig.child.stdin?.write("a");
  await rig.says("<a>");
  const args = ["--port", pty.path, "--evict", "echo", "mine"];
  const { code, stdout, stderr } = await new Program("kennel", args).ended;
  assert.is(code, 0, stderr);
  assert.ok(stdout.includes("mine"));
  assert.match(stderr, new RegExp(`asked pid ${rig.child.pid} \\(node\\) to end`));
  assert.is((await rig.ended).code, 130);
  pty.close();
});

wired("--evict ends nobody else: it names who would have to go", async () => {
  const pty = cardOnPty();
  const holder = startChild("serialholder", ["lock", pty.path]);
  await said(holder, "locked");
  const evicting = ["--port", pty.path, "--evict", "--wait-lock", "1", "echo", "x"];
  const { code, stderr } = await new Program("kennel", evicting).ended;
  assert.is(code, 4);
  assert.match(stderr, /Nobody was ended: pid \d+ \(node\) is no console of Kennel's\./);
  assert.is(holder.exitCode, null);
  const waiting = new Program("kennel", ["--port", pty.path, "--wait-lock", "30", "echo", "x"]);
  await until(() => waiting.stderr.includes("Waiting for it."), "the wait to be told");
  holder.kill("SIGKILL");
  await ended(holder);
  assert.is((await waiting.ended).code, 0);
  const busy = startChild("serialholder", ["lock", pty.path]);
  await said(busy, "locked");
  const short = ["--port", pty.path, "--wait-lock", "0.3", "echo", "x"];
  assert.is((await new Program("kennel", short).ended).code, 4);
  busy.kill("SIGKILL");
  await ended(busy);
  pty.close();
});

// Recordings ------------------------------------------------------------------------------------

wired(
  "--record writes down a session; it plays in the console and as a card on a pty",
  async () => {
    const pty = cardOnPty();
    const file = join(temporaryFolder(), "session.rec");
    for (const text of ["one", "two"]) {
      const args = ["--port", pty.path, "--record", file, "echo", text];
      assert.is((await new Program("kennel", args).ended).code, 0);
    }
    pty.close();
    assert.is(readFileSync(file, "utf8").match(/^# kennel recording 1 /gm)?.length, 2);
    const shown = new Program("kennel", ["--port", `file:${file}`, "console"], 15_000, "pipe");
    assert.is((await shown.ended).code, 0, "its end is the end");
    assert.is(shown.stdout, "[ 0] console text\n[ 1] console text\n");
    assert.is((await ask(`file:${file}`, "echo", "two")).data.echo, "two");
    const card = new Program("kennel", ["card", "--recording", file], 30_000);
    await card.says("card: /dev/pts/");
    const path = card.stdout.trim().replace("card: ", "");
    assert.is((await ask(path, "echo", "one")).data.echo, "one");
    assert.is((await ask(path, "echo", "three")).error.code, "link.refused");
    assert.is((await card.kill("SIGTERM")).code, 130);
  },
);

wired("pty: a card attaches to the terminal that the console makes", async () => {
  const args = ["--port", "pty:", "--timeout", "30", "echo", "hello"];
  const console_ = new Program("kennel", args, 30_000);
  await until(() => /\/dev\/pts\/\d+/.test(console_.stderr), "the name");
  const [path = ""] = /\/dev\/pts\/\d+/.exec(console_.stderr) ?? [];
  const card = await open({ kind: "serial", path });
  card.onData(talkingCard((bytes) => void card.write(bytes)));
  const { code, stdout } = await console_.ended;
  assert.is(code, 0, console_.stderr);
  assert.is(stdout, "hello\n");
  card.close();
});

lines("the agent takes its line from a Unix socket, and again when it is lost", async () => {
  const answers: Buffer[] = [];
  let connections = 0;
  const serve = (client: Socket): void => {
    connections += 1;
    client.on("data", (bytes) => {
      answers.push(bytes);
      client.destroy();
    });
    const header = { version: 1, op: "read", group: 64, seq: 1, command: 0 } as const;
    client.write(enframe(encodeMessage({ ...header, body: {} })));
  };
  await served("unix", serve, async (path) => {
    const simulated = ["--watchdog", "simulate", "--tee", "simulate", "--state", temporaryFolder()];
    const agent = new Program("kenneld", ["--port", `unix:${path}`, ...simulated], 30_000);
    await until(() => connections >= 2 && answers.length >= 2, "answers on two connections");
    assert.match(agent.stderr, /unix:.*; trying again every 2 s/);
    await agent.kill("SIGTERM");
  });
});

lines.run();
