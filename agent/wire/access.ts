/** Group 69: who may command, and what they sign. */
import { command } from "./command.ts";
import { bool, bytes, list, map, oneOf, optional, record, text, textOf, uint } from "./shape.ts";

const none = map({});
const policy = oneOf("keys", "open");
const seat = textOf(64);

/** Who commands: one at a time, under a numbered lease. */
const lease = map({
  /** `claimed`: somebody wants it; who is preferred gets it in `settles_in_ms`. */
  state: oneOf("free", "claimed", "held"),
  /** Grows with every new holder, over resets as well. */
  epoch: uint,
  /** "ops@bench (SHA256:...)": its key's name, its seat, its key. */
  owner: optional(text),
  /** Whether that is who asks. */
  mine: bool,
  ends_in_ms: optional(uint),
  settles_in_ms: optional(uint),
});

export const accessCommands = {
  /** What a console needs in order to sign; `key` is the kid of the key that it has. */
  "access.session": command(
    69,
    0,
    "read",
    map({ key: optional(bytes), seat: optional(seat) }),
    map({
      device: text,
      boot: text,
      now_ms: uint,
      policy,
      read: policy,
      nonce: bytes,
      /** The next one expected of that key. */
      counter: uint,
      /** What that key may do; null is told as no list: it is not authorised. */
      roles: optional(list(text, 8)),
      lease,
    }),
  ),
  /** A COSE_Sign1 around one request of another group; answered as that request is. */
  "access.signed": command(69, 1, "write", map({ cose: bytes }), record(anything()), null),
  /** Claims the lease; `force` takes it from whoever has it, once, and is told. */
  "access.take": command(
    69,
    2,
    "write",
    map({ for_ms: optional(uint), force: optional(bool) }),
    lease,
  ),
  "access.release": command(69, 3, "write", none, lease),
  "access.status": command(
    69,
    4,
    "read",
    none,
    map({
      device: text,
      policy,
      read: policy,
      /** Keys that count, and what is wrong with the others or their file. */
      keys: uint,
      problem: optional(text),
      lease,
      /** Since the agent started, by name. */
      refused: record(uint),
    }),
  ),
} as const;

/** What needs no signature even where reading does: signing begins here. */
export const alwaysOpen: readonly string[] = [
  "card.hello",
  "access.session",
  "access.signed",
  "os.echo",
  "os.params",
];

/** What takes authority and no lease: programs do it all the time, or it is about the lease. */
export const withoutLease: readonly string[] = [
  "access.take",
  "access.release",
  "report.acknowledge",
  "wdt.check_in",
];

function anything(): { what: string; parse: (value: unknown) => unknown } {
  return { what: "anything", parse: (value) => value };
}
