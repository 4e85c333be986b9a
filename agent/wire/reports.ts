/**
 * Group 68: reports, the card's state to begin with, crash records, and the resets that the card
 * announces. Times are `_ms`: points in time on the card's monotonic clock, spans otherwise.
 */
import { cause } from "./bodies.ts";
import { command } from "./command.ts";
import { bool, bytes, list, map, oneOf, optional, record, scalar, text, uint } from "./shape.ts";

const none = map({});

const members = {
  boot: text,
  seq: uint,
  at_ms: uint,
  kind: text,
  class: oneOf("safety", "state"),
  data: record(scalar),
};
export const report = map(members);
/** As it is pushed: whose it is stands in it. Older cards do not say. */
export const pushedReport = map({ device: optional(text), ...members });

/** A reset that is coming; without one, `coming` is false and the rest absent. */
const comingReset = map({
  coming: bool,
  now_ms: uint,
  cause: optional(cause),
  culprit: optional(text),
  deadline_ms: optional(uint),
  /** No hold moves the reset beyond this. */
  latest_ms: optional(uint),
  holds: optional(uint),
  acknowledged: optional(bool),
});

/** Bytes of a state or of a crash record in one answer: fits a packet with all around it. */
export const blockBytesMax = 1024;

export const reportCommands = {
  /** Reports after (boot, since) are pushed; all that are kept when these are absent. */
  "report.subscribe": command(
    68,
    0,
    "write",
    map({ for_ms: optional(uint), boot: optional(text), since: optional(uint) }),
    map({ device: optional(text), boot: text, last_seq: uint, pending: uint, for_ms: uint }),
    null,
  ),
  "report.unsubscribe": command(68, 1, "write", none, none, null),
  /** Acknowledges every report of `boot` up to and including `seq`. */
  "report.acknowledge": command(
    68,
    2,
    "write",
    map({ boot: text, seq: uint }),
    map({ pending: uint }),
  ),
  /** Reads kept reports after (boot, seq), oldest first; as many as fit one packet. */
  "report.read": command(
    68,
    3,
    "read",
    map({ boot: optional(text), since: optional(uint), max: optional(uint) }),
    map({ device: optional(text), reports: list(report, 64), more: bool }),
  ),
  /** What the card counts as sent, per boot it still remembers; `dropped` is of both classes. */
  "report.snapshot": command(
    68,
    5,
    "read",
    none,
    map({
      boots: list(
        map({
          boot: text,
          last_seq: uint,
          acknowledged: uint,
          dropped: uint,
          dropped_safety: optional(uint),
        }),
        16,
      ),
      pending: uint,
    }),
  ),
  /**
   * The card's state as of report (boot, seq), as CBOR of wire/cardstate.ts, a block at a time.
   * `off` 0 or absent takes it anew; further blocks name the `seq` of the first answer.
   */
  "report.state": command(
    68,
    6,
    "read",
    map({ off: optional(uint), seq: optional(uint) }),
    map({ device: text, boot: text, seq: uint, off: uint, total: uint, data: bytes }),
  ),
  /** Crash records that wait for a host, the worst first. */
  "report.crashes": command(
    68,
    7,
    "read",
    none,
    map({
      crashes: list(map({ name: text, about: text, boot: text, bytes: uint, sha256: text }), 16),
    }),
  ),
  /** One block of a crash record. `rc` 10: the block before has not left yet. */
  "report.crash": command(
    68,
    8,
    "read",
    map({ name: text, off: optional(uint) }),
    map({ off: uint, total: uint, data: bytes }),
  ),
  /** The host has the record whole; the card forgets it. */
  "report.crash_confirm": command(68, 9, "write", map({ name: text, sha256: text }), none),
  "report.reset": command(68, 10, "read", none, comingReset),
  /** The host is ready for the reset that is coming: the card need not wait any longer. */
  "report.reset_acknowledge": command(68, 11, "write", none, comingReset),
  /** The host wants the reset put off by `for_ms` from now, as far as it may be. */
  "report.reset_hold": command(
    68,
    12,
    "write",
    map({ for_ms: uint, by: optional(text) }),
    comingReset,
  ),
} as const;

/** A report sent unasked to a subscriber: a read response of group 68, command 4, sequence 0. */
export const reportPush = { group: 68, id: 4, body: pushedReport } as const;
