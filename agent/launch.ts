/**
 * What `kenneld` runs first: loads the agent's bundle with the code cache that was made for this
 * very Node and architecture, where there is one beside it. Compiling the bundle anew takes a
 * third of the start. A cache of another Node is refused by V8; one of another architecture would
 * not be, hence the name.
 *
 * `kenneld --make-code-cache` writes the cache: run it once where the image's Node runs.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Script } from "node:vm";

const bundle = join(__dirname, "kenneld.bundle.js");
const cacheFile = join(__dirname, `kenneld.${process.arch}-${process.version}.cache`);
const makeOption = "--make-code-cache";

function readOrNothing(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

function load(cachedData: Buffer | undefined): Script {
  // Plain ASCII, and a function expression as build.mjs writes it.
  return new Script(readFileSync(bundle, "latin1"), {
    filename: bundle,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
}

function start(script: Script): void {
  script.runInThisContext()(exports, require, module, bundle, __dirname);
}

/** Runs a simulated start, so that what a start compiles is in the cache, and writes that. */
function makeCache(): void {
  const state = mkdtempSync(join(tmpdir(), "kennel-cache-"));
  process.argv.splice(2, 1, "--watchdog", "simulate", "--state", state);
  const script = load(undefined);
  start(script);
  // Two turns later the first reports are on disk.
  setImmediate(() =>
    setImmediate(() => {
      writeFileSync(cacheFile, script.createCachedData());
      rmSync(state, { recursive: true, force: true });
      writeSync(1, `code cache: ${cacheFile}\n`);
      process.exit(0);
    }),
  );
}

try {
  if (process.argv[2] === makeOption) makeCache();
  else start(load(readOrNothing(cacheFile)));
} catch (error) {
  const why = error instanceof Error ? error.message : String(error);
  writeSync(2, `kenneld: this installation is not whole: ${why}\n`);
  process.exit(1);
}
