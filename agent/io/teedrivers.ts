/** Why there is no TEE device: what the kernel's TEE drivers say by what they have made. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

export interface TeeRoots {
  readonly sys: string;
}
export const realTeeRoots: TeeRoots = { sys: "/sys" };

/** The drivers of Linux that make TEE devices, by their module names. */
const drivers = ["optee", "amdtee", "arm_tstee", "qcomtee"] as const;

/**
 * For people. A loaded driver without a device has asked the firmware and found no TEE, which is
 * another thing than a driver that is not loaded.
 */
export function whyNoDevice({ sys }: TeeRoots): string {
  const devices = entriesOf(join(sys, "class/tee")).filter((name) => /^tee\d+$/.test(name));
  if (devices.length > 0) return `the kernel has ${devices.map((name) => `/dev/${name}`).join()}`;
  const loaded = drivers.filter((name) => existsSync(join(sys, "module", name)));
  if (loaded.length > 0) return `the driver ${loaded.join()} is loaded and has found no TEE`;
  return "no TEE driver is loaded on this card";
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
