/**
 * What the process with the simulated TEE is told besides calls: which helpers never send. The same
 * frames as teepipe.ts, told apart by the member `control`.
 */
import { decodeMap } from "./cbor.ts";
import {
  bool,
  check,
  type Infer,
  list,
  map,
  number,
  oneOf,
  optional,
  text,
  uint,
} from "./shape.ts";
import { type PipeReply, replyOf } from "./teepipe.ts";

const controlShape = map({
  id: uint,
  /**
   * `inject`: something goes wrong now; `faults`: how it behaves from now on, replacing what was
   * said before; `supplicant`: it is killed or started.
   */
  control: oneOf("inject", "faults", "supplicant"),
  fault: optional(oneOf("panic", "hang", "supplicant_death")),
  service: optional(text),
  isUp: optional(bool),
  slowness: optional(number),
  staticSharedMemory: optional(bool),
  poison: optional(
    list(map({ service: text, command: uint, kills: oneOf("service", "tee_os") }), 8),
  ),
});
export type TwinControl = Infer<typeof controlShape>;

/** Null when the message is a call, for `requestOf`. */
export function controlOf(body: Uint8Array): TwinControl | null {
  const found = decodeMap(body);
  return "control" in found ? check(controlShape, found, "control") : null;
}

/** What the twin says first on every connection: reply 0, `version` = [OP-TEE, caps, instance]. */
export interface TwinGreeting {
  /** TEE_IMPL_ID_OPTEE, and TEE_GEN_CAP_*: REG_MEM is missing with static shared memory. */
  readonly implementation: number;
  readonly genericCaps: number;
  /** Which life of the TEE OS this is: 1, 2, ... */
  readonly instance: number;
}

export const twinCaps = { globalPlatform: 1, registeredMemory: 4 } as const;

export function greet({ implementation, genericCaps, instance }: TwinGreeting): PipeReply {
  return { id: 0, ret: 0, origin: 0, version: [implementation, genericCaps, instance] };
}

/** Failure `wire.malformed` when the first message is no greeting. */
export function greetingOf(body: Uint8Array): TwinGreeting {
  const [implementation = 0, genericCaps = 0, instance = 0] = replyOf(body).version ?? [];
  return { implementation, genericCaps, instance };
}
