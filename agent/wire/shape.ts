/**
 * The shapes of what comes over the wire or from disk: each is stated once, gives its TypeScript
 * type, and checks a decoded value. A mistake is a Failure `wire.malformed` with its path.
 * Members a shape does not name are ignored and left out, so that newer peers can say more.
 */
import { Failure } from "../errors.ts";

export interface Shape<T> {
  /** What it is, for messages: `uint`, `text`, `list`. */
  readonly what: string;
  /** Returns the value, rebuilt from known members only, or throws. `path` names the member. */
  readonly parse: (value: unknown, path: string) => T;
  readonly isOptional?: true;
  /** Of a map with named members: their names. */
  readonly members?: readonly string[];
}

export type Infer<S> = S extends Shape<infer T> ? T : never;

/** A member that may be absent. */
export interface OptionalShape<T> extends Shape<T> {
  readonly isOptional: true;
}

/** Longest text accepted unless a shape says otherwise. */
export const textMax = 256;
/** Most members of a record whose keys are not named. */
export const recordMax = 64;

function wrong(path: string, expected: string, value: unknown): never {
  throw new Failure("wire.malformed", `${path}: expected ${expected}, found ${describe(value)}`);
}

function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "string") return `text of ${value.length} characters`;
  if (typeof value === "object") return "a map";
  return `${typeof value} ${String(value)}`;
}

function simple<T>(what: string, accepts: (value: unknown) => value is T): Shape<T> {
  const parse = (value: unknown, path: string): T =>
    accepts(value) ? value : wrong(path, what, value);
  return { what, parse };
}

const isInt = (value: unknown): value is number => Number.isSafeInteger(value);

/** A whole number within +-2^53. */
export const int = simple("int", isInt);
/** A whole number from 0 to 2^53. */
export const uint = simple("uint", (value): value is number => isInt(value) && value >= 0);
/** Any finite number. */
export const number = simple("number", (value): value is number => Number.isFinite(value));
export const bool = simple("bool", (value): value is boolean => typeof value === "boolean");
export const bytes = simple("bytes", (value): value is Uint8Array => value instanceof Uint8Array);
/** Text of at most `max` characters (UTF-16 units). */
export function textOf(max: number): Shape<string> {
  return simple(
    `text of at most ${max} characters`,
    (value): value is string => typeof value === "string" && value.length <= max,
  );
}

/** Text of at most `textMax` characters. */
export const text = textOf(textMax);

/** A text as a reader takes it: the end of one that is longer than `textMax` is left out. */
export function cutText(value: string): string {
  return value.length <= textMax ? value : `${value.slice(0, textMax - 1)}…`;
}

export function oneOf<const T extends readonly string[]>(...words: T): Shape<T[number]> {
  return simple(`one of ${words.join(", ")}`, (value): value is T[number] =>
    words.includes(value as T[number]),
  );
}

/** What one of two shapes takes. */
export function either<A, B>(first: Shape<A>, second: Shape<B>): Shape<A | B> {
  const what = `${first.what} or ${second.what}`;
  const parse = (value: unknown, path: string): A | B => {
    for (const shape of [first, second]) {
      try {
        return shape.parse(value, path);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
      }
    }
    return wrong(path, what, value);
  };
  return { what, parse };
}

/** A list of at most `max` items. */
export function list<T>(of: Shape<T>, max = 64): Shape<T[]> {
  const what = `list of at most ${max}`;
  const parse = (value: unknown, path: string): T[] => {
    if (!Array.isArray(value) || value.length > max) return wrong(path, what, value);
    return value.map((item, at) => of.parse(item, `${path}[${at}]`));
  };
  return { what, parse };
}

/** A member that may be absent. */
export function optional<T>(of: Shape<T>): OptionalShape<T> {
  return { ...of, isOptional: true };
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array)
  );
}

/** The same value with every text cut to what a reader takes. */
export function cutTexts<T>(value: T): T {
  if (typeof value === "string") return cutText(value) as T;
  if (Array.isArray(value)) return value.map(cutTexts) as T;
  if (!isPlain(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, cutTexts(item)])) as T;
}

/** A map from any text to `of`, at most `recordMax` members. */
export function record<T>(of: Shape<T>): Shape<Record<string, T>> {
  const what = `map of at most ${recordMax} members`;
  const parse = (value: unknown, path: string): Record<string, T> => {
    if (!isPlain(value)) return wrong(path, what, value);
    const entries = Object.entries(value);
    if (entries.length > recordMax) return wrong(path, what, value);
    return Object.fromEntries(
      entries.map(([key, item]) => [key, of.parse(item, `${path}.${key}`)]),
    );
  };
  return { what, parse };
}

/** Text, number or bool: what flat event data is made of. */
export const scalar = simple(
  "text, number or bool",
  (value): value is string | number | boolean =>
    typeof value === "boolean" ||
    Number.isFinite(value) ||
    (typeof value === "string" && value.length <= textMax),
);

type Members = Record<string, Shape<unknown>>;
type OptionalKeys<M extends Members> = {
  [K in keyof M]: M[K] extends { isOptional: true } ? K : never;
}[keyof M];
type MapOf<M extends Members> = {
  [K in Exclude<keyof M, OptionalKeys<M>>]: Infer<M[K]>;
} & { [K in OptionalKeys<M>]?: Infer<M[K]> };
type Flat<T> = { [K in keyof T]: T[K] };

/** A map with named members. */
export function map<M extends Members>(members: M): Shape<Flat<MapOf<M>>> {
  const entries = Object.entries(members);
  const parse = (value: unknown, path: string): Flat<MapOf<M>> => {
    if (!isPlain(value)) return wrong(path, "map", value);
    const result: Record<string, unknown> = {};
    for (const [key, shape] of entries) {
      const member = Object.hasOwn(value, key) ? value[key] : undefined;
      if (member !== undefined) result[key] = shape.parse(member, `${path}.${key}`);
      else if (shape.isOptional !== true) wrong(`${path}.${key}`, shape.what, undefined);
    }
    return result as Flat<MapOf<M>>;
  };
  return { what: "map", parse, members: Object.keys(members) };
}

/** Checks a decoded value; `what` names it in messages. Failure `wire.malformed`. */
export function check<T>(shape: Shape<T>, value: unknown, what: string): T {
  return shape.parse(value, what);
}
