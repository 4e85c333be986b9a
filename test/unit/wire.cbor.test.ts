// CBOR beyond the golden bytes: what cbor-x takes by mistake, limits of numbers, whose bytes.
import { Decoder } from "cbor-x";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeMap, encodeMap } from "../../agent/wire/cbor.ts";
import { depthMax, itemsMax, keyBytesMax, scanMap } from "../../agent/wire/scan.ts";
import { throwsCode } from "../assert.ts";
import { fuzz } from "../fuzz.ts";
import { fromHex, join, toHex } from "../hex.ts";

const cbor = suite("cbor");

/** What the bare decoder takes although it is invalid, foreign, or slow: by name and bytes. */
const takenByMistake: readonly (readonly [string, string])[] = [
  ["a lone break", "ff"],
  ["a lone break as a value", "a16161ff"],
  ["a key twice, the last one winning", "a2616101616102"],
  ["invalid UTF-8", "a1616162c328"],
  ["a surrogate in UTF-8", "a1616163eda080"],
  ["integer keys as text", "a10102"],
  ["a date", "a16161c11a514b67b0"],
  ["a big number", "a16161c249010000000000000000"],
  ["an error object from the wire", "a16161d81b82654572726f726178"],
  ["a record definition", "a16161d9dfff831904d28161 6101"],
  ["a set", "a16161d90102820102"],
  ["a map with keys of any kind", "a16161d90103a10102"],
  ["a typed array", "a16161d840420102"],
  ["undefined", "a16161f7"],
  ["a map that is no message", "80"],
];

for (const [name, hex] of takenByMistake) {
  cbor(`refused, though the decoder alone takes it: ${name}`, () => {
    const bare = new Decoder({ useRecords: false, mapsAsObjects: true });
    const bytes = fromHex(hex.replaceAll(" ", ""));
    assert.not.throws(() => bare.decode(bytes.slice()));
    throwsCode(() => decodeMap(bytes), "wire.malformed");
  });
}

cbor("a cycle made of shared references is refused", () => {
  throwsCode(() => decodeMap(fromHex("a16161d81c81d81d00")), "wire.malformed");
});

cbor(
  "a big number of 60 kB, on which the decoder alone would spend long, is refused at its tag",
  () => {
    const number = join(fromHex("a16161c259ea60"), new Uint8Array(60_000).fill(0xff));
    const { message } = throwsCode(() => decodeMap(number), "wire.malformed");
    assert.match(message, /byte 3: tags/);
  },
);

cbor("whole numbers keep their value both ways, to the limits of 2^53", () => {
  const edges = [0, 23, 24, 255, 256, 65535, 65536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1];
  const safe = [...edges, 2 ** 52, Number.MAX_SAFE_INTEGER];
  for (const value of safe.flatMap((edge) => [edge, -edge, -1 - edge])) {
    if (!Number.isSafeInteger(value)) continue;
    const decoded = decodeMap(encodeMap({ value })).value;
    assert.is(decoded, value === 0 ? 0 : value);
    assert.is(typeof decoded, "number");
  }
});

cbor("-2^32 and one below are not what a 64-bit shortcut makes of them", () => {
  assert.is(toHex(encodeMap({ a: -4294967296 })), "a161613affffffff");
  assert.is(toHex(encodeMap({ a: -4294967297 })), "a161613b0000000100000000");
  assert.is(decodeMap(fromHex("a161613b00000000ffffffff")).a, -4294967296);
});

cbor("integers beyond 2^53 come as big integers, which no shape takes for numbers", () => {
  const beyond = decodeMap(fromHex("a161611b0020000000000000")).a;
  assert.is(beyond, 2n ** 53n);
  assert.is(decodeMap(fromHex("a161611bffffffffffffffff")).a, 2n ** 64n - 1n);
  assert.is(decodeMap(fromHex("a161613bffffffffffffffff")).a, -(2n ** 64n));
  assert.is(decodeMap(fromHex("a161613b001fffffffffffff")).a, -(2n ** 53n));
});

cbor("64-bit forms of small numbers are numbers again, inside lists and maps too", () => {
  const one = "1b0000000000000001";
  assert.equal(decodeMap(fromHex(`a2616182${one}a16162${one}61633b0000000000000001`)), {
    a: [1, { b: 1 }],
    c: -2,
  });
});

