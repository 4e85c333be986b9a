/**
 * The platform's boot controls, simulated: attributes that behave as the real driver's do, with
 * the ways in which real firmware does not do what it is told as named faults.
 */
import { Failure } from "../errors.ts";
import type { BootControl, ControlKind } from "../io/bootcontrol.ts";

export interface ControlFaults {
  /** Firmware takes every value and goes on as before. */
  ignores?: boolean;
  /** Firmware from before the modes: of `post_reset_wdog` it keeps the interval alone. */
  ignoresMode?: boolean;
  /** Every write is refused. */
  refuses?: boolean;
  /** So many writes are refused, and then none. */
  refusesFirst?: number;
}

export class SimBootControl implements BootControl {
  readonly kind: ControlKind;
  readonly path = "sim";
  faults: ControlFaults = {};
  /** Every write that was taken, in order, as `attribute=value`. */
  readonly writes: string[] = [];
  private readonly attributes: Map<string, string>;

  constructor(kind: ControlKind, attributes: Readonly<Record<string, string>>) {
    this.kind = kind;
    this.attributes = new Map(Object.entries(attributes));
  }

  read(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.attributes);
  }

  /** Somebody else, such as an operator or the firmware, sets an attribute. */
  set(attribute: string, value: string): void {
    this.attributes.set(attribute, value);
  }

  write(attribute: string, value: string): void {
    const { refuses = false, refusesFirst = 0, ignores = false } = this.faults;
    if (refuses || refusesFirst > 0) {
      this.faults = { ...this.faults, refusesFirst: Math.max(refusesFirst - 1, 0) };
      throw new Failure("boot.control", `${attribute}: ${value} was refused: EIO`);
    }
    this.writes.push(`${attribute}=${value}`);
    if (ignores) return;
    // Written and never read: what they do shows elsewhere.
    if (attribute === "success") return this.set("running", "0");
    if (attribute === "os_up") return;
    const kept =
      attribute === "post_reset_wdog" && this.faults.ignoresMode === true
        ? String(Number(value) & 0xffff)
        : value;
    this.set(attribute, kept);
  }
}
