import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Link } from "../../agent/console/link.ts";
import { readRecording, recordedPort, recordTo } from "../../agent/console/recorder.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { RecordedCard } from "../../agent/sim/recordedcard.ts";
import { enframe } from "../../agent/wire/frame.ts";
import { parseRecording, type Take } from "../../agent/wire/recording.ts";
import { encodeMessage } from "../../agent/wire/smp.ts";
import { rejectsCode, throwsCode } from "../assert.ts";
import { temporaryFolder } from "../children.ts";
import { hello, nic7 } from "../consolecard.ts";
import { turn } from "../consolerig.ts";
import { PaperPort } from "../paperport.ts";

const test = suite("recording");

/** As in SPEC.md. */
const sample = [
  "# kennel recording 1 2026-11-21T18:20:17.569Z /dev/ttyUSB0",
  '0.0 < "[    1.0] nic0: link up\\n"',
  '29.8 > "\\u0006\\tABAKAAAGAAAAAKFhZGJoaeJ8\\n"',
  "# a note",
  '63.9 < "login: \u00ff"',
  "# kennel recording 1 2026-11-21T18:21:00.000Z /dev/ttyUSB1",
  '5.0 < "x"',
  "",
].join("\n");

test("the format is read as the specification has it", () => {
  const takes = parseRecording(sample, "sample");
  assert.equal(
    takes.map(({ began, port, pieces }) => [began, port, pieces.length]),
    [
      ["2026-11-21T18:20:17.569Z", "/dev/ttyUSB0", 3],
      ["2026-11-21T18:21:00.000Z", "/dev/ttyUSB1", 1],
    ],
  );
  const last = takes[0]?.pieces[2];
  assert.equal(last, {
    atMs: 63.9,
    direction: "<",
    bytes: Uint8Array.from(Buffer.from("login: \xff", "latin1")),
  });
});

test("what was recorded is what is read, for every byte, and a file only grows", () => {
  const file = join(temporaryFolder(), "a.rec");
  writeFileSync(file, "# before\n");
  const every = Uint8Array.from({ length: 256 }, (_, value) => value);
  for (let round = 0; round < 2; round++) {
    const inner = new PaperPort("/dev/a\nb");
    const port = recordTo(file, inner, () => {});
    port.onData(() => {});
    port.write(every);
    inner.say(every);
    inner.isFull = true;
    assert.is(port.write(every), false, "what the line did not take is not recorded");
    port.close();
  }
  const text = readFileSync(file, "utf8");
  assert.ok(text.startsWith("# before\n"));
  const takes = readRecording(file);
  assert.equal(
    takes.map(({ port, pieces }) => [port, pieces.map(({ direction }) => direction)]),
    [
      ["/dev/a b", [">", "<"]],
      ["/dev/a b", [">", "<"]],
    ],
  );
  for (const { pieces } of takes) for (const { bytes } of pieces) assert.equal(bytes, every);
});

test("a line that a power cut left is left out; what is wrong is named with its line", () => {
  assert.is(parseRecording(`${sample}99.0 < "cut o`, "cut").length, 2);
  for (const [line, problem] of [
    ['99 ? "x"', /line 8: expected MILLISECONDS < or > "BYTES"/],
    ['99 < "\\x"', /line 8: the bytes are no JSON string/],
    ['99 < "\u0100"', /line 8: a character above U\+00FF/],
    ["# kennel recording 2 now port", /line 8: version 2, not 1/],
  ] as const) {
    const failure = throwsCode(() => parseRecording(`${sample}${line}\n`, "x"), "port.recording");
    assert.match(failure.message, problem);
  }
});

test("no file, a folder: by name", async () => {
  const folder = temporaryFolder();
  throwsCode(() => readRecording(join(folder, "none")), "port.missing");
  throwsCode(() => readRecording(folder), "port.recording");
  throwsCode(() => recordTo(folder, new PaperPort(), () => {}), "port.recording");
  await rejectsCode(async () => readRecording("/proc/self/mem"), "port.recording");
});

