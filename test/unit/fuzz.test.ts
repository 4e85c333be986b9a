import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Failure } from "../../agent/errors.ts";
import { rejectsCode, throwsCode } from "../assert.ts";
import { fuzz, fuzzAsync, seedsFor } from "../fuzz.ts";
import { skip } from "../skip.ts";

const tools = suite("test tools");

/** Throws for about one seed in 64, so a fuzzer that stops fuzzing is noticed. */
function isUnlucky(value: number): boolean {
  return value % 64 === 0;
}

/** Runs `act` as if SEED were not set, or were `seed`. */
function withSeed(seed: number | undefined, act: () => void): void {
  const before = process.env.SEED;
  if (seed === undefined) delete process.env.SEED;
  else process.env.SEED = String(seed);
  try {
    act();
  } finally {
    if (before === undefined) delete process.env.SEED;
    else process.env.SEED = before;
  }
}

tools("canary: a body that fails now and then is found, and its line finds it again", () => {
  const lines: string[] = [];
  const body = (random: { uint32(): number }): void => {
    if (isUnlucky(random.uint32())) throw new Error("the canary sings");
  };
  withSeed(undefined, () => {
    assert.throws(() => fuzz(2000, body, (line) => lines.push(line)), /canary sings/);
  });
  const seed = /^SEED=(\d+) npm test$/m.exec(lines.join("\n").trim())?.[1];
  assert.type(seed, "string");
  withSeed(Number(seed), () => {
    assert.throws(() => fuzz(1, body, (line) => lines.push(line)), /canary sings/);
  });
  assert.is(lines[0], lines[1]);
});

tools("every run has a seed of its own, the same ones each time", () => {
  const seeds = seedsFor(1000, {});
  assert.is(new Set(seeds).size, 1000);
  assert.equal(seedsFor(1000, {}), seeds);
  const others = seedsFor(1000, { FUZZ_FROM: "0192560" });
  assert.is(new Set([...seeds, ...others]).size, 2000);
});

tools("SEED runs that seed alone, and nonsense in it is refused", () => {
  assert.equal(seedsFor(1000, { SEED: "4197465958" }), [4_197_465_958]);
  assert.equal(seedsFor(3, { SEED: "" }).length, 3);
  for (const nonsense of ["x", "1.5", "-1"]) {
    assert.throws(() => seedsFor(1, { SEED: nonsense }), /is no seed/);
  }
});

tools("a body gets the random numbers of the seed it is told", () => {
  withSeed(77, () => {
    let runs = 0;
    fuzz(10, (random, seed) => {
      runs += 1;
      assert.is(seed, 77);
      assert.is(random.seed, 77);
    });
    assert.is(runs, 1);
  });
});

tools("an async body is waited for by fuzzAsync and refused by fuzz", async () => {
  const lines: string[] = [];
  const fails = async (): Promise<void> => {
    await Promise.resolve();
    throw new Error("late");
  };
  try {
    await fuzzAsync(3, fails, (line) => lines.push(line));
    assert.unreachable();
  } catch (problem) {
    assert.match(String(problem), /late/);
  }
  assert.is(lines.length, 1);
  const settles = async (): Promise<void> => {};
  assert.throws(() => fuzz(3, settles, () => {}), /use fuzzAsync/);
});

tools("throwsCode and rejectsCode want this very code", async () => {
  const busy = (): never => {
    throw new Failure("port.busy", "taken");
  };
  assert.is(throwsCode(busy, "port.busy").message, "taken");
  assert.throws(() => throwsCode(busy, "port.lost"), /port\.lost was due.*port\.busy: taken/);
  assert.throws(() => throwsCode(() => {}, "port.busy"), /nothing was thrown/);
  assert.is((await rejectsCode(async () => busy(), "port.busy")).code, "port.busy");
  const wrong = [async () => undefined, async () => Promise.reject(new Error("plain"))];
  for (const act of wrong) {
    let isCaught = false;
    await rejectsCode(act, "port.busy").catch(() => {
      isCaught = true;
    });
    assert.ok(isCaught);
  }
});

tools("skip() inside a test is refused: it would hide that one", () => {
  assert.throws(() => skip("a story", "needs a card"), /in place of a test/);
});

tools.run();
