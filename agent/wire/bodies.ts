/** Shapes that several commands share, or that are too long to stand among them. */
import { bool, int, list, map, oneOf, optional, text, uint } from "./shape.ts";

export const stage = oneOf("power_on", "os_load", "hand_off", "adopt", "runtime");
export const slot = oneOf("a", "b", "safe");
export const cause = oneOf(
  "power",
  "watchdog",
  "commanded",
  "clean",
  "panic",
  "agent_restart",
  "unknown",
);
export const backend = oneOf("direct", "service", "simulated", "none");

/** One ended boot: `ended_in` and `step` are where it ended, `cause` why. */
export const bootTimeline = map({
  boot: text,
  slot,
  ended_in: stage,
  step: text,
  uptime_ms: uint,
  cause,
  culprit: text,
  confirmed: bool,
  stages: list(
    map({
      stage,
      start_ms: uint,
      end_ms: uint,
      budget_ms: uint,
      margin_ms: optional(int),
      refreshed_by: text,
    }),
    8,
  ),
});

/** What guards which stage, and the next step for all that is weak. */
export const protection = map({
  /** By real hardware, in every stage from the arming by the firmware on. */
  protected: bool,
  protection: text,
  /** The stages of a boot and `reboot`. Without `uncovered_ms` there is no end to it. */
  stages: list(
    map({
      stage: text,
      by: oneOf("hardware", "service", "simulated", "none"),
      covered: bool,
      uncovered_ms: optional(uint),
      because: text,
    }),
    8,
  ),
  fallback: map({ valid: bool, slot: optional(slot), because: text }),
  tee: map({ state: text, reachable: list(text, 8), weak: bool, because: text }),
  /** Weak where anybody at a line may change the card. */
  access: map({ policy: oneOf("keys", "open"), weak: bool, because: text }),
  next: list(text, 16),
});
