import { chmodSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openPort } from "../../agent/console/session.ts";
import { nameHolder, sharers } from "../../agent/io/holder.ts";
import { type Port, portQueueBytesMax } from "../../agent/io/port.ts";
import { type NativePty, native } from "../../native/index.ts";
import { rejectsCode } from "../assert.ts";
import {
  ended,
  nativeObstacle,
  runChild,
  said,
  startChild,
  temporaryFolder,
  unless,
} from "../children.ts";
import { skip } from "../skip.ts";

const test = suite("serial port");
const wired = unless(nativeObstacle(), test);
const isRoot = process.getuid?.() === 0;

const baud = 115_200;

/** A pty whose far end the test holds. */
async function withPty(body: (pty: NativePty) => Promise<void>): Promise<void> {
  const pty = new (native().Pty)();
  try {
    await body(pty);
  } finally {
    pty.close();
  }
}

/** What has come to the far end, as soon as `bytes` are there. */
function arrived(pty: NativePty, bytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  return new Promise((resolve) => {
    pty.onReady(() => {
      for (let part = pty.read(65_536); part !== null; part = pty.read(65_536)) {
        parts.push(part);
        length += part.length;
      }
      if (length >= bytes) resolve(Buffer.concat(parts));
    });
  });
}

function closed(port: Port): Promise<string> {
  return new Promise((resolve) => port.onClose(resolve));
}

wired("bytes of every value pass both ways unchanged", () =>
  withPty(async (pty) => {
    const port = await openPort(pty.path, baud);
    const every = Uint8Array.from({ length: 256 }, (_, value) => value);
    const outward = arrived(pty, 256);
    assert.is(port.write(every), true);
    assert.equal([...(await outward)], [...every]);
    const inward = new Promise<Uint8Array>((resolve) => port.onData(resolve));
    pty.write(every);
    assert.equal([...(await inward)], [...every]);
    port.close();
  }),
);

test("a port that is not there: exit 3, and which ports are", async () => {
  const failure = await rejectsCode(() => openPort("/dev/does-not-exist", baud), "port.missing");
  assert.is(failure.exit, 3);
  assert.match(failure.message, /no serial port \/dev\/does-not-exist: there is no such file\./);
  assert.match(failure.message, /Ports here: |No serial port was found under/);
  assert.ok(Array.isArray(failure.evidence.ports));
});

test("a file that is no device is no port, and is not touched", async () => {
  const path = join(temporaryFolder(), "file");
  writeFileSync(path, "content");
  const failure = await rejectsCode(() => openPort(path, baud), "port.missing");
  assert.match(failure.message, /it is not a character device/);
});

wired("a port that another process has: exit 4, named with pid and command", () =>
  withPty(async (pty) => {
    const holder = startChild("serialholder", ["lock", pty.path]);
    await said(holder, "locked");
    const link = join(temporaryFolder(), "by-id");
    symlinkSync(pty.path, link);
    for (const path of [pty.path, link]) {
      const failure = await rejectsCode(() => openPort(path, baud), "port.busy");
      assert.is(failure.exit, 4);
      const { message } = failure;
      assert.ok(message.startsWith(`port busy: ${path} held by pid ${holder.pid} (node, user `));
      assert.match(message, /running for \d+ s\)/);
    }
    holder.kill("SIGKILL");
    await ended(holder);
    const port = await openPort(pty.path, baud);
    port.close();
  }),
);