cbor(
  "floats of two, four and eight bytes are read; eight are written, and minus zero is zero",
  () => {
    assert.is(decodeMap(fromHex("a16161f93c00")).a, 1);
    assert.is(decodeMap(fromHex("a16161f97bff")).a, 65504);
    assert.is(decodeMap(fromHex("a16161fa3fc00000")).a, 1.5);
    assert.is(toHex(encodeMap({ a: 0.1 })), "a16161fb3fb999999999999a");
    assert.is(toHex(encodeMap({ a: -0 })), "a1616100");
  },
);

cbor("what has no form on the wire is refused, and the message says where it stands", () => {
  const odd: readonly (readonly [unknown, RegExp])[] = [
    [Number.NaN, /message\.a: NaN/],
    [{ b: [0, Infinity] }, /message\.a\.b\[1\]: Infinity/],
    [new Date(0), /message\.a: Date/],
    [new Map(), /message\.a: Map/],
    [new Error("x"), /message\.a: Error/],
    [() => 0, /message\.a: function/],
    [Symbol("s"), /message\.a: symbol/],
    [5n, /message\.a: bigint/],
    [[undefined], /message\.a\[0\]: undefined/],
  ];
  for (const [a, pattern] of odd) {
    assert.match(throwsCode(() => encodeMap({ a }), "wire.malformed").message, pattern);
  }
});

cbor("undefined members are left out; order is kept; the same value gives the same bytes", () => {
  assert.is(toHex(encodeMap({ b: 1, no: undefined, a: 2 })), "a2616201616102");
  const value = { list: [1, "two", null, true], map: { x: Uint8Array.of(1, 2) } };
  assert.is(toHex(encodeMap(value)), toHex(encodeMap(structuredClone(value))));
});

cbor("bytes are written without a tag, whether they are a Buffer or not", () => {
  assert.is(toHex(encodeMap({ a: Uint8Array.of(1, 2, 3) })), "a1616143010203");
  assert.is(toHex(encodeMap({ a: Buffer.from([1, 2, 3]) })), "a1616143010203");
});

cbor("text of every length keeps its characters, and half a pair becomes U+FFFD", () => {
  for (const part of ["a", "ä", "€", "😀", "a😀", "\u0000"]) {
    for (let count = 0; count < 300; count += 1) {
      const text = part.repeat(count);
      assert.is(decodeMap(encodeMap({ text })).text, text, `${count} times ${part}`);
    }
  }
  const halves = { "k\udc00": `${"😀".slice(0, 1)}x${"😀".slice(1)}` };
  assert.equal(decodeMap(encodeMap(halves)), { "k\ufffd": "\ufffdx\ufffd" });
});

cbor("well-formed UTF-8 is what the platform's strict decoder says it is", () => {
  const strict = new TextDecoder("utf-8", { fatal: true });
  const isTaken = (act: () => unknown): boolean => {
    try {
      act();
      return true;
    } catch {
      return false;
    }
  };
  const tails = [[], [0x80], [0xbf], [0x7f], [0xc0], [0x80, 0x80], [0xbf, 0xbf], [0x80, 0xc0]];
  for (let lead = 0x7f; lead <= 0xff; lead += 1) {
    for (const second of [0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0]) {
      for (const tail of tails) {
        const text = Uint8Array.of(lead, second, ...tail);
        const message = join(Uint8Array.of(0xa1, 0x61, 0x61, 0x60 + text.length), text);
        const mine = isTaken(() => scanMap(message));
        assert.is(
          mine,
          isTaken(() => strict.decode(text)),
          toHex(text),
        );
      }
    }
  }
});

cbor("a key of 64 bytes is the longest, and long keys are told apart to their last byte", () => {
  const key = (length: number, last = "k"): string => "k".repeat(length - 1) + last;
  assert.equal(decodeMap(encodeMap({ [key(keyBytesMax)]: 1 })), { [key(keyBytesMax)]: 1 });
  assert.not.throws(() => scanMap(encodeMap({ [key(64, "a")]: 1, [key(64, "b")]: 2 })));
  throwsCode(() => scanMap(encodeMap({ [key(keyBytesMax + 1)]: 1 })), "wire.malformed");
});

cbor("keys are told apart within their own map only", () => {
  assert.equal(decodeMap(fromHex("a26161a16161016162a1616102")), {
    a: { a: 1 },
    b: { a: 2 },
  });
  throwsCode(() => decodeMap(fromHex("a26161a1616101616102")), "wire.malformed");
});

