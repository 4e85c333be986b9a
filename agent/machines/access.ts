/**
 * Who commands this card: one at a time, under a lease with a number (B14). A claim waits a moment
 * for others, so that who gets the lease does not depend on whose frame came first. Pure.
 */
import { type Of, type Step, stay, step, type Table, to } from "./fsm.ts";

export interface Commander {
  /** Fingerprint of the key, its name, and where it is used: key and seat are who. */
  readonly key: string;
  readonly name: string;
  readonly seat: string;
  /** 0 is preferred over 1. */
  readonly rank: number;
}

interface Claim {
  readonly by: Commander;
  readonly forMs: number;
}

/** `epoch` is that of the latest holder, or of the present one. */
export type LeaseState =
  | { readonly kind: "free"; readonly epoch: number }
  | {
      readonly kind: "claimed";
      readonly epoch: number;
      readonly best: Claim;
      readonly settlesMs: number;
    }
  | {
      readonly kind: "held";
      readonly epoch: number;
      readonly holder: Commander;
      readonly endsMs: number;
    };

export type LeaseEvent =
  | {
      readonly kind: "claim";
      readonly atMs: number;
      readonly by: Commander;
      readonly forMs: number;
    }
  | {
      readonly kind: "take_over";
      readonly atMs: number;
      readonly by: Commander;
      readonly forMs: number;
    }
  | {
      readonly kind: "command";
      readonly atMs: number;
      readonly by: Commander;
      /** The epoch that the command names; 0: none. */
      readonly epoch: number;
    }
  | { readonly kind: "release"; readonly atMs: number; readonly by: Commander }
  | { readonly kind: "tick"; readonly atMs: number };

export type LeaseEffect =
  | { readonly kind: "granted"; readonly epoch: number; readonly by: Commander }
  | {
      readonly kind: "taken_over";
      readonly epoch: number;
      readonly by: Commander;
      readonly from: Commander | null;
    }
  | {
      readonly kind: "ended";
      readonly epoch: number;
      readonly by: Commander;
      readonly why: "released" | "lapsed";
    }
  /** The command is not obeyed, the claim not taken. */
  | { readonly kind: "refuse"; readonly why: "unclaimed" | "not_owner" | "fenced" };

/** A lease when none is named, the longest, and what an obeyed command leaves of it, ms. */
export const leaseTermMs = { usual: 10_000, max: 600_000, renewed: 10_000 };
/** A claim waits for others this long: two answers of a line at 115200 Bd. */
export const settleMs = 250;

/** Is that the same commander? Two users of one key are two. */
export function isSame(one: Commander, other: Commander): boolean {
  return one.key === other.key && one.seat === other.seat;
}

type LeaseStep = Step<LeaseState, LeaseEffect>;

/** The earlier line of the file; of one key the seat that sorts first. Whoever came first. */
function preferred(one: Claim, other: Claim): Claim {
  if (one.by.rank !== other.by.rank) return one.by.rank < other.by.rank ? one : other;
  return one.by.seat <= other.by.seat ? one : other;
}

function claimFree({ epoch }: Of<LeaseState, "free">, event: Of<LeaseEvent, "claim">): LeaseStep {
  const { by, forMs, atMs } = event;
  return to({ kind: "claimed", epoch, best: { by, forMs }, settlesMs: atMs + settleMs });
}

function claimClaimed(
  state: Of<LeaseState, "claimed">,
  { by, forMs }: Of<LeaseEvent, "claim">,
): LeaseStep {
  const best = isSame(state.best.by, by) ? { by, forMs } : preferred(state.best, { by, forMs });
  return to({ ...state, best });
}

/** The holder's claim makes its lease longer; nobody else has one now. */
function claimHeld(state: Of<LeaseState, "held">, event: Of<LeaseEvent, "claim">): LeaseStep {
  const { by, forMs, atMs } = event;
  if (!isSame(state.holder, by)) return to(state, { kind: "refuse", why: "not_owner" });
  return to({ ...state, endsMs: Math.max(state.endsMs, atMs + forMs) });
}

