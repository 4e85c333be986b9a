/**
 * What an earlier agent has left inside the TEE: such a call may yet have its effect. Asked now,
 * the application would say that it is not done, and it would be done twice.
 */

/** Between two looks, ms. */
const lookEveryMs = 200;

export class LeftInside {
  /** When it is looked again; Infinity once nothing is left. */
  dueMs = -Infinity;
  private readonly look: () => boolean;

  constructor(look: () => boolean) {
    this.look = look;
  }

  isAny(nowMs: number): boolean {
    if (this.dueMs === Infinity) return false;
    if (nowMs < this.dueMs) return true;
    this.dueMs = this.look() ? nowMs + lookEveryMs : Infinity;
    return this.dueMs < Infinity;
  }
}
