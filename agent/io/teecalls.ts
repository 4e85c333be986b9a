/**
 * How a call of the agent's looks to a trusted application, four parameters always:
 *   0  memory in: the input; none without one
 *   1  memory out: the output
 *   2  value out: `a` is the result's value
 *   3  memory in: the key under which the application remembers that it has done this; none for
 *      calls that are not keyed
 * A query has parameter 2, `a` other than 0 = done, and 3, the key asked after.
 */
import type { PipeParam } from "../wire/teepipe.ts";
import type { TeeOutcome } from "./tee.ts";
import type { Heard } from "./teehelpers.ts";

/** A security service as the device knows it. */
export interface DeviceService {
  readonly uuid: Uint8Array;
  /** TEE_IOCTL_LOGIN_*. */
  readonly login: number;
  /** The command that answers whether a key was used; null = the application keeps none. */
  readonly queryCommand: number | null;
  /** What its session is opened with. */
  readonly openParams?: readonly OpenParam[];
}

/** Two numbers, or bytes. */
export interface OpenParam {
  readonly value?: readonly [number, number];
  readonly bytes?: Uint8Array;
}

/** The proof of life: a harmless application, and what is asked of it. */
export interface Canary {
  readonly uuid: Uint8Array;
  readonly command: number;
  /** Room for the answer in memory shared with the TEE, bytes; 0 = no parameters at all. */
  readonly outputBytes: number;
}

/** Room for an output, bytes: more than the tokens and signatures that services give. */
export const outputBytesMax = 4_096;
/** Longest input: what is left of a call's memory. */
export const inputBytesMax = 32_768;
/** No application has it: who refuses it tells whether the session is alive. */
export const probeCommand = 0xffff_ffff;

/** TEE_IOCTL_PARAM_ATTR_TYPE_*. */
const none: PipeParam = { attr: 0 };
const valueOut: PipeParam = { attr: 2 };
const memoryIn = (bytes: Uint8Array): PipeParam => ({ attr: 5, bytes });
const output: PipeParam = { attr: 6, size: outputBytesMax };

export function openParams(given: readonly OpenParam[]): PipeParam[] {
  return given.map(({ value, bytes }) => {
    if (value !== undefined) return { attr: 1, a: value[0], b: value[1] };
    return bytes === undefined ? none : memoryIn(bytes);
  });
}

export function callParams(input: Uint8Array | null, key: string | null): PipeParam[] {
  return [
    input === null ? none : memoryIn(input),
    output,
    valueOut,
    key === null ? none : memoryIn(new TextEncoder().encode(key)),
  ];
}

/** As OP-TEE's list of devices takes them: one memory out, or nothing. */
export function canaryParams({ outputBytes }: Canary): PipeParam[] {
  return outputBytes === 0 ? [] : [{ attr: 6, size: outputBytes }];
}

export function queryParams(key: string): PipeParam[] {
  return [none, none, valueOut, memoryIn(new TextEncoder().encode(key))];
}

/** What came of a request to a helper. */
export function outcomeOf(heard: Heard): TeeOutcome {
  if (heard === "none") return { errno: "EIO", ret: 0, origin: 0 };
  if (heard === "died" || heard === "given_up") return { errno: "EOWNERDEAD", ret: 0, origin: 0 };
  const { errno, ret, origin, params = [] } = heard;
  const said = { errno: errno ?? null, ret, origin };
  const value = params[2]?.a;
  const bytes = params[1]?.bytes;
  return {
    ...said,
    ...(value === undefined ? {} : { value }),
    ...(bytes === undefined ? {} : { output: new Uint8Array(bytes) }),
  };
}
