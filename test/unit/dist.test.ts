// deadline: 120 s
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { nodeOption } from "../../agent/rig/guestshell.ts";
import { interpreterOf, nativeTarget } from "../../native/load.ts";
import { skip } from "../skip.ts";

const dist = suite("dist");
const repository = join(__dirname, "../../..");

interface Manifest {
  readonly version: string;
  readonly targets: readonly string[];
  readonly node: string;
  readonly napi: number;
  readonly files: Readonly<Record<string, { readonly size: number; readonly sha256: string }>>;
}

/** A copy of dist/ far from the repository, and beside it a program that loads native files. */
interface Moved {
  readonly folder: string;
  readonly loader: string;
}

/** Where the loader was built to, as seen from the folder above dist/. */
const loaderPath = ".build/test/fixtures/native.cjs";

/** Runs `body` with a moved dist/ and removes that afterwards. */
function withMoved(body: (moved: Moved) => void): void {
  const above = fs.mkdtempSync(join(tmpdir(), "kennel dist "));
  try {
    const moved = { folder: join(above, "dist"), loader: join(above, loaderPath) };
    fs.cpSync(join(repository, "dist"), moved.folder, { recursive: true });
    fs.mkdirSync(dirname(moved.loader), { recursive: true });
    fs.copyFileSync(join(repository, loaderPath), moved.loader);
    // Were one of the bundles to look above itself, it would find that it is no script.
    fs.writeFileSync(join(above, "package.json"), '{ "type": "module" }');
    body(moved);
  } finally {
    fs.rmSync(above, { recursive: true });
  }
}

function runNode(path: string, args: readonly string[], env = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [path, ...args], {
    cwd: "/",
    encoding: "utf8",
    env: { PATH: process.env.PATH, ...env },
    timeout: 20_000,
  });
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(fs.readFileSync(join(folder, "manifest.json"), "utf8"));
}

interface Answer {
  readonly name: string;
  readonly members?: readonly string[];
  readonly code?: string;
  readonly message?: string;
}

function load(moved: Moved, names: readonly string[], env = {}): Answer[] {
  const { status, stdout, stderr } = runNode(moved.loader, names, env);
  assert.is(stderr, "");
  assert.is(status, 0);
  return JSON.parse(stdout).answers;
}

for (const program of ["kenneld", "kennel"]) {
  dist(`${program} runs from another folder, cwd /, with no node_modules near`, () => {
    withMoved(({ folder }) => {
      const { status, stdout, stderr } = runNode(join(folder, `${program}.cjs`), ["--version"]);
      assert.is(stderr, "");
      assert.match(stdout, manifestOf(folder).version);
      assert.is(status, 0);
    });
  });

  dist(`${program} is executable by itself, also through a link`, () => {
    withMoved(({ folder }) => {
      const link = join(folder, "..", program);
      fs.symlinkSync(join(folder, `${program}.cjs`), link);
      const { status, stdout } = spawnSync(link, ["--version"], { cwd: "/", encoding: "utf8" });
      assert.match(stdout, manifestOf(folder).version);
      assert.is(status, 0);
    });
  });

  dist(`${program} has no line that would flood a log when an exception shows it`, () => {
    const text = fs.readFileSync(join(repository, "dist", `${program}.cjs`), "utf8");
    assert.ok(text.startsWith("#!/usr/bin/env node\n"));
    // The console's table library has one long pattern in one line; the agent, whose errors go to
    // a log, has none.
    const most = program === "kenneld" ? 2000 : 12_000;
    const widths = text.split("\n").map((line) => line.length);
    assert.ok(Math.max(...widths) < most, `a line of ${Math.max(...widths)} characters`);
  });
}

dist("the manifest has every file with its size and hash, and no file is beside it", () => {
  const folder = join(repository, "dist");
  const manifest = manifestOf(folder);
  const present = fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1))
    .filter((path) => path !== "manifest.json");
  assert.equal(Object.keys(manifest.files).sort(), present.sort());
  for (const [path, { size, sha256 }] of Object.entries(manifest.files)) {
    const bytes = fs.readFileSync(join(folder, path));
    assert.is(bytes.length, size, path);
    assert.is(createHash("sha256").update(bytes).digest("hex"), sha256, path);
  }
});

dist("the manifest says what it runs on, and each target has its serial binding", () => {
  const manifest = manifestOf(join(repository, "dist"));
  assert.is(manifest.node, ">=20");
  assert.is(manifest.napi, 8);
  const expected = ["linux-arm64-glibc", "linux-arm64-musl", "linux-x64-glibc", "linux-x64-musl"];
  assert.equal([...manifest.targets].sort(), expected);
  for (const target of expected) {
    const path = `native/${target}/serialport.node`;
    assert.ok(path in manifest.files, path);
    const machine = fs.readFileSync(join(repository, "dist", path)).readUInt16LE(18);
    // EM_AARCH64 and EM_X86_64 of elf(5).
    assert.is(machine, target.includes("arm64") ? 183 : 62, path);
  }
});

dist("the licences of all that is inside go along", () => {
  const notices = fs.readFileSync(join(repository, "dist/NOTICES"), "utf8");
  for (const name of ["@serialport/bindings-cpp", "cbor-x", "node-addon-api"]) {
    assert.match(notices, new RegExp(`^${name} [\\d.]+ \\(MIT\\)$`, "m"));
  }
  assert.match(fs.readFileSync(join(repository, "dist/LICENSE"), "utf8"), "Apache License");
});

