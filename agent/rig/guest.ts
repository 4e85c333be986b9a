/**
 * A bootable guest without root or loop mounts: a Debian kernel, and an initrd with busybox, node
 * and the program under test. The large part is cached under its content; it is not compressed,
 * because unpacking gzip costs the emulated machine more than reading does.
 */
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../errors.ts";
import { runOrFail } from "./command.ts";
import { cpio, type Entry, fileEntry } from "./cpio.ts";
import { openPackages } from "./debian.ts";
import { initScript, places } from "./init.ts";
import { fetchKernel, type Kernel } from "./kernel.ts";
import type { Machine } from "./machines.ts";
import { fetchPrograms } from "./programs.ts";

/** How many large parts stay in the cache: one per version of kernel and node in use. */
const basesMax = 2;
const stateBytes = 32 * 1024 * 1024;
const toolMs = 30_000;

export interface GuestOptions {
  readonly machine: Machine;
  /** Kept between runs, such as `.cache/guest`. */
  readonly cacheFolder: string;
  /** Its files become the guest's /app, such as `dist`. */
  readonly appFolder: string;
  /** Shell text that the guest runs in /app once everything is mounted. */
  readonly main: string;
  /** Other files of this guest. */
  readonly files?: readonly Entry[];
  /** Receives this guest's initrd and state disk. */
  readonly intoFolder: string;
}

/** Paths on the host. */
export interface GuestImage {
  readonly machine: Machine;
  readonly kernel: string;
  readonly initrd: string;
  /** A raw disk with ext4, the guest's /state; survives resets of the guest. */
  readonly stateDisk: string;
}

/** Downloads and builds what is missing. `rig.missing` says what to install. */
export async function prepareGuest(options: GuestOptions): Promise<GuestImage> {
  const { machine, appFolder, intoFolder } = options;
  const addon = addonPath(appFolder, machine);
  if (!fs.existsSync(addon)) {
    const how = `build it: node build.mjs --arch ${machine.arch}`;
    throw new Failure("rig.missing", `there is no ${addon} to put into the guest; ${how}`);
  }
  const cacheFolder = path.join(options.cacheFolder, machine.arch);
  const packages = await openPackages(cacheFolder, machine);
  const kernel = await fetchKernel(packages, machine);
  const programs = await fetchPrograms(packages, machine);
  const base = await baseArchive(cacheFolder, [...programs, ...modulesOf(kernel)]);
  const initrd = path.join(intoFolder, "initrd");
  fs.copyFileSync(base, initrd, fs.constants.COPYFILE_FICLONE);
  const init = Buffer.from(initScript(options.main));
  const own: Entry[] = [...filesOf(appFolder, places.app.slice(1)), ...(options.files ?? [])];
  own.push({ kind: "file", name: "init", bytes: init, mode: 0o755 });
  fs.appendFileSync(initrd, Buffer.concat(cpio(own)));
  const stateDisk = path.join(intoFolder, "state.img");
  await makeStateDisk(stateDisk);
  return { machine, kernel: kernel.image, initrd, stateDisk };
}

/** Where the addon for the machine's architecture has to be. */
export function addonPath(appFolder: string, { arch }: Machine): string {
  return path.join(appFolder, "native", `linux-${arch}-glibc`, "kennel.node");
}

/** What every guest of this kernel and this node has in common, as an archive in the cache. */
async function baseArchive(cacheFolder: string, entries: readonly Entry[]): Promise<string> {
  const pieces = cpio(entries);
  const hash = crypto.createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  const archive = path.join(cacheFolder, `base-${hash.digest("hex").slice(0, 16)}.cpio`);
  if (!fs.existsSync(archive)) {
    const half = `${archive}.${process.pid}`;
    fs.writeFileSync(half, Buffer.concat(pieces));
    fs.renameSync(half, archive);
    dropOldBases(cacheFolder);
  }
  return archive;
}

function dropOldBases(cacheFolder: string): void {
  const bases = fs.readdirSync(cacheFolder).filter((name) => /^base-.*\.cpio$/.test(name));
  const paths = bases.map((name) => path.join(cacheFolder, name));
  const ageOf = (name: string): number => fs.statSync(name).mtimeMs;
  for (const old of paths.sort((a, b) => ageOf(b) - ageOf(a)).slice(basesMax)) fs.rmSync(old);
}

export function modulesOf(kernel: Kernel): Entry[] {
  const folder = places.modules.slice(1);
  return kernel.modules.map((file) => fileEntry(`${folder}/${path.basename(file)}`, file, 0o644));
}

export function filesOf(folder: string, prefix: string): Entry[] {
  const names = fs.readdirSync(folder, { recursive: true }).map(String).sort();
  const files = names.filter((name) => fs.statSync(path.join(folder, name)).isFile());
  return files.map((name) => fileEntry(`${prefix}/${name}`, path.join(folder, name), 0o755));
}

/** All of it initialised at once: nothing is left for the guest to write in the background. */
export async function makeStateDisk(disk: string): Promise<void> {
  fs.writeFileSync(disk, "");
  fs.truncateSync(disk, stateBytes);
  const eager = "lazy_itable_init=0,lazy_journal_init=0";
  const args = ["-q", "-F", "-L", "state", "-E", eager, disk];
  await runOrFail("mkfs.ext4", args, { deadlineMs: toolMs, from: "e2fsprogs" });
}
