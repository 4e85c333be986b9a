import { spawnSync } from "node:child_process";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { portQueueBytesMax } from "../../agent/io/port.ts";
import type { RealAddress } from "../../agent/io/transports/open.ts";
import { rejectsCode } from "../assert.ts";
import { ended, nativeObstacle, startChild, temporaryFolder, unless } from "../children.ts";
import { closed, echo, echoPty, every, heard, open, served, until } from "../portends.ts";

const test = suite("ports of every kind");
const wired = unless(nativeObstacle(), test);

const tcp = (port: string): RealAddress => ({ kind: "tcp", host: "127.0.0.1", port: Number(port) });
const unix = (path: string): RealAddress => ({ kind: "unix", path });
const exec = (command: string): RealAddress => ({ kind: "exec", command });

async function carriesEverything(address: RealAddress): Promise<void> {
  const port = await open(address);
  const back = heard(port, 2560);
  for (let count = 0; count < 10; count++) assert.is(port.write(every), true);
  assert.equal(await back, Buffer.concat(Array(10).fill(every)));
  port.close();
  assert.is(port.write(every), false, "a closed port takes nothing");
}

test("tcp: all bytes, both ways", () =>
  served("tcp", echo, (where) => carriesEverything(tcp(where))));
test("unix: all bytes, both ways", () =>
  served("unix", echo, (where) => carriesEverything(unix(where))));
