/**
 * Debian's packages, taken apart without installing them: no root, no loop mounts, and this
 * machine's package system is left as it is, also for packages of another architecture. What is
 * chosen of a package is kept in the cache under its name and version.
 */
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../errors.ts";
import { type Outcome, run, runOrFail } from "./command.ts";
import type { Machine } from "./machines.ts";

/** Raised when what is kept of a package changes. */
const layout = 3;
/** Package lists of another architecture that are older are fetched anew, ms. */
const listsAgeMaxMs = 24 * 3_600_000;

const queryMs = 60_000;
const downloadMs = 300_000;
const unpackMs = 300_000;

/** The packages for one machine. */
export interface Packages {
  readonly cacheFolder: string;
  /** What the package depends on, by name. */
  dependsOf(name: string): Promise<string[]>;
  /** The folder with what `pick` chose from the unpacked package. */
  kept(name: string, pick: Pick): Promise<string>;
  /** The folder with what `make` made of the package's source; `layout` is raised with `make`. */
  made(name: string, layout: number, make: Make): Promise<string>;
}

export type Pick = (unpackedFolder: string, intoFolder: string) => void;
export type Make = (sourceFolder: string, intoFolder: string) => Promise<void>;

/**
 * Packages from this machine's own lists where they are of its architecture, and from those of
 * another release where one is named.
 */
export async function openPackages(
  cacheFolder: string,
  machine: Machine,
  release?: string,
): Promise<Packages> {
  const isOurs = machine.arch === process.arch && release === undefined;
  const options = isOurs ? [] : await foreignLists(cacheFolder, machine.debian.arch, release);
  const apt = (program: string, args: readonly string[], cwd?: string): Promise<string> =>
    runApt(program, [...options, ...args], cwd);
  return {
    cacheFolder,
    dependsOf: async (name) => {
      const depends = await apt("apt-cache", ["depends", "--important", name]);
      return [...depends.matchAll(/Depends: (\S+)/g)].map((match) => String(match[1]));
    },
    kept: async (name, pick) => {
      const shown = await apt("apt-cache", ["show", "--no-all-versions", name]);
      const version = /^Version: (\S+)$/m.exec(shown)?.[1];
      if (version === undefined) throw unknownPackage(name);
      const folder = `${name}_${version}-${layout}`.replaceAll(":", "%");
      return keep(path.join(cacheFolder, folder), async (work, chosen) => {
        const unpacked = path.join(work, "unpacked");
        await apt("apt-get", ["download", `${name}=${version}`], work);
        const archive = fs.readdirSync(work).find((entry) => entry.endsWith(".deb"));
        if (archive === undefined) throw unknownPackage(name);
        const from = { deadlineMs: unpackMs, cwd: work, from: "dpkg" };
        await runOrFail("dpkg-deb", ["--extract", archive, unpacked], from);
        pick(unpacked, chosen);
      });
    },
    made: async (name, madeLayout, make) => {
      const shown = await apt("apt-cache", ["showsrc", "--only-source", name]);
      const version = /^Version: (\S+)$/m.exec(shown)?.[1];
      if (version === undefined) throw unknownPackage(name);
      const folder = `${name}-source_${version}-${madeLayout}`.replaceAll(":", "%");
      return keep(path.join(cacheFolder, folder), async (work, chosen) => {
        const only = ["source", "--download-only", `${name}=${version}`];
        await apt("apt-get", only, work);
        const archive = fs.readdirSync(work).find((entry) => entry.includes(".orig.tar."));
        if (archive === undefined) throw unknownPackage(name);
        const source = path.join(work, "source");
        fs.mkdirSync(source);
        const args = ["--extract", "--strip-components=1", "--file", archive, "-C", source];
        await runOrFail("tar", args, { deadlineMs: unpackMs, cwd: work, from: "tar" });
        await make(source, chosen);
      });
    },
  };
}

/** `folder`, made by `make` when it is not there; a half-made one is never left behind. */
export async function keep(
  folder: string,
  make: (workFolder: string, chosenFolder: string) => Promise<void>,
): Promise<string> {
  if (fs.existsSync(folder)) return folder;
  const parent = path.dirname(folder);
  fs.mkdirSync(parent, { recursive: true });
  const work = fs.mkdtempSync(path.join(parent, "work-"));
  try {
    const chosen = path.join(work, "chosen");
    fs.mkdirSync(chosen);
    await make(work, chosen);
    moveUnlessThere(chosen, folder);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

/** Two cards may be prepared at a time: what the other one has made is as good. */
function moveUnlessThere(chosen: string, folder: string): void {
  try {
    fs.renameSync(chosen, folder);
  } catch (error) {
    if (!fs.existsSync(folder)) throw error;
  }
}

/** Debian itself, whose keys every Debian has. */
function sourcesOf(release: string): string {
  const key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
  const where = `${key} http://deb.debian.org/debian ${release} main`;
  return `deb ${where}\ndeb-src ${where}\n`;
}

/**
 * Options with which apt works for another architecture or release in a folder of its own: lists
 * and state are not this machine's, sources and keys are, except for another release.
 */
async function foreignLists(
  cacheFolder: string,
  arch: string,
  release?: string,
): Promise<string[]> {
  const state = path.join(cacheFolder, release === undefined ? "apt" : `apt-${release}`);
  const sources = path.join(state, "sources.list");
  const own = { "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null" };
  const settings = {
    ...(release === undefined ? {} : own),
    "APT::Architecture": arch,
    "APT::Architectures": arch,
    "Dir::State": state,
    "Dir::State::status": path.join(state, "status"),
    "Dir::Cache": path.join(state, "cache"),
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const stamp = path.join(state, "updated");
  const isFresh = fs.existsSync(stamp) && Date.now() - fs.statSync(stamp).mtimeMs < listsAgeMaxMs;
  if (isFresh) return options;
  for (const folder of ["lists/partial", "cache/archives/partial"]) {
    fs.mkdirSync(path.join(state, folder), { recursive: true });
  }
  fs.writeFileSync(path.join(state, "status"), "");
  if (release !== undefined) fs.writeFileSync(sources, sourcesOf(release));
  const { status, stderr } = await updated(options);
  // Without a network older lists will do, and what is kept of packages as well.
  if (status === 0) fs.writeFileSync(stamp, "");
  else if (!fs.existsSync(stamp)) {
    throw new Failure("rig.fault", `no package lists for ${arch}: ${stderr.trim()}`);
  }
  return options;
}

/** Another card may be prepared at the same time: who has the lists locked is waited for. */
async function updated(options: readonly string[]): Promise<Outcome> {
  const endMs = Date.now() + downloadMs;
  for (;;) {
    const how = { deadlineMs: downloadMs, from: "apt" };
    const outcome = await run("apt-get", [...options, "update"], how);
    if (!/Could not get lock/.test(outcome.stderr) || Date.now() > endMs) return outcome;
    await new Promise((resolve) => setTimeout(resolve, lockRetryMs));
  }
}
const lockRetryMs = 1000;

/** Reads Debian's package lists or downloads from them. */
function runApt(program: string, args: readonly string[], cwd?: string): Promise<string> {
  const advice = "The rig takes its guest from Debian's packages; try `apt-get update` first.";
  const deadlineMs = cwd === undefined ? queryMs : downloadMs;
  const options = { deadlineMs, from: "apt", advice };
  return runOrFail(program, args, cwd === undefined ? options : { ...options, cwd });
}

export function unknownPackage(name: string): Failure {
  const how = "the rig takes its guest from Debian's packages; try `apt-get update`";
  return new Failure("rig.missing", `the package lists of this machine have no ${name}; ${how}`);
}
