/**
 * What was refused for want of authority: every one is counted, and told as long as that is no
 * flood; what is held back is told as a number later.
 */
import type { Code } from "../errors.ts";
import type { AgentEvent } from "../events.ts";

/** One refused request, as it is told. */
export interface Refusal {
  readonly why: Code;
  readonly command: string;
  readonly port: string;
  /** Fingerprint and seat, as far as they are known and signed. */
  readonly by: string;
}

/** Reports at once, and how long until one more may be made, ms. */
export const refusalReports = { burst: 16, everyMs: 10_000 };

export class Refusals {
  /** Since the agent started, by name. */
  readonly totals = new Map<Code, number>();
  private readonly emit: (event: AgentEvent) => void;
  /** Not told yet, the latest of each name. */
  private readonly held = new Map<Code, { refusal: Refusal; count: number }>();
  private left = refusalReports.burst;
  private filledMs = 0;

  constructor(emit: (event: AgentEvent) => void) {
    this.emit = emit;
  }

  add(refusal: Refusal, nowMs: number): void {
    const { why } = refusal;
    this.totals.set(why, (this.totals.get(why) ?? 0) + 1);
    this.held.set(why, { refusal, count: (this.held.get(why)?.count ?? 0) + 1 });
    this.tick(nowMs);
  }

  /** When something that was held back may be told; Infinity: there is nothing. */
  get dueMs(): number {
    return this.held.size === 0 ? Infinity : this.filledMs + refusalReports.everyMs;
  }

  tick(nowMs: number): void {
    const gained = Math.floor((nowMs - this.filledMs) / refusalReports.everyMs);
    if (gained > 0) {
      this.filledMs += gained * refusalReports.everyMs;
      this.left = Math.min(this.left + gained, refusalReports.burst);
    }
    for (const [why, { refusal, count }] of this.held) {
      if (this.left === 0) return;
      this.left -= 1;
      this.held.delete(why);
      this.emit({ kind: "access:refused", ...refusal, count });
    }
  }
}