test("exec: all bytes, both ways", () => carriesEverything(exec("cat")));
wired("plain file: all bytes, both ways", async () => {
  const pty = echoPty();
  await carriesEverything({ kind: "rshim", path: pty.path });
  pty.close();
});
wired("pty: says its name, and carries all bytes", async () => {
  let path = "";
  const port = await open({ kind: "pty" }, (text) => {
    path = text.replace(/^the card's end of the line is /, "");
  });
  const card = await open({ kind: "serial", path });
  card.onData((bytes) => card.write(bytes));
  const back = heard(port, 256);
  port.write(every);
  assert.equal(await back, Buffer.from(every));
  card.close();
  port.close();
});

test("tcp: nobody listens, no such host", async () => {
  const where = await served("tcp", echo, async (port) => port);
  const refused = await rejectsCode(() => open(tcp(where)), "port.refused");
  assert.is(refused.exit, 3);
  assert.match(refused.message, /^tcp:\/\/127\.0\.0\.1:\d+: nobody listens there/);
  const nowhere: RealAddress = { kind: "tcp", host: "no-such-host.invalid", port: 1 };
  const unknown = await rejectsCode(() => open(nowhere), "port.unreachable");
  assert.is(unknown.exit, 6);
});

test("unix: no socket, one that nobody serves any more, no socket at all", async () => {
  const folder = temporaryFolder();
  const missing = await rejectsCode(() => open(unix(join(folder, "none"))), "port.missing");
  assert.match(missing.message, /Is kennel serve running\?/);
  const stale = join(folder, "stale");
  await served("unix", echo, async (path) => renameSync(path, stale));
  const refused = await rejectsCode(() => open(unix(stale)), "port.refused");
  assert.match(refused.message, /nobody serves .* any more/);
  writeFileSync(join(folder, "plain"), "");
  await rejectsCode(() => open(unix(join(folder, "plain"))), "port.refused");
});

test("exec: a command that ends is a lost line that says how and why", async () => {
  for (const [command, told] of [
    ["echo oops >&2; exit 3", /ended with status 3: oops$/],
    ["/no/such/program", /ended with status 127: .*not found/],
    ["kill -9 $$", /was ended by SIGKILL$/],
  ] as const) {
    const port = await open(exec(command));
    assert.match(await closed(port), told);
    assert.is(port.write(every), false);
  }
});

test("exec: what a command started goes with the port, also what ignores being asked", async () => {
  const port = await open(exec("trap '' TERM; sleep 60 & echo $! $$; wait; sleep 60"));
  const pids = String(await heard(port, "\n"))
    .trim()
    .split(" ")
    .map(Number);
  port.close();
  const isGone = (pid: number): boolean => {
    try {
      // A zombie that nobody collects here is as good as gone.
      return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
    } catch {
      return true;
    }
  };
  await until(() => pids.length === 2 && pids.every(isGone), `the end of ${pids}`);
});

test("tcp and unix: a lost line is told with its reason, and takes nothing any more", async () => {
  for (const kind of ["tcp", "unix"] as const) {
    await served(
      kind,
      (client) => void client.on("data", () => client.end()),
      async (where) => {
        const port = await open(kind === "tcp" ? tcp(where) : unix(where));
        const loss = closed(port);
        port.write(every);
        assert.match(await loss, /the other end closed it$/);
        assert.is(port.write(every), false);
        assert.match(await closed(port), /closed it$/, "who asks late is told as well");
      },
    );
  }
});

test("X-03 a far end that does not read costs a bounded queue", () =>
  served(
    "tcp",
    (client) => void client.pause(),
    async (where) => {
      const port = await open(tcp(where));
      const piece = new Uint8Array(4096);
      let refused = 0;
      for (let count = 0; count < 20_000 && refused < 10; count++) {
        if (!port.write(piece)) refused += 1;
        assert.ok(port.waitingBytes <= portQueueBytesMax);
        if (count % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      assert.is(refused, 10);
      port.close();
    },
  ));

test("a new connection gets nothing of what was written to the one before", async () => {
  const got: string[] = [];
  let connections = 0;
  const serve = (client: Parameters<typeof echo>[0]): void => {
    const at = connections++;
    client.on("data", (bytes) => {
      got[at] = (got[at] ?? "") + bytes;
    });
    if (at === 0) client.end();
  };
  await served("unix", serve, async (path) => {
    const port = await open(unix(path));
    await closed(port);
    assert.is(port.write(Buffer.from("STALE-CMD")), false);
    const next = await open(unix(path));
    next.write(Buffer.from("new"));
    await until(() => got[1] !== undefined, "the new connection's bytes");
    assert.equal(got.filter(Boolean), ["new"]);
    next.close();
  });
});

wired("plain file: missing, no device, what cannot be waited on, hung up", async () => {
  const rshim = (path: string): RealAddress => ({ kind: "rshim", path });
  const none = await rejectsCode(() => open(rshim("/dev/rshim77/console")), "port.missing");
  assert.match(none.message, /^no console \/dev\/rshim77\/console\. /);
  const file = join(temporaryFolder(), "file");
  writeFileSync(file, "");
  await rejectsCode(() => open(rshim(file)), "port.missing");
  await rejectsCode(() => open(rshim("/dev/null")), "port.lost");
  const pty = echoPty();
  const port = await open(rshim(pty.path));
  const loss = closed(port);
  pty.close();
  assert.match(await loss, /is gone/);
  assert.is(port.write(every), false);
});

wired("control lines are refused where there are none, and the port is let go", async () => {
  const pty = echoPty();
  const { openAddress } = await import("../../agent/io/transports/open.ts");
  const options = { baud: 115_200, note: () => {}, dtr: true };
  const serial: RealAddress = { kind: "serial", path: pty.path };
  const failure = await rejectsCode(() => openAddress(serial, options), "usage.invalid");
  assert.match(failure.message, /has no control lines to set \(ENOTTY/);
  await rejectsCode(() => openAddress(exec("cat"), options), "usage.invalid");
  pty.close();
});

wired("silent lines of every kind leave the one pool thread to the serial port", async () => {
  const socket = join(temporaryFolder(), "s.sock");
  const child = startChild("poolports", [socket], { env: { UV_THREADPOOL_SIZE: "1" } });
  const { stdout, stderr } = await ended(child);
  assert.is(stdout, "echoed\n", stderr);
});

const strace = spawnSync("strace", ["-e", "trace=ioctl", "true"]).status === 0;
unless(nativeObstacle() || (strace ? "" : "needs strace (Debian: apt-get install strace)"), test)(
  "plain file: no ioctl ever reaches the device",
  async () => {
    const pty = echoPty();
    const program = join(__dirname, "../fixtures/plainport.cjs");
    const log = join(temporaryFolder(), "strace.log");
    const args = ["-f", "-y", "-e", "trace=ioctl,openat,read", "-o", log, process.execPath];
    const { spawn } = await import("node:child_process");
    const { stdout } = await ended(spawn("strace", [...args, program, pty.path]));
    assert.is(stdout, "echoed\n");
    const lines = readFileSync(log, "utf8").split("\n");
    const mine = lines.filter((line) => line.includes(pty.path));
    assert.ok(
      mine.some((line) => line.includes("openat")),
      "the device was seen to be opened",
    );
    assert.equal(
      // The kernel answers FIONBIO itself, before any driver.
      mine.filter((line) => line.includes("ioctl(") && !line.includes("FIONBIO")),
      [],
    );
    pty.close();
  },
);

test.run();
