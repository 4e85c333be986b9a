/**
 * The bench under a story: a card that can be powered, talked to, broken and watched. The same
 * story runs on the simulator and on QEMU; what a rig cannot show it says beforehand.
 */
import { Failure } from "../errors.ts";
import type { CommandName, Report, RequestOf, ResponseOf } from "../wire/commands.ts";
import type { Machine } from "./machines.ts";
import type { ConsoleLine } from "./seen.ts";

/**
 * What ends a card, each in its way: the agent's event loop blocked; its process killed, stopped
 * or out of memory; a realtime program that leaves it no processor; a disk that never answers; or
 * the whole kernel.
 */
export type HangKind = "loop" | "kill" | "stop" | "memory" | "processor" | "disk" | "kernel";

/** What a card has to live with: no space left, its watchdog's driver gone, or a busy processor. */
export type Harm = "disk_full" | "device_gone" | "busy_processor";

/** Abilities that a story asks for besides those that every rig has. */
export type Need =
  | "another_holder"
  | "nowayout"
  | "wall_clock"
  | "agent_restart"
  | "disk_read_only"
  | "processes"
  | "softdog"
  | "iTCO_wdt"
  | "only_looking"
  | "crash_record"
  | "kernel_core"
  | "native_addon"
  | "secure_world"
  | "power";

/** The watchdog: one that resets at T1, one that does at its second expiry, one of software. */
export type Device = "i6300esb" | "iTCO_wdt" | "softdog";

/** How the agent of a story's card is started. Times are whole seconds, in ms. */
export interface CardSettings {
  /** T2. */
  readonly promiseMs: number;
  /** T1 is capped to it; the device's own maximum when absent. */
  readonly hardwareMs?: number;
  /** Tasks that have to check in; on a rig only the story does it for them. */
  readonly tasks?: readonly { name: string; everyMs: number }[];
  readonly allowDisarm?: boolean;
  /** i6300esb when absent. */
  readonly device?: Device;
  /** What the agent does without a watchdog that it can rely on; `require` when absent. */
  readonly policy?: "require" | "prefer" | "simulate";
  /** The driver is told never to stop. */
  readonly noWayOut?: boolean;
  /** How long the kernel refreshes a running watchdog for an agent that does not open it. */
  readonly openTimeoutMs?: number;
  /** Somebody else holds the device when the agent starts. */
  readonly held?: boolean;
  /** Nobody has the host's end of the line open, from before the agent starts. */
  readonly unplugged?: boolean;
  /** The agent's folder cannot be written. */
  readonly readOnlyState?: boolean;
  /** Changes take a key, which the rig has; without this the card is open to everybody. */
  readonly takesKeys?: boolean;
  /** The agent's native part is not there. */
  readonly withoutAddon?: boolean;
}

/** Times are milliseconds on the rig's own monotonic clock, which no card can change. */
export interface Rig {
  readonly name: "sim" | Machine["name"];
  /** Why it cannot do something; undefined for what it can. */
  readonly lacks: Readonly<Partial<Record<Need, string>>>;
  readonly console: readonly ConsoleLine[];
  /** When the watchdog expired, oldest first. */
  readonly expiries: readonly number[];
  /** When the card went through a reset since `start`, oldest first. */
  readonly resets: readonly number[];
  now(): number;
  /**
   * A card that runs with a new agent and empty state; whatever the last story left is gone.
   * AgentEnded when the agent refuses to run.
   */
  start(settings: CardSettings): Promise<void>;
  /** Pulls the plug, or puts it in: the agent comes back by itself, and is waited for. */
  power(on: boolean, options?: { waits: boolean }): Promise<void>;
  /** Resets the card from outside; the agent comes back by itself, unless it is left out. */
  reset(options?: { withoutAgent: boolean }): Promise<void>;
  /** Asks the agent over the line; a Failure of the link when there is no answer. */
  ask<N extends CommandName>(
    name: N,
    body: RequestOf<N> & Record<string, unknown>,
  ): Promise<ResponseOf<N>>;
  /** Opens or closes the host's end of the line. */
  plug(inserted: boolean): Promise<void>;
  hang(kind: HangKind): Promise<void>;
  harm(kind: Harm): Promise<void>;
  /** SIGTERM, and the agent's end is waited for. */
  stopAgent(): Promise<void>;
  /** kill -9, then a new agent on the same kernel, as a service manager would. */
  restartAgent(): Promise<void>;
  /** Moves the card's date. */
  stepWall(ms: number): Promise<void>;
  wait(ms: number): Promise<void>;
  /** Waits for what the story says has to come; when it does not, the card has failed. */
  until<T>(what: string, find: () => T | undefined, withinMs: number): Promise<T>;
  /** The card is let go of: nothing of it runs any more. */
  close(): Promise<void>;
}

