// deadline: 300 s
// The line is hostile: whatever comes over it, the messages are those that were sent or none.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Failure } from "../../agent/errors.ts";
import type { Random } from "../../agent/sim/random.ts";
import { decodeMap, encodeMap } from "../../agent/wire/cbor.ts";
import { packetBytesMax } from "../../agent/wire/command.ts";
import { type Decoded, Deframer, enframe } from "../../agent/wire/frame.ts";
import { encodeMessage, type Op, parsePacket } from "../../agent/wire/smp.ts";
import { fuzz } from "../fuzz.ts";
import { fromAscii, join, toHex } from "../hex.ts";

const wire = suite("wire under fire");
const ops: readonly Op[] = ["read", "read_response", "write", "write_response"];
const printk = fromAscii("[   12.345678] eth0: link up\n");

/** A message as one may be sent, of about `size` bytes. */
function messageOf(random: Random, size: number): Uint8Array {
  return encodeMessage({
    version: random.int(2),
    op: random.pick(ops),
    group: random.int(0x10000),
    seq: random.int(256),
    command: random.int(256),
    body: {
      d: "x".repeat(random.int(size)),
      n: random.int(1 << 20),
      b: random.bytes(random.int(9)),
    },
  });
}

function messagesIn(decoded: readonly Decoded[]): string[] {
  return decoded.flatMap((item) => (item.kind === "message" ? [toHex(item.bytes)] : []));
}

/** Frames, halves of frames, console text and noise, one after the other. */
function streamOf(random: Random): Uint8Array {
  const parts = Array.from({ length: random.range(1, 8) }, () => {
    const frame = enframe(messageOf(random, random.pick([8, 200, 1500])));
    const kind = random.int(6);
    if (kind === 0) return frame.slice(0, random.int(frame.length));
    if (kind === 1) return frame.slice(random.int(frame.length));
    if (kind === 2) return printk;
    if (kind === 3) return random.bytes(random.int(300));
    return frame;
  });
  return join(...parts);
}

function cutAtRandom(random: Random, bytes: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  const most = random.pick([1, 3, 64, 4096]);
  for (let from = 0; from < bytes.length; ) {
    const to = from + random.range(0, most);
    parts.push(bytes.slice(from, to));
    from = to;
  }
  return parts;
}

wire("any cutting of a stream of bytes gives the same texts, messages and bad frames", () => {
  fuzz(2000, (random) => {
    const stream = streamOf(random);
    const whole = new Deframer().push(stream);
    const deframer = new Deframer();
    const parts = cutAtRandom(random, stream).flatMap((part) => deframer.push(part));
    assert.is(JSON.stringify(parts), JSON.stringify(whole));
  });
});

wire("one byte per read gives the same as all at once", () => {
  fuzz(300, (random) => {
    const stream = streamOf(random);
    const deframer = new Deframer();
    const parts = [...stream].flatMap((byte) => deframer.push(Uint8Array.of(byte)));
    assert.is(JSON.stringify(parts), JSON.stringify(new Deframer().push(stream)));
  });
});

wire("no single flipped bit of a frame makes another message of it", () => {
  fuzz(120, (random) => {
    const before = messageOf(random, 40);
    const hit = messageOf(random, random.pick([20, 200, 400]));
    const after = messageOf(random, 40);
    const sent = [toHex(before), toHex(hit), toHex(after)];
    const stream = join(enframe(before), enframe(hit), enframe(after));
    const from = enframe(before).length;
    const to = from + enframe(hit).length;
    for (let bit = from * 8; bit < to * 8; bit += 1) {
      const at = bit >> 3;
      stream[at] = (stream[at] as number) ^ (1 << (bit & 7));
      const got = messagesIn(new Deframer().push(stream));
      stream[at] = (stream[at] as number) ^ (1 << (bit & 7));
      assert.ok(
        got.every((message) => sent.includes(message)),
        `bit ${bit}: ${got}`,
      );
      assert.is(got[0], sent[0]);
      // The frame behind survives, unless it lost its own beginning to a line that did not end.
      assert.is(got.at(-1), sent[2], `bit ${bit} took the next frame as well`);
    }
  });
});

wire("no burst of two damaged bytes makes another message of a frame", () => {
  fuzz(3000, (random) => {
    const message = messageOf(random, 60);
    const stream = enframe(message);
    const at = random.int(stream.length - 1);
    stream[at] = random.int(256);
    stream[at + 1] = random.int(256);
    const got = messagesIn(new Deframer().push(stream));
    assert.ok(got.every((found) => found === toHex(message)));
  });
});

wire("lines of two packets that come mixed give no third message", () => {
  fuzz(2000, (random) => {
    const messages = [messageOf(random, 400), messageOf(random, 400)];
    const lines = messages.flatMap((message) => linesOf(enframe(message)));
    for (let at = lines.length - 1; at > 0; at -= 1) {
      const other = random.int(at + 1);
      [lines[at], lines[other]] = [lines[other] as Uint8Array, lines[at] as Uint8Array];
    }
    const sent = messages.map(toHex);
    assert.ok(messagesIn(new Deframer().push(join(...lines))).every((got) => sent.includes(got)));
  });
});

