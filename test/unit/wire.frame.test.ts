// Framing beyond the golden bytes: what was seen, what is half there, what is given up.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packetBytesMax } from "../../agent/wire/command.ts";
import { crc16 } from "../../agent/wire/crc.ts";
import {
  type Decoded,
  Deframer,
  enframe,
  lineBytesMax,
  textBytesMax,
} from "../../agent/wire/frame.ts";
import { throwsCode } from "../assert.ts";
import { fromAscii, join } from "../hex.ts";

const frame = suite("frame");
const short = Uint8Array.from({ length: 14 }, (_, at) => at);
const long = Uint8Array.from({ length: 1500 }, (_, at) => (at * 7) & 0xff);
const newline = 0x0a;

function linesOf(bytes: Uint8Array): Uint8Array[] {
  const lines: Uint8Array[] = [];
  for (let from = 0; from < bytes.length; ) {
    const to = bytes.indexOf(newline, from) + 1;
    lines.push(bytes.slice(from, to));
    from = to;
  }
  return lines;
}

frame("the checksum is CRC-16/XMODEM, and over message and checksum it is zero", () => {
  assert.is(crc16(fromAscii("123456789")), 0x31c3);
  const crc = crc16(long);
  assert.is(crc16(join(long, Uint8Array.of(crc >> 8, crc & 0xff))), 0);
  assert.is(crc16(long, 3, 200), crc16(long.slice(3, 200)));
});

frame("every message up to the largest packet comes back as it was", () => {
  for (let length = 0; length <= packetBytesMax; length += 1) {
    const message = long.slice(0, length);
    const decoded = new Deframer().push(enframe(message));
    assert.equal(decoded, [{ kind: "message", bytes: message }]);
    if (length === long.length) break;
  }
  const largest = new Uint8Array(packetBytesMax).fill(0x5a);
  assert.equal(new Deframer().push(enframe(largest)), [{ kind: "message", bytes: largest }]);
});

frame("a line that is sent has 127 bytes at most, markers and one newline included", () => {
  const lines = linesOf(enframe(long));
  lines.forEach((line, at) => {
    assert.ok(line.length <= lineBytesMax);
    assert.equal([...line.slice(0, 2)], at === 0 ? [6, 9] : [4, 20]);
    assert.not(line.includes(0x0d));
    if (at < lines.length - 1) {
      assert.is(line.length, lineBytesMax);
      assert.not(line.includes(0x3d));
    }
  });
});

frame("a message above the largest packet is refused as soon as it is announced", () => {
  const deframer = new Deframer();
  const large = enframe(new Uint8Array(packetBytesMax + 1));
  assert.equal(deframer.push(large.slice(0, 6)), [{ kind: "bad", reason: "too_long" }]);
  assert.equal(deframer.push(large.slice(6)), []);
  assert.equal(deframer.push(enframe(short)), [{ kind: "message", bytes: short }]);
  assert.is(deframer.seen.messages, 1);
});

frame("how much is taken can be chosen, up to what a frame can announce", () => {
  const least = new Deframer({ packetBytes: 14 });
  assert.equal(kindsOf(least.push(enframe(new Uint8Array(15)))), ["too_long"]);
  assert.equal(kindsOf(least.push(enframe(short))), ["message"]);
  const most = new Deframer({ packetBytes: 65_533 });
  assert.equal(kindsOf(most.push(enframe(new Uint8Array(65_533)))), ["message"]);
  throwsCode(() => enframe(new Uint8Array(65_534)), "wire.too_large");
});

function kindsOf(found: readonly Decoded[]): string[] {
  return found.map((one) => (one.kind === "bad" ? one.reason : one.kind));
}

