/** Compiles native/*.cc with the C++ compiler alone; used by build.mjs. */
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const hostLibc = process.report?.getReport().header.glibcVersionRuntime ? "glibc" : "musl";
export const crossCompilers = { arm64: "aarch64-linux-gnu-g++", x64: "x86_64-linux-gnu-g++" };

const compileFlags = [
  ...["-O2", "-std=c++17", "-fPIC", "-pthread", "-fvisibility=hidden"],
  ...["-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Werror"],
  "-DNAPI_CPP_EXCEPTIONS",
];
/**
 * nodelete: the refresh thread outlives the worker that loaded the addon. The page size is left
 * alone: small pages save 50 kB and break arm64 kernels with 64 kB pages.
 */
const linkFlags = ["-shared", "-pthread", "-s", "-Wl,--gc-sections", "-Wl,-z,nodelete"];

/** What went wrong, for people: printed without a stack. */
export class Stop extends Error {}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Folder with node_api.h, or undefined. */
function nodeHeaders() {
  const near = [join(dirname(process.execPath), "../include/node"), "/usr/include/node"];
  const hit = near.find((folder) => fs.existsSync(join(folder, "node_api.h")));
  if (hit) return hit;
  const { stdout } = spawnSync("npm", ["config", "get", "nodedir"], { encoding: "utf8" });
  const configured = join(`${stdout ?? ""}`.trim(), "include/node");
  return fs.existsSync(join(configured, "node_api.h")) ? configured : undefined;
}

function compilerFor(arch) {
  const command = arch === process.arch ? process.env.CXX || "g++" : crossCompilers[arch];
  const { status, stdout } = spawnSync(command ?? "", ["--version"], { encoding: "utf8" });
  return { command, version: status === 0 ? stdout.split("\n")[0] : undefined };
}

/** Runs `jobs`, as many at a time as there are processors. */
async function inParallel(jobs) {
  const queue = [...jobs];
  const worker = async () => {
    for (let job = queue.shift(); job; job = queue.shift()) await job();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

/** Makes `path` by running the compiler, unless it is there already: names are hashes of inputs. */
async function cached(path, command, flags) {
  if (fs.existsSync(path)) return;
  fs.mkdirSync(dirname(path), { recursive: true });
  const part = `${path}.${process.pid}.part`;
  try {
    await run(command, [...flags, "-o", part]);
  } catch (problem) {
    throw new Stop(`${command} failed:\n${problem.stderr || problem.message}`);
  }
  fs.renameSync(part, path);
}

/** Compiles for `arch`: the finished file and its libc, or what is lacking to make one. */
export async function buildAddon(root, arch, napiVersion) {
  const at = (...parts) => join(root, ...parts);
  const files = fs.readdirSync(at("native"));
  const sources = files.filter((path) => path.endsWith(".cc"));
  const { command, version } = compilerFor(arch);
  const include = nodeHeaders();
  if (!version) return { lack: `the C++ compiler ${command}` };
  if (!include) return { lack: "node_api.h of Node" };
  const packages = at("node_modules/node-addon-api");
  const flags = [
    ...compileFlags,
    `-DNAPI_VERSION=${napiVersion}`,
    ...["-isystem", include, "-isystem", packages],
  ];
  const hashOf = (path) => sha256(fs.readFileSync(path));
  const headers = [
    ...files.filter((path) => path.endsWith(".h")).map((path) => at("native", path)),
    ...[join(include, "node_version.h"), join(packages, "package.json")],
  ];
  const shared = sha256([version, ...flags, ...headers.map(hashOf)].join("\n"));
  const names = sources.map((path) => sha256(`${shared} ${path} ${hashOf(at("native", path))}`));
  const objects = names.map((name) => at(`.cache/native/${name}.o`));
  const compile = (path, index) => () =>
    cached(objects[index], command, [...flags, "-c", at("native", path)]);
  await inParallel(sources.map(compile));
  const linked = at(`.cache/native/${sha256([...names, ...linkFlags].join("\n"))}.node`);
  await cached(linked, command, [...objects, ...linkFlags]);
  return { path: linked, libc: arch === process.arch ? hostLibc : "glibc" };
}
