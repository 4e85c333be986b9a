/**
 * A card's state as its reports tell it, at one report: what a host that comes late is given, and
 * what it then keeps up to date by itself (machines/cardstate.ts). Absent = not known.
 */
import { backend, cause, slot, stage } from "./bodies.ts";
import { bool, type Infer, list, map, optional, text, uint } from "./shape.ts";

/** Services named; no card has more. Source: machines/teeconfig.ts. */
const servicesMax = 32;

export const cardState = map({
  /** The last report that is in it; 0: none yet. */
  boot: text,
  seq: uint,
  at_ms: uint,
  name: optional(text),
  version: optional(text),
  slot: optional(slot),
  stage: optional(stage),
  confirmed: bool,
  ready: bool,
  not_ready: optional(text),
  /** Failed attempts of the slot. */
  failures: optional(uint),
  /** How the boot before ended. */
  previous: optional(map({ boot: text, cause, stage, step: text, culprit: text })),
  /** From the end of the boot before to an agent that works, ms. */
  outage_ms: optional(uint),
  protected: bool,
  weak: optional(text),
  backend: optional(backend),
  armed: bool,
  promise_ms: optional(uint),
  hardware_ms: optional(uint),
  /** Who is to blame for the refresh that is withheld. */
  withheld: optional(text),
  hold_until_ms: optional(uint),
  /** A reset that is coming, why, and by when. */
  reset: optional(map({ cause, culprit: text, deadline_ms: uint })),
  tee: map({
    epoch: optional(uint),
    crashes: optional(uint),
    /** The last step that it was seen to take. */
    step: optional(text),
    /** What is wrong with it: crashed, degraded or escalated. */
    trouble: optional(text),
    unavailable: list(text, servicesMax),
  }),
  crash_records: optional(uint),
  /** Why nothing is kept on disk; absent: all is well. */
  journal: optional(text),
  /** Reports that this boot has dropped unseen. */
  dropped: map({ safety: uint, state: uint }),
});

export type CardState = Infer<typeof cardState>;
