/**
 * CBOR in and out; the one file that imports cbor-x. Out: definite lengths, shortest integers,
 * no tags, members in the order given. In: what scan.ts accepts.
 */
import { Decoder, Encoder } from "cbor-x";
import { Failure } from "../errors.ts";
import { scanMap } from "./scan.ts";

const settings = {
  useRecords: false,
  variableMapSize: true,
  tagUint8Array: false,
  mapsAsObjects: true,
} as const;
const encoder = new Encoder(settings);
const decoder = new Decoder(settings);

/** Encodes a map; members that are undefined are left out. The bytes are the caller's to keep. */
export function encodeMap(value: Readonly<Record<string, unknown>>): Uint8Array {
  // A copy: cbor-x gives a window on its pool, a Buffer, whose slice() would be a window again.
  return new Uint8Array(encoder.encode(isPlain(value) ? value : plain(value, "message")));
}

/** Can cbor-x be given the value as it is? So it is nearly always, and costs no copy. */
function isPlain(value: unknown): boolean {
  switch (typeof value) {
    case "string":
      return wireText(value) === value;
    case "boolean":
      return true;
    case "number":
      return Number.isInteger(value)
        ? value <= 0xffffffff && value >= -0x100000000
        : Number.isFinite(value);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (Array.isArray(value)) return value.every(isPlain);
  if (Object.getPrototypeOf(value) !== Object.prototype) return value instanceof Uint8Array;
  for (const key in value) {
    if (wireText(key) !== key || !isPlain((value as Record<string, unknown>)[key])) return false;
  }
  return true;
}

/**
 * Rebuilds a value from what the wire knows. cbor-x would write integers from 2^32 as floats, so
 * those become BigInt, which it writes in eight bytes: the shortest form there.
 */
function plain(value: unknown, path: string): unknown {
  switch (typeof value) {
    case "string":
      return wireText(value);
    case "boolean":
      return value;
    case "number":
      return wireNumber(value, path);
    case "object":
      break;
    default:
      return refuse(path, typeof value);
  }
  if (value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map((item, at) => plain(item, `${path}[${at}]`));
  if (Object.getPrototypeOf(value) !== Object.prototype) {
    return refuse(path, value.constructor?.name ?? "object");
  }
  const members: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    if (member !== undefined) members[wireText(key)] = plain(member, `${path}.${key}`);
  }
  return members;
}

/** Half a surrogate pair, as cutting text leaves it, is no UTF-8: every reader would refuse it. */
function wireText(value: string): string {
  return (value as WellFormed).toWellFormed();
}

/** In every Node from 20 on, and in the compiler's library from ES2024 on. */
type WellFormed = string & { toWellFormed(): string };

function wireNumber(value: number, path: string): number | bigint {
  if (!Number.isFinite(value)) return refuse(path, String(value));
  if (Object.is(value, -0)) return 0;
  if (!Number.isSafeInteger(value)) return value;
  return value > 0xffffffff || value < -0x100000000 ? BigInt(value) : value;
}

function refuse(path: string, what: string): never {
  throw new Failure("wire.malformed", `${path}: ${what} has no form on the wire`);
}

/** Decodes one map; an empty body is an empty map. Failure `wire.malformed`. */
export function decodeMap(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.length === 0) return {};
  const scanned = scanMap(bytes);
  try {
    const value: unknown = decoder.decode(scanned.bytes);
    return (scanned.unsettled ? settle(value) : value) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof Failure) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("wire.malformed", `CBOR refused: ${why}`, { cause: error });
  }
}

/** 64-bit integers come as BigInt, small ones too: back to numbers where they fit. */
function settle(value: unknown): unknown {
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(settle);
  for (const [key, member] of Object.entries(value)) {
    if (typeof member === "object" || typeof member === "bigint") {
      (value as Record<string, unknown>)[key] = settle(member);
    }
  }
  return value;
}
