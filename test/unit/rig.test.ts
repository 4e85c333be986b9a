// The parts of the rig that need no emulator.
import { Duplex, PassThrough } from "node:stream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Failure } from "../../agent/errors.ts";
import { run, runOrFail } from "../../agent/rig/command.ts";
import { cpio, type Entry } from "../../agent/rig/cpio.ts";
import { dependsOf, loadOrder, moduleName } from "../../agent/rig/modules.ts";
import { openQmp, type QmpEvent } from "../../agent/rig/qmp.ts";
import { readConsole, type Seen, until } from "../../agent/rig/seen.ts";
import { rejectsCode, throwsCode } from "../assert.ts";

const rig = suite("rig");

/** Reads an archive as Linux does: header of 110 bytes, name and body padded to fours. */
function unpack(archive: Buffer): { name: string; mode: number; body: string }[] {
  const found = [];
  const field = (at: number, index: number): number =>
    Number.parseInt(archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
  const aligned = (offset: number): number => Math.ceil(offset / 4) * 4;
  for (let at = 0; at < archive.length; ) {
    assert.is(archive.toString("latin1", at, at + 6), "070701");
    const [mode, bodyBytes, nameBytes] = [field(at, 1), field(at, 6), field(at, 11)];
    const name = archive.toString("latin1", at + 110, at + 109 + nameBytes);
    const bodyAt = aligned(at + 110 + nameBytes);
    found.push({ name, mode, body: archive.toString("latin1", bodyAt, bodyAt + bodyBytes) });
    at = aligned(bodyAt + bodyBytes);
  }
  return found;
}

function file(name: string, text: string, mode = 0o644): Entry {
  return { kind: "file", name, bytes: Buffer.from(text), mode };
}

rig("an archive holds its entries after the folders they lie in, and ends with a trailer", () => {
  const entries: Entry[] = [
    file("init", "#!/bin/sh\n", 0o755),
    file("lib/deep/a", "12345"),
    { kind: "link", name: "lib/b", target: "deep/a" },
    { kind: "folder", name: "lib/deep" },
  ];
  assert.equal(unpack(Buffer.concat(cpio(entries))), [
    { name: "init", mode: 0o100755, body: "#!/bin/sh\n" },
    { name: "lib", mode: 0o040755, body: "" },
    { name: "lib/deep", mode: 0o040755, body: "" },
    { name: "lib/deep/a", mode: 0o100644, body: "12345" },
    { name: "lib/b", mode: 0o120755, body: "deep/a" },
    { name: "TRAILER!!!", mode: 0, body: "" },
  ]);
});

rig("an archive may follow another one in the same file", () => {
  const both = Buffer.concat([...cpio([file("a", "x")]), ...cpio([file("b", "yz")])]);
  const names = unpack(both).map(({ name }) => name);
  assert.equal(names, ["a", "TRAILER!!!", "b", "TRAILER!!!"]);
});

const kernel: Record<string, string> = {
  ext4: "jbd2,mbcache,crc16",
  jbd2: "",
  mbcache: "",
  crc16: "",
  virtio_blk: "virtio,virtio-ring",
  virtio_ring: "",
  virtio: "virtio-ring",
};

function moduleNamed(name: string): Buffer | undefined {
  const depends = kernel[name];
  if (depends === undefined) return undefined;
  return Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0name=${name}\0`, "latin1");
}

rig("modules come after those they depend on, each once", () => {
  const order = loadOrder(["virtio_blk", "ext4"], moduleNamed).map(({ name }) => name);
  assert.equal(order.slice(0, 3), ["virtio_ring", "virtio", "virtio_blk"]);
  assert.equal(order.slice(3), ["jbd2", "mbcache", "crc16", "ext4"]);
});

rig("a module that the kernel lacks is named, and who needs it", () => {
  const lacking = (name: string): Buffer | undefined =>
    name === "jbd2" ? undefined : moduleNamed(name);
  const failure = throwsCode(() => loadOrder(["ext4"], lacking), "rig.fault");
  assert.match(failure.message, /no module jbd2; ext4 needs it/);
});

rig("what is built into the kernel is not loaded", () => {
  const partly = (name: string) => (name === "virtio_ring" ? "built in" : moduleNamed(name));
  const order = loadOrder(["virtio_blk", "virtio_ring"], partly).map(({ name }) => name);
  assert.equal(order, ["virtio", "virtio_blk"]);
});

rig("a module's name is spelled with underscores, compressed or not", () => {
  assert.is(moduleName("kernel/drivers/a/crc32c-intel.ko"), "crc32c_intel");
  assert.is(moduleName("kernel/drivers/watchdog/i6300esb.ko.xz"), "i6300esb");
  assert.equal(dependsOf(Buffer.from("no such string")), []);
});

rig("a program's status and output come back, and a bad status can be a failure", async () => {
  const args = ["-e", "console.log('out'); console.error('bad news'); process.exit(3)"];
  const outcome = await run(process.execPath, args, { deadlineMs: 20_000 });
  assert.equal(outcome, { status: 3, stdout: "out\n", stderr: "bad news\n" });
  const failed = runOrFail(process.execPath, args, { deadlineMs: 20_000, advice: "Do this." });
  const failure = await rejectsCode(() => failed, "rig.fault");
  assert.match(failure.message, /ended with status 3: bad news.*Do this\.$/s);
});

rig("a program that is not there, or is not done in time, is named", async () => {
  const options = { deadlineMs: 20_000, from: "some-package" };
  const absent = await rejectsCode(() => run("no-such-program", [], options), "rig.missing");
  assert.match(absent.message, /no-such-program.*apt-get install some-package/);
  const sleeper = run("sleep", ["60"], { deadlineMs: 50 });
  const late = await rejectsCode(() => sleeper, "rig.fault");
  assert.match(late.message, /`sleep 60` was not done after 0.05 s/);
});

/** The other end of a QMP line: `said` are the commands that arrived, `say` sends. */
function emulator(): { stream: Duplex; said: () => string[]; say: (text: string) => void } {
  const [toUs, fromUs] = [new PassThrough(), new PassThrough()];
  let heard = "";
  fromUs.setEncoding("utf8").on("data", (text: string) => {
    heard += text;
  });
  const stream = Duplex.from({ readable: toUs, writable: fromUs });
  const said = (): string[] =>
    [...heard.matchAll(/"execute":"([\w-]+)"/g)].map((m) => String(m[1]));
  return { stream, said, say: (text) => toUs.write(text) };
}

async function connected(events: QmpEvent[] = []) {
  const end = emulator();
  const opening = openQmp(end.stream, { event: (one) => events.push(one), line: () => {} });
  end.say('{"QMP": {"version": {}}}\r\n{"return": {}, "id": 1}\r\n');
  return { ...end, qmp: await opening };
}

rig(
  "QMP answers go to those who asked, however the bytes are cut, and events to the listener",
  async () => {
    const events: QmpEvent[] = [];
    const { qmp, say, said } = await connected(events);
    const [first, second] = [qmp.execute("query-status"), qmp.execute("cont")];
    const refused = rejectsCode(() => second, "rig.fault");
    const stampS = (Date.now() - 5000) / 1000;
    const stamp = `{"seconds": ${Math.floor(stampS)}, "microseconds": 0}`;
    say('{"id": 3, "error": {"class": "G", "desc": "no');
    say(' way"}}\r\n{"event": "WATCHDOG", "data": {"action": "reset"}, ');
    say(`"timestamp": ${stamp}}\r\n{"return": {"running": true}, "id": 2}\r\n`);
    assert.equal(await first, { running: true });
    assert.match((await refused).message, /cont: QEMU refused: no way/);
    assert.equal(said(), ["qmp_capabilities", "query-status", "cont"]);
    assert.is(events.length, 1);
    assert.is(events[0]?.name, "WATCHDOG");
    const ageMs = performance.now() - (events[0]?.atMs ?? 0);
    assert.ok(ageMs >= 5000 && ageMs < 15_000, `aged ${ageMs} ms where 5 to 6 s were due`);
  },
);

rig("a QMP command that is open when QEMU ends fails at once", async () => {
  const { qmp, stream } = await connected();
  const open = qmp.execute("query-status");
  stream.destroy();
  const failure = await rejectsCode(() => open, "rig.fault");
  assert.match(failure.message, /QEMU hung up/);
});

/** A guest's console fed by hand. */
function watched() {
  const seen: Seen = {
    console: [],
    events: [],
    watchers: new Set(),
    ended: undefined,
    complaints: "",
  };
  const stream = new PassThrough();
  const changed = (): void => {
    for (const look of seen.watchers) look();
  };
  readConsole(stream, seen, changed, () => {});
  const find = (text: string) => () => seen.console.find((line) => line.text === text);
  return { seen, stream, changed, find };
}

rig("waiting ends when the console says it, also when it comes in pieces", async () => {
  const { seen, stream, find } = watched();
  const waiting = until(seen, "greeting", find("hello there"), 20_000);
  stream.write("noise\r\nhello ");
  stream.write("there\r\nhalf a li");
  assert.is((await waiting).text, "hello there");
  assert.equal(
    seen.console.map(({ text }) => text),
    ["noise", "hello there"],
  );
  assert.is(seen.watchers.size, 0);
});

rig("waiting that fails tells what was seen instead", async () => {
  const { seen, stream, changed, find } = watched();
  stream.write("kernel panic\n");
  seen.events.push({ name: "RESET", data: {}, atMs: 0 });
  const late = until(seen, "login", find("login"), 20);
  const timeout = await rejectsCode(() => late, "rig.fault");
  assert.match(
    timeout.message,
    /^no login within 0.02 s\nQMP events: RESET; console:\n {2}\| kernel panic$/,
  );

  const cut = until(seen, "login", find("login"), 20_000);
  seen.ended = "ended with status 1";
  seen.complaints = "out of memory";
  changed();
  const failure: Failure = await rejectsCode(() => cut, "rig.fault");
  assert.match(failure.message, /^QEMU ended with status 1 before login\n.*QEMU: out of memory$/s);
});

rig.run();
