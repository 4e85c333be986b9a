/**
 * A private simulated card inside the console. Its clock moves only while somebody waits for it:
 * a little with every turn of the event loop, so that hours on the card take moments here.
 */
import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";
import { World } from "../sim/world.ts";
import { Link } from "./link.ts";
import type { Session } from "./session.ts";

/** The part of a simulated card that a console needs. */
export interface Card {
  /** Its serial lines; a console has the host's end. */
  readonly lines: readonly { readonly host: Port }[];
  readonly clock: Clock;
  power(on: boolean): void;
  /** Moves the card's time on by `ms`. */
  advance(ms: number): void;
}

/** Virtual time per turn of the event loop: fine enough for the order of what happens. */
const turnMs = 10;
/** A boot that takes longer than this on the card's own clock will not end. */
const bootMaxMs = 900_000;
/** How long a card may leave one early question unanswered. */
const knockMs = 2000;

/** Puts something between the console and the line, such as a recorder. */
type Wrap = (line: Port) => Port;

export async function openSim(seed: number, timeoutMs: number, wrap?: Wrap): Promise<Session> {
  return openCard(new World({ seed }), timeoutMs, wrap);
}

/** Powers `card` on and returns once its agent runs. */
export async function openCard(
  card: Card,
  timeoutMs: number,
  wrap: Wrap = (line) => line,
): Promise<Session> {
  const [line] = card.lines;
  if (line === undefined) throw new Failure("rig.missing", "the simulated card has no serial line");
  const link = new Link(wrap(line.host), card.clock, { timeoutMs, firstSequence: 0 });
  let running = true;
  const turn = (): void => {
    if (!running) return;
    card.advance(turnMs);
    setImmediate(turn);
  };
  card.power(true);
  setImmediate(turn);
  const close = (): void => {
    running = false;
    link.close();
  };
  try {
    await untilRunning(link, card.clock);
  } catch (error) {
    close();
    throw error;
  }
  return { link, clock: card.clock, close };
}

async function untilRunning(link: Link, clock: Clock): Promise<void> {
  const deadlineMs = clock.now() + bootMaxMs;
  while (!(await isRunning(link))) {
    if (clock.now() < deadlineMs) continue;
    throw new Failure("rig.fault", "the simulated card did not boot within 15 min of its time");
  }
}

/** A card that still boots does not answer. */
async function isRunning(link: Link): Promise<boolean> {
  try {
    const { stage } = await link.request("card.status", {}, knockMs);
    return stage === "runtime";
  } catch (error) {
    if (error instanceof Failure && error.code === "link.timeout") return false;
    throw error;
  }
}