dist("serialport's binding loads from the moved folder", () => {
  withMoved((moved) => {
    const [serialport] = load(moved, ["serialport"]);
    assert.ok(serialport?.members?.includes("open"), JSON.stringify(serialport));
    assert.ok(serialport?.members?.includes("Poller"));
  });
});

const ownTarget = `native/${nativeTarget()}/kennel.node`;
const ownName = "the addon loads from the moved folder, more than once and beside serialport";
if (ownTarget in manifestOf(join(repository, "dist")).files) {
  dist(ownName, () => {
    withMoved((moved) => {
      const [first, serialport, second] = load(moved, ["kennel", "serialport", "kennel"]);
      assert.ok((first?.members ?? []).length > 0, JSON.stringify(first));
      assert.equal(second, first);
      assert.ok(serialport?.members?.includes("open"));
    });
  });
} else skip(ownName, "the addon is not built here: install g++ and the headers of Node");

dist("no variable of the environment puts another file in its place", () => {
  withMoved((moved) => {
    const decoy = join(moved.folder, "decoy");
    fs.mkdirSync(join(decoy, "prebuilds/linux-x64"), { recursive: true });
    fs.writeFileSync(join(decoy, "serialport.node"), "no library");
    const names = ["SERIALPORT", "@SERIALPORT/BINDINGS_CPP", "BINDINGS_CPP", "CBOR_EXTRACT"];
    const hints = names.map((name) => [`${name}_PREBUILD`, decoy]);
    const env = { ...Object.fromEntries(hints), LIBC: "musl", NODE_PATH: decoy };
    const [serialport] = load(moved, ["serialport"], env);
    assert.ok(serialport?.members?.includes("open"), JSON.stringify(serialport));
    for (const name of ["kenneld", "kennel"]) {
      const text = fs.readFileSync(join(moved.folder, `${name}.cjs`), "utf8");
      assert.not.match(text, /_PREBUILD|PREBUILDS_ONLY/);
    }
  });
});

dist("a missing or broken native file is named, with what to do", () => {
  withMoved((moved) => {
    const [absent] = load(moved, ["nosuch"]);
    assert.is(absent?.code, "native.missing");
    assert.match(absent?.message ?? "", join(moved.folder, "native"));
    assert.match(absent?.message ?? "", /nosuch\.node.*node build\.mjs/);
    for (const target of manifestOf(moved.folder).targets) {
      fs.writeFileSync(join(moved.folder, "native", target, "serialport.node"), "no library");
    }
    const [broken] = load(moved, ["serialport"]);
    assert.is(broken?.code, "native.missing");
    assert.match(broken?.message ?? "", /serialport\.node/);
  });
});

dist("the C library is told from the program that runs, not from the system around it", () => {
  assert.match(interpreterOf(process.execPath), /^\/.*ld-(linux|musl)/);
  const folder = fs.mkdtempSync(join(tmpdir(), "kennel-elf-"));
  const path = join(folder, "node");
  const write = (bytes: Buffer): void => fs.writeFileSync(path, bytes);
  write(elf("/lib/ld-musl-aarch64.so.1"));
  assert.is(interpreterOf(path), "/lib/ld-musl-aarch64.so.1");
  write(elf("/lib/ld-musl-aarch64.so.1").subarray(0, 100));
  assert.is(interpreterOf(path), "");
  write(Buffer.from("#!/bin/sh\n"));
  assert.is(interpreterOf(path), "");
  assert.is(interpreterOf(join(folder, "nobody")), "");
  fs.rmSync(folder, { recursive: true });
});

/** As little of an ELF file as has an interpreter, behind another program header. */
function elf(interpreter: string): Buffer {
  const bytes = Buffer.alloc(300 + interpreter.length + 1);
  bytes.write("\x7fELF\x02\x01", 0, "latin1");
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(2, 56);
  bytes.writeUInt32LE(1, 64);
  bytes.writeUInt32LE(3, 64 + 56);
  bytes.writeBigUInt64LE(300n, 64 + 56 + 8);
  bytes.writeBigUInt64LE(BigInt(interpreter.length + 1), 64 + 56 + 32);
  bytes.write(interpreter, 300, "latin1");
  return bytes;
}

dist("the option of Node that the service starts it with costs no start", () => {
  const unit = fs.readFileSync(join(repository, "boot/linux/kennel.service"), "utf8");
  assert.match(unit, `ExecStart=/usr/bin/node ${nodeOption} /usr/lib/kennel/kenneld.cjs`);
  // An option that changes what V8 compiles makes it refuse the code cache.
  const folder = join(repository, "dist");
  const program = `
    const fs = require("fs"), { Script } = require("vm");
    const path = \`${folder}/kenneld.\${process.arch}-\${process.version}.cache\`;
    const bundle = fs.readFileSync("${folder}/kenneld.bundle.js", "latin1");
    const script = new Script(bundle, { cachedData: fs.readFileSync(path) });
    process.stdout.write(String(script.cachedDataRejected));`;
  const { stdout, stderr } = runNode(nodeOption, ["-e", program]);
  assert.equal([stdout, stderr], ["false", ""]);
});

dist.run();
