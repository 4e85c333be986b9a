/** What of this card is protected, now: gathered from the other heads, told when it changes. */
import type { Agent } from "../agent.ts";
import type { AgentEvent } from "../events.ts";
import { cardPlan } from "../machines/cardplan.ts";
import {
  type Protection,
  type ProtectionFacts,
  protectionKey,
  protectionOf,
  weakOf,
} from "../machines/protection.ts";
import type { CoveragePlan } from "../wire/coverageplan.ts";

/** Whose answers it gathers. */
export type Watched = Pick<Agent, "boot" | "watchdog" | "tee" | "access" | "io" | "config">;

export class ProtectionHead {
  private readonly agent: Watched;
  private readonly emit: (event: AgentEvent) => void;
  /** What the report depends on and, behind it, what it said; "" before the first look. */
  private inputs = "";
  private told = "";

  constructor(agent: Watched, emit: (event: AgentEvent) => void) {
    this.agent = agent;
    this.emit = emit;
  }

  /** Who keeps the watchdog going and when, as far as this card can tell. */
  plan(): CoveragePlan {
    const { boot, watchdog, config, io } = this.agent;
    const state = watchdog.status();
    return cardPlan({
      ...boot.wayHere(),
      firmwareMs: boot.countdown?.granted_ms ?? null,
      firmwareLocks: boot.countdown?.locked ?? null,
      wasInterrupted: boot.uncoveredMs > 0,
      found: watchdog.found,
      state,
      everyMs: state.promise_ms * config.runtime.refreshFraction,
      commandLine: io.platform.commandLine(),
      hook: boot.hook,
    });
  }

  report(): Protection {
    const { boot, watchdog, tee, config } = this.agent;
    const { failures } = boot.journal.value;
    const state = watchdog.status();
    const { state: teeState, simulated, powers } = tee.status();
    const facts: ProtectionFacts = {
      plan: this.plan(),
      kind: watchdog.found?.kind ?? "none",
      via: state.via,
      protection: state.protection,
      isArmed: state.armed,
      isHeld: watchdog.state.kind === "holding",
      interruptedMs: boot.uncoveredMs,
      boot: {
        isChosen: boot.isOfLoader,
        slot: boot.entry?.slot ?? "a",
        failures,
        attemptsMax: config.plan.attemptsMax,
      },
      access: { policy: config.access.policy, keys: this.agent.access.keys },
      tee: { state: teeState, simulated, rungs: powers.filter((one) => one !== "hardware_status") },
    };
    return protectionOf(facts);
  }

  /** Tells when the report has changed since the last look; the first look tells nothing. */
  tick(): void {
    const { watchdog, tee, boot } = this.agent;
    const { failures } = boot.journal.value;
    const inputs = [watchdog.state.kind, tee.status().state, failures.a, failures.b].join(" ");
    if (inputs === this.inputs) return;
    this.inputs = inputs;
    const report = this.report();
    const key = protectionKey(report);
    const isNews = this.told !== "" && key !== this.told;
    this.told = key;
    if (!isNews) return;
    this.emit({
      kind: "card:protection",
      protected: report.protected,
      weak: weakOf(report),
      next: report.next[0] ?? "",
    });
  }
}
