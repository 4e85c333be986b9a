/** The rig with an emulated card that boots through real UEFI firmware, loader and hook. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { decodeHandOff } from "../wire/handoff.ts";
import type { BootFault, BootRig, BootSettings } from "./bootrig.ts";
import { openGdb } from "./gdb.ts";
import { makeStateDisk } from "./guest.ts";
import { kenneld, killAgent, obey, shell } from "./guestshell.ts";
import { places } from "./init.ts";
import type { Machine } from "./machines.ts";
import { type Stopped, type StoppedPart, stopProcessor } from "./processor.ts";
import { consoleOptions, startGuest } from "./qemu.ts";
import { QemuRig } from "./qemurig.ts";
import type { CardSettings } from "./rig.ts";
import { prepareUefi, type UefiCard, type UefiSlot, uefiArguments } from "./uefi.ts";
import { handOffSaid, prepareUefiGuest, type UefiGuest } from "./uefiguest.ts";

/** T2 of the agent, s. */
const promiseS = 12;
const agent = [
  `agent ${kenneld} --port $PORT --state ${places.state}/kennel`,
  `--promise ${promiseS} --tee simulate --lab --access open --watchdog prefer $HAND_OFF`,
].join(" ");
const main = `${shell}
${agent}
[ "$fault" = agent_dies ] && ${killAgent} && stay has no agent
${obey}`;

/** How long the hook gives the agent, where a story does not say. */
const adoptWithinMs = 20_000;

/** Faults that the initrd acts out, told on the kernel's command line. */
const guestFaults: readonly BootFault[] = [
  "kernel_panics",
  "no_driver",
  "initramfs_hangs",
  "no_agent",
  "agent_dies",
  "damaged_record",
  "full_store",
];
/** Each of the five steps of a slow load takes this part of the timeout. */
const slowPart = 0.8;

export class UefiRig extends QemuRig implements BootRig {
  private readonly bootFolder: string;
  private parts: UefiGuest | null = null;
  private cards = 0;
  private powered: UefiCard | null = null;
  private stateDisk = "";
  /** Gets the gdbstub's socket: its path has to be a short one, whatever the project's is. */
  private socketFolder = "";

  /** `bootFolder`: what boot/build.mjs made. */
  constructor(machine: Machine, folders: { project: string; logs: string; boot: string }) {
    super(machine, folders.project, folders.logs);
    this.bootFolder = folders.boot;
  }

  override async start(settings: CardSettings): Promise<void> {
    throw new Error(`stories of boots power their cards on: ${settings.promiseMs}`);
  }

  async boot(settings: BootSettings): Promise<void> {
    await this.close();
    this.parts ??= await prepareUefiGuest({
      machine: this.machine,
      cacheFolder: path.join(this.project, ".cache/guest"),
      appFolder: path.join(this.project, "dist"),
      hookFolder: path.join(this.project, "boot/linux"),
      main,
      intoFolder: this.logFolder,
    });
    this.cards += 1;
    const folder = path.join(this.logFolder, `card-${this.cards}`);
    this.powered = this.cardOf(settings, this.parts, folder);
    await prepareUefi(this.powered);
    this.stateDisk = path.join(folder, "state.img");
    await makeStateDisk(this.stateDisk);
    await this.powerOn();
    await this.plug(true);
  }

  async change(settings: BootSettings): Promise<void> {
    const { powered, parts } = this;
    if (powered === null || parts === null) throw new Error("no card was booted");
    await this.power(false);
    const { folder } = powered;
    const [store, kept] = [path.join(folder, "vars.fd"), path.join(folder, "kept.fd")];
    fs.renameSync(store, kept);
    this.powered = this.cardOf(settings, parts, folder);
    await prepareUefi(this.powered);
    fs.renameSync(kept, store);
    await this.power(true, { waits: false });
  }

  firmwareRefreshMs(beforeMs: number): number | undefined {
    const line = this.console.findLast(
      ({ text, atMs }) => atMs <= beforeMs && refreshLine.test(text),
    );
    if (line === undefined) return undefined;
    if (!line.text.startsWith(handOffSaid)) return line.atMs;
    const hex = line.text.slice(handOffSaid.length).trim();
    const { countdown, counter } = decodeHandOff(Buffer.from(hex, "hex"));
    if (countdown === undefined || counter === undefined) return undefined;
    // The processor's counter runs from the start of QEMU, through every reset.
    const zeroMs = (counter.zero * 1000) / counter.hz;
    return this.running.runsMs + zeroMs + countdown.refreshed_ms;
  }

  press(key: string): void {
    this.running.type(key);
  }

  async stopProcessor(part: StoppedPart): Promise<Stopped | null> {
    const gdb = await openGdb(path.join(this.socketFolder, gdbSocket));
    return await stopProcessor(gdb, this.machine.arch, part);
  }