/** How far from a promised time a reset may be, ms: the larger of 1 s and 5 %; none simulated. */
export function toleranceMs(rig: Rig, ofMs: number): number {
  return rig.name === "sim" ? simToleranceMs : Math.max(1000, ofMs * 0.05);
}
/** The line takes its time, and with it goes what is known of when a check-in was. */
const simToleranceMs = 20;

/** What a card did was not what the story says. Everything else that goes wrong is the rig's. */
export class CardFailed extends Error {}

/** The agent gave up instead of running; the message is what it said. */
export class AgentEnded extends CardFailed {}

export function expect(holds: boolean, evidence: string): asserts holds {
  if (!holds) throw new CardFailed(evidence);
}

/** A boot takes 10 s on an idle machine, and several times that on a busy one. */
export const bootMs = 180_000;

/** Waits until an agent answers; a card that never does has failed. */
export async function untilAnswers(rig: Rig): Promise<void> {
  const endMs = rig.now() + bootMs;
  for (;;) {
    try {
      await rig.ask("card.status", {});
      return;
    } catch (error) {
      if (!(error instanceof Failure) || !/^(link|port)\./.test(error.code)) throw error;
      expect(rig.now() < endMs, `no agent answered within ${bootMs / 1000} s: ${error.message}`);
      await rig.wait(knockMs);
    }
  }
}
const knockMs = 100;

/**
 * When the latest check-in was, on the rig's clock, seen within a fraction of the time to the next
 * one: whatever is done right after this is done with no other check-in in between.
 */
export async function freshCheckIn(rig: Rig, promiseMs: number): Promise<number> {
  const checkInEveryMs = promiseMs / 4;
  const endMs = rig.now() + 2 * promiseMs;
  while (rig.now() < endMs) {
    const askedMs = rig.now();
    const state = await rig.ask("wdt.state", {});
    const answeredMs = rig.now();
    const sinceMs = state.now_ms - (state.last_check_in_ms ?? Number.NEGATIVE_INFINITY);
    const isQuick = answeredMs - askedMs < checkInEveryMs / 4;
    if (isQuick && sinceMs < checkInEveryMs / 3) return (askedMs + answeredMs) / 2 - sinceMs;
    await rig.wait(lookEveryMs);
  }
  throw new Failure("rig.fault", "no check-in was seen while it was fresh: the rig is too slow");
}
const lookEveryMs = 50;

/** All reports that the card keeps, oldest first. */
export async function reportsOf(rig: Rig): Promise<Report[]> {
  const all: Report[] = [];
  let after: { boot?: string; since?: number } = {};
  for (let page = 0; page < pagesMax; page++) {
    const { reports, more } = await rig.ask("report.read", after);
    all.push(...reports);
    const last = reports.at(-1);
    if (!more || last === undefined) return all;
    after = { boot: last.boot, since: last.seq };
  }
  throw new CardFailed(`the card has no end of reports: ${all.length} were read`);
}
/** Pages of at most a packet; a card does not keep as many. */
const pagesMax = 1000;
