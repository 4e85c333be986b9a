/**
 * The process that makes the agent's calls, as the simulated TEE sees it: killed with calls inside,
 * it is not reaped before the last of them is over (measured), and until then nobody knows more
 * than that it does not answer. Then the kernel closes what it had open.
 */
import type { TeeOperation, TeeOutcome } from "../io/tee.ts";
import { type Done, success } from "./secureworld.ts";

const ownerDead: TeeOutcome = { errno: "EOWNERDEAD", ret: 0, origin: 0 };

export class SimHelper {
  private inside = new Set<object>();
  private isDying = false;
  /** Asked since it was killed, or before: answered by its end. */
  private orphans: (() => void)[] = [];
  private readonly closeAll: () => void;

  /** `closeAll`: the kernel closes every session that it had open. */
  constructor(closeAll: () => void) {
    this.closeAll = closeAll;
  }

  /** What to tell the outcome of an operation to; null when it was killed and hears nothing. */
  ask(kind: TeeOperation["kind"], done: Done): Done | null {
    // What was to be closed is closed by its end too.
    const orphaned = (): void => done(kind === "close" ? success : ownerDead);
    if (this.isDying) {
      this.orphans.push(orphaned);
      return null;
    }
    const { inside } = this;
    const call = {};
    inside.add(call);
    return (outcome) => {
      if (!inside.delete(call) || inside !== this.inside) return;
      if (!this.isDying) return done(outcome);
      this.orphans.push(orphaned);
      this.reap();
    };
  }

  /** It is killed. */
  die(): void {
    this.isDying = true;
    this.reap();
  }

  /** Nobody is left who would be told. */
  forget(): void {
    this.inside = new Set();
    this.orphans = [];
    this.isDying = false;
  }

  private reap(): void {
    if (this.inside.size > 0) return;
    this.isDying = false;
    this.closeAll();
    for (const tell of this.orphans.splice(0)) tell();
  }
}
