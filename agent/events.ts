/**
 * Everything worth knowing, as one union. An event is what the ring counts; one whose class is
 * not `trace` also becomes a report: journalled, numbered, sent to the subscribed host and kept
 * until it is acknowledged.
 */
import type { Code } from "./errors.ts";
import type { ControlKind } from "./io/bootcontrol.ts";
import type { RefreshBy } from "./io/watchdog.ts";
import type { Cause, Slot, Stage } from "./machines/bootrecord.ts";
import type { Backend } from "./machines/criteria.ts";

/** Order of worth when a bounded spool must drop: `safety` is dropped last. */
export type EventClass = "safety" | "state" | "trace";

/** What a card begins a boot with that no later report would tell. */
export interface Beginning {
  readonly name: string;
  readonly slot: Slot;
  readonly confirmed: boolean;
  /** Failed attempts of the slot. */
  readonly failures: number;
  /** Of the TEE, whose restarts outlive boots. */
  readonly epoch: number;
  readonly tee_crashes: number;
  /** Crash records kept from before. */
  readonly crash_records: number;
}

export type AgentEvent =
  | ({ kind: "agent:started"; version: string; cause: Cause; restart: boolean } & Beginning)
  | { kind: "agent:short_lived"; in_a_row: number }
  | { kind: "agent:stopping"; cause: Cause }
  | { kind: "agent:defect"; what: string }
  | { kind: "agent:supervisor"; problem: string }
  | { kind: "boot:stage"; stage: Stage; budget_ms: number; margin_ms: number }
  | {
      kind: "boot:died";
      boot: string;
      slot: Slot;
      stage: Stage;
      step: string;
      uptime_ms: number;
      cause: Cause;
      culprit: string;
    }
  | {
      kind: "boot:last_words";
      boot: string;
      cause: Cause;
      culprit: string;
      stage: Stage;
      refreshed_ago_ms: number;
      reset_in_ms: number;
      trail: string;
    }
  /** The card is back after a reset: of `boot` before, for `cause`. */
  | { kind: "boot:recovered"; boot: string; outage_ms: number; cause: Cause; culprit: string }
  | { kind: "boot:fallback"; from: Slot; slot: Slot; failures: number }
  | { kind: "boot:evidence"; cause: Cause; evidence: string }
  | { kind: "boot:record_refused"; problem: string }
  | { kind: "boot:adopted"; remaining_ms: number; uncovered_ms: number; because: string }
  /** What the early userspace hook did, or what is wrong with it. */
  | { kind: "boot:hook"; driver: string; method: string; problem: string }
  | { kind: "boot:disagrees"; problem: string }
  | { kind: "boot:unobserved"; unobserved_ms?: number; by: "note" | "time_left" | "unknown" }
  | { kind: "boot:confirmed"; slot: Slot; failures: number }
  | { kind: "card:protection"; protected: boolean; weak: string; next: string }
  /** A setting changed over the line and is in effect; values are JSON. */
  | { kind: "card:setting"; name: string; value: string; before: string }
  /** A saved setting that cannot hold any more; the settings file's does. */
  | { kind: "card:setting_refused"; name: string; problem: string }
  /** A host set the card's clock. */
  | { kind: "card:clock_set"; before: string; set: string }
  /** The deadline passed, and this check did not pass: the boot is never confirmed. */
  | { kind: "boot:not_ready"; check: string; value: string }
  /** A confirmed card is not ready any more for this check, or ready again. */
  | { kind: "boot:readiness"; ready: boolean; check: string }
  /** A boot control of the platform was set, and read back. */
  | { kind: "boot:control"; control: ControlKind; attribute: string; was: string; value: string }
  | { kind: "boot:control_refused"; control: ControlKind; attribute: string; problem: string }
  | { kind: "wdt:verdict"; backend: Backend; protected: boolean; because: string }
  | { kind: "wdt:handed_over"; path: string }
  | { kind: "wdt:granted"; asked_ms: number; granted_ms: number }
  | { kind: "wdt:armed"; backend: Backend; hardware_ms: number; promise_ms: number }
  | { kind: "wdt:disarmed"; by: string }
  | { kind: "wdt:withheld"; culprit: string; reset_in_ms: number }
  | {
      kind: "wdt:pre_reset";
      cause: Cause;
      culprit: string;
      deadline_ms: number;
      reset_in_ms: number;
    }
  | { kind: "wdt:reset_acknowledged"; culprit: string; early_ms: number }
  | { kind: "wdt:reset_held"; by: string; asked_ms: number; until_ms: number }
  | { kind: "wdt:resumed"; culprit: string; withheld_ms: number }
  | { kind: "wdt:hold"; until_ms: number; by: string }
  | { kind: "wdt:hold_ended"; by: string }
  | { kind: "wdt:slack"; slack_ms: number; promise_ms: number }
  | { kind: "wdt:refused"; operation: string; problem: string }
  | { kind: "wdt:pretimeout"; was_ms: number; set_ms: number; read_ms: number }
  | { kind: "wdt:refresh_by"; by: RefreshBy; because: string }
  | { kind: "wdt:service_lost"; late_ms: number; failures: number }
  | { kind: "wdt:refreshed" }
  | { kind: "tee:step"; step: string; epoch: number }
  | { kind: "tee:crashed"; epoch: number; rung: string; code: string; trigger: string }
  | { kind: "tee:unavailable"; service: string }
  | { kind: "tee:available"; service: string }
  | { kind: "tee:restored"; epoch: number; took_ms: number; replayed: number; unknown: number }
  | { kind: "tee:context_refused"; problem: string }
  | { kind: "tee:quarantined"; service: string; command: number }
  | { kind: "tee:rung"; rung: string; because: string }
  | { kind: "tee:degraded"; because: string; epoch?: number }
  | { kind: "tee:escalated"; because: string; epoch: number }
  | { kind: "tee:unrecoverable"; because: string }
  | { kind: "tee:helper"; because: string }
  | { kind: "tee:provider"; because: string }
  /** Programs were not let in, or not to a service: `count` times since the last such report. */
  | { kind: "tee:refused"; uid: number; pid: number; because: string; count: number }
  | { kind: "tee:socket"; problem: string; count: number }
  /** Calls that an earlier agent may have left half done. */
  | { kind: "tee:unfinished"; count: number }
  /** A crash record waits for a host, gave way to another, or has been taken. */
  | { kind: "crash:kept"; record: string; about: string; bytes: number }
  | { kind: "crash:dropped"; record: string; about: string }
  | { kind: "crash:confirmed"; record: string }
  | { kind: "journal:recovered"; file: string; outcome: string }
  | { kind: "journal:degraded"; problem: string }
  | { kind: "report:dropped"; count: number; class: EventClass }
  | { kind: "link:up"; port: string }
  | { kind: "link:down"; problem: string }
  | { kind: "link:bad"; problem: string }
  /** Everybody at a line of this card may change it. */
  | { kind: "access:open" }
  /** The key file was read: so many keys count; what is wrong with it or with other lines. */
  | { kind: "access:keys"; keys: number; problem: string }
  | { kind: "access:granted"; by: string; epoch: number }
  /** By force: nobody had let go. */
  | { kind: "access:taken_over"; by: string; from: string; epoch: number }
  | { kind: "access:ended"; by: string; epoch: number; why: "released" | "lapsed" }
  | { kind: "access:command"; command: string; by: string; epoch: number }
  /** `count`: of this name since the last report of it; the rest is of the latest. */
  | {
      kind: "access:refused";
      why: Code;
      command: string;
      port: string;
      by: string;
      count: number;
    }
  | { kind: "rig:fault"; fault: string };

