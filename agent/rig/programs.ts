/**
 * The guest's programs: busybox, node, and what they need to run. A guest of this machine's own
 * architecture gets this machine's node; another one gets the same version from npm, and its
 * libraries from Debian.
 */
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../errors.ts";
import { runOrFail } from "./command.ts";
import { type Entry, fileEntry } from "./cpio.ts";
import { keep, type Packages } from "./debian.ts";
import type { DebianPort, Machine } from "./machines.ts";

/** What busybox lacks, from util-linux: it makes a program a realtime one. */
const extraProgram = "usr/bin/chrt";
/** What node, the addon and chrt are linked with, by the package that has it. */
const libraryPackages: Readonly<Record<string, readonly string[]>> = {
  libc6: ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"],
  "libgcc-s1": ["libgcc_s.so.1"],
  "libstdc++6": ["libstdc++.so.6"],
};

const toolMs = 30_000;
const downloadMs = 300_000;
const executable = 0o755;

/** Everything that goes into the guest's /bin and /lib. */
export async function fetchPrograms(packages: Packages, machine: Machine): Promise<Entry[]> {
  const busybox = await packages.kept("busybox-static", (from, into) => {
    fs.copyFileSync(path.join(from, "bin/busybox"), path.join(into, "busybox"));
  });
  const isOurs = machine.arch === process.arch;
  const others = isOurs ? await ownPrograms() : await foreignPrograms(packages, machine);
  return [fileEntry("bin/busybox", path.join(busybox, "busybox"), executable), ...others];
}

async function ownPrograms(): Promise<Entry[]> {
  const sources = { node: process.execPath, chrt: `/${extraProgram}` };
  const entries: Entry[] = [];
  const libraries = new Set<string>();
  for (const [name, source] of Object.entries(sources)) {
    entries.push(fileEntry(`bin/${name}`, source, executable));
    for (const library of await librariesOf(source)) libraries.add(library);
  }
  for (const library of libraries) {
    entries.push(fileEntry(library.slice(1), library, executable));
  }
  return entries;
}

/** The shared libraries and the loader that a program needs, as absolute paths. */
async function librariesOf(program: string): Promise<string[]> {
  const text = await runOrFail("ldd", [program], { deadlineMs: toolMs, from: "libc-bin" });
  return [...text.matchAll(/(\/\S+) \(0x/g)].map((match) => String(match[1]));
}

async function foreignPrograms(packages: Packages, machine: Machine): Promise<Entry[]> {
  const { debian, arch } = machine;
  const node = await fetchNode(packages.cacheFolder, arch);
  const chrt = await packages.kept("util-linux", (from, into) => {
    fs.copyFileSync(path.join(from, extraProgram), path.join(into, "chrt"));
  });
  const entries = [
    fileEntry("bin/node", path.join(node, "node"), executable),
    fileEntry("bin/chrt", path.join(chrt, "chrt"), executable),
  ];
  for (const [name, libraries] of Object.entries(libraryPackages)) {
    const loaders = name === "libc6" ? [path.basename(debian.loader)] : [];
    const files = [...libraries, ...loaders];
    const folder = await packages.kept(name, (from, into) => {
      for (const file of files) fs.copyFileSync(findLibrary(from, debian, file), `${into}/${file}`);
    });
    for (const file of files) {
      const isLoader = loaders.includes(file);
      const place = isLoader ? debian.loader : `lib/${debian.libraries}/${file}`;
      entries.push(fileEntry(place, path.join(folder, file), executable));
    }
  }
  return entries;
}

/** Newer releases have everything below usr/. */
function findLibrary(unpacked: string, { libraries }: DebianPort, file: string): string {
  const places = ["lib", "usr/lib"].map((lib) => path.join(unpacked, lib, libraries, file));
  const found = places.find((place) => fs.existsSync(place));
  if (found === undefined) throw new Failure("rig.fault", `Debian's package has no ${file}`);
  return found;
}

/** The folder with node for another architecture, of the version that runs here. */
function fetchNode(cacheFolder: string, arch: string): Promise<string> {
  const version = process.version.slice(1);
  const name = `node-linux-${arch}`;
  return keep(path.join(cacheFolder, `${name}_${version}`), async (work, chosen) => {
    const settings = { deadlineMs: downloadMs, cwd: work };
    await runOrFail("npm", ["pack", "--silent", `${name}@${version}`], {
      ...settings,
      from: "npm",
    });
    const archive = fs.readdirSync(work).find((file) => file.endsWith(".tgz"));
    if (archive === undefined) throw new Failure("rig.fault", `npm packed no ${name}@${version}`);
    const only = ["--extract", "--file", archive, "package/bin/node"];
    await runOrFail("tar", only, { ...settings, from: "tar" });
    fs.renameSync(path.join(work, "package/bin/node"), path.join(chosen, "node"));
  });
}
