/**
 * A Linux kernel, the modules the guest loads, and a busybox, taken out of Debian's packages
 * without installing them: no root, no loop mounts. Kept in the cache under package and version.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../errors.ts";
import { missing, runOrFail } from "./command.ts";
import { loadOrder, moduleName } from "./modules.ts";

/** Names the newest kernel of the Debian release by what it depends on. */
const kernelPackage = "linux-image-amd64";
const busyboxPackage = "busybox-static";
/** The disk and its file system; ext4 wants a crc32c it does not depend on. */
const baseModules = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];
/** What a story may load besides, with what each wants and does not depend on. */
const optionalModules: Readonly<Record<string, readonly string[]>> = {
  i6300esb: ["i6300esb"],
  iTCO_wdt: ["lpc_ich", "iTCO_wdt"],
  softdog: ["softdog"],
  ramoops: ["ramoops"],
  efivarfs: ["efivarfs"],
  efi_pstore: ["efi_pstore"],
};
/** Raised when what is kept of a package changes. */
const layout = 2;

/** Larger than any module: ext4, one of the largest, has 2 MB. */
const moduleBytesMax = 64 * 1024 * 1024;

const queryMs = 60_000;
const downloadMs = 300_000;
const unpackMs = 300_000;

/** What the guest boots: paths on the host. */
export interface Kernel {
  readonly version: string;
  readonly image: string;
  /** Modules, and for each set of them NAME.order: its files in the order of loading. */
  readonly modules: readonly string[];
}

/** The newest kernel of this Debian release; downloads it when `cacheFolder` has none. */
export async function fetchKernel(cacheFolder: string): Promise<Kernel> {
  const depends = await apt("apt-cache", ["depends", "--important", kernelPackage]);
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name === undefined) throw unknownPackage(kernelPackage);
  const folder = await kept(cacheFolder, name, pickKernel);
  const modules = fs.readdirSync(path.join(folder, "modules")).sort();
  return {
    version: name.replace("linux-image-", ""),
    image: path.join(folder, "vmlinuz"),
    modules: modules.map((file) => path.join(folder, "modules", file)),
  };
}

/** The path of a statically linked busybox. */
export async function fetchBusybox(cacheFolder: string): Promise<string> {
  const folder = await kept(cacheFolder, busyboxPackage, (unpacked, into) => {
    fs.copyFileSync(path.join(unpacked, "bin/busybox"), path.join(into, "busybox"));
  });
  return path.join(folder, "busybox");
}

type Pick = (unpackedFolder: string, intoFolder: string) => void;

/** The folder with what `pick` chose from the package; a half-made one is never left behind. */
async function kept(cacheFolder: string, name: string, pick: Pick): Promise<string> {
  const shown = await apt("apt-cache", ["show", "--no-all-versions", name]);
  const version = /^Version: (\S+)$/m.exec(shown)?.[1];
  if (version === undefined) throw unknownPackage(name);
  const file = `${name}_${version}-${layout}`.replaceAll(":", "%");
  const folder = path.join(cacheFolder, file);
  if (fs.existsSync(folder)) return folder;
  fs.mkdirSync(cacheFolder, { recursive: true });
  const work = fs.mkdtempSync(path.join(cacheFolder, "work-"));
  try {
    const unpacked = path.join(work, "unpacked");
    const chosen = path.join(work, "chosen");
    fs.mkdirSync(chosen);
    await apt("apt-get", ["download", `${name}=${version}`], work);
    const archive = fs.readdirSync(work).find((entry) => entry.endsWith(".deb"));
    if (archive === undefined) throw unknownPackage(name);
    const from = { deadlineMs: unpackMs, cwd: work, from: "dpkg" };
    await runOrFail("dpkg-deb", ["--extract", archive, unpacked], from);
    pick(unpacked, chosen);
    fs.renameSync(chosen, folder);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

function pickKernel(unpacked: string, into: string): void {
  const boot = path.join(unpacked, "boot");
  const image = fs.readdirSync(boot).find((file) => file.startsWith("vmlinuz-"));
  if (image === undefined) throw new Failure("rig.fault", "the kernel package has no vmlinuz");
  fs.copyFileSync(path.join(boot, image), path.join(into, "vmlinuz"));
  const read = moduleReader(path.join(unpacked, "lib/modules"));
  fs.mkdirSync(path.join(into, "modules"));
  for (const [name, wanted] of Object.entries({ base: baseModules, ...optionalModules })) {
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

/** Reads Debian's package lists or downloads from them. */
async function apt(program: string, args: readonly string[], cwd?: string): Promise<string> {
  const advice = "The rig takes its kernel from Debian's packages; try `apt-get update` first.";
  const deadlineMs = cwd === undefined ? queryMs : downloadMs;
  const options = { deadlineMs, from: "apt", advice };
  return runOrFail(program, args, cwd === undefined ? options : { ...options, cwd });
}

function unknownPackage(name: string): Failure {
  const how = "the rig takes its kernel from Debian's packages; try `apt-get update`";
  return new Failure("rig.missing", `the package lists of this machine have no ${name}; ${how}`);
}