export type EventKind = AgentEvent["kind"];

/** What each kind is worth. */
export const eventClass: { readonly [K in EventKind]: EventClass } = {
  "agent:started": "state",
  "agent:short_lived": "safety",
  "agent:stopping": "safety",
  "agent:defect": "safety",
  "agent:supervisor": "safety",
  "boot:stage": "state",
  "boot:died": "safety",
  "boot:last_words": "safety",
  "boot:recovered": "safety",
  "boot:fallback": "safety",
  "boot:evidence": "state",
  "boot:record_refused": "safety",
  "boot:adopted": "safety",
  "boot:hook": "state",
  "boot:disagrees": "safety",
  "boot:unobserved": "safety",
  "boot:confirmed": "state",
  "card:protection": "safety",
  "card:setting": "state",
  "card:setting_refused": "safety",
  "card:clock_set": "state",
  "boot:not_ready": "safety",
  "boot:readiness": "safety",
  "boot:control": "state",
  "boot:control_refused": "safety",
  "wdt:verdict": "safety",
  "wdt:handed_over": "state",
  "wdt:granted": "state",
  "wdt:armed": "safety",
  "wdt:disarmed": "safety",
  "wdt:withheld": "safety",
  "wdt:pre_reset": "safety",
  "wdt:reset_acknowledged": "safety",
  "wdt:reset_held": "safety",
  "wdt:resumed": "safety",
  "wdt:hold": "safety",
  "wdt:hold_ended": "safety",
  "wdt:slack": "state",
  "wdt:refused": "safety",
  "wdt:pretimeout": "state",
  "wdt:refresh_by": "safety",
  "wdt:service_lost": "safety",
  "wdt:refreshed": "trace",
  "tee:step": "state",
  "tee:crashed": "safety",
  "tee:unavailable": "state",
  "tee:available": "state",
  "tee:restored": "safety",
  "tee:context_refused": "safety",
  "tee:quarantined": "safety",
  "tee:rung": "state",
  "tee:degraded": "safety",
  "tee:escalated": "safety",
  "tee:unrecoverable": "safety",
  "tee:helper": "state",
  "tee:provider": "state",
  "tee:refused": "safety",
  "tee:socket": "state",
  "tee:unfinished": "state",
  "crash:kept": "state",
  "crash:dropped": "safety",
  "crash:confirmed": "state",
  "journal:recovered": "safety",
  "journal:degraded": "safety",
  "report:dropped": "safety",
  "link:up": "trace",
  "link:down": "trace",
  "link:bad": "trace",
  "access:open": "safety",
  "access:keys": "safety",
  "access:granted": "state",
  "access:taken_over": "safety",
  "access:ended": "state",
  "access:command": "state",
  "access:refused": "safety",
  "rig:fault": "state",
};

/** Inputs waiting for the agent; more than that is a flood, and what came last is refused. */
export const queueMax = 256;

/** How many recent events the ring keeps; totals per kind are kept for ever. */
export const ringMax = 256;

export interface Stamped {
  readonly atMs: number;
  readonly event: AgentEvent;
}

/** Keeps the last `ringMax` events and a total per kind, so that lost history leaves a number. */
export class EventRing {
  readonly totals = new Map<EventKind, number>();
  private readonly slots: Stamped[] = [];
  private written = 0;

  add(atMs: number, event: AgentEvent): void {
    this.totals.set(event.kind, (this.totals.get(event.kind) ?? 0) + 1);
    this.slots[this.written % ringMax] = { atMs, event };
    this.written += 1;
  }

  /** Oldest first. */
  recent(): Stamped[] {
    const cut = this.written % ringMax;
    if (this.written <= ringMax) return this.slots.slice();
    return [...this.slots.slice(cut), ...this.slots.slice(0, cut)];
  }
}
