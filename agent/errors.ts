/**
 * Every way Kennel fails, by name. A code is data: what it means for the exit status of the
 * console and for the answer on the wire stands beside it, not in an `if` far away.
 */

/** Exit codes of both programs; printed by `kennel help exit-codes`. */
export const exitCodes = {
  ok: 0,
  verdict: 1,
  usage: 2,
  not_found: 3,
  busy: 4,
  permission: 5,
  timeout: 6,
  protocol: 7,
  refused: 8,
  lost: 9,
  unsafe: 10,
  rig: 11,
  interrupted: 130,
} as const;
export type ExitName = keyof typeof exitCodes;

/** SMP result codes (Zephyr mgmt_defines.h) that Kennel answers with. */
export const rcs = {
  unknown: 1,
  no_memory: 2,
  invalid: 3,
  timeout: 4,
  no_entry: 5,
  bad_state: 6,
  too_large: 7,
  unsupported: 8,
  corrupt: 9,
  busy: 10,
  denied: 11,
  too_old: 12,
  too_new: 13,
} as const;
export type RcName = keyof typeof rcs;

export const policy = {
  "usage.invalid": { exit: "usage", rc: "invalid" },
  "console.interrupted": { exit: "interrupted", rc: "unknown" },
  "console.defect": { exit: "verdict", rc: "unknown" },
  "config.invalid": { exit: "usage", rc: "invalid" },
  "port.missing": { exit: "not_found", rc: "no_entry" },
  "port.busy": { exit: "busy", rc: "busy" },
  "port.permission": { exit: "permission", rc: "denied" },
  "port.refused": { exit: "not_found", rc: "no_entry" },
  "port.unreachable": { exit: "timeout", rc: "timeout" },
  "port.recording": { exit: "usage", rc: "invalid" },
  "port.lost": { exit: "lost", rc: "unknown" },
  "link.timeout": { exit: "timeout", rc: "timeout" },
  "link.garbled": { exit: "protocol", rc: "corrupt" },
  "link.refused": { exit: "refused", rc: "unsupported" },
  "wire.malformed": { exit: "protocol", rc: "invalid" },
  "wire.too_large": { exit: "protocol", rc: "too_large" },
  "wire.version": { exit: "protocol", rc: "too_new" },
  "wire.unsupported": { exit: "refused", rc: "unsupported" },
  "standard.refused": { exit: "refused", rc: "unknown" },
  "card.held": { exit: "busy", rc: "busy" },
  "boot.not_installed": { exit: "refused", rc: "bad_state" },
  "boot.not_armed": { exit: "refused", rc: "bad_state" },
  "boot.out_of_order": { exit: "refused", rc: "bad_state" },
  "boot.revoked": { exit: "refused", rc: "denied" },
  "boot.range": { exit: "refused", rc: "invalid" },
  "boot.unsupported": { exit: "refused", rc: "unsupported" },
  "boot.device": { exit: "refused", rc: "unknown" },
  "boot.no_watchdog": { exit: "not_found", rc: "no_entry" },
  "boot.control": { exit: "refused", rc: "unknown" },
  "boot.record": { exit: "verdict", rc: "corrupt" },
  "watchdog.missing": { exit: "not_found", rc: "no_entry" },
  "watchdog.busy": { exit: "busy", rc: "busy" },
  "watchdog.permission": { exit: "permission", rc: "denied" },
  "watchdog.range": { exit: "refused", rc: "invalid" },
  "watchdog.nowayout": { exit: "refused", rc: "bad_state" },
  "watchdog.closed": { exit: "refused", rc: "bad_state" },
  "watchdog.state": { exit: "refused", rc: "bad_state" },
  "watchdog.device": { exit: "refused", rc: "unknown" },
  "native.missing": { exit: "not_found", rc: "unsupported" },
  "journal.corrupt": { exit: "verdict", rc: "corrupt" },
  "journal.degraded": { exit: "verdict", rc: "unknown" },
  "crash.missing": { exit: "not_found", rc: "no_entry" },
  "crash.digest": { exit: "verdict", rc: "corrupt" },
  "store.failed": { exit: "verdict", rc: "unknown" },
  "store.busy": { exit: "busy", rc: "busy" },
  "store.missing": { exit: "not_found", rc: "no_entry" },
  "report.stale": { exit: "lost", rc: "no_entry" },
  "reset.none": { exit: "not_found", rc: "no_entry" },
  "reset.held": { exit: "refused", rc: "busy" },
  "card.other": { exit: "lost", rc: "unknown" },
  "card.lacks": { exit: "refused", rc: "unsupported" },
  "tee.missing": { exit: "not_found", rc: "no_entry" },
  "tee.unavailable": { exit: "refused", rc: "busy" },
  "tee.quarantined": { exit: "refused", rc: "denied" },
  "tee.unknown_outcome": { exit: "verdict", rc: "unknown" },
  "tee.denied": { exit: "permission", rc: "denied" },
  "tee.limit": { exit: "busy", rc: "busy" },
  "tee.call": { exit: "refused", rc: "invalid" },
  "tee.deadline": { exit: "timeout", rc: "timeout" },
  "tee.socket": { exit: "not_found", rc: "no_entry" },
  "access.unsigned": { exit: "refused", rc: "denied" },
  "access.malformed": { exit: "refused", rc: "denied" },
  "access.unknown_key": { exit: "refused", rc: "denied" },
  "access.forged": { exit: "refused", rc: "denied" },
  "access.device": { exit: "refused", rc: "denied" },
  "access.boot": { exit: "refused", rc: "denied" },
  "access.session": { exit: "refused", rc: "denied" },
  "access.replayed": { exit: "refused", rc: "denied" },
  "access.reordered": { exit: "refused", rc: "denied" },
  "access.expired": { exit: "refused", rc: "denied" },
  "access.role": { exit: "refused", rc: "denied" },
  "access.limited": { exit: "refused", rc: "denied" },
  "access.unclaimed": { exit: "refused", rc: "denied" },
  "access.not_owner": { exit: "refused", rc: "denied" },
  "access.fenced": { exit: "refused", rc: "denied" },
  "key.missing": { exit: "not_found", rc: "no_entry" },
  "key.refused": { exit: "permission", rc: "denied" },
  "key.invalid": { exit: "usage", rc: "invalid" },
  "key.encrypted": { exit: "permission", rc: "denied" },
  "key.agent": { exit: "lost", rc: "unknown" },
  "queue.full": { exit: "refused", rc: "busy" },
  "safety.unconfirmed": { exit: "unsafe", rc: "denied" },
  "rig.fault": { exit: "rig", rc: "unknown" },
  "rig.missing": { exit: "rig", rc: "unknown" },
} as const satisfies Record<string, { exit: ExitName; rc: RcName }>;

