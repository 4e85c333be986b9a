// Framing beyond the golden bytes: what was seen, what is half there, what is given up.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packetBytesMax } from "../../agent/wire/commands.ts";
import {
  crc16,
  Deframer,
  enframe,
  lineAcceptedMax,
  lineBytesMax,
  textBytesMax,
} from "../../agent/wire/frame.ts";
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

frame("a message above the largest packet is refused, and what follows is read", () => {
  const deframer = new Deframer();
  const decoded = deframer.push(join(enframe(new Uint8Array(packetBytesMax + 1)), enframe(short)));
  assert.equal(decoded[0], { kind: "bad", reason: "length" });
  assert.equal(decoded.at(-1), { kind: "message", bytes: short });
  assert.is(deframer.seen.messages, 1);
});

frame("a line that never ends is given up at its bound, and what follows is read", () => {
  const deframer = new Deframer();
  const endless = join(Uint8Array.of(6, 9), new Uint8Array(lineAcceptedMax + 1).fill(0x41));
  assert.equal(deframer.push(endless), [{ kind: "bad", reason: "too_long" }]);
  assert.is(deframer.pendingBytes, 0);
  const decoded = deframer.push(join(Uint8Array.of(newline), enframe(short)));
  assert.equal(decoded.at(-1), { kind: "message", bytes: short });
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
  deframer.push(bytes.slice(1, 400));
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

frame("what was seen is counted by kind", () => {
  const deframer = new Deframer();
  const stray = linesOf(enframe(long))[1] ?? short;
  deframer.push(join(fromAscii("abc\n"), enframe(short), stray, stray, enframe(long)));
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
