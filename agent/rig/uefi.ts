/**
 * A card that boots through real UEFI firmware in QEMU: its EFI system partition with loader,
 * configuration and slots, its variable store, and the part of QEMU's command line that is about
 * them. Needs no root and no loop mounts: mkfs.vfat and mtools write the image.
 */
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../errors.ts";
import { runOrFail } from "./command.ts";

export type UefiArch = "x64" | "aa64";

/**
 * Where the watchdog and its driver come from: the 6300ESB with the driver as its option ROM, the
 * 6300ESB or the chipset's TCO (x64) with the driver on the partition, or no watchdog at all.
 */
export type UefiWatchdog = "esb-rom" | "esb" | "tco" | "none";

/** Paths on the host. */
export interface UefiSlot {
  readonly kernel: string;
  readonly initrd?: string;
}

export interface UefiCard {
  readonly arch: UefiArch;
  readonly watchdog: UefiWatchdog;
  /** What `boot/build.mjs` made: has x64/ and aa64/. */
  readonly bootFolder: string;
  /** boot.conf, see boot/README.md; null: there is none. */
  readonly configuration: string | null;
  readonly slots: Readonly<Partial<Record<"a" | "b" | "safe", UefiSlot>>>;
  /** Gets esp.img and vars.fd, which live as long as the card. */
  readonly folder: string;
}

interface Firmware {
  readonly code: string;
  readonly variables: string;
  /** The Debian package. */
  readonly from: string;
  readonly loaderName: string;
  readonly machine: readonly string[];
}

const firmwares: Readonly<Record<UefiArch, Firmware>> = {
  x64: {
    code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
    variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
    from: "ovmf",
    loaderName: "BOOTX64.EFI",
    machine: ["-machine", "q35", "-cpu", "max"],
  },
  aa64: {
    code: "/usr/share/AAVMF/AAVMF_CODE.fd",
    variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
    from: "qemu-efi-aarch64",
    loaderName: "BOOTAA64.EFI",
    machine: ["-machine", "virt", "-cpu", "cortex-a57"],
  },
};

const toolMs = 30_000;
/** FAT32 wants at least 33 MB; what is added is room to write in. */
const espSpareBytes = 64 * 1024 * 1024;

/** The files of the partition: path there, and where the content comes from. */
function espFiles(card: UefiCard): [string, string][] {
  const { arch, watchdog, bootFolder, slots } = card;
  const built = (name: string): string => path.join(bootFolder, arch, name);
  const files: [string, string][] = [
    [`/EFI/BOOT/${firmwares[arch].loaderName}`, built("kennel-loader.efi")],
  ];
  if (watchdog === "esb" || watchdog === "tco") {
    files.push(["/EFI/kennel/kennelwdt.efi", built("kennelwdt.efi")]);
  }
  for (const [slot, { kernel, initrd }] of Object.entries(slots)) {
    files.push([`/EFI/kennel/${slot}/vmlinuz`, kernel]);
    if (initrd !== undefined) files.push([`/EFI/kennel/${slot}/initrd`, initrd]);
  }
  return files;
}

/** Makes the partition and a fresh variable store. `rig.missing` says what to install. */
export async function prepareUefi(card: UefiCard): Promise<void> {
  const { code, variables, from } = firmwares[card.arch];
  if (!fs.existsSync(code) || !fs.existsSync(variables)) {
    throw new Failure("rig.missing", `there is no ${code} (Debian: apt-get install ${from})`);
  }
  fs.mkdirSync(card.folder, { recursive: true });
  fs.copyFileSync(variables, path.join(card.folder, "vars.fd"));
  const files = espFiles(card);
  if (card.configuration !== null) {
    const text = path.join(card.folder, "boot.conf");
    fs.writeFileSync(text, card.configuration);
    files.push(["/EFI/kennel/boot.conf", text]);
  }
  await makeEsp(path.join(card.folder, "esp.img"), files);
}

async function makeEsp(image: string, files: readonly [string, string][]): Promise<void> {
  const bytes = files.reduce((sum, [, from]) => sum + fs.statSync(from).size, espSpareBytes);
  fs.rmSync(image, { force: true });
  fs.writeFileSync(image, "");
  fs.truncateSync(image, Math.ceil(bytes / 1048576) * 1048576);
  await runOrFail("mkfs.vfat", ["-F", "32", image], { deadlineMs: toolMs, from: "dosfstools" });
  const folders = new Set(files.flatMap(([to]) => foldersOf(to)));
  const mtools = { deadlineMs: toolMs, from: "mtools" };
  await runOrFail("mmd", ["-i", image, ...[...folders].map((name) => `::${name}`)], mtools);
  for (const [to, from] of files) await runOrFail("mcopy", ["-i", image, from, `::${to}`], mtools);
}

/** The folders that a file lies in, outermost first. */
function foldersOf(file: string): string[] {
  const parts = path.dirname(file).slice(1).split("/");
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`);
}

/**
 * Machine, firmware, partition and watchdog for QEMU; memory, console, QMP and `-nodefaults` are
 * the caller's. No `bootindex`: with it OVMF connects boot devices alone.
 */
export function uefiArguments(card: UefiCard): string[] {
  const { arch, watchdog, bootFolder, folder } = card;
  const { machine, code } = firmwares[arch];
  const file = (name: string): string => name.replaceAll(",", ",,");
  const flags: [string, string][] = [
    ["-drive", `if=pflash,format=raw,unit=0,readonly=on,file=${code}`],
    ["-drive", `if=pflash,format=raw,unit=1,file=${file(path.join(folder, "vars.fd"))}`],
    ["-drive", `if=none,id=esp,format=raw,file=${file(path.join(folder, "esp.img"))}`],
    ["-device", "virtio-blk-pci,drive=esp"],
    ["-boot", "menu=on,splash-time=0"],
    ["-action", "watchdog=reset"],
  ];
  if (watchdog === "esb-rom") {
    const rom = path.join(bootFolder, arch, "kennelwdt.rom");
    flags.push(["-device", `i6300esb,romfile=${file(rom)}`]);
  }
  if (watchdog === "esb") flags.push(["-device", "i6300esb"]);
  // The chipset's own strap: with it the timer expires and nothing happens.
  const strap = watchdog === "tco" ? "off" : "on";
  if (arch === "x64") flags.push(["-global", `ICH9-LPC.noreboot=${strap}`]);
  return [...machine, ...flags.flat()];
}
