#!/usr/bin/env node
/**
 * Builds the boot half. `node boot/build.mjs [--into FOLDER] [--tests FILE] [--analyze]`
 *
 * FOLDER (dist/boot) gets x64/ and aa64/ with kennelwdt.efi, the watchdog driver; kennelwdt.rom,
 * the same as option ROM of the i6300ESB; kennel-loader.efi, the loader; lab/spin.efi, a kernel
 * for tests that hangs after the hand-off. Needs clang and lld alone, on any host. With --tests,
 * FILE is built instead: test/uefi with the pure parts for this machine, with sanitizers. With
 * --analyze nothing is built: clang's static analysis of everything, for both processors. Ends with
 * status 3 when a tool is missing, and says which.
 */
import { execFile, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { optionRom } from "./rom.mjs";

const run = promisify(execFile);
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const sources = join(root, "boot/uefi");

const arches = { x64: "x86_64", aa64: "aarch64" };
const warnings = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"];
/** Tests compile these for their own machine: what is pure, and what needs little firmware. */
const testedSources = [
  ...["attempt.c", "firmware.c"],
  ...["bootstate.c", "cbor.c", "config.c", "handoff.c", "i6300esb.c", "sbsa.c", "seal.c"],
  ...["stagelog.c", "tco.c", "watchdog.c"],
];
const shared = ["firmware.c", "memory.c", "seal.c", "stagelog.c"];
const images = {
  "kennelwdt.efi": {
    subsystem: "efi_boot_service_driver",
    from: ["driver.c", "probe.c", "registers.c", "watchdog.c", "i6300esb.c", "sbsa.c", "tco.c"],
  },
  "kennel-loader.efi": {
    subsystem: "efi_application",
    from: [
      ...["loader.c", "attempt.c", "guard.c", "kernel.c", "menu.c", "files.c"],
      ...["bootstate.c", "cbor.c", "config.c", "handoff.c"],
    ],
  },
  "lab/spin.efi": { subsystem: "efi_application", from: ["lab/spin.c"] },
};
/** The card whose option ROM the driver is: Intel 6300ESB. */
const romCard = { vendor: 0x8086, device: 0x25ab };

/** boot/stages.json as a header, for firmware to have the same plan as everybody else. */
function planHeader() {
  const plan = JSON.parse(fs.readFileSync(join(root, "boot/stages.json"), "utf8"));
  const load = plan.stages.find(({ name }) => name === "os_load");
  return `/** From boot/stages.json. */
#pragma once
#define PLAN_WATCHDOG_MS ${plan.watchdogMs}ULL
#define PLAN_HOLD_MAX_MS ${plan.holdMaxMs}ULL
#define PLAN_ATTEMPTS_MAX ${plan.attemptsMax}ULL
#define PLAN_OS_LOAD_BUDGET_MS ${load.budgetMs}ULL
`;
}

/** Flags for one UEFI image; `plan` is the folder with plan.h. */
function imageFlags(arch, plan) {
  return [
    ...["-target", `${arches[arch]}-unknown-windows`, "-std=c11", "-Oz", "-ffreestanding"],
    ...["-fshort-wchar", "-fno-stack-protector", "-fno-builtin", ...warnings],
    ...(arch === "x64" ? ["-mno-red-zone", "-mno-stack-arg-probe"] : []),
    ...[`-I${plan}`, `-I${sources}`],
  ];
}

/** A folder of our own with plan.h, for one build. */
function makePlan() {
  const cache = join(root, ".cache");
  fs.mkdirSync(cache, { recursive: true });
  const plan = fs.mkdtempSync(join(cache, "boot-plan-"));
  fs.writeFileSync(join(plan, "plan.h"), planHeader());
  return plan;
}

/** What has to be installed first, or undefined. */
export function bootLack() {
  const lacks = ["clang", "ld.lld"].filter(
    (tool) => spawnSync(tool, ["--version"], { stdio: "ignore" }).status !== 0,
  );
  if (lacks.length === 0) return undefined;
  return `${lacks.join(" and ")} missing (Debian: apt-get install clang lld)`;
}

async function buildImage(arch, name, { subsystem, from }, folder, plan) {
  const path = join(folder, name);
  fs.mkdirSync(dirname(path), { recursive: true });
  const files = [...new Set([...from, ...shared])].map((file) => join(sources, file));
  await run("clang", [
    ...imageFlags(arch, plan),
    ...["-nostdlib", "-fuse-ld=lld", "-Wl,-entry:efi_main", `-Wl,-subsystem:${subsystem}`],
    ...["-Wl,-Brepro", "-Wl,-nodefaultlib", ...files, "-o", path],
  ]);
  fs.rmSync(path.replace(/efi$/, "lib"), { force: true });
}

/** Puts everything below `folder`. Throws with the compiler's words in `stderr`. */
export async function buildBoot(folder) {
  const plan = makePlan();
  try {
    for (const arch of Object.keys(arches)) {
      const into = join(folder, arch);
      for (const [name, image] of Object.entries(images)) {
        await buildImage(arch, name, image, into, plan);
      }
      const driver = fs.readFileSync(join(into, "kennelwdt.efi"));
      fs.writeFileSync(join(into, "kennelwdt.rom"), optionRom(driver, arch, romCard));
    }
  } finally {
    fs.rmSync(plan, { recursive: true, force: true });
  }
}

function cFiles(folder) {
  const files = fs.readdirSync(join(root, folder)).filter((name) => name.endsWith(".c"));
  return files.sort().map((name) => join(root, folder, name));
}

/** Builds test/uefi; resolves to what is missing, or undefined. */
export async function buildBootTests(file) {
  if (bootLack()) return bootLack();
  const plan = makePlan();
  try {
    const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    const empty = join(plan, "empty.c");
    fs.writeFileSync(empty, "int main(void) { return 0; }\n");
    try {
      await run("clang", [...sanitizers, empty, "-o", join(plan, "empty")]);
    } catch {
      return "clang's sanitizers missing (Debian: apt-get install libclang-rt-dev)";
    }
    const pure = testedSources.map((name) => join(sources, name));
    await run("clang", [
      ...["-std=c11", "-g", "-O1", ...sanitizers, ...warnings, `-I${plan}`, `-I${sources}`],
      ...[...cFiles("test/uefi"), ...pure, "-o", file],
    ]);
  } finally {
    fs.rmSync(plan, { recursive: true, force: true });
  }
}

/** Throws with the analyzer's words when it finds anything. */
export async function analyzeBoot() {
  const plan = makePlan();
  try {
    for (const arch of Object.keys(arches)) {
      const files = [...cFiles("boot/uefi"), ...cFiles("boot/uefi/lab")];
      const flags = ["--analyze", "--analyzer-output", "text", "-Xclang", "-analyzer-werror"];
      await run("clang", [...flags, ...imageFlags(arch, plan), ...files]);
    }
  } finally {
    fs.rmSync(plan, { recursive: true, force: true });
  }
}

const statusLack = 3;

function stopFor(lack) {
  process.stderr.write(`boot: ${lack}\n`);
  process.exitCode = statusLack;
}

async function main() {
  const { values } = parseArgs({
    options: {
      into: { type: "string", default: join(root, "dist/boot") },
      tests: { type: "string" },
      analyze: { type: "boolean", default: false },
    },
  });
  const lack = values.tests ? await buildBootTests(resolve(values.tests)) : bootLack();
  if (lack) return stopFor(lack);
  if (values.analyze) await analyzeBoot();
  else if (!values.tests) await buildBoot(resolve(values.into));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((problem) => {
    process.stderr.write(`boot: ${problem.stderr || problem.message}\n`);
    process.exitCode = 1;
  });
}
