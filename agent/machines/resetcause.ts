/**
 * Why the boot before ended, from everything that can tell: the watchdog's boot status, crash
 * records of the kernel, the firmware's word, and the agent's own note. Never guessed: what
 * contradicts itself or says nothing is `unknown`. Pure.
 */
import type { Cause, HardwareCause } from "./bootrecord.ts";

export interface Evidence {
  /** WDIOC_GETBOOTSTATUS as read before opening; 0 and null say nothing. */
  readonly bootStatus: number | null;
  /** Whether the kernel left a crash record (pstore) since the boot before; null = not known. */
  readonly crashed: boolean | null;
  /** What firmware or platform says of this reset. */
  readonly firmware: HardwareCause;
}

/** WDIOF_CARDRESET, WDIOF_POWERUNDER and WDIOF_POWEROVER of <linux/watchdog.h>. */
const statusBits = { cardReset: 0x20, powerUnder: 0x10, powerOver: 0x40 } as const;

function has(bootStatus: number | null, bits: number): boolean {
  return bootStatus !== null && (bootStatus & bits) !== 0;
}

/**
 * What the machine itself tells, without our notes. A crash record comes first: the watchdog that
 * ends a crashed kernel is not what killed it.
 */
export function hardwareCause(evidence: Evidence): HardwareCause {
  const { bootStatus, crashed, firmware } = evidence;
  if (crashed === true) return "panic";
  const said = new Set<HardwareCause>(firmware === "unknown" ? [] : [firmware]);
  if (has(bootStatus, statusBits.cardReset)) said.add("watchdog");
  if (has(bootStatus, statusBits.powerUnder | statusBits.powerOver)) said.add("power");
  const [only, ...others] = said;
  return only === undefined || others.length > 0 ? "unknown" : only;
}

/**
 * The cause, with the note taken into account. The machine's word of a watchdog or a panic stands
 * above a note: a reboot that was asked for may hang. Without a word of it a note is believed; one
 * of an agent that was stopped for itself says `unknown`, and so does not explain the reset.
 */
export function causeOf(hardware: HardwareCause, noted: Cause | null): Cause {
  if (hardware === "watchdog" || hardware === "panic") return hardware;
  // A withheld refresh was noted, and then the power went: no watchdog did this.
  if (hardware === "power" && noted === "watchdog") return "power";
  return noted === null || noted === "unknown" ? hardware : noted;
}

/** The evidence for people, such as `bootstatus 0x20, crash record none, firmware unknown`. */
export function evidenceText({ bootStatus, crashed, firmware }: Evidence): string {
  const status = bootStatus === null ? "not reported" : `0x${bootStatus.toString(16)}`;
  const record = crashed === null ? "not known" : crashed ? "new" : "none";
  return `bootstatus ${status}, crash record ${record}, firmware ${firmware}`;
}
