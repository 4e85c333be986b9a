/**
 * Many seeds for one body. A failure prints the line that runs its seed alone:
 *
 *     SEED=4197465958 npm test
 *
 * The seeds are the same at every run, unless FUZZ_FROM names another start, such as a commit.
 */
import { hash32, Random } from "../agent/sim/random.ts";

type Print = (line: string) => void;

/** Runs `body` with `runs` seeds, or with the one in SEED. What it throws is passed on. */
export function fuzz(
  runs: number,
  body: (random: Random, seed: number) => void,
  print: Print = console.log,
): void {
  for (const seed of seedsFor(runs, process.env)) {
    try {
      const result: unknown = body(new Random(seed), seed);
      if (result instanceof Promise) throw new Error("fuzz() does not wait: use fuzzAsync()");
    } catch (problem) {
      print(replayLine(seed));
      throw problem;
    }
  }
}

/** As fuzz, one run after the other. */
export async function fuzzAsync(
  runs: number,
  body: (random: Random, seed: number) => Promise<void>,
  print: Print = console.log,
): Promise<void> {
  for (const seed of seedsFor(runs, process.env)) {
    try {
      await body(new Random(seed), seed);
    } catch (problem) {
      print(replayLine(seed));
      throw problem;
    }
  }
}

function replayLine(seed: number): string {
  return `\n  SEED=${seed} npm test`;
}

/** Spread over all 32 bits: neighbours would only differ in a few. */
export function seedsFor(
  runs: number,
  environment: Readonly<Record<string, string | undefined>>,
): number[] {
  const { SEED, FUZZ_FROM } = environment;
  if (SEED !== undefined && SEED !== "") {
    const seed = Number(SEED);
    if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`SEED=${SEED} is no seed`);
    return [seed];
  }
  const source = new Random(hash32(FUZZ_FROM ?? ""));
  return Array.from({ length: runs }, () => source.uint32());
}
