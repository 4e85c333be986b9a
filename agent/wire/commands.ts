/**
 * The wire contract, shared by the agent, the console, the simulator and the rigs: which group
 * and command means what, and the shape of each request and response. Group and command ids are
 * written out as numbers and never renumbered; golden bytes are in test/vectors/.
 *
 * Times are milliseconds on the card's monotonic clock (`at_ms`), spans are `_ms` as well.
 * Groups below 64 are the standard ones of SMP, in standard.ts.
 */
import { accessCommands } from "./access.ts";
import { backend, bootTimeline, cause, protection, slot, stage } from "./bodies.ts";
import { type Command, command } from "./command.ts";
import { coveragePlan } from "./coverageplan.ts";
import { type report, reportCommands } from "./reports.ts";
import {
  bool,
  type Infer,
  int,
  list,
  map,
  number,
  oneOf,
  optional,
  record,
  scalar,
  text,
  uint,
} from "./shape.ts";
import { standardCommands } from "./standard.ts";

export { report, reportPush } from "./reports.ts";

export const groups = {
  os: 0,
  statistics: 2,
  settings: 3,
  files: 8,
  enumeration: 10,
  card: 64,
  boot: 65,
  wdt: 66,
  tee: 67,
  report: 68,
  access: 69,
  rig: 70,
} as const;

const none = map({});
const criterion = map({
  name: text,
  value: text,
  required: text,
  ok: bool,
});

export const probe = map({
  backend,
  via: oneOf("direct", "service", "none"),
  because: text,
  protected: bool,
  identity: text,
  path: text,
  criteria: list(criterion, 32),
});

export const watchdogState = map({
  state: text,
  backend,
  via: oneOf("direct", "service", "none"),
  protected: bool,
  protection: text,
  armed: bool,
  hardware_ms: uint,
  promise_ms: uint,
  remaining_ms: optional(int),
  last_check_in_ms: optional(uint),
  now_ms: uint,
  refreshes: uint,
  failures: uint,
  slack_min_ms: optional(int),
  scheduling: optional(text),
  late_max_ms: optional(number),
  culprit: optional(text),
  hold_until_ms: optional(uint),
});

export const teeState = map({
  state: text,
  simulated: bool,
  epoch: uint,
  crashes: uint,
  restarts_in_window: uint,
  in_flight: uint,
  powers: list(text, 8),
  sessions: list(map({ service: text, open: bool }), 32),
  quarantined: list(text, 32),
});

const teeSessions = map({
  sessions: list(
    map({
      service: text,
      open: bool,
      /** The epoch in which it was opened, and the TEE's id for it. */
      epoch: optional(uint),
      id: optional(uint),
      in_flight: uint,
      /** Why it is not open; empty where it is. */
      because: text,
    }),
    8,
  ),
  more: bool,
});

export const bootEntry = map({
  boot: text,
  slot,
  stage,
  step: text,
  uptime_ms: uint,
  cause,
  culprit: text,
  confirmed: bool,
});

export const task = map({
  name: text,
  every_ms: uint,
  due_in_ms: int,
  late: uint,
});

