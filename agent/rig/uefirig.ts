/** The rig with an emulated card that boots through real UEFI firmware, loader and hook. */
import fs from "node:fs";
import path from "node:path";
import { decodeHandOff } from "../wire/handoff.ts";
import type { BootFault, BootRig, BootSettings } from "./bootrig.ts";
import { makeStateDisk } from "./guest.ts";
import { kenneld, killAgent, obey, shell } from "./guestshell.ts";
import { places } from "./init.ts";
import { pc } from "./machines.ts";
import { consoleOptions, startGuest } from "./qemu.ts";
import { QemuRig } from "./qemurig.ts";
import type { CardSettings } from "./rig.ts";
import { prepareUefi, type UefiCard, type UefiSlot, uefiArguments } from "./uefi.ts";
import { handOffSaid, prepareUefiGuest, type UefiGuest } from "./uefiguest.ts";

/** T2 of the agent, s. */
const promiseS = 20;
const agent = [
  `agent ${kenneld} --port $PORT --state ${places.state}/kennel`,
  `--promise ${promiseS} --tee simulate --lab --watchdog prefer $HAND_OFF`,
].join(" ");
const main = `${shell}
${agent}
[ "$fault" = agent_dies ] && ${killAgent} && stay has no agent
${obey}`;

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

  /** `bootFolder`: what boot/build.mjs made. */
  constructor(projectFolder: string, logFolder: string, bootFolder: string) {
    super(pc, projectFolder, logFolder);
    this.bootFolder = bootFolder;
  }

  override async start(settings: CardSettings): Promise<void> {
    throw new Error(`stories of boots power their cards on: ${settings.promiseMs}`);
  }

  async boot(settings: BootSettings): Promise<void> {
    await this.close();
    this.parts ??= await prepareUefiGuest({
      machine: pc,
      cacheFolder: path.join(this.project, ".cache/guest"),
      appFolder: path.join(this.project, "dist"),
      hookFolder: path.join(this.project, "boot/linux"),
      main,
      intoFolder: this.logFolder,
    });
    this.cards += 1;
    const folder = path.join(this.logFolder, `card-${this.cards}`);
    this.powered = cardOf(settings, this.parts, { folder, bootFolder: this.bootFolder });
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
    this.powered = cardOf(settings, parts, { folder, bootFolder: this.bootFolder });
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
    return this.card.startedMs + zeroMs + countdown.refreshed_ms;
  }

  press(key: string): void {
    this.card.type(key);
  }

  override async close(): Promise<void> {
    await super.close();
    if (this.powered === null) return;
    // The partition is large and says nothing that the logs do not.
    for (const name of ["esp.img", "state.img"]) {
      fs.rmSync(path.join(this.powered.folder, name), { force: true });
    }
    this.powered = null;
  }

  protected override async powerOn(): Promise<void> {
    if (this.powered === null || this.parts === null) throw new Error("no card was prepared");
    const programs = this.parts.programs.replaceAll(",", ",,");
    this.guest = await startGuest({
      image: { machine: pc, stateDisk: this.stateDisk },
      board: [
        ...uefiArguments(this.powered),
        "-drive",
        `if=none,id=programs,format=raw,readonly=on,file=${programs}`,
        "-device",
        "virtio-blk-pci,drive=programs,serial=programs",
      ],
      logFolder: this.logFolder,
    });
  }
}

/** What the console shows right after the firmware's refresh, or tells of it. */
const refreshLine = new RegExp(`^(kennel: lab: hangs now|spin: hangs now|${handOffSaid} )`);

type Folders = Pick<UefiCard, "folder" | "bootFolder">;

function cardOf(settings: BootSettings, parts: UefiGuest, folders: Folders): UefiCard {
  const { device = "i6300esb", fault } = settings;
  const good: UefiSlot = { kernel: parts.kernel, initrd: parts.initrd };
  return {
    arch: "x64",
    watchdog: device === "none" ? "none" : device === "iTCO_wdt" ? "tco" : "esb-rom",
    configuration: fault === "no_configuration" ? null : configurationOf(settings),
    slots: { ...(fault === "no_kernel" ? {} : { a: badSlot(fault, good, folders) }), b: good },
    ...folders,
  };
}

function badSlot(fault: BootFault | undefined, good: UefiSlot, folders: Folders): UefiSlot {
  if (fault === "kernel_spins") {
    return { kernel: path.join(folders.bootFolder, "x64/lab/spin.efi") };
  }
  if (fault !== "damaged_kernel") return good;
  fs.mkdirSync(folders.folder, { recursive: true });
  const kernel = path.join(folders.folder, "damaged");
  fs.writeFileSync(kernel, Buffer.alloc(damagedBytes, "not a kernel "));
  return { ...good, kernel };
}
const damagedBytes = 100_000;

function configurationOf(settings: BootSettings): string {
  const { timeoutMs, fault, attempts = 1, device = "i6300esb", menu } = settings;
  const words = [
    consoleOptions(pc),
    `kennel.driver=${device}`,
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