function linesOf(bytes: Uint8Array): Uint8Array[] {
  const lines: Uint8Array[] = [];
  for (let from = 0; from < bytes.length; ) {
    const to = bytes.indexOf(0x0a, from) + 1;
    lines.push(bytes.slice(from, to));
    from = to;
  }
  return lines;
}

/** Soup that is likely to be taken for something: markers, base64, newlines, real CBOR. */
function soupOf(random: Random, seeds: readonly Uint8Array[]): Uint8Array {
  const kind = random.uint32() & 3;
  if (kind === 0) return enframe(random.bytes(random.int(40)));
  const soup = random.pick(seeds).slice();
  const hits = kind === 1 ? 1 : random.int(6);
  for (let hit = 0; hit < hits; hit += 1) {
    soup[random.uint32() % soup.length] = random.pick([6, 9, 4, 0x14, 0x0a, 0x3d, 0x41, 0xff]);
  }
  return kind === 3 ? soup.subarray(random.uint32() % soup.length) : soup;
}

wire("a million random frames and soups: no throw, bounded memory, every message parsed", () => {
  fuzz(1, (random) => {
    const seeds = [10, 10, 10, 60, 250].map((size) => enframe(messageOf(random, size)));
    const deframer = new Deframer();
    const counts = { messages: 0, requests: 0, bad: 0 };
    const run = (rounds: number): void => {
      for (let round = 0; round < rounds; round += 1) {
        for (const item of deframer.push(soupOf(random, seeds))) {
          if (item.kind !== "message") continue;
          counts.messages += 1;
          for (const { kind } of parsePacket(item.bytes)) {
            if (kind === "bad") counts.bad += 1;
            else counts.requests += 1;
          }
        }
        if (deframer.pendingBytes > packetBytesMax * 4) throw new Error("it keeps too much");
      }
    };
    run(100_000);
    const before = process.memoryUsage().rss;
    run(900_000);
    const grown = (process.memoryUsage().rss - before) / 1e6;
    assert.ok(grown < 40, `grown by ${grown.toFixed(1)} MB`);
    const { messages, requests, bad } = counts;
    assert.ok(messages > 250_000 && requests > 40_000 && bad > 100_000, JSON.stringify(counts));
  });
});

wire("behind whatever rubbish, the next frame is found, and once for each time it came", () => {
  fuzz(10, (random) => {
    const frames = Array.from({ length: 200 }, () => {
      const message = messageOf(random, random.pick([8, 60]));
      return { hex: toHex(message), frame: enframe(message) };
    });
    const seeds = frames.map(({ frame }) => frame);
    const deframer = new Deframer({ text: "count" });
    for (let round = 0; round < 10_000; round += 1) {
      deframer.push(soupOf(random, seeds));
      const { hex, frame } = random.pick(frames);
      const half = random.int(frame.length);
      const got = [
        ...deframer.push(frame.subarray(0, half)),
        ...deframer.push(frame.subarray(half)),
        ...deframer.push(frame),
      ];
      assert.is(messagesIn(got).join(), `${hex},${hex}`, `round ${round}`);
    }
  });
});

wire("whatever bytes come as a packet, they are parsed or refused, and never thrown", () => {
  fuzz(20, (random) => {
    for (let round = 0; round < 5000; round += 1) {
      const bytes = random.chance(0.5) ? random.bytes(random.int(64)) : messageOf(random, 30);
      if (bytes.length > 0) bytes[random.int(bytes.length)] = random.int(256);
      const found = parsePacket(bytes);
      assert.ok(bytes.length === 0 || found.length > 0);
    }
  });
});

wire("what the decoder takes, it gives back after encoding and decoding again", () => {
  let taken = 0;
  fuzz(60_000, (random) => {
    const bytes = join(Uint8Array.of(0xa1, 0x61, 0x61), random.bytes(random.range(1, 24)));
    if (random.chance(0.5))
      bytes[3] = random.pick([0x82, 0xa1, 0x9f, 0xbf, 0x1b, 0x3b, 0x62, 0xf9]);
    const value = attempt(bytes);
    if (value === undefined || hasOdd(value)) return;
    taken += 1;
    assert.equal(decodeMap(encodeMap(value)), value);
  });
  assert.ok(process.env.SEED !== undefined || taken > 300, `only ${taken} were taken`);
});

function attempt(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    return decodeMap(bytes);
  } catch (error) {
    if (error instanceof Failure && error.code === "wire.malformed") return undefined;
    throw error;
  }
}

/** Numbers that decode and have no form of ours: not finite, minus zero, above 2^53. */
function hasOdd(value: unknown): boolean {
  if (typeof value === "bigint" || Object.is(value, -0)) return true;
  if (typeof value === "number") return !Number.isFinite(value);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return false;
  return Object.values(value).some(hasOdd);
}

wire.run();
