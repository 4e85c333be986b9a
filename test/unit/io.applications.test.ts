// The real socket: who connects, and what is cut off. Time is simulated, so no bound is waited for.
import {
  existsSync,
  lstatSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Application,
  type ApplicationNews,
  applicationLimits as limits,
} from "../../agent/io/applications.ts";
import { type SocketAccess, UnixServer } from "../../agent/io/applicationserver.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { policyOf, socketAccess } from "../../agent/teeservices.ts";
import { frameBytesMax, toFrame } from "../../agent/wire/teeapi.ts";
import { throwsCode } from "../assert.ts";
import { nativeObstacle, temporaryFolder, unless } from "../children.ts";
import { fromHex, join as joined } from "../hex.ts";

const sockets = suite("application socket");
const onNative = unless(nativeObstacle(), sockets);
const forOwner: SocketAccess = { mode: 0o600, gid: null };
const hello = toFrame({ op: "hello", id: 0, version: 1 });

interface Bench {
  readonly clock: SimClock;
  readonly path: string;
  readonly server: UnixServer;
  readonly news: ApplicationNews[];
  /** How many came together, each time. */
  readonly batches: number[];
  /** Waits until something of the kind has come, `times` times in all. */
  until(kind: ApplicationNews["kind"], times?: number): Promise<ApplicationNews>;
  client(): Socket;
}

const patienceMs = 10_000;

