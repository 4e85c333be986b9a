/** The boot controls of this machine, found by what is there. */
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { Failure } from "../errors.ts";
import type { BootControl, ControlKind } from "./bootcontrol.ts";
import { createVariable, efiVariables, readVariable } from "./efivars.ts";

/** A value is a word or a number. */
const valueCharactersMax = 256;
/** Folders of one bus that are searched for a counter. */
const devicesMax = 512;

/** A folder of attributes below /sys. */
class SysfsControl implements BootControl {
  readonly kind: ControlKind;
  readonly path: string;
  private readonly attributes: readonly string[];

  constructor(kind: ControlKind, path: string, attributes: readonly string[]) {
    this.kind = kind;
    this.path = path;
    this.attributes = attributes;
  }

  read(): Readonly<Record<string, string>> {
    const present = this.attributes.filter((name) => existsSync(join(this.path, name)));
    return Object.fromEntries(present.map((name) => [name, readText(join(this.path, name))]));
  }

  write(attribute: string, value: string): void {
    const path = join(this.path, attribute);
    try {
      writeExisting(path, `${value}\n`);
    } catch (error) {
      const { code = "an unknown error" } = error as NodeJS.ErrnoException;
      throw new Failure("boot.control", `${path}: ${value} was refused: ${code}`, {
        cause: error,
        evidence: { path, value, code },
      });
    }
  }
}

/** As `echo VALUE >FILE` does it, but creating nothing. */
function writeExisting(path: string, text: string): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_TRUNC);
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

/** Our own loader's: it reads the boot's confirmation from a variable that Linux creates. */
class UefiControl implements BootControl {
  readonly kind = "uefi";
  readonly path: string;

  constructor(folder: string) {
    this.path = folder;
  }

  read(): Readonly<Record<string, string>> {
    const found = uefiNotes.map((note): [string, Uint8Array | null] => {
      return [note, readVariable(efiVariables[note], this.path)];
    });
    return Object.fromEntries(
      found.flatMap(([note, data]) =>
        data === null ? [] : [[note, textOf(Buffer.from(data).toString())]],
      ),
    );
  }

  write(attribute: string, value: string): void {
    const note = uefiNotes.find((name) => name === attribute);
    if (note === undefined) {
      throw new Failure("boot.control", `no UEFI variable for ${attribute}`);
    }
    createVariable(efiVariables[note], Buffer.from(value), this.path);
  }
}

/** What Linux leaves for the next boot, each once. */
const uefiNotes = ["confirm", "closing"] as const;

/**
 * Every control under `sys`, in the order in which they are told of. Sources: the kernel's
 * ABI/testing/sysfs-platform-mellanox-bootctl, Pensando's bsm driver, and the out-of-tree
 * drivers/misc/uboot_bootcount.c, whose counter is an attribute of a platform, misc or i2c device.
 */
export function findBootControls(sys = "/sys"): BootControl[] {
  const controls: BootControl[] = [];
  const efi = join(sys, "firmware/efi/efivars");
  const isOurs = [efiVariables.boot, efiVariables.handOff].some(
    (name) => readVariable(name, efi) !== null,
  );
  if (isOurs) controls.push(new UefiControl(efi));
  const bluefield = ["/driver", ""]
    .map((end) => join(sys, `bus/platform/devices/MLNXBF04:00${end}`))
    .find((folder) => existsSync(join(folder, "post_reset_wdog")));
  if (bluefield !== undefined) {
    controls.push(new SysfsControl("bluefield", bluefield, attributes.bluefield));
  }
  const bsm = join(sys, "firmware/pensando/bsm");
  if (existsSync(join(bsm, "success"))) {
    controls.push(new SysfsControl("pensando", bsm, attributes.pensando));
  }
  const counter = findCounter(sys);
  if (counter !== null) controls.push(new SysfsControl("uboot", counter, attributes.uboot));
  return controls;
}

const attributes = {
  bluefield: ["post_reset_wdog", "reset_action", "second_reset_action", "os_up"],
  pensando: ["wdt", "fwid", "attempt", "track", "stage", "running", "autoboot", "success"],
  uboot: ["bootcount"],
} as const;

function findCounter(sys: string): string | null {
  for (const bus of ["class/misc", "bus/platform/devices", "bus/i2c/devices"]) {
    const folder = join(sys, bus);
    for (const name of listFolder(folder).slice(0, devicesMax)) {
      if (existsSync(join(folder, name, "bootcount"))) return join(folder, name);
    }
  }
  return null;
}

function listFolder(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}

/** Empty for what can only be written: `os_up` and `success`. */
function readText(path: string): string {
  try {
    return textOf(readFileSync(path, "utf8").trim());
  } catch {
    return "";
  }
}

/** Others wrote it: what is no printable character shows as a question mark. */
function textOf(value: string): string {
  return value.slice(0, valueCharactersMax).replace(/[^\x20-\x7e]/g, "?");
}
