/**
 * Resets that the agent chooses or lets happen: each is announced with its cause and its deadline,
 * and its last words are stored, before anything is let go (DESIGN, rule 7). A host may say that it
 * is ready before the deadline, or put one off that the agent itself performs, within a bound; a
 * countdown in hardware is nobody's to put off.
 */
import type { AgentIo } from "../agentio.ts";
import type { AgentConfig } from "../config.ts";
import { Failure } from "../errors.ts";
import type { AgentEvent, EventRing } from "../events.ts";
import { uptimeMs } from "../machines/boot.ts";
import type { Cause } from "../machines/bootrecord.ts";
import type { ResponseOf } from "../wire/commands.ts";
import type { BootHead } from "./boot.ts";
import type { BootControls } from "./bootcontrols.ts";
import type { HostHead, Line } from "./host.ts";
import { LastWords, type Words } from "./lastwords.ts";
import type { WatchdogHead } from "./watchdog.ts";

/** Between the answer to a reset command and the reset: time for the answer to leave, ms. */
export const resetDelayMs = 250;
/** Holds put a reset off by this much, all together, counted from its announcement, ms. */
export const resetHoldMaxMs = 60_000;
/** Holds granted for one reset; each is a report. */
export const holdsMax = 8;

/** What of the agent takes part in a reset. */
export interface ResetParts {
  readonly io: Pick<AgentIo, "clock" | "disk" | "platform">;
  readonly config: AgentConfig;
  readonly ring: EventRing;
  readonly boot: BootHead;
  readonly watchdog: WatchdogHead;
  readonly controls: BootControls;
  readonly host: HostHead;
}

type Announced = Pick<Words, "cause" | "culprit" | "deadlineMs">;

/** A reset that was announced. */
interface Coming {
  readonly cause: Cause;
  readonly culprit: string;
  /** Without any hold. */
  readonly announcedForMs: number;
  readonly latestMs: number;
  /** The agent performs it; else the hardware does, and the agent at most before that. */
  readonly isOurs: boolean;
  /** Until when each line holds it. */
  readonly holds: Map<Line | null, number>;
  holdCount: number;
  acknowledged: boolean;
}

export class Resets {
  readonly lastWords: LastWords;
  private readonly parts: ResetParts;
  private readonly emit: (event: AgentEvent) => void;
  /** Called just before the card is asked to restart: nothing is taken in after that. */
  private readonly letGo: () => void;
  private coming: Coming | null = null;
  private cancel: () => void = () => undefined;

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

  /** The card is back: which boot this one follows, why that ended, and how long nobody was in. */
  tellRecovered(): void {
    const { boot, io } = this.parts;
    const last = boot.journal.value.past.at(-1);
    if (last === undefined || last.cause === "agent_restart") return;
    const nowMs = io.clock.now();
    // Without firmware's word the stages begin with the agent: the kernel has counted for longer.
    const kernelMs = io.platform.isOneClock ? 0 : nowMs;
    const outage_ms = Math.round(Math.max(uptimeMs(boot.state, nowMs), kernelMs));
    const { cause, culprit } = last;
    this.emit({ kind: "boot:recovered", boot: last.boot, outage_ms, cause, culprit });
  }

  /**
   * A commanded reset: cause first, then the answer, then the reset. `line`: whose command it is;
   * hosts on other lines that listen get the time of an announced reset.
   */
  command(by: string, line: Line | null): void {
    // Asked for twice, it comes once.
    if (this.coming?.isOurs === true) return;
    const { boot, controls, io, host, config } = this.parts;
    boot.noteClosing("commanded", by);
    controls.closing();
    this.emit({ kind: "agent:stopping", cause: "commanded" });
    const isHeard = host.lines.some((other) => other !== line && other.subscriber !== null);
    const noticeMs = isHeard ? config.runtime.preResetMs : resetDelayMs;
    const deadlineMs = io.clock.now() + noticeMs;
    this.begin({ cause: "commanded", culprit: by, deadlineMs }, true);
    this.announce({ cause: "commanded", culprit: by, deadlineMs });
    this.plan();
  }

  /** Another head chose a reset: the refresh is withheld for good. */
  withhold(culprit: string): void {
    const { watchdog, io } = this.parts;
    if (!watchdog.isArmed) return;
    watchdog.send({ kind: "withhold", atMs: io.clock.now(), culprit });
  }

