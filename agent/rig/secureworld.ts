/**
 * A secure world for an emulated arm64 card: OP-TEE as Debian compiles it for QEMU's board, below
 * it TF-A from Debian's source, compiled here, and in it trusted applications of ours. The newer
 * release has them; what is taken from it runs on the older one's libraries.
 */
import fs from "node:fs";
import path from "node:path";
import { runOrFail } from "./command.ts";
import { type Entry, fileEntry } from "./cpio.ts";
import { openPackages, type Packages } from "./debian.ts";
import { makeFip } from "./fip.ts";
import type { GuestImage } from "./guest.ts";
import type { Flag, Machine } from "./machines.ts";
import { consoleOptions } from "./qemu.ts";
import { signApplication } from "./trustedapp.ts";

const release = "trixie";
/** OP-TEE's name for QEMU's board. */
const platform = "vexpress-qemu_armv8a";
const compiler = "aarch64-linux-gnu-";
const makeMs = 300_000;
/** Raised when TF-A is compiled otherwise. */
const layout = 1;

/** Where TF-A starts the kernel, which QEMU has put there, and where that finds its initrd. */
const kernelAddress = 0x4400_0000;
const initrdAddress = 0x4800_0000;
/** Where TF-A looks for its package in flash. */
const fipAddress = 0x4_0000;

/**
 * The drivers are those of the board with OP-TEE's interrupt controller; the kernel follows on
 * OP-TEE without a boot loader in between.
 */
const firmwareSettings = [
  "PLAT=qemu",
  "SPD=opteed",
  "NEED_BL32=yes",
  "BL32_RAM_LOCATION=tdram",
  "QEMU_USE_GIC_DRIVER=QEMU_GICV3",
  "ARM_LINUX_KERNEL_AS_BL33=1",
  `PRELOADED_BL33_BASE=0x${kernelAddress.toString(16)}`,
  "DEBUG=0",
];

/** The applications of the stories; source: `applicationFolder`. */
export const applications = {
  /** Each session has an instance of its own. */
  single: "6b656e6e-656c-4000-8000-000000000001",
  /** All sessions share one instance, which is kept alive. */
  shared: "6b656e6e-656c-4000-8000-000000000002",
} as const;
/** TA_FLAG_SINGLE_INSTANCE, _MULTI_SESSION and _INSTANCE_KEEP_ALIVE. */
const applicationFlags = { single: 0, shared: 0x1c } as const;

/** What is downloaded and compiled once: folders in the cache. */
export interface SecureParts {
  readonly firmware: string;
  readonly optee: string;
  readonly kit: string;
  readonly supplicant: string;
  readonly library: string;
}

export interface SecureWorld {
  /** The card's flash, as a file. */
  readonly flash: string;
  /** Supplicant and applications, for the guest. */
  readonly files: readonly Entry[];
}

/** Fetches and compiles what is missing. `rig.missing`, `rig.fault` where it cannot be had. */
export async function fetchSecureParts(cache: string, machine: Machine): Promise<SecureParts> {
  const cacheFolder = path.join(cache, machine.arch);
  await runOrFail(`${compiler}gcc`, ["--version"], { deadlineMs: makeMs, from: compilerFrom });
  const packages = await openPackages(cacheFolder, machine, release);
  const usr = (from: string, ...parts: string[]): string => path.join(from, "usr", ...parts);
  const optee = await packages.kept("optee-os", (from, into) => {
    for (const [file, as] of Object.entries(opteeFiles)) {
      fs.copyFileSync(usr(from, "lib/optee", platform, file), path.join(into, as));
    }
  });
  const kit = await packages.kept("optee-os-dev", (from, into) => {
    fs.cpSync(usr(from, "lib/optee-os-dev", platform), into, kitCopy);
  });
  const supplicant = await packages.kept("tee-supplicant", (from, into) => {
    fs.copyFileSync(usr(from, "sbin/tee-supplicant"), path.join(into, "tee-supplicant"));
  });
  const library = await packages.kept("libteec2", (from, into) => {
    const folder = usr(from, "lib", machine.debian.libraries);
    const name = fs.readdirSync(folder).find((file) => file.startsWith(teeLibrary)) ?? teeLibrary;
    fs.copyFileSync(path.join(folder, name), path.join(into, teeLibrary));
  });
  const firmware = await compileFirmware(packages);
  return { firmware, optee, kit, supplicant, library };
}
/** Its links lead to files beside them. */
const kitCopy = { recursive: true, verbatimSymlinks: true } as const;
const compilerFrom = "g++-aarch64-linux-gnu";
const opteeFiles = { "tee-header_v2.bin": "header", "tee-pager_v2.bin": "optee" } as const;
const teeLibrary = "libteec.so.2";
const firmwareImages = ["bl1", "bl2", "bl31"] as const;