function takeOver(state: LeaseState, event: Of<LeaseEvent, "take_over">): LeaseStep {
  const { by, forMs, atMs } = event;
  const from = state.kind === "held" ? state.holder : null;
  const epoch = state.epoch + 1;
  const held = { kind: "held", epoch, holder: by, endsMs: atMs + forMs } as const;
  return to<LeaseState, LeaseEffect>(held, { kind: "taken_over", epoch, by, from });
}

/** Taking over from oneself is no take-over. */
function takeOverHeld(
  state: Of<LeaseState, "held">,
  event: Of<LeaseEvent, "take_over">,
): LeaseStep {
  if (isSame(state.holder, event.by)) return claimHeld(state, { ...event, kind: "claim" });
  return takeOver(state, event);
}

/** Nobody commands now; who names an epoch did once, and is late. */
function commandUnheld(state: LeaseState, { epoch }: Of<LeaseEvent, "command">): LeaseStep {
  return to(state, { kind: "refuse", why: epoch === 0 ? "unclaimed" : "fenced" });
}

function commandHeld(state: Of<LeaseState, "held">, event: Of<LeaseEvent, "command">): LeaseStep {
  const { by, epoch, atMs } = event;
  const isHolder = isSame(state.holder, by);
  if (isHolder && epoch === state.epoch) {
    return to({ ...state, endsMs: Math.max(state.endsMs, atMs + leaseTermMs.renewed) });
  }
  const why = isHolder || epoch !== 0 ? "fenced" : "not_owner";
  return to(state, { kind: "refuse", why });
}

function releaseHeld(state: Of<LeaseState, "held">, { by }: Of<LeaseEvent, "release">): LeaseStep {
  const { epoch, holder } = state;
  if (!isSame(holder, by)) return to(state, { kind: "refuse", why: "not_owner" });
  return to<LeaseState, LeaseEffect>(
    { kind: "free", epoch },
    { kind: "ended", epoch, by: holder, why: "released" },
  );
}

/** Who gives up a claim gives up its own alone. */
function releaseClaimed(
  state: Of<LeaseState, "claimed">,
  { by }: Of<LeaseEvent, "release">,
): LeaseStep {
  return isSame(state.best.by, by) ? to({ kind: "free", epoch: state.epoch }) : stay(state);
}

function settle(state: Of<LeaseState, "claimed">, { atMs }: Of<LeaseEvent, "tick">): LeaseStep {
  if (atMs < state.settlesMs) return stay(state);
  const { by, forMs } = state.best;
  const epoch = state.epoch + 1;
  return to<LeaseState, LeaseEffect>(
    { kind: "held", epoch, holder: by, endsMs: state.settlesMs + forMs },
    { kind: "granted", epoch, by },
  );
}

/** The holder was not heard of: it commands no more, and the card goes on as it is. */
function lapse(state: Of<LeaseState, "held">, { atMs }: Of<LeaseEvent, "tick">): LeaseStep {
  if (atMs < state.endsMs) return stay(state);
  const { epoch, holder } = state;
  return to<LeaseState, LeaseEffect>(
    { kind: "free", epoch },
    { kind: "ended", epoch, by: holder, why: "lapsed" },
  );
}

export const leaseTable: Table<LeaseState, LeaseEvent, LeaseEffect> = {
  free: {
    claim: claimFree,
    take_over: takeOver,
    command: commandUnheld,
    release: stay,
    tick: stay,
  },
  claimed: {
    claim: claimClaimed,
    take_over: takeOver,
    command: commandUnheld,
    release: releaseClaimed,
    tick: settle,
  },
  held: {
    claim: claimHeld,
    take_over: takeOverHeld,
    command: commandHeld,
    release: releaseHeld,
    tick: lapse,
  },
};

export function stepLease(state: LeaseState, event: LeaseEvent): LeaseStep {
  return step(leaseTable, state, event);
}

/** When the lease changes without anybody's doing; Infinity: never. */
export function leaseDueMs(state: LeaseState): number {
  if (state.kind === "claimed") return state.settlesMs;
  return state.kind === "held" ? state.endsMs : Infinity;
}