frame("bytes behind the checksum are bad, though they share its group of characters", () => {
  for (let length = 8; length < 40; length += 1) {
    for (let extra = 1; extra <= 3; extra += 1) {
      const message = long.slice(0, length);
      const crc = crc16(message);
      const end = [crc >> 8, crc & 0xff, ...new Uint8Array(extra)];
      const packet = Buffer.from([0, length + 2, ...message, ...end]).toString("base64");
      const found = new Deframer().push(fromAscii(`\x06\x09${packet}\n`));
      assert.equal(kindsOf(found), ["length"], `${length} and ${extra}`);
    }
  }
});

frame("what is no base64 is bad wherever it stands, though the rest would fit", () => {
  const good = "\x06\x09ABAKAAAGAAAAAKFhZGJoaeJ8\n";
  assert.equal(kindsOf(new Deframer().push(fromAscii(good))), ["message"]);
  const damages = ["\x06", "\x04", "\x04\x14", "\r", " ", "\0", "\xff", "-", "_"].map((odd) =>
    good.replace("AAAG", `AAAG${odd}`),
  );
  const padded = ["A===", "====", "ABA=CgAA", "ABA==", "AB=A"].map((odd) => `\x06\x09${odd}\n`);
  for (const damage of [...damages, ...padded]) {
    const found = kindsOf(new Deframer().push(fromAscii(damage)));
    assert.equal(found, ["base64"], JSON.stringify(damage));
  }
});

frame("a bad frame is bad once: its remaining lines are skipped, text between them is not", () => {
  const lines = linesOf(enframe(long));
  const text = fromAscii("text\n");
  for (let hit = 0; hit < lines.length - 1; hit += 1) {
    const deframer = new Deframer();
    const damaged = lines.map((line, at) => (at === hit ? line.slice().fill(0x2a, 3, 4) : line));
    const found = deframer.push(join(...damaged.flatMap((line) => [line, text]), enframe(short)));
    const reasons = kindsOf(found).filter((kind) => kind !== "text");
    assert.equal(reasons, ["base64", "message"], `line ${hit}`);
    assert.is(deframer.seen.textBytes, text.length * lines.length);
    assert.ok(deframer.seen.skippedBytes > 0);
  }
});

frame("a packet whose first line was lost is one bad frame, whatever lines it has", () => {
  const [, ...rest] = linesOf(enframe(long));
  const found = new Deframer().push(join(...rest, enframe(short)));
  assert.equal(kindsOf(found), ["stray_continuation", "message"]);
});

frame("half a frame of any length does not take the next one with it", () => {
  const bytes = enframe(short);
  for (let half = 0; half < bytes.length; half += 1) {
    const found = new Deframer().push(join(bytes.slice(0, half), bytes));
    assert.equal(found.at(-1), { kind: "message", bytes: short }, `${half} bytes`);
  }
});

frame("text that is only counted is not handed on", () => {
  const deframer = new Deframer({ text: "count" });
  const found = deframer.push(join(fromAscii("one\ntwo\n\x06x"), enframe(short)));
  assert.equal(found, [{ kind: "message", bytes: short }]);
  assert.is(deframer.seen.textBytes, 10);
});

frame("rubbish of every sort costs no more memory than a packet", () => {
  const deframer = new Deframer();
  const floods = [
    "\x06\x09",
    "\x04\x14",
    "\x06",
    "A",
    "\r",
    "\x06\x09A\n",
    "\x06\x09AAIA=",
    "\xff",
  ];
  for (const flood of floods) {
    const bytes = fromAscii(flood.repeat(10_000));
    const bad = new Set(deframer.push(bytes).filter(({ kind }) => kind === "bad"));
    assert.ok(bad.size <= 6, "one value per reason, however many bad frames");
    assert.ok(deframer.pendingBytes <= packetBytesMax + 8, JSON.stringify(flood));
    const found = deframer.push(join(Uint8Array.of(newline), enframe(short)));
    assert.equal(found.at(-1), { kind: "message", bytes: short }, JSON.stringify(flood));
  }
});

