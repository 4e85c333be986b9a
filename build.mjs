#!/usr/bin/env node
/**
 * Builds Kennel. `node build.mjs [--tests] [--check] [--boot] [--arch arm64]`
 *
 *   (nothing)      dist/: both programs as single files, native files beside them, manifest
 *   --tests        also .build/test/: every test, benchmark and child program of the tests
 *   --check        types, lint, format and tidy instead; fails when one of them does
 *   --boot         also dist/boot/: driver, option ROM and loader for UEFI, with clang and lld
 *   --arch arm64   also the native addon for that architecture, with a cross compiler
 *
 * dist/ needs no node_modules and may be moved anywhere. Everything is relative to this file.
 */
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { bootLack, buildBoot } from "./boot/build.mjs";
import { buildAddon, crossCompilers, Stop } from "./native/build.mjs";

const root = dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);
/** Where dist/ is put together, so that a failed build leaves the last good one alone. */
const stage = at(".build", `dist-${process.pid}`);

/** Node-API 8 is in every Node from 16 on. */
const napiVersion = 8;
function say(line) {
  process.stdout.write(`${line}\n`);
}

function at(...parts) {
  return join(root, ...parts);
}

function readJson(path) {
  return JSON.parse(fs.readFileSync(at(path), "utf8"));
}

/** All files below `folder`, as sorted paths relative to it. */
function filesBelow(folder) {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

function copyIn(from, name) {
  const to = join(stage, name);
  fs.mkdirSync(dirname(to), { recursive: true });
  fs.copyFileSync(from, to);
}

/** True when node_modules holds what package-lock.json says; npm notes in it what it did. */
function isInstalled() {
  if (!fs.existsSync(at("node_modules/.package-lock.json"))) return false;
  const present = readJson("node_modules/.package-lock.json").packages;
  return Object.entries(readJson("package-lock.json").packages).every(
    ([path, { version, optional }]) =>
      path === "" || (present[path] ? present[path].version === version : optional === true),
  );
}

function install() {
  if (isInstalled()) return;
  say("node_modules is missing or older than package-lock.json: running npm ci");
  const { status, error, stderr } = spawnSync(
    "npm",
    ["ci", "--include=dev", "--include=optional", "--loglevel=error"],
    { cwd: root, encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] },
  );
  if (error) throw new Stop(`npm could not be started (${error.message}); it comes with Node.`);
  if (status !== 0) throw new Stop(`npm ci failed with ${status}:\n${stderr}`);
}

/**
 * Packages with native parts look for them in folders around the bundle and let environment
 * variables redirect them. Here they get native/load.ts instead, and nothing else may load one.
 */
const nativeFiles = {
  name: "native-files",
  setup(build) {
    const finder = /^node-gyp-build(-optional-packages)?$/;
    build.onResolve({ filter: finder }, ({ importer }) =>
      importer.includes("/@serialport/bindings-cpp/")
        ? { path: "serialport", namespace: "native-file" }
        : { errors: [{ text: `${importer} wants a native file that dist/native does not have` }] },
    );
    build.onLoad({ filter: /.*/, namespace: "native-file" }, ({ path }) => ({
      contents: `
        const { lazyNative } = require("./native/load.ts");
        module.exports = () => lazyNative(${JSON.stringify(path)});`,
      resolveDir: root,
    }));
    build.onResolve({ filter: /\.node$/ }, ({ path, importer }) => ({
      errors: [{ text: `${importer} imports ${path}: only native/load.ts loads native files` }],
    }));
    // serialport's tracing costs start time; cbor-x does without its extractor as fast.
    const leftOut = /^(debug|cbor-extract)$/;
    build.onResolve({ filter: leftOut }, ({ path }) => ({ path, namespace: "left-out" }));
    build.onLoad({ filter: /.*/, namespace: "left-out" }, ({ path }) => ({
      contents: path === "debug" ? "module.exports = () => () => {};" : "",
    }));
  },
};

/** Two of Node's larger modules: 3 ms of the start, so loaded when something in them is used. */
const lateModules = {
  name: "late-modules",
  setup(build) {
    build.onResolve({ filter: /^(node:)?(child_process|crypto)$/ }, ({ path, namespace }) =>
      namespace === "late" ? { path, external: true } : { path, namespace: "late" },
    );
    build.onLoad({ filter: /.*/, namespace: "late" }, ({ path }) => {
      const getter = (name) => `get ${name}() { return require("${path}").${name}; }`;
      const members = Object.keys(createRequire(import.meta.url)(path));
      return { contents: `module.exports = { ${members.map(getter).join(",\n")} };` };
    });
  },
};

