/**
 * `kennel demo`, which `npm start` runs: a simulated card in a process of its own, attached to over
 * a pseudo terminal like any card, and a live view of one day in its life. Everything shown has
 * come over the line.
 */
import { setTimeout } from "node:timers/promises";
import { exitCodes, Failure } from "../errors.ts";
import { RealClock } from "../io/clock.ts";
import type { Outcome } from "./context.ts";
import { type CardProcess, startCard } from "./demochild.ts";
import { Follower } from "./follow.ts";
import type { Link } from "./link.ts";
import { open, type Session } from "./session.ts";
import { harmlessText, type Paint, paceText, span } from "./show.ts";
import type { Terminal } from "./terminal.ts";
import { liveView, plainView, quietView, showCursor, type View } from "./view.ts";
import { compare, type Ledger, showLedger, Witness } from "./witness.ts";

export interface DemoOptions {
  readonly seed: number;
  /** The card's seconds per second here. */
  readonly pace: number;
  /** Infinity: until stopped. */
  readonly forMs: number;
  readonly stop: AbortSignal;
  readonly terminal: Terminal;
  readonly paint: Paint;
  readonly json: boolean;
  /** This program's file. */
  readonly script: string;
}

/** The view is brought up to date this often. */
const lookEveryMs = 250;
/** A card that is up answers in milliseconds; one that boots does not at all. */
const answerMs = 600;
/** For a card that is just booting when the time is over: the counts are to be compared. */
const compareMaxMs = 15_000;
/** A pty has no speed of its own. */
const baud = 115_200;

export async function demo(options: DemoOptions): Promise<Outcome> {
  const child = await startCard(options.script, options);
  try {
    const path = child.announcement.port;
    const session = await open({ kind: "port", path, baud }, answerMs, () => {});
    try {
      return await watch(options, child, session);
    } finally {
      session.close();
    }
  } finally {
    await child.stop();
  }
}

async function watch(options: DemoOptions, child: CardProcess, session: Session): Promise<Outcome> {
  const { stop } = options;
  const clock = new RealClock();
  const startMs = clock.now();
  const witness = new Witness();
  const view = choose(options, child, witness, () => clock.now() - startMs);
  const ends = new AbortController();
  const signal = AbortSignal.any([stop, ends.signal]);
  let gone = false;
  void child.ended.then(() => {
    gone = true;
    ends.abort();
  });
  const follower = new Follower(session, {
    since: null,
    keep: false,
    clock,
    endMs: startMs + options.forMs,
    stop: signal,
    reopen: null,
    note: (text) => view.note(text),
    deliver: async (reports) => {
      for (const report of reports) witness.report(report);
      await view.update(reports);
    },
  });
  const looking = look(session.link, witness, view, signal);
  let ledger: Ledger | null = null;
  try {
    await follower.run();
    ledger = signal.aborted ? null : await settle(follower, session, clock);
  } finally {
    ends.abort();
    await looking;
    await view.end();
  }
  if (gone && !stop.aborted) {
    throw new Failure("rig.fault", `the simulated card ended by itself: ${await child.ended}`);
  }
  return summary(witness, ledger, options);
}

function choose(
  { terminal, paint, json, forMs, script }: DemoOptions,
  { announcement }: CardProcess,
  witness: Witness,
  elapsedMs: () => number,
): View {
  if (json) return quietView;
  const [port = "", guest = ""] = announcement.ports;
  const title = [
    `simulated card on ${port}${paceText(announcement.pace)}`,
    `attach from another terminal: node ${script} --port ${guest} status`,
  ];
  const scene = { terminal, paint, witness, title, elapsedMs, forMs };
  if (!terminal.isTty) return plainView(scene);
  process.once("exit", () => void terminal.out(showCursor));
  return liveView(scene);
}

/** Asks for what the view shows, until stopped. A card that boots is silent, and shown so. */
async function look(link: Link, witness: Witness, view: View, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      witness.stagesOf(await link.request("boot.timeline", {}, answerMs));
      witness.watchdog = await link.request("wdt.state", {}, answerMs);
      witness.tee = await link.request("tee.state", {}, answerMs);
      witness.silence = "";
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      witness.silence = "the card does not answer: it hangs or boots";
    }
    if (signal.aborted) return;
    await view.update([]);
    await pause(lookEveryMs, signal);
  }
}

/** Takes in reports until both sides count the same, or time is up. */
async function settle(follower: Follower, { link }: Session, clock: RealClock): Promise<Ledger> {
  const endMs = clock.now() + compareMaxMs;
  for (;;) {
    try {
      await follower.catchUp(endMs);
      const ledger = compare(follower.inbox, await link.request("report.snapshot", {}));
      const isEven = ledger.received === ledger.sent - ledger.dropped;
      if (isEven || clock.now() > endMs) return ledger;
    } catch (error) {
      const isSilent = error instanceof Failure && error.code === "link.timeout";
      if (!isSilent || clock.now() > endMs) throw error;
    }
  }
}

function summary(witness: Witness, ledger: Ledger | null, options: DemoOptions): Outcome {
  const { paint, stop } = options;
  const { seen, story } = witness;
  const stages = witness.stagesSeen();
  const missing = [
    ...(seen.restored ? [] : ["the TEE restored"]),
    ...(seen.watchdogReset ? [] : ["a watchdog reset"]),
    ...(seen.fallback ? [] : ["the fallback"]),
  ];
  const lines = [
    "",
    paint.bold("the day"),
    `stages: ${stages.join(" ")}`,
    ...story.map(harmlessText),
  ];
  const limit = options.forMs === Infinity ? "" : ` in ${span(options.forMs)}`;
  if (missing.length > 0) lines.push(paint.warn(`not seen${limit}: ${missing.join(", ")}`));
  if (ledger === null) lines.push("reports: not compared, stopped early");
  else lines.push(showLedger(ledger));
  const isEven = ledger === null || ledger.received === ledger.sent;
  if (!isEven) lines.push(paint.bad("the counts differ: reports were lost"));
  const interrupted = stop.aborted;
  return {
    data: { stages, story, missing, reports: ledger, interrupted },
    text: lines.join("\n"),
    exit: isEven ? exitCodes.ok : exitCodes.verdict,
  };
}

/** Resolves after `ms`, or at once when stopped. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => {});
}
