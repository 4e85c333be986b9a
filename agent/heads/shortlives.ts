/**
 * Whether this start of the agent may guard at all: one that is started again and again, and comes
 * to nothing each time, would hold off the reset of a card that nobody guards.
 */
import type { AgentEvent } from "../events.ts";
import { afterShortLives } from "../machines/shortlives.ts";
import type { BootHead } from "./boot.ts";
import type { WatchdogHead } from "./watchdog.ts";

const culprit = "agent";

export class ShortLives {
  private readonly boot: BootHead;
  private readonly watchdog: WatchdogHead;
  private isLeft = false;

  constructor(boot: BootHead, watchdog: WatchdogHead) {
    this.boot = boot;
    this.watchdog = watchdog;
  }

  /** Takes the watchdog over, unless too many agents before this one came to nothing. */
  start(emit: (event: AgentEvent) => void, withhold: (culprit: string) => void): void {
    const { shortLives } = this.boot;
    const then = afterShortLives(shortLives);
    if (then !== "guard") emit({ kind: "agent:short_lived", in_a_row: shortLives });
    this.isLeft = then === "leave";
    const why = `${shortLives} agents in a row ended early; the watchdog is left to expire`;
    if (this.isLeft) this.boot.noteClosing("watchdog", culprit);
    this.watchdog.start(this.isLeft ? why : null);
    if (then === "withhold") withhold(culprit);
  }

  /** No reset came within T2: nothing was counting, and the agent lives after all. */
  tick(): void {
    if (!this.isLeft || this.boot.shortLives > 0) return;
    this.isLeft = false;
    this.boot.clearClosing();
    this.watchdog.start();
  }
}
