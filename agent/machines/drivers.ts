/** What Linux watchdog drivers do that no interface tells: read in their sources, seen in QEMU. */
import type { Driver } from "./countdowns.ts";

type Habits = Pick<Driver, "at_probe" | "expiries" | "can_stop" | "stop_on_reboot">;

const plain = { expiries: 1, can_stop: true, stop_on_reboot: true } as const;

/** By name of the module. */
const known: Readonly<Record<string, Habits>> = {
  i6300esb: { ...plain, at_probe: "stops" },
  ib700wdt: { ...plain, at_probe: "stops" },
  // The countdown reaches zero twice before the reset (TCO version 2).
  iTCO_wdt: { ...plain, at_probe: "keeps", expiries: 2 },
  sbsa_gwdt: { ...plain, at_probe: "keeps" },
  // Cannot be stopped once started: after a disarm the kernel refreshes it (seen on a sabre board).
  imx2_wdt: { ...plain, at_probe: "keeps", can_stop: false },
  // The same, where the chip has no reset line of its own for it.
  dw_wdt: { ...plain, at_probe: "keeps", can_stop: false },
  aspeed_wdt: { ...plain, at_probe: "keeps" },
  npcm_wdt: { ...plain, at_probe: "keeps" },
  arm_smc_wdt: { ...plain, at_probe: "ignores" },
  softdog: { ...plain, at_probe: "ignores" },
};

/** The habits of a driver, by its module's name; null for one that is not known. */
export function habitsOf(driver: string): Habits | null {
  return Object.hasOwn(known, driver) ? (known[driver] ?? null) : null;
}

/** How often the countdown of a driver reaches zero before it resets the card. */
export function roundsOf(driver: string | null): number {
  return habitsOf(driver ?? "")?.expiries ?? 1;
}

/** Of a driver that is not known the worse is assumed. */
export const worstHabits: Habits = { ...plain, at_probe: "stops" };