wired("a program that reads the port without a lock is found", () =>
  withPty(async (pty) => {
    const port = await openPort(pty.path, baud);
    assert.equal(sharers(pty.path), [], "neither we nor the maker of the pty count");
    const holder = startChild("serialholder", ["open", pty.path]);
    await said(holder, "open");
    const found = sharers(pty.path);
    assert.equal(
      found.map(({ pid }) => pid),
      [holder.pid],
    );
    assert.match(nameHolder(found[0] as (typeof found)[0]), /^pid \d+ \(node, user \S+, running/);
    holder.kill("SIGKILL");
    await ended(holder);
    port.close();
  }),
);

wired("who made a pty, such as a simulated card, is no rival for it", async () => {
  const maker = startChild("serialholder", ["make"]);
  let path = "";
  maker.stdout?.on("data", (text) => {
    path += text;
  });
  await said(maker, "\n");
  const port = await openPort(path.trim(), baud);
  assert.equal(sharers(path.trim()), []);
  port.close();
  maker.kill("SIGKILL");
  await ended(maker);
});

const asNobody = isRoot
  ? wired
  : (name: string) => skip(name, "needs root, to become somebody without rights");

asNobody("a port without permission: exit 5, with the group to join", () =>
  withPty(async (pty) => {
    chmodSync(pty.path, 0o620);
    const { stdout } = await runChild("serialholder", ["lock", pty.path, "65534"]);
    const failure = JSON.parse(stdout);
    assert.is(failure.code, "port.permission");
    assert.is(failure.exit, 5);
    assert.match(failure.message, /no permission for \/dev\/pts\/\d+\. It belongs to group \w+\./);
    assert.match(failure.message, /sudo usermod -aG \w+ \$USER|Ask for access/);
  }),
);

wired("a lost line is told once, and takes nothing any more", () =>
  withPty(async (pty) => {
    const port = await openPort(pty.path, baud);
    let told = 0;
    const loss = new Promise<string>((resolve) => {
      port.onClose((cause) => {
        told += 1;
        resolve(cause);
      });
    });
    pty.close();
    assert.match(await loss, /^\/dev\/pts\/\d+ is gone \(unplugged or hung up\)/);
    assert.is(port.write(Uint8Array.of(1)), false);
    port.close();
    assert.is(told, 1);
  }),
);

wired("who asks late for the end of a lost line is told as well", () =>
  withPty(async (pty) => {
    const port = await openPort(pty.path, baud);
    const first = closed(port);
    pty.close();
    await first;
    assert.match(await closed(port), /is gone/);
  }),
);

wired("X-03 a far end that does not read costs a bounded queue, and nothing blocks", () =>
  withPty(async (pty) => {
    const port = await openPort(pty.path, baud);
    const piece = new Uint8Array(1000).fill(0x41);
    let taken = 0;
    let refused = 0;
    for (let count = 0; count < 200; count++) {
      if (port.write(piece)) taken += piece.length;
      else refused += 1;
      assert.ok(port.waitingBytes <= portQueueBytesMax);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(refused > 50, "what does not fit is refused");
    const all = await arrived(pty, taken);
    assert.is(all.length, taken, "what was taken arrives, whole");
    const waited = Date.now() + 5000;
    while (port.waitingBytes > 0 && Date.now() < waited) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.is(port.waitingBytes, 0);
    assert.is(port.write(piece), true, "and there is room again");
    port.close();
  }),
);

wired("a piece is taken whole or not at all", () =>
  withPty(async (pty) => {
    const port = await openPort(pty.path, baud);
    assert.is(port.write(new Uint8Array(portQueueBytesMax + 1)), false);
    assert.is(port.waitingBytes, 0);
    const outward = arrived(pty, 3);
    port.write(Uint8Array.of(1, 2, 3));
    assert.equal([...(await outward)], [1, 2, 3]);
    port.close();
  }),
);

wired("what was written to a lost line does not reach the next one", () =>
  withPty(async (pty) => {
    const port = await openPort(pty.path, baud);
    const end = closed(port);
    port.close();
    assert.is(port.write(Uint8Array.of(0x53)), false);
    await end;
    const heard = arrived(pty, 1);
    const next = await openPort(pty.path, baud);
    next.write(Uint8Array.of(0x4e));
    assert.equal([...(await heard)], [0x4e]);
    next.close();
  }),
);

wired("a port that is closed while bytes wait is free for the next", () =>
  withPty(async (pty) => {
    const port = await openPort(pty.path, baud);
    while (port.write(new Uint8Array(1000))) await new Promise((resolve) => setImmediate(resolve));
    const end = closed(port);
    port.close();
    await end;
    const next = await openAgain(pty.path);
    next.close();
  }),
);

/** The old descriptor is closed in the background, within moments. */
async function openAgain(path: string): Promise<Port> {
  const endMs = Date.now() + 5000;
  for (;;) {
    try {
      return await openPort(path, baud);
    } catch (error) {
      if (Date.now() > endMs) throw error;
    }
  }
}

test.run();
