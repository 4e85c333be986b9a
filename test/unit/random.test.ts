import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Broken } from "../../agent/errors.ts";
import { Random } from "../../agent/sim/random.ts";

const random = suite("random");

const seeds = [0, 1, 2, 12_345, 0xffff_ffff];

/** `count` draws of `draw`, as a list. */
function draws<T>(count: number, draw: () => T): T[] {
  return Array.from({ length: count }, draw);
}

/** Pearson's chi-squared of counts against equal shares. */
function chiSquared(counts: readonly number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

random("a seed gives the same numbers for ever: a changed generator breaks old seeds", () => {
  const known = new Random(1);
  assert.equal(
    draws(4, () => known.uint32()),
    [2_974_040_140, 4_288_009_005, 171_340_011, 4_058_717_845],
  );
});

random("the same seed repeats, another seed differs from the first draws on", () => {
  for (const seed of seeds) {
    const [first, second] = [new Random(seed), new Random(seed)];
    assert.equal(
      draws(100, () => first.uint32()),
      draws(100, () => second.uint32()),
    );
  }
  const heads = new Set(draws(1000, () => 0).map((_, seed) => new Random(seed).uint32()));
  assert.is(heads.size, 1000);
});

random("next stays in [0, 1) and fills it evenly", () => {
  for (const seed of seeds) {
    const source = new Random(seed);
    const counts = new Array<number>(100).fill(0);
    for (const value of draws(100_000, () => source.next())) {
      assert.ok(value >= 0 && value < 1, String(value));
      const bin = Math.floor(value * 100);
      counts[bin] = (counts[bin] ?? 0) + 1;
    }
    // 99 degrees of freedom: above 160 in less than one of 10 000 fair generators.
    assert.ok(chiSquared(counts) < 160, `seed ${seed}: ${chiSquared(counts)}`);
  }
});

random("int is even where a plain remainder of 32 bits would favour one third", () => {
  const source = new Random(7);
  const below = 3_000_000_000;
  const thirds = [0, 0, 0];
  for (const value of draws(30_000, () => source.int(below))) {
    assert.ok(Number.isInteger(value) && value >= 0 && value < below);
    const third = Math.floor(value / 1_000_000_000);
    thirds[third] = (thirds[third] ?? 0) + 1;
  }
  assert.ok(chiSquared(thirds) < 20, thirds.join(" "));
});

random("range reaches both of its ends and nothing beyond", () => {
  const source = new Random(3);
  const seen = new Set(draws(500, () => source.range(-2, 2)));
  assert.equal(
    [...seen].sort((left, right) => left - right),
    [-2, -1, 0, 1, 2],
  );
  assert.is(source.range(9, 9), 9);
});

random("chance never happens at 0, always at 1, and as often as asked between", () => {
  const source = new Random(11);
  assert.not.ok(draws(1000, () => source.chance(0)).includes(true));
  assert.not.ok(draws(1000, () => source.chance(1)).includes(false));
  const hits = draws(10_000, () => source.chance(0.3)).filter(Boolean).length;
  assert.ok(hits > 2800 && hits < 3200, String(hits));
});

random("bytes has the length asked for and every value", () => {
  const source = new Random(5);
  assert.is(source.bytes(0).length, 0);
  const bytes = source.bytes(10_000);
  assert.is(bytes.length, 10_000);
  assert.is(new Set(bytes).size, 256);
});

random("pick takes every entry in turn, and refuses an empty list", () => {
  const source = new Random(6);
  assert.is(new Set(draws(200, () => source.pick(["a", "b", "c"]))).size, 3);
  assert.throws(
    () => source.pick([]),
    (problem: unknown) => problem instanceof Broken,
  );
});

random("a fork depends on seed and labels, not on what was drawn before", () => {
  const quiet = new Random(9);
  const busy = new Random(9);
  draws(1000, () => busy.next());
  assert.is(busy.fork("disk").uint32(), quiet.fork("disk").uint32());
  const streams = [quiet, quiet.fork("disk"), quiet.fork("line"), quiet.fork("disk").fork("disk")];
  const heads = new Set(streams.map((stream) => stream.fork("x").uint32()));
  assert.is(heads.size, streams.length);
  assert.is.not(new Random(10).fork("disk").uint32(), quiet.fork("disk").uint32());
});

random("nonsense is a defect of the caller, not a number", () => {
  const source = new Random(1);
  for (const wrong of [
    () => source.int(0),
    () => source.int(1.5),
    () => source.int(Number.NaN),
    () => source.range(2, 1),
    () => new Random(0.5),
  ]) {
    assert.throws(wrong, (problem: unknown) => problem instanceof Broken);
  }
});

random.run();
