// Shapes: what they let through, what they leave out, and the words of a refusal.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { commands } from "../../agent/wire/commands.ts";
import {
  bool,
  bytes,
  check,
  int,
  list,
  map,
  number,
  oneOf,
  optional,
  record,
  recordMax,
  type Shape,
  scalar,
  text,
  textMax,
  textOf,
  uint,
} from "../../agent/wire/shape.ts";
import { throwsCode } from "../assert.ts";

const shape = suite("shape");
const limit = Number.MAX_SAFE_INTEGER;

interface Case {
  readonly name: string;
  readonly of: Shape<unknown>;
  readonly good: readonly unknown[];
  readonly bad: readonly unknown[];
}

const everything: readonly unknown[] = [undefined, null, [], {}, Uint8Array.of(1), "x", 1, true];
const but = (...kinds: readonly unknown[]): unknown[] =>
  everything.filter((value) => !kinds.includes(value));

const cases: readonly Case[] = [
  { name: "int", of: int, good: [0, -1, limit, -limit], bad: [...but(1), 0.5, limit + 1, 5n] },
  { name: "uint", of: uint, good: [0, limit], bad: [...but(1), -1, 0.5, limit + 1, 5n] },
  { name: "number", of: number, good: [0.5, -1e300], bad: [...but(1), Number.NaN, Infinity, 5n] },
  { name: "bool", of: bool, good: [true, false], bad: but(true) },
  { name: "text", of: text, good: ["", "x".repeat(textMax)], bad: [...but("x"), "x".repeat(257)] },
  { name: "textOf", of: textOf(3), good: ["", "abc"], bad: [...but("x"), "abcd"] },
  { name: "bytes", of: bytes, good: [new Uint8Array(0)], bad: everything.filter(isNoBytes) },
  { name: "oneOf", of: oneOf("a", "b"), good: ["a", "b"], bad: [...everything, "c", ""] },
  { name: "scalar", of: scalar, good: ["x", 1.5, false], bad: [null, [], {}, Number.NaN, 5n] },
  { name: "list", of: list(uint, 2), good: [[], [1, 2]], bad: [{}, null, [1, 2, 3], ["x"], [-1]] },
  { name: "record", of: record(uint), good: [{}, { a: 1 }], bad: [[], null, { a: "x" }, "x"] },
  { name: "map", of: map({ a: uint }), good: [{ a: 1 }], bad: [{}, { a: "x" }, [1], null, "x"] },
  {
    name: "optional",
    of: map({ a: optional(uint) }),
    good: [{}, { a: 1 }],
    bad: [{ a: null }, { a: "x" }],
  },
];

function isNoBytes(value: unknown): boolean {
  return !(value instanceof Uint8Array);
}

for (const { name, of, good, bad } of cases) {
  shape(`${name} takes what it states, unchanged, and refuses all else`, () => {
    for (const value of good) assert.equal(check(of, value, "it"), value);
    for (const value of bad) throwsCode(() => check(of, value, "it"), "wire.malformed");
  });
}

shape("a refusal names the member, what was due and what was found", () => {
  const of = map({ rows: list(map({ name: text, at: uint })) });
  const refusal = (value: unknown): string =>
    throwsCode(() => check(of, value, "answer"), "wire.malformed").message;
  assert.is(
    refusal({
      rows: [
        { name: "x", at: 1 },
        { name: "y", at: -2 },
      ],
    }),
    "answer.rows[1].at: expected uint, found number -2",
  );
  assert.is(
    refusal({ rows: [{ at: 1 }] }),
    "answer.rows[0].name: expected text of at most 256 characters, found nothing",
  );
  assert.is(
    refusal({ rows: "none" }),
    "answer.rows: expected list of at most 64, found text of 4 characters",
  );
  assert.is(refusal({ rows: [[]] }), "answer.rows[0]: expected map, found a list of 0");
});

shape("a hostile value is not repeated in the refusal", () => {
  const { message } = throwsCode(() => check(uint, "\u001b[2J".repeat(50), "it"), "wire.malformed");
  assert.is(message, "it: expected uint, found text of 200 characters");
});

shape("members that are not named are left out, so that newer peers can say more", () => {
  assert.equal(check(map({ a: uint }), { a: 1, later: true }, "it"), { a: 1 });
});

shape("members are the value's own: nothing is read from a prototype", () => {
  const inherited = Object.create({ a: 1 }) as unknown;
  throwsCode(() => check(map({ a: uint }), inherited, "it"), "wire.malformed");
  throwsCode(() => check(map({ constructor: text }), {}, "it"), "wire.malformed");
});

shape("a record of keys unknown is bounded, and its keys stay its own", () => {
  const many = (count: number): object =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, at]));
  assert.equal(check(record(uint), many(recordMax), "it"), many(recordMax));
  throwsCode(() => check(record(uint), many(recordMax + 1), "it"), "wire.malformed");
  const proto = check(record(uint), JSON.parse('{"__proto__": 1}'), "it");
  assert.equal(Object.keys(proto), ["__proto__"]);
});

shape("what was checked is a copy: the sender's object is not kept", () => {
  const value = { a: { b: 1 }, list: [1] };
  const checked = check(map({ a: map({ b: uint }), list: list(uint) }), value, "it");
  value.a.b = 2;
  value.list.push(2);
  assert.equal(checked, { a: { b: 1 }, list: [1] });
});

shape("no two commands share a group and an id", () => {
  const ids = Object.values(commands).map(({ group, id, op }) => `${group}/${id}/${op}`);
  assert.is(new Set(ids).size, ids.length);
});

shape.run();