async function compileFirmware(packages: Packages): Promise<string> {
  return await packages.made("arm-trusted-firmware", layout, async (source, chosen) => {
    const args = [`CROSS_COMPILE=${compiler}`, ...firmwareSettings, ...firmwareImages];
    const options = { deadlineMs: makeMs, cwd: source, from: "make" };
    await runOrFail("make", [`--jobs=${jobs}`, ...args], options);
    for (const image of firmwareImages) {
      const made = path.join(source, "build/qemu/release", `${image}.bin`);
      fs.copyFileSync(made, path.join(chosen, image));
    }
  });
}
const jobs = 2;

/** Compiles the applications, and puts everything in its place; all of it below `intoFolder`. */
export async function buildSecureWorld(
  parts: SecureParts,
  applicationFolder: string,
  intoFolder: string,
  { debian }: Machine,
): Promise<SecureWorld> {
  const read = (folder: string, name: string): Buffer => fs.readFileSync(path.join(folder, name));
  const fip = makeFip({
    bl2: read(parts.firmware, "bl2"),
    bl31: read(parts.firmware, "bl31"),
    bl32: read(parts.optee, "header"),
    bl32Extra1: read(parts.optee, "optee"),
  });
  const first = read(parts.firmware, "bl1");
  const flash = path.join(intoFolder, "flash.bin");
  fs.writeFileSync(flash, Buffer.concat([first, Buffer.alloc(fipAddress - first.length), fip]));
  const files = [
    fileEntry("usr/sbin/tee-supplicant", path.join(parts.supplicant, "tee-supplicant"), 0o755),
    fileEntry(`lib/${debian.libraries}/${teeLibrary}`, path.join(parts.library, teeLibrary), 0o755),
  ];
  for (const [name, uuid] of Object.entries(applications)) {
    const kind = applicationFlags[name as keyof typeof applications];
    const into = path.join(intoFolder, name);
    const image = await compileApplication(uuid, kind, { kit: parts.kit, applicationFolder, into });
    const key = read(parts.kit, "keys/default_ta.pem").toString();
    const bytes = signApplication(image, uuid, key);
    files.push({ kind: "file", name: `lib/optee_armtz/${uuid}.ta`, bytes, mode: 0o644 });
  }
  return { flash, files };
}

async function compileApplication(
  uuid: string,
  kind: number,
  { kit, applicationFolder, into }: { kit: string; applicationFolder: string; into: string },
): Promise<Buffer> {
  const file = path.join(into, `${uuid}.stripped.elf`);
  const settings = [`CROSS_COMPILE=${compiler}`, `TA_DEV_KIT_DIR=${kit}`, `O=${into}`];
  const own = [`LAST=${uuid.slice(-2)}`, `KIND=${kind}`];
  const options = { deadlineMs: makeMs, cwd: applicationFolder, from: "make" };
  await runOrFail("make", ["--silent", ...settings, ...own, file], options);
  return fs.readFileSync(file);
}

/**
 * A board that starts in the secure world: flash, OP-TEE's memory and its own UART. What is said
 * there is kept in QEMU; a TEE OS that dies would fill a disk.
 */
export function secureBoard({ machine, kernel, initrd }: GuestImage, flash: string): string[] {
  const size = fs.statSync(initrd).size;
  const place = `initrd=0x${initrdAddress.toString(16)},${size}`;
  const file = (name: string): string => name.replaceAll(",", ",,");
  const at = (name: string, address: number): string =>
    `loader,file=${file(name)},addr=0x${address.toString(16)},force-raw=on`;
  const own = machine.flags.map(([flag, value]): Flag => {
    return flag === "-machine" ? [flag, `${value},secure=on,gic-version=3`] : [flag, value];
  });
  const flags: Flag[] = [
    ...own,
    ["-bios", flash],
    // Only for what the kernel is told: TF-A starts the one that is loaded below.
    ["-kernel", kernel],
    ["-append", `${consoleOptions(machine)} ${machine.kernelOptions} ${place}`],
    ["-device", at(kernel, kernelAddress)],
    ["-device", at(initrd, initrdAddress)],
    ["-chardev", `ringbuf,id=${secureConsole},size=65536`],
  ];
  return flags.flat();
}
/** What the secure world says, by QEMU's name for it. */
export const secureConsole = "secure";
/** Behind the card's other UARTs: the board's second one belongs to the secure world. */
export const secureSerial: Flag = ["-serial", `chardev:${secureConsole}`];
