/** `kennel card --recording FILE`: a card on a pseudo terminal that answers as it once did. */
import { RealClock } from "../io/clock.ts";
import { RecordedCard } from "../sim/recordedcard.ts";
import { stdinEnd } from "./card.ts";
import type { Outcome } from "./context.ts";
import { plug } from "./ptyport.ts";
import { readRecording } from "./recorder.ts";
import type { Terminal } from "./terminal.ts";

export interface PlayOptions {
  readonly file: string;
  /** Seconds of the recording per second here. */
  readonly pace: number;
  readonly forMs: number;
  readonly stop: AbortSignal;
  readonly whileStdin: boolean;
  readonly terminal: Terminal;
  readonly json: boolean;
}

export async function recordedCard(options: PlayOptions): Promise<Outcome> {
  const { file, pace: speed, stop, whileStdin, forMs, terminal, json } = options;
  const takes = readRecording(file);
  const clock = new RealClock();
  const card = new RecordedCard({ clock, takes, name: file, speed, closesAtEnd: false });
  const cable = plug(card);
  const data = { port: cable.path, ports: [cable.path], recording: file };
  const told = json ? JSON.stringify({ ok: true, command: "card", data }) : `card: ${cable.path}`;
  await terminal.out(`${told}\n`);
  const ends = [stop, ...(whileStdin ? [stdinEnd()] : [])];
  const timed = forMs === Infinity ? [] : [AbortSignal.timeout(forMs)];
  await ended(AbortSignal.any([...ends, ...timed]));
  card.close();
  cable.close();
  return { data, text: "card off", printed: json };
}

function ended(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