async function until(holds: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function bench(body: (bench: Bench) => Promise<void>, path = "", access = forOwner) {
  const clock = new SimClock();
  const place = path === "" ? join(temporaryFolder(), "tee.sock") : path;
  const server = new UnixServer(place, access, clock);
  const news: ApplicationNews[] = [];
  const batches: number[] = [];
  server.listen((some) => {
    news.push(...some);
    batches.push(some.length);
  });
  const clients: Socket[] = [];
  try {
    await body({
      clock,
      path: place,
      server,
      news,
      batches,
      until: async (kind, times = 1) => {
        const all = (): ApplicationNews[] => news.filter((one) => one.kind === kind);
        await until(() => all().length >= times, `${kind} in ${JSON.stringify(news)}`);
        return all()[times - 1] as ApplicationNews;
      },
      client: () => {
        const socket = connect(place).on("error", () => undefined);
        clients.push(socket);
        return socket;
      },
    });
  } finally {
    for (const client of clients) client.destroy();
    server.close();
  }
}

function of(news: ApplicationNews): Application {
  if (!("of" in news)) throw new Error("nobody");
  return news.of;
}

function problemOf(news: ApplicationNews): string {
  return "problem" in news ? (news.problem ?? "none") : "none";
}

onNative("frames come with the credentials of who sent them, and answers go back", () =>
  bench(async ({ client, until }) => {
    const socket = client();
    socket.write(hello);
    const frame = await until("frame");
    const { peer } = of(frame);
    assert.equal([peer.pid, peer.uid], [process.pid, process.getuid?.()]);
    assert.equal(frame.kind === "frame" && frame.body, hello.slice(4));
    const heard = new Promise<Buffer>((resolve) => socket.once("data", resolve));
    of(frame).send(hello);
    assert.equal(new Uint8Array(await heard), hello);
    socket.end();
    assert.is(problemOf(await until("left")), "none");
  }),
);

onNative("what comes in one turn is told together", () =>
  bench(async ({ client, until, batches }) => {
    const socket = client();
    await until("joined");
    socket.write(joined(hello, hello, hello));
    await until("frame", 3);
    assert.equal(batches, [1, 3]);
  }),
);

onNative("half a frame has its time, and so has a connection that says nothing", () =>
  bench(async ({ client, clock, until }) => {
    const half = client();
    half.write(joined(hello, hello.slice(0, 9)));
    await until("frame");
    const silent = client();
    await until("joined", 2);
    silent.write(Uint8Array.of(0));
    // Whole frames before it give a half one no more time.
    clock.advance(limits.frameMs - 1);
    half.write(hello.slice(9));
    await until("frame", 2);
    half.write(hello.slice(0, 5));
    half.write(hello.slice(5, 6));
    await new Promise((resolve) => setTimeout(resolve, 50));
    clock.advance(limits.frameMs);
    assert.match(problemOf(await until("left", 1)), /half a frame|said nothing/);
    clock.advance(limits.helloMs);
    const problems = [await until("left", 1), await until("left", 2)].map(problemOf).join(" ");
    assert.match(problems, /sent half a frame in 5000 ms/);
    assert.match(problems, /said nothing within 10000 ms/);
  }),
);

onNative("a length that no frame has ends the connection, and nobody else's", () =>
  bench(async ({ client, until, news }) => {
    const good = client();
    good.write(hello);
    await until("frame");
    const bad = client();
    bad.write(joined(fromHex("ffffffff"), new Uint8Array(100_000)));
    assert.match(problemOf(await until("left")), /no frame: a frame announces 4294967295 bytes/);
    good.write(hello);
    await until("frame", 2);
    assert.is(news.filter(({ kind }) => kind === "left").length, 1);
  }),
);

onNative("who does not read is cut off: for what waits, or for how long", () =>
  bench(async ({ client, clock, until }) => {
    const big = toFrame({
      ...{ kind: "verdict", id: 1, call: "x", verdict: "answered", because: "", epoch: 1 },
      ...{ sent: true, output: new Uint8Array(frameBytesMax - 200) },
    } as const);
    const lazy = client();
    lazy.pause();
    lazy.write(hello);
    const first = of(await until("frame"));
    for (let sent = 0; sent < 40; sent++) first.send(big);
    assert.match(problemOf(await until("left")), /does not read: \d+ bytes wait for it/);
    const slow = client();
    slow.pause();
    slow.write(hello);
    const second = of(await until("frame", 2));
    // More than the kernel takes, less than the bound.
    for (let sent = 0; sent < 10; sent++) second.send(big);
    clock.advance(limits.readMs + 1);
    assert.match(problemOf(await until("left", 2)), /read nothing within 10000 ms/);
  }),
);

onNative("one user cannot have all the connections", () =>
  bench(async ({ client, until, news }) => {
    const clients = Array.from({ length: limits.connectionsOfOne + 5 }, () => client());
    const closed = clients.map((one) => new Promise((resolve) => one.on("close", resolve)));
    await until("joined", limits.connectionsOfOne);
    await until("trouble", 5);
    await Promise.race(closed);
    assert.match(problemOf(await until("trouble")), /turned away: he has 192 connections/);
    assert.is(news.filter(({ kind }) => kind === "joined").length, limits.connectionsOfOne);
    clients[0]?.destroy();
    await until("left");
    client();
    await until("joined", limits.connectionsOfOne + 1);
  }),
);

onNative("a flood of one connection is taken in portions, whole and in order", () =>
  bench(async ({ client, until }) => {
    const socket = client();
    const frame = toFrame({
      ...{ op: "call", id: 1, call: "c", service: "s", command: 1 },
      input: new Uint8Array(30_000),
    } as const);
    for (let sent = 0; sent < 100; sent++) socket.write(frame);
    await until("frame", 100);
  }),
);

onNative("the socket is its owner's alone, unless a service is registered for others", async () => {
  await bench(async ({ path, server }) => {
    await until(() => existsSync(path), path);
    assert.is(statSync(path).mode & 0o777, 0o600);
    assert.is(statSync(`${path}.key`).mode & 0o777, 0o600);
    assert.is(server.digest(hello).length, 16);
  });
  const all = socketAccess([policyOf("a", { allow: { uids: [1] } }), policyOf("b")]);
  assert.equal(all, { mode: 0o666, gid: null });
  assert.equal(socketAccess([policyOf("a")]), { mode: 0o600, gid: null });
  const group = process.getgid?.() ?? 0;
  const grouped = socketAccess([policyOf("a", { allow: { gids: [group] } })]);
  assert.equal(grouped, { mode: 0o660, gid: group });
  await bench(
    async ({ path }) => {
      await until(() => existsSync(path) && (statSync(path).mode & 0o777) === 0o660, path);
    },
    "",
    grouped,
  );
});

onNative(
  "what a killed agent left is taken over; another's socket and a file are not",
  async () => {
    const path = join(temporaryFolder(), "tee.sock");
    await bench(async (first) => {
      first.client();
      await first.until("joined");
      const digest = first.server.digest(hello);
      await bench(async (second) => {
        assert.match(problemOf(await second.until("trouble")), /served by another process/);
        assert.equal(second.server.digest(hello), digest, "the key is that of the first");
        // The first goes away without a word: its name stays, and nobody listens there.
        first.server.close();
        writeFileSync(`${path}.other`, "");
        second.clock.advance(2_000);
        second.client();
        await until(() => existsSync(path), path);
      }, path);
    }, path);
    const file = join(temporaryFolder(), "tee.sock");
    writeFileSync(file, "not a socket");
    await bench(async ({ until }) => {
      assert.match(problemOf(await until("trouble")), /is there and no socket of ours/);
    }, file);
    assert.is(readFileSync(file, "latin1"), "not a socket");
  },
);

onNative(
  "the key is no link's target and nobody else's file; a folder is made, but only one",
  () => {
    const folder = temporaryFolder();
    const path = join(folder, "tee.sock");
    writeFileSync(join(folder, "elsewhere"), Buffer.alloc(32, 7), { mode: 0o600 });
    symlinkSync(join(folder, "elsewhere"), `${path}.key`);
    new UnixServer(path, forOwner, new SimClock());
    assert.not.ok(lstatSync(`${path}.key`).isSymbolicLink());
    assert.equal(readFileSync(join(folder, "elsewhere")), Buffer.alloc(32, 7));
    const before = readFileSync(`${path}.key`);
    new UnixServer(path, forOwner, new SimClock());
    assert.equal(readFileSync(`${path}.key`), before);
    unlinkSync(`${path}.key`);
    writeFileSync(`${path}.key`, Buffer.alloc(32, 7), { mode: 0o644 });
    new UnixServer(path, forOwner, new SimClock());
    assert.not.equal(readFileSync(`${path}.key`), Buffer.alloc(32, 7));
    new UnixServer(join(folder, "made", "tee.sock"), forOwner, new SimClock());
    throwsCode(
      () => new UnixServer(join(folder, "not", "made", "tee.sock"), forOwner, new SimClock()),
      "tee.socket",
    );
  },
);

sockets.run();