export type Code = keyof typeof policy;

/**
 * A failure with a name. `message` says what happened, the evidence, and what to do, as one or
 * more sentences a person can act on; `evidence` has the same as data: `details` in `--json`. Not
 * called that here: the test runner takes a property of that name for text.
 */
export class Failure extends Error {
  readonly code: Code;
  readonly evidence: Readonly<Record<string, unknown>>;

  constructor(
    code: Code,
    message: string,
    options: { cause?: unknown; evidence?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Failure";
    this.code = code;
    this.evidence = options.evidence ?? {};
  }

  get exit(): number {
    return exitCodes[policy[this.code].exit];
  }

  get rc(): number {
    return rcs[policy[this.code].rc];
  }
}

/** A belief that turned out false: a defect in Kennel, never an operating error. */
export class Broken extends Error {
  constructor(belief: string) {
    super(`broken invariant: ${belief}`);
    this.name = "Broken";
  }
}

/** Stays on in production: the agent that meets a broken belief stops refreshing (DESIGN). */
export function assert(condition: unknown, belief: string): asserts condition {
  if (!condition) throw new Broken(belief);
}

/** Makes the compiler check that a switch over a union is complete. */
export function assertNever(value: never): never {
  throw new Broken(`unexpected value ${JSON.stringify(value)}`);
}
