/** A Linux kernel out of Debian's packages, and the modules that the guest loads. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../errors.ts";
import { missing } from "./command.ts";
import { type Packages, unknownPackage } from "./debian.ts";
import type { Machine } from "./machines.ts";
import { loadOrder, moduleName } from "./modules.ts";

/** The disk and its file system; ext4 wants a crc32c it does not depend on. */
const baseModules = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/** Larger than any module: ext4, one of the largest, has 2 MB. */
const moduleBytesMax = 64 * 1024 * 1024;

/** What the guest boots: paths on the host. */
export interface Kernel {
  readonly version: string;
  readonly image: string;
  /** Modules, and for each set of them NAME.order: its files in the order of loading. */
  readonly modules: readonly string[];
}

/** The newest kernel of this Debian release. */
export async function fetchKernel(packages: Packages, machine: Machine): Promise<Kernel> {
  const { kernelPackage } = machine.debian;
  const depends = await packages.dependsOf(kernelPackage);
  const name = depends.find((dependency) => dependency.startsWith("linux-image-"));
  if (name === undefined) throw unknownPackage(kernelPackage);
  const sets = { base: baseModules, ...machine.modules };
  const folder = await packages.kept(name, (from, into) => pickKernel(from, into, sets));
  const modules = fs.readdirSync(path.join(folder, "modules")).sort();
  return {
    version: name.replace("linux-image-", ""),
    image: path.join(folder, "vmlinuz"),
    modules: modules.map((file) => path.join(folder, "modules", file)),
  };
}

/** Sets of modules, with what each wants. */
type ModuleSets = Readonly<Record<string, readonly string[]>>;

function pickKernel(unpacked: string, into: string, sets: ModuleSets): void {
  const boot = path.join(unpacked, "boot");
  const image = fs.readdirSync(boot).find((file) => file.startsWith("vmlinuz-"));
  if (image === undefined) throw new Failure("rig.fault", "the kernel package has no vmlinuz");
  fs.copyFileSync(path.join(boot, image), path.join(into, "vmlinuz"));
  const read = moduleReader(path.join(unpacked, "lib/modules"));
  fs.mkdirSync(path.join(into, "modules"));
  for (const [name, wanted] of Object.entries(sets)) {
    const modules = loadOrder(wanted, read);
    for (const module of modules) {
      fs.writeFileSync(path.join(into, "modules", `${module.name}.ko`), module.bytes);
    }
    const order = modules.map((module) => `${module.name}\n`).join("");
    fs.writeFileSync(path.join(into, "modules", `${name}.order`), order);
  }
}

/** Finds modules by name in an unpacked package; what it lists as built in has no file. */
function moduleReader(folder: string): (name: string) => Buffer | "built in" | undefined {
  const files = fs.readdirSync(folder, { recursive: true }).map(String);
  const compiled = files.filter((file) => /\.ko(\.xz)?$/.test(file));
  const byName = new Map(compiled.map((file) => [moduleName(file), path.join(folder, file)]));
  const lists = files.filter((file) => path.basename(file) === "modules.builtin");
  const texts = lists.map((file) => fs.readFileSync(path.join(folder, file), "utf8"));
  const builtIn = new Set(texts.flatMap((text) => text.trim().split("\n").map(moduleName)));
  return (name) => {
    const file = byName.get(name);
    if (file !== undefined) return readModule(file);
    return builtIn.has(name) ? "built in" : undefined;
  };
}

/** Newer Debian kernels compress their modules; the guest's insmod wants them plain. */
function readModule(file: string): Buffer {
  if (!file.endsWith(".xz")) return fs.readFileSync(file);
  const bound = { maxBuffer: moduleBytesMax };
  const { error, status, stdout } = spawnSync("xz", ["--decompress", "--stdout", file], bound);
  if (error !== undefined && "code" in error && error.code === "ENOENT") {
    throw missing("xz", "xz-utils");
  }
  if (status !== 0) throw new Failure("rig.fault", `xz cannot unpack ${file}: ${error ?? status}`);
  return stdout;
}
