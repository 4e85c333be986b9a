/**
 * Resets that the agent chooses or lets happen: each is announced with its cause and its deadline,
 * and its last words are stored, before anything is let go (DESIGN, rule 7).
 */
import type { AgentIo } from "../agentio.ts";
import type { AgentEvent, EventRing } from "../events.ts";
import type { BootHead } from "./boot.ts";
import type { BootControls } from "./bootcontrols.ts";
import { LastWords, type Words } from "./lastwords.ts";
import type { WatchdogHead } from "./watchdog.ts";

/** Between the answer to a reset command and the reset: time for the answer to leave, ms. */
export const resetDelayMs = 250;

/** What of the agent takes part in a reset. */
export interface ResetParts {
  readonly io: Pick<AgentIo, "clock" | "disk" | "platform">;
  readonly ring: EventRing;
  readonly boot: BootHead;
  readonly watchdog: WatchdogHead;
  readonly controls: BootControls;
}

type Announced = Pick<Words, "cause" | "culprit" | "deadlineMs">;

export class Resets {
  readonly lastWords: LastWords;
  private readonly parts: ResetParts;
  private readonly emit: (event: AgentEvent) => void;
  /** Called just before the card is asked to restart: nothing is taken in after that. */
  private readonly letGo: () => void;

  constructor(parts: ResetParts, emit: (event: AgentEvent) => void, letGo: () => void) {
    this.parts = parts;
    this.emit = emit;
    this.letGo = letGo;
    this.lastWords = new LastWords(parts.io.disk);
  }

  /** The words of the boot before, as a report; null without any. */
  heard(): AgentEvent | null {
    const { boot, io } = this.parts;
    const previous = boot.journal.value.past.at(-1)?.boot;
    return this.lastWords.read(io.platform.machineBootId(), previous);
  }

  /** A commanded reset: cause first, then the answer, then the reset. */
  command(by: string): void {
    const { boot, controls, io } = this.parts;
    boot.noteClosing("commanded", by);
    controls.closing();
    this.emit({ kind: "agent:stopping", cause: "commanded" });
    const deadlineMs = io.clock.now() + resetDelayMs;
    this.announce({ cause: "commanded", culprit: by, deadlineMs });
    io.clock.at(deadlineMs, () => {
      this.letGo();
      io.platform.reboot();
    });
  }

  /** Another head chose a reset: the refresh is withheld for good. */
  withhold(culprit: string): void {
    const { watchdog, io } = this.parts;
    if (!watchdog.isArmed) return;
    watchdog.send({ kind: "withhold", atMs: io.clock.now(), culprit });
  }

  /** A defect of the agent itself: it refreshes no more, and the hardware does its work. */
  giveUp(): void {
    const { boot, watchdog, io } = this.parts;
    boot.noteClosing("watchdog", "agent");
    const { state } = watchdog;
    const deadlineMs = "deadlineMs" in state ? state.deadlineMs : io.clock.now();
    const reset_in_ms = Math.max(Math.round(deadlineMs - io.clock.now()), 0);
    this.emit({ kind: "wdt:withheld", culprit: "agent", reset_in_ms });
    if (watchdog.isArmed) this.announce({ cause: "watchdog", culprit: "agent", deadlineMs });
  }

  /** Stores why the reset comes and what led to it, synced: the report alone may not leave. */
  speakLast(words: Announced & Pick<Words, "refreshedMs">): void {
    const { boot, io, ring } = this.parts;
    const machine = io.platform.machineBootId();
    const stage = boot.entry?.stage ?? "runtime";
    const atMs = io.clock.now();
    this.lastWords.store({ ...words, boot: boot.id, machine, stage, atMs }, ring.recent());
  }

  /** For a reset that does not come of a late task. */
  private announce(reset: Announced): void {
    const { watchdog, io } = this.parts;
    const { state } = watchdog;
    const nowMs = io.clock.now();
    const refreshedMs = "checkedInMs" in state ? state.checkedInMs : nowMs;
    this.speakLast({ ...reset, refreshedMs });
    this.emit({
      kind: "wdt:pre_reset",
      cause: reset.cause,
      culprit: reset.culprit,
      deadline_ms: Math.round(reset.deadlineMs),
      reset_in_ms: Math.max(Math.round(reset.deadlineMs - nowMs), 0),
    });
  }
}
