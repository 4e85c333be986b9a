/**
 * What a confirmed boot means to each platform's firmware: which attributes are to be written, in
 * an order that leaves every interruption safe, and what must be read back. Pure.
 *
 * Only what is not so already is written: confirming a second time writes nothing.
 */
import type { ControlKind } from "../io/bootcontrol.ts";

export type Attributes = Readonly<Record<string, string>>;

/** BlueField: what the on-chip watchdog is to do from the next reset on. */
export interface NextReset {
  /** `standard`: firmware refreshes while it boots; `time_limit`: nobody does. */
  readonly mode: "disabled" | "standard" | "time_limit";
  /** 45 to 4095 s; of no meaning when disabled. */
  readonly intervalS: number;
}

export interface Wish {
  /** This boot's id. */
  readonly boot: string;
  readonly nextReset: NextReset;
}

export interface Write {
  readonly attribute: string;
  readonly value: string;
  /** Which attribute then has to hold which number or word; null for what cannot be read. */
  readonly proof: { readonly attribute: string; readonly value: string } | null;
}

/** The interval's limits; source: mlxbf-bootctl(8) for BlueField-3. */
export const intervalRangeS = { min: 45, max: 4095 } as const;
const modes = { disabled: 0, standard: 1, time_limit: 2 } as const;

/** `post_reset_wdog` packs the interval in its low 16 bits and the mode in the 8 above. */
export function packWatchdog({ mode, intervalS }: NextReset): number {
  return mode === "disabled" ? 0 : intervalS + modes[mode] * 0x10000;
}

/** What a `post_reset_wdog` holds; firmware that knows no modes shows the interval alone. */
export function unpackWatchdog(packed: number): NextReset {
  const intervalS = packed & 0xffff;
  const found = (packed >> 16) & 0xff;
  if (packed === 0) return { mode: "disabled", intervalS: 0 };
  return { mode: found === modes.time_limit ? "time_limit" : "standard", intervalS };
}

type Planner = (found: Attributes, wish: Wish) => readonly Write[];

const planners: { readonly [K in ControlKind]: Planner } = {
  uefi: (found, { boot }) => (found.confirm === boot ? [] : [proven("confirm", boot)]),
  // The swap first: a reset between the two then finds a watchdog, and not a swapped partition.
  bluefield: (found, { nextReset }) => {
    const writes: Write[] = [];
    if (found.second_reset_action === "swap_emmc") {
      writes.push(proven("second_reset_action", "none"));
    }
    const wanted = String(packWatchdog(nextReset));
    if (!same(found.post_reset_wdog, wanted)) writes.push(proven("post_reset_wdog", wanted));
    if (found.os_up !== undefined) writes.push({ attribute: "os_up", value: "1", proof: null });
    return writes;
  },
  pensando: (found) => {
    if (found.running === undefined || same(found.running, "0")) return [];
    const proof = { attribute: "running", value: "0" };
    return [{ attribute: "success", value: "1", proof }];
  },
  uboot: (found) => (same(found.bootcount, "0") ? [] : [proven("bootcount", "0")]),
};

/** What is left to write so that this boot counts as good. */
export function confirmPlan(kind: ControlKind, found: Attributes, wish: Wish): readonly Write[] {
  return planners[kind](found, wish);
}

/**
 * What tells the firmware that this boot ends on purpose, so that it does not count as a failed
 * one. Our loader alone asks for it; what it was once told cannot be taken back.
 */
export function closingPlan(kind: ControlKind, found: Attributes): readonly Write[] {
  if (kind !== "uefi" || found.closing !== undefined) return [];
  return [proven("closing", "commanded")];
}

/** What is wrong with what was read back; null when it is as it was written. */
export function unproven(write: Write, found: Attributes): string | null {
  const { proof } = write;
  if (proof === null) return null;
  const now = found[proof.attribute];
  if (same(now, proof.value)) return null;
  const shown = now === undefined ? "cannot be read" : `reads ${now}`;
  return `${write.value} was written to ${write.attribute}, and ${proof.attribute} ${shown}`;
}

/** The same word, or the same number however it is written. */
function same(found: string | undefined, wanted: string): boolean {
  if (found === undefined) return false;
  if (found === wanted) return true;
  return isNumber(found) && isNumber(wanted) && Number(found) === Number(wanted);
}

function isNumber(text: string): boolean {
  return /^(\d{1,10}|0x[\da-f]{1,8})$/i.test(text);
}

function proven(attribute: string, value: string): Write {
  return { attribute, value, proof: { attribute, value } };
}

type Describer = (found: Attributes) => string;

/** For people: what the next resets will do. */
const describers: { readonly [K in ControlKind]: Describer } = {
  uefi: ({ confirm = "none" }) => `confirmed ${confirm}`,
  bluefield: ({ post_reset_wdog = "", second_reset_action = "unknown" }) => {
    const known = isNumber(post_reset_wdog);
    const { mode, intervalS } = unpackWatchdog(known ? Number(post_reset_wdog) : 0);
    const every = mode === "disabled" ? "" : ` ${intervalS} s`;
    const watchdog = known ? `${mode}${every}` : "unknown";
    return `watchdog after reset ${watchdog}, second reset ${second_reset_action}`;
  },
  pensando: ({ fwid = "?", attempt = "?", running = "?" }) =>
    `running ${running}, attempt ${attempt}, firmware ${fwid}`,
  uboot: ({ bootcount = "unknown" }) => `bootcount ${bootcount}`,
};

export function describeControl(kind: ControlKind, found: Attributes): string {
  return describers[kind](found);
}
