// The frames between agent and programs: written down without our encoder, cut anywhere, malformed.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeMap, encodeMap } from "../../agent/wire/cbor.ts";
import {
  type Ask,
  askOf,
  FrameReader,
  frameBytesMax,
  idOf,
  inputBytesMax,
  type Telling,
  tellingOf,
  toFrame,
} from "../../agent/wire/teeapi.ts";
import { throwsCode } from "../assert.ts";
import { fuzz } from "../fuzz.ts";
import { fromHex, join, toHex } from "../hex.ts";
import vectors from "../vectors/teeapi.json" with { type: "json" };

const wire = suite("tee api");

/** Bytes stand as { hex } in JSON. */
function real(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(real);
  if ("hex" in value) return fromHex(value.hex as string);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, real(one)]));
}

for (const row of vectors) {
  wire(`vector: ${row.name}`, () => {
    const message = real("ask" in row ? row.ask : row.telling) as Ask | Telling;
    assert.is(toHex(toFrame(message)), row.frame);
    const [body = new Uint8Array()] = new FrameReader().push(fromHex(row.frame));
    assert.equal("ask" in row ? askOf(body) : tellingOf(body), message);
  });
}

wire("any cutting of the same bytes gives the same frames", () => {
  const whole = fromHex(vectors.map(({ frame }) => frame).join(""));
  fuzz(300, (random) => {
    const reader = new FrameReader();
    const found: string[] = [];
    for (let at = 0; at < whole.length; ) {
      const size = random.range(1, random.pick([2, 40, 400]));
      found.push(...reader.push(whole.subarray(at, at + size)).map(toHex));
      at += size;
    }
    assert.equal(
      found,
      vectors.map(({ frame }) => frame.slice(8)),
    );
    assert.not.ok(reader.isPartial);
  });
});

wire("a length that no frame has is refused before any memory is taken for it", () => {
  for (const head of ["00000000", "00009001", "ffffffff"]) {
    throwsCode(() => new FrameReader().push(fromHex(head)), "wire.malformed");
  }
  const reader = new FrameReader();
  assert.equal(reader.push(fromHex("00009000")), []);
  assert.ok(reader.isPartial);
});

wire("the longest input fits a frame, and one byte too many of a frame does not", () => {
  const call = { op: "call", id: 1, call: "x".repeat(64), service: "s".repeat(64) } as const;
  const input = new Uint8Array(inputBytesMax);
  assert.ok(toFrame({ ...call, command: 0xffff_ffff, class: "idempotent", input }).length > 0);
  const long = new Uint8Array(frameBytesMax);
  throwsCode(() => toFrame({ ...call, command: 1, input: long }), "wire.too_large");
});

wire("what is no request is refused with its member, and keeps its id where it has one", () => {
  const refusals: [object, string][] = [
    [{ op: "call", id: 1 }, "call.service"],
    [{ op: "hello", id: 1 }, "hello.version"],
    [{ op: "steal", id: 1 }, "request.op"],
    [{ op: "call", id: -1 }, "request.id"],
    [{ op: "subscribe", id: 1, service: "s".repeat(65) }, "subscribe.service"],
    [{ op: "call", id: 1, service: "s", command: 1, call: "c", class: "twice" }, "call.class"],
  ];
  for (const [message, member] of refusals) {
    const failure = throwsCode(() => askOf(encodeMap({ ...message })), "wire.malformed");
    assert.ok(failure.message.startsWith(`${member}:`), failure.message);
  }
  assert.is(idOf(encodeMap({ id: 7, op: "nothing" })), 7);
  assert.is(idOf(Uint8Array.of(0xff)), null);
});

wire("a kind that is not known yet is left out", () => {
  assert.is(tellingOf(encodeMap({ kind: "weather", id: 1 })), null);
  throwsCode(() => tellingOf(encodeMap({ kind: "notice" })), "wire.malformed");
});

wire("noise never gets past as a request, and never as anything but a named failure", () => {
  const bodies = vectors.map(({ frame }) => fromHex(frame.slice(8)));
  fuzz(20_000, (random) => {
    const body = random.pick(bodies).slice();
    for (let flips = random.range(1, 4); flips > 0; flips--) {
      body[random.int(body.length)] = random.int(256);
    }
    const bytes = random.chance(0.1) ? join(body, Uint8Array.of(0)) : body;
    let isMap = true;
    try {
      decodeMap(bytes);
    } catch {
      isMap = false;
    }
    try {
      askOf(bytes);
      assert.ok(isMap);
    } catch (error) {
      assert.is((error as { code?: string }).code, "wire.malformed", String(error));
    }
  });
});

wire.run();
