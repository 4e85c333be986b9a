/**
 * `kennel card`: a simulated card that consoles attach to as to a real one. It has two serial
 * lines, each a pseudo terminal; its time keeps pace with ours.
 */
import { planDay } from "../sim/day.ts";
import { World } from "../sim/world.ts";
import type { Outcome } from "./context.ts";
import { type Cable, plug } from "./ptyport.ts";
import { paceText } from "./show.ts";
import type { Terminal } from "./terminal.ts";

export interface CardOptions {
  readonly seed: number;
  /** Seconds on the card per second here. */
  readonly pace: number;
  /** Play one day in the life: crashes, a hang, resets. */
  readonly day: boolean;
  /** Ends by itself after this many milliseconds of ours; Infinity: when stopped. */
  readonly forMs: number;
  readonly stop: AbortSignal;
  /** End when stdin does: a parent that dies in any way takes its card with it. */
  readonly whileStdin: boolean;
  readonly terminal: Terminal;
  readonly json: boolean;
}

/** What a console reads from the first line of `kennel card --json`. */
export interface CardAnnouncement {
  readonly port: string;
  readonly ports: readonly string[];
  readonly seed: number;
  readonly pace: number;
}

/** One line for a console, one for a guest: two readers on one would split its bytes. */
const lineCount = 2;
/** Between two steps of the card's time. */
const stepEveryMs = 20;
/** The card's time moves at most this far before the lines get their turn. */
const sliceMs = 100;
/** A machine that was asleep does not make the card live through the night in one go. */
const catchUpMaxMs = 2000;

export async function card(options: CardOptions): Promise<Outcome> {
  const { seed, pace, stop, terminal, json } = options;
  const plan = options.day ? planDay(seed) : null;
  const world = plan?.world ?? new World({ seed, lineCount });
  const cables = world.lines.map(({ host }) => plug(host));
  const ports = cables.map((cable) => cable.path);
  const data: CardAnnouncement = { port: ports[0] ?? "", ports, seed, pace };
  await terminal.out(`${json ? announceJson(data) : announce(data)}\n`);
  world.power(true);
  try {
    const ends = options.whileStdin ? AbortSignal.any([stop, stdinEnd()]) : stop;
    await live(world, pace, options.forMs, ends);
  } finally {
    for (const cable of cables) cable.close();
  }
  return { data, text: ended(cables), printed: json };
}

export function stdinEnd(): AbortSignal {
  const controller = new AbortController();
  const end = (): void => controller.abort();
  process.stdin.once("end", end).once("close", end).resume();
  return controller.signal;
}

function announce({ ports, seed, pace }: CardAnnouncement): string {
  const lines = ports.map((port) => `card: ${port}`);
  return [...lines, `simulated from seed ${seed}${paceText(pace)}; ends with Ctrl-C`].join("\n");
}

function announceJson(data: CardAnnouncement): string {
  return JSON.stringify({ ok: true, command: "card", data });
}

function ended(cables: readonly Cable[]): string {
  const dropped = cables.reduce((sum, cable) => sum + cable.droppedBytes, 0);
  return dropped === 0 ? "card off" : `card off; ${dropped} bytes were dropped that nobody read`;
}

/** Moves the card's time on with ours, in slices between which bytes come and go. */
function live(world: World, pace: number, forMs: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    let lastMs = startMs;
    let owedMs = 0;
    let timer: NodeJS.Timeout | undefined;
    const end = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const turn = (): void => {
      if (stop.aborted) return;
      try {
        const nowMs = performance.now();
        owedMs += Math.min(nowMs - lastMs, catchUpMaxMs) * pace;
        lastMs = nowMs;
        const stepMs = Math.min(owedMs, sliceMs);
        world.advance(stepMs);
        owedMs -= stepMs;
        if (nowMs - startMs >= forMs) return end();
        timer = setTimeout(turn, owedMs > 0 ? 0 : stepEveryMs);
      } catch (error) {
        reject(error);
      }
    };
    stop.addEventListener("abort", end, { once: true });
    turn();
  });
}