  override async close(): Promise<void> {
    await super.close();
    if (this.socketFolder !== "") fs.rmSync(this.socketFolder, { recursive: true, force: true });
    this.socketFolder = "";
    if (this.powered === null) return;
    // The partition is large and says nothing that the logs do not.
    for (const name of ["esp.img", "state.img"]) {
      fs.rmSync(path.join(this.powered.folder, name), { force: true });
    }
    this.powered = null;
  }

  private cardOf(settings: BootSettings, parts: UefiGuest, folder: string): UefiCard {
    const { machine, bootFolder } = this;
    const { device = "i6300esb", fault } = settings;
    const arch = machine.arch === "arm64" ? "aa64" : "x64";
    const good: UefiSlot = { kernel: parts.kernel, initrd: parts.initrd };
    const bad = badSlot(fault, good, { folder, lab: path.join(bootFolder, arch, "lab") });
    const configuration = configurationOf(settings, consoleOptions(machine));
    return {
      arch,
      watchdog: device === "none" ? "none" : device === "iTCO_wdt" ? "tco" : "esb-rom",
      configuration: fault === "no_configuration" ? null : configuration,
      slots: { ...(fault === "no_kernel" ? {} : { a: bad }), b: good },
      folder,
      bootFolder,
    };
  }

  protected override async powerOn(): Promise<void> {
    if (this.powered === null || this.parts === null) throw new Error("no card was prepared");
    const programs = this.parts.programs.replaceAll(",", ",,");
    if (this.socketFolder === "") {
      this.socketFolder = fs.mkdtempSync(path.join(os.tmpdir(), "kennel-gdb-"));
    }
    const gdb = path.join(this.socketFolder, gdbSocket).replaceAll(",", ",,");
    this.guest = await startGuest({
      image: { machine: this.machine, stateDisk: this.stateDisk },
      board: [
        ...uefiArguments(this.powered),
        "-drive",
        `if=none,id=programs,format=raw,readonly=on,file=${programs}`,
        "-device",
        "virtio-blk-pci,drive=programs,serial=programs",
        "-gdb",
        `unix:${gdb},server=on,wait=off`,
      ],
      logFolder: this.logFolder,
    });
  }
}

const gdbSocket = "gdb";

/** What the console shows right after the firmware's refresh, or tells of it. */
const refreshLine = new RegExp(`^(kennel: lab: hangs now|spin: hangs now|${handOffSaid} )`);

function badSlot(
  fault: BootFault | undefined,
  good: UefiSlot,
  { folder, lab }: { folder: string; lab: string },
): UefiSlot {
  if (fault === "kernel_spins") return { ...good, kernel: path.join(lab, "spin.efi") };
  if (fault !== "damaged_kernel") return good;
  fs.mkdirSync(folder, { recursive: true });
  const kernel = path.join(folder, "damaged");
  fs.writeFileSync(kernel, Buffer.alloc(damagedBytes, "not a kernel "));
  return { ...good, kernel };
}
const damagedBytes = 100_000;

function configurationOf(settings: BootSettings, console: string): string {
  const { timeoutMs, fault, attempts = 1, device = "i6300esb", menu } = settings;
  const words = [
    console,
    `kennel.driver=${device}`,
    `kennel.adopt=${(settings.adoptWithinMs ?? adoptWithinMs) / 1000}`,
    ...(settings.withoutHook === true ? ["kennel.hook=no"] : []),
  ];
  const inGuest = fault !== undefined && guestFaults.includes(fault);
  const slow = (timeoutMs * slowPart).toFixed(0);
  const lines = [
    `timeout = ${timeoutMs / 1000}`,
    `attempts = ${attempts}`,
    `policy = ${settings.policy ?? "prefer"}`,
    `lock = ${settings.lock === true ? "yes" : "no"}`,
    `a.options = ${[...words, ...(inGuest ? [`kennel.fault=${fault}`] : [])].join(" ")}`,
    `b.options = ${words.join(" ")}`,
    ...(menu === undefined
      ? []
      : [`menu = ${menu.waitMs / 1000}`, `hold_max = ${menu.holdMs / 1000}`]),
    "lab = yes",
    ...(fault?.startsWith("load_hangs") === true
      ? ["lab.hang = load_initrd", "lab.hang_slot = a"]
      : []),
    ...(fault === "load_hangs_high" ? ["lab.hang_at = high"] : []),
    ...(fault === "load_is_slow" ? [`lab.slow_ms = ${slow}`] : []),
  ];
  if (fault === "damaged_configuration") return `\u0000\u0001timeout === x\n${"z".repeat(500)}\n`;
  return `${lines.join("\n")}\n`;
}