frame("console text is handed on by lines, and a line without end in bounded pieces", () => {
  const deframer = new Deframer();
  assert.equal(deframer.push(fromAscii("half")), []);
  assert.equal(deframer.push(fromAscii(" a line\n")), [
    { kind: "text", bytes: fromAscii("half a line\n") },
  ]);
  const pieces = deframer.push(new Uint8Array(textBytesMax * 3 + 1).fill(0x2e));
  assert.equal(
    pieces.map((piece) => (piece.kind === "text" ? piece.bytes.length : 0)),
    [textBytesMax, textBytesMax, textBytesMax],
  );
});

frame("text that was unfinished when a frame began comes before its message", () => {
  const decoded = new Deframer().push(join(fromAscii("login: "), enframe(short)));
  assert.equal(
    decoded.map(({ kind }) => kind),
    ["text", "message"],
  );
});

frame("kernel lines between any two lines of a packet do it no harm", () => {
  const printk = fromAscii("[    1.234567] mlx5_core 0000:03:00.0: firmware ready\r\n");
  const lines = linesOf(enframe(long)).flatMap((line) => [line, printk]);
  const decoded = new Deframer().push(join(printk, ...lines));
  const messages = decoded.filter(({ kind }) => kind === "message");
  assert.equal(messages, [{ kind: "message", bytes: long }]);
  assert.is(decoded.length, lines.length / 2 + 2);
});

frame("a kernel line inside a line of a packet spoils that packet alone", () => {
  const [first = short, ...rest] = linesOf(enframe(long));
  const torn = join(first.slice(0, 60), fromAscii("[ 1.0] up\n"), first.slice(60), ...rest);
  const decoded = new Deframer().push(join(torn, enframe(short)));
  assert.equal(decoded[0], { kind: "bad", reason: "base64" });
  assert.equal(
    decoded.filter(({ kind }) => kind === "message"),
    [{ kind: "message", bytes: short }],
  );
});

frame("how much of a frame is pending shows, and a reset gives it up", () => {
  const deframer = new Deframer();
  assert.is(deframer.pendingBytes, 0);
  const bytes = enframe(long);
  deframer.push(bytes.slice(0, 1));
  assert.ok(deframer.pendingBytes > 0);
  deframer.push(bytes.slice(1, 2));
  assert.ok(deframer.pendingBytes > 0);
  deframer.push(bytes.slice(2, 400));
  assert.ok(deframer.pendingBytes > 250);
  deframer.reset();
  assert.is(deframer.pendingBytes, 0);
  const rest = deframer.push(bytes.slice(400));
  assert.is(
    rest.some(({ kind }) => kind === "message"),
    false,
  );
  assert.equal(deframer.push(enframe(short)).at(-1), { kind: "message", bytes: short });
});

frame("what was given up is counted, and giving up nothing loses no text", () => {
  const deframer = new Deframer();
  deframer.push(enframe(long).slice(0, 200));
  deframer.reset();
  assert.equal([...deframer.seen.bad], [["cut", 1]]);
  deframer.push(fromAscii("log\x06"));
  deframer.reset();
  assert.equal(deframer.push(fromAscii("in\n")), [
    { kind: "text", bytes: fromAscii("log\x06in\n") },
  ]);
  assert.equal([...deframer.seen.bad], [["cut", 1]]);
});

frame("what was seen is counted by kind", () => {
  const deframer = new Deframer();
  const stray = linesOf(enframe(long))[1] ?? short;
  deframer.push(join(fromAscii("abc\n"), enframe(short), stray, enframe(long), stray));
  assert.is(deframer.seen.messages, 2);
  assert.is(deframer.seen.textBytes, 4);
  assert.equal([...deframer.seen.bad], [["stray_continuation", 2]]);
});

frame("a message is the receiver's own: later bytes do not change it", () => {
  const deframer = new Deframer();
  const [decoded] = deframer.push(enframe(short));
  deframer.push(enframe(new Uint8Array(14).fill(0xff)));
  assert.equal(decoded, { kind: "message", bytes: short });
});

frame.run();