test("a disk that is full ends the recording, not the line", () => {
  const notes: string[] = [];
  const inner = new PaperPort();
  const port = recordTo("/dev/full", inner, (text) => notes.push(text));
  assert.is(port.write(Uint8Array.of(1)), true);
  assert.is(port.write(Uint8Array.of(2)), true);
  assert.is(notes.length, 1);
  assert.match(notes[0] ?? "", /\/dev\/full: the recording ends here: ENOSPC/);
});

/** A session with nic7, written down. */
async function session(): Promise<Take[]> {
  const card = nic7();
  let text = "";
  const log = (line: string): void => {
    text += line;
  };
  const port = recordedPort(card.line.host, () => card.clock.now(), "virtual", log);
  const link = new Link(port, card.clock, { timeoutMs: 3000, firstSequence: 40 });
  await card.until(link.request("card.hello", {}));
  card.raw("[ 9.0] a line of the console\n");
  await card.until(link.request("os.echo", { d: "one" }));
  await card.until(link.request("report.read", {}));
  card.script = { "os.echo": () => ({ r: "changed" }) };
  await card.until(link.request("os.echo", { d: "one" }));
  return parseRecording(text, "session");
}

function played(takes: readonly Take[], closesAtEnd = false) {
  const clock = new SimClock();
  const card = new RecordedCard({ clock, takes, name: "played", speed: 1, closesAtEnd });
  const until = async <T>(work: Promise<T>): Promise<T> => {
    let done = false;
    work
      .catch(() => {})
      .finally(() => {
        done = true;
      });
    for (let count = 0; count < 10_000 && !done; count++) {
      clock.advance(5);
      await turn();
    }
    return work;
  };
  return { clock, card, until };
}

test("a recording is a card: it answers as it did then, in the order it did", async () => {
  const { card, clock, until } = played(await session());
  const link = new Link(card, clock, { timeoutMs: 3000, firstSequence: 200 });
  assert.equal(await until(link.request("card.hello", {})), hello);
  assert.is((await until(link.request("os.echo", { d: "one" }))).r, "one");
  assert.is((await until(link.request("os.echo", { d: "one" }))).r, "changed");
  assert.is((await until(link.request("os.echo", { d: "one" }))).r, "changed", "its last word");
  assert.is((await until(link.request("report.read", {}))).reports.length, 3);
  const failure = await rejectsCode(() => until(link.request("wdt.state", {})), "link.refused");
  assert.match(failure.message, /not in the recording/);
});

test("what the card said unasked it says again, at its time, take after take", async () => {
  const takes = parseRecording(sample, "sample");
  const { card, clock } = played([...takes, ...(await session())], true);
  const heard: [number, string][] = [];
  card.onData((bytes) => heard.push([clock.now(), Buffer.from(bytes).toString("latin1")]));
  let over = "";
  card.onClose((cause) => {
    over = cause;
  });
  clock.advance(60_000);
  assert.equal(
    heard.slice(0, 3).map(([, text]) => text),
    ["[    1.0] nic0: link up\n", "login: \xff", "x"],
  );
  assert.equal(
    heard.slice(0, 3).map(([atMs]) => Math.round(atMs * 10) / 10),
    [0, 63.9, 68.9],
  );
  assert.is(heard[3]?.[1], "[ 9.0] a line of the console\n");
  assert.is(heard.length, 4, "answers are not said unasked");
  assert.is(over, "the recording is over");
});

test("a card that was asked something stays to answer more", async () => {
  const { card, clock } = played(await session(), true);
  let isOver = false;
  card.onClose(() => {
    isOver = true;
  });
  const body = { d: "one" };
  const header = { version: 0, op: "write" as const, group: 0, seq: 9, command: 0 };
  const heard: Uint8Array[] = [];
  card.onData((bytes) => heard.push(bytes));
  card.write(enframe(encodeMessage({ ...header, body })));
  clock.advance(60_000);
  assert.is(isOver, false);
  card.close();
  assert.is(card.write(Uint8Array.of(1)), false);
});

test.run();