function bundleOptions(version, nativeFolder) {
  return {
    absWorkingDir: root,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    outExtension: { ".js": ".cjs" },
    define: {
      __VERSION__: JSON.stringify(version),
      __NATIVE_DIR__: JSON.stringify(nativeFolder),
      "process.env.CBOR_NATIVE_ACCELERATION_DISABLED": '"true"',
    },
    // cbor-x looks at it only for what is left out above.
    logOverride: { "empty-import-meta": "silent" },
    plugins: [nativeFiles, lateModules],
    logLevel: "warning",
  };
}

/** Both programs; returns the names of the packages that went into them. */
async function bundlePrograms(esbuild, version) {
  const { metafile } = await esbuild.build({
    ...bundleOptions(version, "native"),
    entryPoints: {
      kenneld: "agent/launch.ts",
      "kenneld.bundle": "agent/main.ts",
      kennel: "agent/console/main.ts",
      "kennel-tee": "agent/teehelper.ts",
      "kennel-tee-client": "agent/client/client.ts",
      "kennel-teetwin": "agent/teetwin.ts",
    },
    outdir: stage,
    // Code that runs from the cache has no loader for import(): it becomes require.
    supported: { "dynamic-import": false },
    minify: true,
    // An uncaught exception shows its line: not 50 kB of it.
    lineLimit: 120,
    legalComments: "none",
    metafile: true,
  });
  for (const name of ["kenneld", "kennel"]) {
    const path = join(stage, `${name}.cjs`);
    fs.writeFileSync(path, `#!/usr/bin/env node\n${fs.readFileSync(path, "utf8")}`);
    fs.chmodSync(path, 0o755);
  }
  wrapBundle(join(stage, "kenneld.bundle"));
  copyIn(at("agent/client/declarations.ts"), "kennel-tee-client.d.cts");
  const inside = Object.values(metafile.outputs).flatMap(({ inputs }) => Object.keys(inputs));
  const names = inside.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))].sort();
}

/** What agent/launch.ts runs: a function with the arguments of a CommonJS module. */
function wrapBundle(path) {
  const code = fs.readFileSync(`${path}.cjs`, "utf8");
  const head = "(function (exports, require, module, __filename, __dirname) {";
  fs.writeFileSync(`${path}.js`, `${head}${code}\n})`);
  fs.rmSync(`${path}.cjs`);
}

/** Tests by their depth, as each finds the native files from where it is. */
async function bundleTests(esbuild, version, entries) {
  const depths = new Set(entries.map((path) => path.split("/").length));
  const builds = [...depths].map((depth) =>
    esbuild.build({
      ...bundleOptions(version, `${"../".repeat(depth)}dist/native`),
      entryPoints: entries.filter((path) => path.split("/").length === depth),
      outbase: "test",
      outdir: ".build/test",
      sourcemap: true,
      sourcesContent: false,
    }),
  );
  await Promise.all(builds);
}

function testEntries() {
  const isEntry = /\.test\.ts$|^(bench|rig)\/main\.ts$|^fixtures\/[^/]+\.ts$/;
  return filesBelow(at("test"))
    .filter((path) => isEntry.test(path))
    .map((path) => `test/${path}`);
}

/** Puts the addon for `arch` in place; says in one line why when it cannot be built. */
async function addAddon(arch) {
  const built = await buildAddon(root, arch, napiVersion);
  if (built.path) return copyIn(built.path, `native/linux-${arch}-${built.libc}/kennel.node`);
  if (arch !== process.arch) throw new Stop(`--arch ${arch} needs ${built.lack}: it is missing`);
  say(
    `native: ${built.lack} is missing, so the addon is not built: on this machine there is only ` +
      "the simulated watchdog, and native tests are skipped",
  );
}

/** The agent's code cache for the Node of this machine, made by a start of the agent. */
async function makeCodeCache() {
  try {
    await run(process.execPath, [join(stage, "kenneld.cjs"), "--make-code-cache"]);
  } catch (problem) {
    throw new Stop(`the agent's code cache could not be made: ${problem.stderr}`);
  }
}

function copySerialport() {
  for (const [arch, prefix] of Object.entries({ x64: "", arm64: "armv8." })) {
    for (const libc of ["glibc", "musl"]) {
      const file = `@serialport+bindings-cpp.${prefix}${libc}.node`;
      copyIn(
        at("node_modules/@serialport/bindings-cpp/prebuilds", `linux-${arch}`, file),
        `native/linux-${arch}-${libc}/serialport.node`,
      );
    }
  }
}

