/**
 * The hand-off record: what firmware tells Linux about the boot so far and the countdown that is
 * running. Sealed, versioned and bounded; anything damaged or foreign is refused, never believed.
 */
import { Failure } from "../errors.ts";
import { decodeMap, encodeMap } from "./cbor.ts";
import { seal, unseal } from "./seal.ts";
import { bool, check, type Infer, int, list, map, oneOf, optional, text, uint } from "./shape.ts";

const magic = "KNLH";
/** Version of the contents; another one is refused by name. */
export const handOffVersion = 1;
/** A longer record is refused before it is read. */
export const handOffBytesMax = 4096;

const slot = oneOf("a", "b", "safe");
const stage = oneOf("power_on", "os_load", "hand_off", "adopt", "runtime");

const shape = map({
  version: uint,
  boot: text,
  slot,
  failures: uint,
  attempts_max: optional(uint),
  /** What refreshes and resets: `simulated i6300ESB`, `i6300esb`, `none`. */
  backend: text,
  /** The countdown as it stands at the last refresh; absent on a card without a watchdog. */
  countdown: optional(
    map({
      min_ms: uint,
      max_ms: uint,
      granted_ms: uint,
      remaining_ms: uint,
      refreshed_ms: int,
      /** The hardware lock is on: until the next reset nothing can stop the countdown. */
      locked: optional(bool),
    }),
  ),
  hardware_cause: oneOf("watchdog", "power", "panic", "unknown"),
  /** The boot before, as the firmware settled it. */
  previous: optional(
    map({
      boot: text,
      slot,
      stage,
      step: text,
      uptime_ms: uint,
      confirmed: bool,
      cause: oneOf("unknown", "power", "watchdog", "commanded", "clean", "panic"),
    }),
  ),
  /**
   * The processor's counter (x86_64: TSC, aarch64: CNTVCT_EL0), from which all times here are told:
   * ms = (counter - zero) * 1000 / hz. On x86_64 `hz` is what firmware measured, to a few percent.
   */
  counter: optional(map({ hz: uint, zero: uint })),
  stages: list(
    map({
      stage,
      start_ms: int,
      end_ms: optional(int),
      by: oneOf("nobody", "firmware", "countdown", "agent"),
      steps: list(map({ name: text, at_ms: int }), 16),
    }),
    8,
  ),
});

export type HandOff = Infer<typeof shape>;

export function encodeHandOff(record: HandOff): Uint8Array {
  return seal(magic, encodeMap(record), 0);
}

/** Decodes a record, or throws `boot.record` saying why it is not believed. */
export function decodeHandOff(bytes: Uint8Array): HandOff {
  if (bytes.length > handOffBytesMax) return refuse(`${bytes.length} bytes long`);
  const opened = unseal(magic, bytes);
  if (opened === null) return refuse("its header is damaged or foreign");
  if (!("data" in opened)) return refuse("its data is damaged");
  try {
    const content = decodeMap(opened.data);
    if (content.version !== handOffVersion) {
      return refuse(`version ${String(content.version)}, this agent knows ${handOffVersion}`);
    }
    return check(shape, content, "hand-off record");
  } catch (error) {
    if (error instanceof Failure && error.code === "wire.malformed") return refuse(error.message);
    throw error;
  }
}

function refuse(problem: string): never {
  throw new Failure("boot.record", `hand-off record refused: ${problem}`);
}
