/**
 * A bootable guest without root or loop mounts: a Debian kernel, and an initrd with busybox, this
 * machine's node and the program under test. The large part is cached under its content; it is
 * not compressed, because unpacking gzip costs the emulated machine more than reading does.
 */
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../errors.ts";
import { runOrFail } from "./command.ts";
import { cpio, type Entry } from "./cpio.ts";
import { initScript, places } from "./init.ts";
import { fetchBusybox, fetchKernel, type Kernel } from "./kernel.ts";

/** How many large parts stay in the cache: one per version of kernel and node in use. */
const basesMax = 2;
/** What busybox lacks, from util-linux: it makes a program a realtime one. */
const hostPrograms = ["/usr/bin/chrt"];
const stateBytes = 32 * 1024 * 1024;
const toolMs = 30_000;

export interface GuestOptions {
  /** Kept between runs, such as `.cache/guest`. */
  readonly cacheFolder: string;
  /** Its files become the guest's /app, such as `dist`. */
  readonly appFolder: string;
  /** Shell text that the guest runs in /app once everything is mounted. */
  readonly main: string;
  /** Receives this guest's initrd and state disk. */
  readonly intoFolder: string;
}

/** Paths on the host. */
export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
  /** A raw disk with ext4, the guest's /state; survives resets of the guest. */
  readonly stateDisk: string;
}

/** Downloads and builds what is missing. `rig.missing` says what to install. */
export async function prepareGuest(options: GuestOptions): Promise<GuestImage> {
  const { cacheFolder, appFolder, intoFolder } = options;
  if (!fs.existsSync(appFolder)) {
    const message = `there is no ${appFolder} to put into the guest; build it: npm run build`;
    throw new Failure("rig.missing", message);
  }
  const kernel = await fetchKernel(cacheFolder);
  const base = await baseArchive(cacheFolder, kernel);
  const initrd = path.join(intoFolder, "initrd");
  fs.copyFileSync(base, initrd, fs.constants.COPYFILE_FICLONE);
  const init = Buffer.from(initScript(options.main));
  const own: Entry[] = filesOf(appFolder, places.app.slice(1));
  own.push({ kind: "file", name: "init", bytes: init, mode: 0o755 });
  fs.appendFileSync(initrd, Buffer.concat(cpio(own)));
  const stateDisk = path.join(intoFolder, "state.img");
  await makeStateDisk(stateDisk);
  return { kernel: kernel.image, initrd, stateDisk };
}

/** What every guest of this kernel and this node has in common, as an archive in the cache. */
async function baseArchive(cacheFolder: string, kernel: Kernel): Promise<string> {
  const entries: Entry[] = [
    file("bin/busybox", await fetchBusybox(cacheFolder), 0o755),
    file("bin/node", process.execPath, 0o755),
  ];
  const libraries = new Set(await librariesOf(process.execPath));
  for (const program of hostPrograms) {
    entries.push(file(path.join("bin", path.basename(program)), program, 0o755));
    for (const library of await librariesOf(program)) libraries.add(library);
  }
  for (const library of libraries) entries.push(file(library.slice(1), library, 0o755));
  for (const module of kernel.modules) {
    entries.push(file(path.join(places.modules, path.basename(module)).slice(1), module, 0o644));
  }
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

/** The shared libraries and the loader that a program needs, as absolute paths. */
async function librariesOf(program: string): Promise<string[]> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    const ours = `${process.platform} ${process.arch}`;
    const message = `the guest is x86_64 Linux with this machine's node, which is for ${ours}`;
    throw new Failure("rig.missing", `${message}; run the rig on x86_64 Linux`);
  }
  const text = await runOrFail("ldd", [program], { deadlineMs: toolMs, from: "libc-bin" });
  return [...text.matchAll(/(\/\S+) \(0x/g)].map((match) => String(match[1]));
}

function file(name: string, source: string, mode: number): Entry {
  return { kind: "file", name, bytes: fs.readFileSync(source), mode };
}

function filesOf(folder: string, prefix: string): Entry[] {
  const names = fs.readdirSync(folder, { recursive: true }).map(String).sort();
  const files = names.filter((name) => fs.statSync(path.join(folder, name)).isFile());
  return files.map((name) => file(`${prefix}/${name}`, path.join(folder, name), 0o755));
}

/** All of it initialised at once: nothing is left for the guest to write in the background. */
async function makeStateDisk(disk: string): Promise<void> {
  fs.writeFileSync(disk, "");
  fs.truncateSync(disk, stateBytes);
  const eager = "lazy_itable_init=0,lazy_journal_init=0";
  const args = ["-q", "-F", "-L", "state", "-E", eager, disk];
  await runOrFail("mkfs.ext4", args, { deadlineMs: toolMs, from: "e2fsprogs" });
}