cbor("what was decoded does not change with the bytes it came from", () => {
  for (const source of [fromHex("a1616142aabb"), Buffer.from("a1616142aabb", "hex")]) {
    const { a } = decodeMap(source) as { a: Uint8Array };
    source.fill(0);
    assert.equal([...a], [0xaa, 0xbb]);
    assert.is(a.constructor, Uint8Array);
  }
});

cbor("what was encoded stands in memory of its own", () => {
  const first = encodeMap({ a: 1 });
  assert.is(first.constructor, Uint8Array);
  assert.is(first.buffer.byteLength, first.length);
});

cbor("a key named __proto__ is refused: the decoder alone puts it onto another key", () => {
  const hex = "a2 69 5f5f70726f746f5f5f 01 68 5f5f70726f746f5f 02".replaceAll(" ", "");
  const bare = new Decoder({ useRecords: false, mapsAsObjects: true });
  assert.equal(bare.decode(fromHex(hex)), { __proto_: 2 });
  throwsCode(() => decodeMap(fromHex(hex)), "wire.malformed");
  assert.equal(decodeMap(encodeMap({ __proto_: 1, _underscore: 2 })), {
    __proto_: 1,
    _underscore: 2,
  });
});

cbor("bytes in chunks are one piece again, with heads of every size", () => {
  const chunk = (length: number): Uint8Array =>
    join(fromHex(`5a${length.toString(16).padStart(8, "0")}`), new Uint8Array(length).fill(7));
  for (const lengths of [[], [0], [1, 22], [1, 23], [200, 55], [200, 56], [65_535], [65_535, 9]]) {
    const chunks = lengths.map(chunk);
    const message = join(fromHex("a261615f"), ...chunks, fromHex("ff616221"));
    const length = lengths.reduce((sum, one) => sum + one, 0);
    assert.equal(decodeMap(message), { a: new Uint8Array(length).fill(7), b: -2 });
  }
  const tiny = new Uint8Array(itemsMax).fill(0x40);
  throwsCode(() => decodeMap(join(fromHex("a161615f"), tiny, fromHex("ff"))), "wire.malformed");
});

cbor("the bounds are exact: depth, items", () => {
  const nested = (depth: number): Uint8Array => fromHex(`a16161${"81".repeat(depth - 1)}00`);
  assert.not.throws(() => scanMap(nested(depthMax)));
  throwsCode(() => scanMap(nested(depthMax + 1)), "wire.malformed");
  const wide = (count: number): Uint8Array =>
    join(fromHex(`a1616199${count.toString(16).padStart(4, "0")}`), new Uint8Array(count));
  assert.not.throws(() => scanMap(wide(itemsMax - 2)));
  throwsCode(() => scanMap(wide(itemsMax - 1)), "wire.malformed");
});

cbor("every cut of a message short of its end is refused", () => {
  const bytes = encodeMap({ a: 70_000, b: "text", c: [1, { d: 0.5 }], e: Uint8Array.of(1, 2) });
  for (let length = 1; length < bytes.length; length += 1) {
    throwsCode(() => decodeMap(bytes.slice(0, length)), "wire.malformed");
  }
  assert.equal(decodeMap(new Uint8Array(0)), {});
});

cbor("random values come back as they were, in the shortest form of heads", () => {
  fuzz(3000, (random) => {
    const make = (depth: number): unknown => {
      const kind = random.int(depth > 3 ? 6 : 8);
      if (kind === 0) return random.int(2 ** 32) * random.pick([1, -1]) || 0;
      if (kind === 1) return Math.floor(random.next() * 2 ** 53);
      if (kind === 2) return random.next();
      if (kind === 3) return random.bytes(random.int(30));
      if (kind === 4) return "é".repeat(random.int(40));
      if (kind === 5) return random.pick([true, false, null]);
      const items = Array.from({ length: random.int(5) }, () => make(depth + 1));
      return kind === 6 ? items : Object.fromEntries(items.map((item, at) => [`k${at}`, item]));
    };
    const value = { value: make(0) };
    const bytes = encodeMap(value);
    assert.equal(decodeMap(bytes), value);
    assert.is(toHex(encodeMap(decodeMap(bytes))), toHex(bytes));
  });
});

cbor.run();
