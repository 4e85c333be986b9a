/**
 * Kennel's UEFI variables, as efivarfs shows them: four bytes of attributes, then the data. The
 * names are shared with boot/uefi.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../errors.ts";

export const efiVariables = {
  vendor: "6f1bd1c4-8d6a-4a3e-9a59-3c1f0f6f7c11",
  /** The hand-off record; volatile, by firmware. */
  handOff: "KennelHandOff",
  /** What firmware keeps from boot to boot; non-volatile, by firmware. */
  boot: "KennelBoot",
  /** The id of a boot that proved healthy; by Linux, taken in and removed by the next boot. */
  confirm: "KennelConfirm",
  /** Why this boot is about to end, as a word; by Linux, taken in and removed by the next boot. */
  closing: "KennelClosing",
} as const;

/** Where efivarfs is mounted. */
export const efiFolder = "/sys/firmware/efi/efivars";
const attributeBytes = 4;
/** Non-volatile, boot service access, runtime access. */
const attributes = 7;
/** Longer ones are not ours. */
const variableBytesMax = 8192;

function pathOf(folder: string, name: string): string {
  return join(folder, `${name}-${efiVariables.vendor}`);
}

/** The variable's data; null when it is absent, unreadable or too long to be ours. */
export function readVariable(name: string, folder = efiFolder): Uint8Array | null {
  try {
    const bytes = readFileSync(pathOf(folder, name));
    if (bytes.length < attributeBytes || bytes.length > variableBytesMax) return null;
    return bytes.subarray(attributeBytes);
  } catch {
    return null;
  }
}

/**
 * Creates a variable. One that exists cannot be changed or removed: efivarfs makes what it does
 * not know immutable, and only firmware can take it away. Failure `boot.control`.
 */
export function createVariable(name: string, data: Uint8Array, folder = efiFolder): void {
  const path = pathOf(folder, name);
  const bytes = new Uint8Array(attributeBytes + data.length);
  bytes[0] = attributes;
  bytes.set(data, attributeBytes);
  try {
    // One write: efivarfs takes each as a whole variable.
    writeFileSync(path, bytes, { flag: "wx" });
  } catch (error) {
    const { code = "an unknown error" } = error as NodeJS.ErrnoException;
    const why = reasons[code] ?? code;
    const evidence = { path, code };
    throw new Failure("boot.control", `UEFI variable ${name}: ${why}`, { cause: error, evidence });
  }
}

const reasons: Readonly<Record<string, string>> = {
  EEXIST: "it is there from an earlier boot that no loader of ours took in",
  EPERM: "the firmware does not let it be written",
  EROFS: "efivarfs is mounted read-only",
  ENOSPC: "the firmware's store is full",
  ENOENT: "efivarfs is not mounted",
};
