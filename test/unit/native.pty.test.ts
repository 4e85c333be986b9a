import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { ReadStream } from "node:tty";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type NativePty, native, type PtyNews, type SystemError } from "../../native/index.ts";
import { nativeObstacle, runChild, unless } from "../children.ts";

const ptySuite = suite("native pty");
const onNative = unless(nativeObstacle(), ptySuite);
const asRoot = unless(
  nativeObstacle() || (process.getuid?.() === 0 ? "" : "hanging up needs root: run as root"),
  ptySuite,
);

/** Far more than a line on this machine needs. */
const patienceMs = 5000;

async function until(condition: () => boolean, what: string): Promise<void> {
  const giveUpMs = performance.now() + patienceMs;
  while (!condition()) {
    if (performance.now() > giveUpMs) throw new Error(`never came: ${what}`);
    await sleep(5);
  }
}

/** The host's end, never blocking. */
function openHost(pty: NativePty): number {
  return openSync(pty.path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
}

/** Reads what is there at the host's end. */
function readHost(fd: number): Buffer {
  const bytes = Buffer.alloc(65_536);
  try {
    return bytes.subarray(0, readSync(fd, bytes));
  } catch (error) {
    if ((error as SystemError).code === "EAGAIN") return Buffer.alloc(0);
    throw error;
  }
}

function readAll(pty: NativePty, into: Buffer[]): void {
  for (let some = pty.read(4096); some !== null; some = pty.read(4096)) into.push(some);
}

onNative("all 256 byte values pass both ways unchanged and nothing echoes", async () => {
  const pty = new (native().Pty)();
  const host = openHost(pty);
  const all = Buffer.from(Array.from({ length: 256 }, (_, value) => value));
  const heard: Buffer[] = [];
  pty.onReady(() => readAll(pty, heard));
  writeSync(host, all);
  await until(() => Buffer.concat(heard).length >= 256, "the host's bytes");
  assert.equal(Buffer.concat(heard), all);
  assert.is(pty.write(all), 256);
  const received: Buffer[] = [];
  await until(() => {
    received.push(readHost(host));
    return Buffer.concat(received).length >= 256;
  }, "the card's bytes");
  assert.equal(Buffer.concat(received), all);
  await sleep(20);
  assert.is(Buffer.concat(heard).length, 256);
  closeSync(host);
  pty.close();
});

onNative("a host that stops reading: write takes less, says writable, loses nothing", async () => {
  const pty = new (native().Pty)();
  const host = openHost(pty);
  const news: PtyNews[] = [];
  pty.onReady((one) => news.push(one));
  const sent = Buffer.alloc(300_000);
  for (let index = 0; index < sent.length; index++) sent[index] = (index * 7 + (index >> 8)) & 255;
  let at = 0;
  const push = (): void => {
    for (let taken = -1; taken !== 0 && at < sent.length; at += taken) {
      taken = pty.write(sent.subarray(at));
    }
  };
  push();
  assert.ok(at > 0 && at < sent.length, `${at} bytes taken of a line nobody reads`);
  const received: Buffer[] = [];
  let count = 0;
  await until(() => {
    const some = readHost(host);
    received.push(some);
    count += some.length;
    if (news.splice(0).includes("writable")) push();
    return count >= sent.length;
  }, "all bytes");
  assert.ok(Buffer.concat(received).equals(sent));
  closeSync(host);
  pty.close();
});

onNative("nobody on the line is silence, and hosts may come and go", async () => {
  const pty = new (native().Pty)();
  const news: PtyNews[] = [];
  const heard: Buffer[] = [];
  pty.onReady((one) => {
    news.push(one);
    readAll(pty, heard);
  });
  assert.is(pty.read(10), null);
  for (const word of ["one", "two", "three"]) {
    const host = openHost(pty);
    writeSync(host, word);
    closeSync(host);
    await sleep(30);
  }
  await until(() => Buffer.concat(heard).toString() === "onetwothree", "three words");
  // A hung-up master would be readable for ever.
  assert.ok(news.length <= 6, `${news}`);
  assert.not.ok(news.includes("lost"));
  pty.close();
});

onNative("what is sent before a host opens the line is there when it does", async () => {
  const pty = new (native().Pty)();
  assert.is(pty.write(Buffer.from("hello\n")), 6);
  const host = openHost(pty);
  await until(() => readHost(host).toString() === "hello\n", "the line");
  closeSync(host);
  pty.close();
});

onNative("after close every use is EBADF and closing again does nothing", () => {
  const pty = new (native().Pty)();
  const { path } = pty;
  pty.onReady(() => {});
  pty.close();
  pty.close();
  pty.ref();
  pty.unref();
  assert.is(pty.masterFd, -1);
  assert.is(pty.path, path);
  const uses = [
    () => pty.write(Buffer.from("x")),
    () => pty.read(1),
    () => pty.onReady(() => {}),
    () => pty.hangUp(),
  ];
  for (const use of uses) assert.throws(use, (error: SystemError) => error.code === "EBADF");
  assert.throws(
    () => createMissing(path),
    (error: SystemError) => error.code === "ENOENT",
  );
});

function createMissing(path: string): void {
  closeSync(openSync(path, "r"));
}

onNative("arguments of the wrong kind are refused", () => {
  const pty = new (native().Pty)();
  for (const wrong of ["text", new Uint16Array(2), undefined, 5]) {
    assert.throws(
      () => pty.write(wrong as unknown as Uint8Array),
      (error: SystemError) => error.code === "ERR_INVALID_ARG_TYPE",
    );
  }
  for (const wrong of [0, 65_537, -1, 1.5]) {
    assert.throws(
      () => pty.read(wrong),
      (error: SystemError) => error.code === "ERR_OUT_OF_RANGE",
    );
  }
  pty.close();
});

const programs: [name: string, stdout: string][] = [
  ["unref lets the process end", ""],
  ["ref keeps the process", "still here\n"],
  ["a listener throws", "from the listener\n"],
  ["collected without close", "true\n"],
  ["closed by its listener and collected", "closed\n"],
];
for (const [name, stdout] of programs) {
  onNative(`in a program of its own: ${name}`, async () => {
    const child = await runChild("ptyprogram", [name], { flags: ["--expose-gc"] });
    assert.equal([child.code, child.signal, child.stdout, child.stderr], [0, null, stdout, ""]);
  });
}

asRoot("an exclusive line is busy for everybody but root", async () => {
  const child = await runChild("ptyprogram", ["exclusive for others"]);
  assert.equal([child.code, child.stdout, child.stderr], [0, "opened EBUSY\n", ""]);
});

asRoot("hanging up ends the host's stream; the line can be opened again, raw", async () => {
  const pty = new (native().Pty)();
  const heard: Buffer[] = [];
  pty.onReady(() => readAll(pty, heard));
  const host = new ReadStream(openSync(pty.path, constants.O_RDONLY | constants.O_NOCTTY));
  host.resume();
  const end = new Promise<string>((resolve) => {
    host.on("end", () => resolve("end"));
    host.on("error", (error: SystemError) => resolve(error.code));
  });
  pty.hangUp();
  assert.ok(["end", "EIO"].includes(await end));
  host.destroy();
  const again = openHost(pty);
  writeSync(again, "\u0003\r\n");
  await until(() => Buffer.concat(heard).length >= 3, "raw bytes after a hang-up");
  assert.is(Buffer.concat(heard).toString(), "\u0003\r\n");
  closeSync(again);
  pty.close();
});

ptySuite.run();
