// The card's files over SMP: of one piece, proven by their hash, forgotten in time.
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { chunkBytes, keptMax, keptMs, repeatMs } from "../../agent/answers/files.ts";
import { encodeMessage } from "../../agent/wire/smp.ts";
import { type Body, RawHost } from "../rawhost.ts";
import { confirmed, resetTime, runningCard } from "../worlds.ts";

const files = suite("files");

function running() {
  const world = runningCard();
  return { world, host: new RawHost(world) };
}

function text(value: unknown): string {
  assert.ok(value instanceof Uint8Array);
  return new TextDecoder().decode(value as Uint8Array);
}

files("a file that changes while it is downloaded comes in one piece, and its hash fits", () => {
  const { world, host } = running();
  for (let events = 0; events < 90; events += 1) world.agent?.emit({ kind: "wdt:refreshed" });
  const whole = host.download("/log", () => {
    for (let events = 0; events < 40; events += 1) world.agent?.emit({ kind: "wdt:refreshed" });
  });
  assert.ok(whole.length > chunkBytes, `only ${whole.length} bytes`);
  const lines = text(whole).trimEnd().split("\n");
  for (const line of lines) assert.is(typeof JSON.parse(line).at_ms, "number");
  const crc = host.ask("files.hash", { name: "/log" });
  assert.equal(crc, { type: "crc32", len: whole.length, output: crc32(whole) });
  const part = host.ask("files.hash", { name: "/log", type: "sha256", off: 7, len: 100 });
  const output = new Uint8Array(createHash("sha256").update(whole.slice(7, 107)).digest());
  assert.equal(part, { type: "sha256", off: 7, len: 100, output });
  assert.is(host.ask("files.status", { name: "/log" }).len, whole.length);
  host.ask("files.close");
  assert.not.equal(host.download("/log"), whole, "closed, it is made anew");
});

files("a piece that is asked for again is the same, at the beginning as well", () => {
  const { world, host } = running();
  const piece = (off: number) => host.ask("files.read", { name: "/journal", off });
  const [first, later] = [piece(0), piece(500)];
  world.agent?.emit({ kind: "wdt:disarmed", by: "test" });
  assert.equal([piece(0), piece(500), piece(500)], [first, later, later]);
  world.advance(repeatMs + 1);
  assert.not.equal(piece(0), first);
  const { len } = piece(0);
  assert.equal(piece(len as number).data, new Uint8Array(0), "at the end there is nothing");
});

files("downloads that are left alone are forgotten, and so is the oldest of too many", () => {
  const { world, host } = running();
  const kept = world.agent?.files;
  const names = ["/log", "/journal", "/timeline.svg"];
  for (const name of names) host.ask("files.status", { name });
  const other = new RawHost(world, 1);
  for (const name of names) other.ask("files.status", { name });
  assert.is(kept?.keptCount, keptMax);
  other.ask("files.close");
  assert.is(kept?.keptCount, 1);
  world.advance(keptMs);
  assert.is(kept?.keptCount, 0);
});

files("a boot that ended badly is a crash file with its last words, cause first", () => {
  const world = runningCard({ tasks: [{ name: "net", every_s: 2 }] });
  const host = new RawHost(world);
  host.ask("rig.inject", { fault: "task_stuck" });
  resetTime(world);
  world.stuckTasks.clear();
  confirmed(world);
  const crash = JSON.parse(text(host.download("/crash/0")));
  assert.equal(Object.keys(crash).slice(0, 3), ["boot", "cause", "culprit"]);
  assert.equal([crash.cause, crash.culprit], ["watchdog", "net"]);
  assert.ok(crash.last_words.events.length > 5);
  const { fields } = host.ask("statistics.group", { name: "boot" });
  assert.is((fields as Body).crash_files, 1);
  assert.equal(host.ask("files.status", { name: "/crash/1" }), { err: { group: 8, rc: 3 } });
  const svg = text(host.download("/timeline.svg"));
  assert.ok(svg.startsWith("<svg ") && svg.includes("watchdog in runtime"));
  const journal = text(host.download("/journal")).trimEnd().split("\n");
  assert.ok(journal.map((line) => JSON.parse(line)).some(({ report }) => report !== undefined));
});

files("the pieces of a card's files fit their packets, whatever their offset", () => {
  const { world, host } = running();
  const data = new Uint8Array(chunkBytes);
  const len = 1_048_576;
  const answer = { version: 1, op: "read_response", group: 8, seq: 255, command: 0 } as const;
  assert.ok(encodeMessage({ ...answer, body: { off: 0, data, len } }).length <= 2048);
  assert.ok(encodeMessage({ ...answer, body: { off: len, data } }).length <= 2048);
  for (let events = 0; events < 90; events += 1) world.agent?.emit({ kind: "wdt:refreshed" });
  assert.is((host.ask("files.read", { name: "/log", off: 0 }).data as Uint8Array).length, 2000);
});

files.run();
