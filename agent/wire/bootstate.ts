/**
 * What firmware keeps from boot to boot in its variable `KennelBoot`: slots, failures in a row, how
 * far this boot and the one before came. Its twin is boot/uefi/bootstate.c, byte for byte.
 */
import { Failure } from "../errors.ts";
import { decodeMap, encodeMap } from "./cbor.ts";
import { seal, unseal } from "./seal.ts";
import { bool, check, type Infer, map, oneOf, optional, text, uint } from "./shape.ts";

const magic = "KNLB";
export const bootStateVersion = 1;
/** A longer one is refused before it is read. */
export const bootStateBytesMax = 640;

const slot = oneOf("a", "b", "safe");
const entry = map({
  boot: text,
  slot,
  stage: oneOf("power_on", "os_load", "hand_off", "adopt", "runtime"),
  /** The step that was about to be run; a hang is in it. */
  step: text,
  uptime_ms: uint,
  confirmed: bool,
  /** Known of the boot before only. */
  cause: oneOf("unknown", "power", "watchdog", "commanded", "clean", "panic"),
});
const shape = map({
  version: uint,
  boots: uint,
  active: slot,
  trial: optional(oneOf("a", "b")),
  failures: map({ a: uint, b: uint }),
  attempts_max: uint,
  current: optional(entry),
  previous: optional(entry),
});

export type FirmwareBoots = Infer<typeof shape>;

export function encodeBootState(state: FirmwareBoots): Uint8Array {
  return seal(magic, encodeMap(state), 0);
}

/** Decodes a state, or throws `boot.record` saying why it is not believed. */
export function decodeBootState(bytes: Uint8Array): FirmwareBoots {
  if (bytes.length > bootStateBytesMax) return refuse(`${bytes.length} bytes long`);
  const opened = unseal(magic, bytes);
  if (opened === null || !("data" in opened)) return refuse("it is damaged or foreign");
  try {
    const content = decodeMap(opened.data);
    if (content.version !== bootStateVersion) return refuse(`version ${String(content.version)}`);
    return check(shape, content, "boot state");
  } catch (error) {
    if (error instanceof Failure && error.code === "wire.malformed") return refuse(error.message);
    throw error;
  }
}

function refuse(problem: string): never {
  throw new Failure("boot.record", `the firmware's boot state is refused: ${problem}`);
}
