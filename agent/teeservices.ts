/**
 * What is registered of each security service besides its application: who may use it, how its
 * commands may be repeated, and how it is made whole again after its session was opened.
 */
import { Failure } from "./errors.ts";
import type { OpenParam } from "./io/teecalls.ts";
import type { CallClass } from "./machines/teecalls.ts";
import type { RehydrateStep } from "./machines/teeconfig.ts";
import { type Infer, list, map, oneOf, optional, text, uint } from "./wire/shape.ts";
import { inputBytesMax } from "./wire/teeapi.ts";

/** Users and groups of one service, commands with a class of their own, steps of a recipe. */
const idsMax = 64;
const commandsMax = 64;
const rehydrateMax = 8;
/** A session is opened with at most so many parameters (TEEC_CONFIG_PAYLOAD_REF_COUNT). */
const openParamsMax = 4;
/** Highest user or group id; the one above means "nobody" to the kernel. */
const idMax = 0xffff_fffe;
/** Hexadecimal text is twice as long as its bytes; shape.ts bounds texts at 256 characters. */
const hex = text;

const callClass = oneOf("idempotent", "keyed", "once");

/** Members of an entry in `tee.applications`. */
export const serviceMembers = {
  /** Who may use it, besides root and the user that the agent runs as. */
  allow: optional(map({ uids: optional(list(uint, idsMax)), gids: optional(list(uint, idsMax)) })),
  /** How a command may be repeated when nothing else is said of it; "once" when absent. */
  class: optional(callClass),
  commands: optional(list(map({ command: uint, class: callClass }), commandsMax)),
  /** What the session is opened with, none of it secret: two numbers, or bytes as hex. */
  open_params: optional(
    list(map({ value: optional(list(uint, 2)), bytes: optional(hex) }), openParamsMax),
  ),
  /** Called in this order after each opening, before the service counts as available. */
  rehydrate: optional(list(map({ command: uint, input: optional(hex) }), rehydrateMax)),
} as const;
const members = map(serviceMembers);
type Members = Infer<typeof members>;

export interface ServicePolicy {
  readonly name: string;
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  /** The class of a call that names none. */
  readonly defaultClass: CallClass;
  /** What is registered of single commands: binding, except that `once` is always granted. */
  readonly classes: ReadonlyMap<number, CallClass>;
}

/** Failure `config.invalid` for an id that nobody has, or a command that is named twice. */
export function policyOf(name: string, entry: Members = {}): ServicePolicy {
  const { allow = {}, class: defaultClass = "once", commands = [] } = entry;
  const { uids = [], gids = [] } = allow;
  const wrong = [...uids, ...gids].find((id) => id > idMax);
  if (wrong !== undefined) refuse(`tee.applications: ${name} allows the id ${wrong}`);
  const classes = new Map(commands.map((one) => [one.command, one.class]));
  if (classes.size < commands.length) refuse(`tee.applications: ${name} has a command twice`);
  return { name, uids, gids, defaultClass, classes };
}

export function rehydrateOf(name: string, entry: Members = {}): RehydrateStep[] {
  return (entry.rehydrate ?? []).map(({ command, input }) => {
    return { command, input: input === undefined ? null : bytesOf(input, `${name}.rehydrate`) };
  });
}

export function openParamsOf(name: string, entry: Members = {}): OpenParam[] {
  return (entry.open_params ?? []).map(({ value, bytes }) => {
    if (bytes !== undefined && value === undefined) {
      return { bytes: bytesOf(bytes, `${name}.open_params`) };
    }
    const [a, b, ...rest] = value ?? [];
    if (bytes === undefined && a !== undefined && b !== undefined && rest.length === 0) {
      return { value: [a, b] };
    }
    return refuse(`tee.applications: ${name}.open_params has two numbers or bytes each`);
  });
}

/** Who may connect to the socket at all: nobody whom no service allows. */
export function socketAccess(services: readonly ServicePolicy[]): {
  mode: 0o600 | 0o660 | 0o666;
  gid: number | null;
} {
  const uids = services.flatMap((service) => service.uids);
  const gids = [...new Set(services.flatMap((service) => service.gids))];
  const [gid = null] = gids;
  if (uids.length === 0 && gid === null) return { mode: 0o600, gid: null };
  // A socket has one group; beyond that whoever is at the other end is asked after, not its mode.
  if (uids.length === 0 && gids.length === 1) return { mode: 0o660, gid };
  return { mode: 0o666, gid: null };
}

function bytesOf(written: string, what: string): Uint8Array {
  if (!/^([0-9a-f]{2})*$/i.test(written) || written.length > 2 * inputBytesMax) {
    return refuse(`tee.applications: ${what} is hexadecimal, two digits a byte`);
  }
  return Uint8Array.from({ length: written.length / 2 }, (_, at) => {
    return Number.parseInt(written.slice(2 * at, 2 * at + 2), 16);
  });
}

function refuse(why: string): never {
  throw new Failure("config.invalid", why);
}