/** The licences of the packages inside the bundles, as their authors ask for. */
function writeNotices(names) {
  const all = new Set([...names, "@serialport/bindings-cpp", "node-addon-api"]);
  const notices = [...all].sort().map((name) => {
    const folder = join("node_modules", name);
    const { version, license } = readJson(join(folder, "package.json"));
    const file = fs.readdirSync(at(folder)).find((entry) => /^licen[sc]e/i.test(entry));
    const text = file ? fs.readFileSync(at(folder, file), "utf8").trim() : "";
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  fs.writeFileSync(join(stage, "NOTICES"), notices.join(`\n${"-".repeat(72)}\n\n`));
  copyIn(at("LICENSE"), "LICENSE");
}

function writeManifest({ version, engines }) {
  fs.writeFileSync(join(stage, "package.json"), '{ "type": "commonjs" }\n');
  const files = {};
  for (const path of filesBelow(stage)) {
    const bytes = fs.readFileSync(join(stage, path));
    files[path] = { size: bytes.length, sha256: sha256(bytes) };
  }
  const targets = fs.readdirSync(join(stage, "native")).sort();
  const manifest = { version, targets, node: engines.node, napi: napiVersion, files };
  fs.writeFileSync(join(stage, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
}

/**
 * Moves what was built to dist/ and removes from there what was not. Each file is replaced in one
 * step: a running program keeps the one it has mapped.
 */
function publish() {
  const built = filesBelow(stage);
  for (const path of built) {
    fs.mkdirSync(dirname(at("dist", path)), { recursive: true });
    fs.renameSync(join(stage, path), at("dist", path));
  }
  for (const path of filesBelow(at("dist"))) {
    if (!built.includes(path)) fs.rmSync(at("dist", path));
  }
  return built;
}

function printSizes(paths) {
  const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`.padStart(10);
  const width = Math.max(...paths.map((path) => path.length));
  for (const path of paths) {
    const bytes = fs.readFileSync(at("dist", path));
    const gzip = kilobytes(gzipSync(bytes).length);
    say(`  ${path.padEnd(width)} ${kilobytes(bytes.length)} ${gzip} gzip`);
  }
}

/** The boot half; a machine without clang builds everything else. */
async function addBoot() {
  const lack = bootLack();
  if (lack) throw new Stop(`--boot: ${lack}`);
  try {
    await buildBoot(join(stage, "boot"));
  } catch (problem) {
    throw new Stop(`clang failed:\n${problem.stderr || problem.message}`);
  }
}

async function buildDist(esbuild, about, { arches, boot }) {
  try {
    const packages = await bundlePrograms(esbuild, about.version);
    writeNotices(packages);
    copySerialport();
    for (const arch of arches) await addAddon(arch);
    if (boot) await addBoot();
    await makeCodeCache();
    writeManifest(about);
    printSizes(publish());
  } finally {
    fs.rmSync(stage, { recursive: true, force: true });
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      tests: { type: "boolean", default: false },
      check: { type: "boolean", default: false },
      boot: { type: "boolean", default: false },
      arch: { type: "string", default: process.arch },
    },
  });
  if (!(values.arch in crossCompilers))
    throw new Stop(`--arch is x64 or arm64, not ${values.arch}`);
  install();
  const esbuild = await import("esbuild");
  const about = readJson("package.json");
  if (!values.check || values.tests) {
    const arches = new Set([process.arch, values.arch]);
    await buildDist(esbuild, about, { arches, boot: values.boot });
  }
  if (values.tests) {
    fs.rmSync(at(".build/test"), { recursive: true, force: true });
    await bundleTests(esbuild, about.version, testEntries());
  }
  if (values.check) {
    const { check } = await import("./test/check.mjs");
    const buildTidy = () => bundleTests(esbuild, about.version, ["test/tidy.test.ts"]);
    if (!(await check(root, buildTidy))) process.exitCode = 1;
  }
}

// Whoever reads only the first lines of the table has not made the build fail.
process.stdout.on("error", () => {});
main().catch((problem) => {
  // esbuild has printed its own errors by now.
  if (problem instanceof Stop || `${problem.code}`.startsWith("ERR_PARSE_ARGS")) {
    process.stderr.write(`build: ${problem.message}\n`);
  } else if (!problem.errors) {
    process.stderr.write(`build: ${problem.stack}\n`);
  }
  process.exitCode = 1;
});
