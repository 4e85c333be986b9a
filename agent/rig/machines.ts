/**
 * The cards that QEMU emulates, one entry each: everything in which they differ. The rest of the
 * rig asks the entry and knows no architecture.
 */
import { crashMemory } from "./init.ts";
import type { Need } from "./rig.ts";

export interface Machine {
  /** The rig's name. */
  readonly name: "qemu" | "qemu-arm64";
  /** As Node, npm and `build.mjs --arch` spell it. */
  readonly arch: "x64" | "arm64";
  /** QEMU's program, and the Debian package that has it. */
  readonly program: string;
  readonly programFrom: string;
  /** The Debian package with a compiler for it, where it is not this machine's architecture. */
  readonly compilerFrom: string;
  /** The board, its processor and its watchdogs, as flags of QEMU with their values. */
  readonly flags: readonly Flag[];
  /** For the kernel's command line. */
  readonly kernelOptions: string;
  /** The first UART, as Linux names it: what the guest prints and is typed. */
  readonly consoleName: string;
  /** Plugs QEMU's character device `link` into the second UART. */
  readonly link: Flag;
  /** That UART in the guest. */
  readonly port: string;
  readonly debian: DebianPort;
  /**
   * What a story may load besides the disk: sets of modules by name, each with what it wants and
   * does not depend on.
   */
  readonly modules: Readonly<Record<string, readonly string[]>>;
  /** What its stories cannot be shown on it, and why. */
  readonly lacks: Readonly<Partial<Record<Need, string>>>;
}

/** A flag of QEMU and its value. */
export type Flag = readonly [flag: string, value: string];

/** Debian for one architecture. */
export interface DebianPort {
  readonly arch: string;
  /** Names the newest kernel of the release by what it depends on. */
  readonly kernelPackage: string;
  /** The folder below lib/ with the architecture's libraries. */
  readonly libraries: string;
  /** The dynamic loader, as programs name it, without the leading slash. */
  readonly loader: string;
}

const commonModules = {
  i6300esb: ["i6300esb"],
  softdog: ["softdog"],
  ramoops: ["ramoops"],
  efivarfs: ["efivarfs"],
  efi_pstore: ["efi_pstore"],
};

const machines = {
  /** A PC (q35) with two watchdogs: an Intel 6300ESB card and the chipset's own, iTCO. */
  qemu: {
    name: "qemu",
    arch: "x64",
    program: "qemu-system-x86_64",
    programFrom: "qemu-system-x86",
    compilerFrom: "g++-x86-64-linux-gnu",
    flags: [
      ["-machine", "q35"],
      ["-cpu", "max"],
      ["-device", "i6300esb"],
      // The chipset's own watchdog (iTCO) resets as well, once its driver is loaded.
      ["-global", "ICH9-LPC.noreboot=off"],
    ],
    kernelOptions: `memmap=${crashMemory.bytes}$${crashMemory.address}`,
    consoleName: "ttyS0",
    link: ["-serial", "chardev:link"],
    port: "/dev/ttyS1",
    debian: {
      arch: "amd64",
      kernelPackage: "linux-image-amd64",
      libraries: "x86_64-linux-gnu",
      loader: "lib64/ld-linux-x86-64.so.2",
    },
    modules: { ...commonModules, iTCO_wdt: ["lpc_ich", "iTCO_wdt"] },
    lacks: {},
  },
  /**
   * QEMU's own arm64 board with the processor of today's SmartNICs and the same 6300ESB card. The
   * board has one UART (PL011), so the line is a 16550 on PCI. Emulated pointer authentication,
   * which newer processors have, would cost half the speed.
   */
  "qemu-arm64": {
    name: "qemu-arm64",
    arch: "arm64",
    program: "qemu-system-aarch64",
    programFrom: "qemu-system-arm",
    compilerFrom: "g++-aarch64-linux-gnu",
    flags: [
      ["-machine", "virt"],
      ["-cpu", "cortex-a72"],
      ["-device", "i6300esb"],
    ],
    kernelOptions: "",
    consoleName: "ttyAMA0",
    link: ["-device", "pci-serial,chardev=link"],
    port: "/dev/ttyS0",
    debian: {
      arch: "arm64",
      kernelPackage: "linux-image-arm64",
      libraries: "aarch64-linux-gnu",
      loader: "lib/ld-linux-aarch64.so.1",
    },
    modules: { ...commonModules, optee: ["optee"] },
    lacks: {
      iTCO_wdt: "iTCO is a part of PC chipsets; an arm64 board has none",
      crash_record: "the board's kernel takes no memory for crash records on its command line",
    },
  },
} as const satisfies Record<string, Machine>;

export const pc: Machine = machines.qemu;
export const arm64: Machine = machines["qemu-arm64"];
