/** What the agent's supervisor hears: ready, stopping, and as long as it may, that all is well. */
import type { AgentEvent } from "../events.ts";
import type { Supervisor } from "../io/supervisor.ts";

/** A supervisor that was too busy to hear that the agent is ready is told again so often. */
const readyEveryMs = 1000;
/** It ends an agent that is not ready in time, so that telling it longer is of no use. */
const readyTriesMax = 60;

export class Supervision {
  /** When it next is to hear something, ms. */
  dueMs = Infinity;
  private readonly supervisor: Supervisor;
  private readonly emit: (event: AgentEvent) => void;
  private isReady = false;
  private readyTries = 0;

  constructor(supervisor: Supervisor, emit: (event: AgentEvent) => void) {
    this.supervisor = supervisor;
    this.emit = emit;
  }

  /** Reports what went wrong between the supervisor and us. */
  tick(): void {
    for (const problem of this.supervisor.takeProblems()) {
      this.emit({ kind: "agent:supervisor", problem });
    }
  }

  /**
   * The card is guarded and what there is to report is on disk. `isWell`: the verdict, asked for
   * only when there is something to say. An agent that is awake anyway says it from half of the
   * time on, which spares a wake-up of its own.
   */
  speak(nowMs: number, isWell: () => boolean): void {
    const { everyMs } = this.supervisor;
    if (!this.isReady && !this.becomeReady(nowMs, everyMs)) return;
    if (everyMs === null || nowMs < this.dueMs - everyMs / 2) return;
    this.dueMs = nowMs + everyMs;
    if (isWell()) this.supervisor.tell("WATCHDOG=1");
  }

  private becomeReady(nowMs: number, everyMs: number | null): boolean {
    if (this.readyTries > 0 && nowMs < this.dueMs) return false;
    this.readyTries += 1;
    this.isReady = this.supervisor.tell("READY=1") || this.readyTries >= readyTriesMax;
    if (!this.isReady) this.dueMs = nowMs + readyEveryMs;
    else this.dueMs = everyMs === null ? Infinity : nowMs;
    return this.isReady;
  }

  stop(): void {
    this.supervisor.tell("STOPPING=1");
    this.tick();
  }
}