export const commands = {
  ...standardCommands,
  "card.hello": command(
    64,
    0,
    "read",
    none,
    map({
      name: text,
      version: text,
      contract: uint,
      /** Whose reports these are: the same for the life of the card. Older agents do not say. */
      device: optional(text),
      boot: text,
      uptime_ms: uint,
      simulated: bool,
      tags: list(text, 64),
    }),
  ),
  "card.status": command(
    64,
    1,
    "read",
    none,
    map({
      version: text,
      boot: text,
      now_ms: uint,
      stage,
      slot,
      confirmed: bool,
      ready: bool,
      backend,
      protected: bool,
      protection: text,
      access: oneOf("keys", "open"),
      watchdog: watchdogState,
      tee: teeState,
      last_cause: cause,
      failures: uint,
      reports: map({ last_seq: uint, pending: uint, dropped: uint, subscribed: bool }),
      journal: oneOf("ok", "degraded"),
    }),
  ),
  "card.protection": command(64, 2, "read", none, protection),
  "card.readiness": command(
    64,
    3,
    "read",
    none,
    map({ ready: bool, checks: list(map({ name: text, ok: bool, value: text }), 16) }),
  ),
  /** Who else wants the watchdog; `from`: the index to go on with, when one packet did not do. */
  "card.doctor": command(
    64,
    4,
    "read",
    map({ from: optional(uint) }),
    map({
      findings: list(map({ name: text, ok: bool, found: text, next: text }), 16),
      more: bool,
    }),
  ),
  "boot.timeline": command(
    65,
    0,
    "read",
    none,
    map({
      boot: text,
      slot,
      stages: list(
        map({
          stage,
          start_ms: int,
          end_ms: optional(int),
          budget_ms: uint,
          margin_ms: optional(int),
          refreshed_by: text,
          steps: list(map({ name: text, at_ms: int }), 16),
        }),
        8,
      ),
    }),
  ),
  "boot.history": command(65, 1, "read", none, map({ boots: list(bootEntry, 16) })),
  "boot.counters": command(
    65,
    2,
    "read",
    none,
    map({ active: slot, trial: optional(slot), failures: record(uint), attempts_max: uint }),
  ),
  "boot.record": command(
    65,
    3,
    "read",
    none,
    map({ present: bool, problem: optional(text), record: optional(record(scalar)) }),
  ),
  /** Boots before this one, newest first; as many as fit one packet. */
  "boot.timelines": command(
    65,
    4,
    "read",
    map({ skip: optional(uint) }),
    map({ boots: list(bootTimeline, 8), more: bool }),
  ),
  "wdt.probe": command(66, 0, "read", none, probe),
  "wdt.state": command(66, 1, "read", none, watchdogState),
  "wdt.arm": command(66, 2, "write", map({ promise_ms: optional(uint) }), watchdogState),
  "wdt.disarm": command(66, 3, "write", map({ by: optional(text) }), watchdogState, "danger"),
  "wdt.check_in": command(66, 4, "write", map({ task: text }), none),
  "wdt.hold": command(66, 5, "write", map({ for_ms: uint, by: optional(text) }), watchdogState),
  "wdt.tasks": command(66, 6, "read", none, map({ tasks: list(task, 32) })),
  /** Who keeps the watchdog going and when, as this card is set up: for `wdt explain`. */
  "wdt.plan": command(66, 7, "read", none, coveragePlan),
  "tee.state": command(67, 0, "read", none, teeState),
  /** The sessions with services; `from`: the index to go on with, when one packet did not do. */
  "tee.sessions": command(67, 1, "read", map({ from: optional(uint) }), teeSessions),
  "tee.crashes": command(
    67,
    2,
    "read",
    none,
    map({
      crashes: list(
        map({ at_ms: uint, epoch: uint, rung: text, code: text, trigger: text, took_ms: uint }),
        16,
      ),
    }),
  ),
  "tee.recover": command(67, 3, "write", none, teeState),
  /** Allows one quarantined command of a service again; all of them without a name. */
  "tee.unquarantine": command(
    67,
    4,
    "write",
    map({ service: optional(text), command: optional(uint) }),
    teeState,
  ),
  ...reportCommands,
  ...accessCommands,
  "rig.inject": command(70, 0, "write", map({ fault: text, for_ms: optional(uint) }), none, "rig"),
  "rig.faults": command(70, 1, "read", none, map({ faults: list(text, 64) })),
} as const;

export type CommandName = keyof typeof commands;
export type RequestOf<N extends CommandName> =
  (typeof commands)[N] extends Command<infer Q, infer _R> ? Q : never;
export type ResponseOf<N extends CommandName> =
  (typeof commands)[N] extends Command<infer _Q, infer R> ? R : never;
export type Report = Infer<typeof report>;
export type WatchdogState = Infer<typeof watchdogState>;
export type TeeState = Infer<typeof teeState>;
export type Probe = Infer<typeof probe>;

/** The contract's version; a host refuses a card whose contract it does not know. */
export const contractVersion = 1;