  /** The hardware's reset is off: whoever was late is back. */
  takeBack(): void {
    this.lastWords.takeBack();
    if (this.coming?.isOurs === false) this.coming = null;
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

  /** The reset that is coming, as it stands. */
  report(): ResponseOf<"report.reset"> {
    const now_ms = Math.round(this.parts.io.clock.now());
    const coming = this.found();
    if (coming === null) return { coming: false, now_ms };
    return {
      coming: true,
      now_ms,
      cause: coming.cause,
      culprit: coming.culprit,
      deadline_ms: Math.round(deadlineOf(coming)),
      latest_ms: Math.round(coming.latestMs),
      holds: coming.holdCount,
      acknowledged: coming.acknowledged,
    };
  }

  /**
   * A host is ready. The reset comes at once, unless another line holds it. One that the hardware
   * was to perform the agent then asks the system for; the countdown goes on behind it.
   */
  acknowledge(line: Line | null): void {
    const coming = this.mustCome();
    coming.holds.delete(line);
    if (coming.acknowledged) return this.plan();
    coming.acknowledged = true;
    this.coming = coming;
    const early_ms = Math.max(Math.round(deadlineOf(coming) - this.parts.io.clock.now()), 0);
    this.emit({ kind: "wdt:reset_acknowledged", culprit: coming.culprit, early_ms });
    if (!coming.isOurs) this.speak(coming);
    this.plan();
  }

  /** A host wants time: granted up to the latest, which for a countdown in hardware is its end. */
  hold(line: Line | null, forMs: number, by: string): void {
    const coming = this.mustCome();
    if (coming.holdCount >= holdsMax) {
      const message = `this reset was put off ${holdsMax} times already`;
      throw new Failure("reset.held", message, { evidence: { holds: coming.holdCount } });
    }
    this.coming = coming;
    coming.holdCount += 1;
    const untilMs = Math.min(this.parts.io.clock.now() + forMs, coming.latestMs);
    coming.holds.set(line, untilMs);
    const until_ms = Math.round(deadlineOf(coming));
    this.emit({ kind: "wdt:reset_held", by, asked_ms: Math.round(forMs), until_ms });
    this.plan();
  }

  /** Stores why the reset comes and what led to it, synced: the report alone may not leave. */
  speakLast(words: Announced & Pick<Words, "refreshedMs">): void {
    const { boot, io, ring } = this.parts;
    const machine = io.platform.machineBootId();
    const stage = boot.entry?.stage ?? "runtime";
    const atMs = io.clock.now();
    this.lastWords.store({ ...words, boot: boot.id, machine, stage, atMs }, ring.recent());
  }

  /** One that the watchdog's machine lets happen counts from the first time that it is asked of. */
  private found(): Coming | null {
    const { state } = this.parts.watchdog;
    if (this.coming?.isOurs === true) return this.coming;
    if (state.kind !== "withheld") return null;
    const isKnown = this.coming?.announcedForMs === state.deadlineMs;
    if (isKnown) return this.coming;
    const { culprit, deadlineMs } = state;
    return comingOf({ cause: "watchdog", culprit, deadlineMs }, false);
  }

  private mustCome(): Coming {
    const coming = this.found();
    if (coming !== null) return coming;
    throw new Failure("reset.none", "no reset is coming: there is nothing to wait for");
  }

  private begin(reset: Announced, isOurs: boolean): void {
    this.coming = comingOf(reset, isOurs);
  }

  /** One timer, at the time that the agent itself has to do something. */
  private plan(): void {
    const { io } = this.parts;
    const { coming } = this;
    this.cancel();
    if (coming === null || !(coming.isOurs || coming.acknowledged)) return;
    const nowMs = io.clock.now();
    const heldMs = Math.max(nowMs + resetDelayMs, ...coming.holds.values());
    const atMs = coming.acknowledged ? Math.min(heldMs, coming.latestMs) : deadlineOf(coming);
    this.cancel = io.clock.at(atMs, () => this.perform());
  }

  private perform(): void {
    const { io } = this.parts;
    // A task that came back in time has taken the reset off.
    if (this.coming === null) return;
    this.letGo();
    io.platform.reboot();
  }

  /** The words of a countdown that ends before its announcement was due. */
  private speak({ culprit }: Coming): void {
    const { watchdog, io } = this.parts;
    const { state } = watchdog;
    const refreshedMs = "checkedInMs" in state ? state.checkedInMs : io.clock.now();
    const deadlineMs = io.clock.now() + resetDelayMs;
    this.speakLast({ cause: "watchdog", culprit, deadlineMs, refreshedMs });
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

function comingOf({ cause, culprit, deadlineMs }: Announced, isOurs: boolean): Coming {
  const latestMs = isOurs ? deadlineMs + resetHoldMaxMs : deadlineMs;
  const common = { cause, culprit, latestMs, isOurs, announcedForMs: deadlineMs };
  return { ...common, holds: new Map(), holdCount: 0, acknowledged: false };
}

/** When it comes as things stand, unless somebody acknowledges or holds it. */
function deadlineOf(coming: Coming): number {
  return Math.min(Math.max(coming.announcedForMs, ...coming.holds.values()), coming.latestMs);
}
