/**
 * The parameters of a call, from what the pipe says to what the driver takes and back: one piece
 * of shared memory per call, each memory reference a part of it.
 */
import type { NativeTee } from "../../native/index.ts";
import type { PipeParam } from "../wire/teepipe.ts";

/** Parts begin where any number in them is aligned. */
const alignment = 8;
const numbersPerParameter = 4;

export interface Marshalled {
  /** Four per parameter: attr, a, b, c. */
  readonly numbers: BigUint64Array;
  /** Identifier of the shared memory; null when no parameter needs any. */
  readonly memory: number | null;
  readonly params: readonly PipeParam[];
}

/** Bytes of memory that a parameter needs; null when it is none. */
function roomOf({ attr, bytes, size = 0 }: PipeParam): number | null {
  return attr < 5 ? null : Math.max(bytes?.length ?? 0, size);
}

/** Allocates what the call needs and writes into it what goes in. System errors of the driver. */
export function marshal(tee: NativeTee, params: readonly PipeParam[]): Marshalled {
  const starts: number[] = [];
  let total = 0;
  for (const param of params) {
    starts.push(total);
    total += Math.ceil((roomOf(param) ?? 0) / alignment) * alignment;
  }
  const isNeeded = params.some((param) => roomOf(param) !== null);
  const memory = isNeeded ? tee.allocate(Math.max(total, 1)) : null;
  const numbers = new BigUint64Array(numbersPerParameter * params.length);
  params.forEach((param, index) => {
    const room = roomOf(param);
    const start = starts[index] ?? 0;
    if (memory !== null && room !== null && param.bytes !== undefined) {
      tee.write(memory, start, param.bytes);
    }
    const { a = 0, b = 0 } = param;
    const [first, second, third] = room === null ? [a, b, 0] : [start, room, memory ?? 0];
    numbers.set([param.attr, first, second, third].map(BigInt), numbersPerParameter * index);
  });
  return { numbers, memory, params };
}

/**
 * What came back. A size beyond what was given is what a service would have needed (SHORT_BUFFER):
 * nothing came out then.
 */
export function unmarshal(tee: NativeTee, sent: Marshalled, came: BigUint64Array): PipeParam[] {
  return sent.params.map((param, index) => {
    const { attr } = param;
    const at = numbersPerParameter * index;
    const [a = 0, b = 0] = [came[at + 1], came[at + 2]].map(Number);
    const room = roomOf(param);
    if (attr === 2 || attr === 3) return { attr, a: a >>> 0, b: b >>> 0 };
    if (room === null || sent.memory === null || attr === 5) return { attr };
    const start = Number(sent.numbers[at + 1] ?? 0n);
    const fits = b <= room;
    return { attr, size: b, bytes: tee.read(sent.memory, start, fits ? b : 0) };
  });
}
