/** `npm run check`: types, lint, format and tidy, one line per part. */
import { execFile, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

function filesOf(root, folder, ending) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true })
    .filter((path) => ending.test(path))
    .map((path) => join(folder, path));
}

/** Resolves to a note when there was nothing to check or nothing to check with. */
async function checkCppFormat(root) {
  const files = ["native", "boot", "test"].flatMap((folder) =>
    filesOf(root, folder, /\.(cc|c|h)$/),
  );
  if (files.length === 0) return "ok, no C or C++ files yet";
  if (spawnSync("clang-format", ["--version"]).status !== 0) {
    const lack = "clang-format is not installed (Debian: apt-get install clang-format)";
    if (process.env.CI === "true") throw new Error(lack);
    return `skipped: ${lack}`;
  }
  await run("clang-format", ["--dry-run", "--Werror", ...files], { cwd: root });
  return "ok";
}

/** Static analysis of the boot half; its compiler is optional as the formatter is. */
async function checkBoot(root) {
  try {
    await run(process.execPath, ["boot/build.mjs", "--analyze"], { cwd: root });
    return "ok";
  } catch (problem) {
    if (problem.code !== 3 || process.env.CI === "true") throw problem;
    return `skipped: ${problem.stderr.trim()}`;
  }
}

/** Runs every part, prints what failed in full; true when all are well. */
export async function check(root, buildTidy) {
  const tool = (name) => join(root, "node_modules/.bin", name);
  const ok = () => "ok";
  const parts = {
    types: () => run(tool("tsc"), ["--noEmit"], { cwd: root }).then(ok),
    "lint and format": () =>
      run(tool("biome"), ["check", "--error-on-warnings", "."], { cwd: root }).then(ok),
    "C++ format": () => checkCppFormat(root),
    "C analysis": () => checkBoot(root),
    tidy: async () => {
      await buildTidy();
      await run(process.execPath, ["test/run.mjs", "^tidy$"], { cwd: root });
      return "ok";
    },
  };
  let isWell = true;
  for (const [name, part] of Object.entries(parts)) {
    try {
      console.log(`${name}: ${await part()}`);
    } catch (problem) {
      isWell = false;
      const output = `${problem.stdout ?? ""}${problem.stderr ?? ""}`.trim();
      console.log(`${name}: failed\n${output === "" ? problem.message : output}`);
    }
  }
  return isWell;
}
