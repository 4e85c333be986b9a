/** From the options of the command line to a link that a card has answered on. */
import { randomInt } from "node:crypto";
import { Failure } from "../errors.ts";
import { type Clock, RealClock } from "../io/clock.ts";
import { nameHolder, sharers } from "../io/holder.ts";
import type { Port } from "../io/port.ts";
import { parseAddress } from "../io/transports/address.ts";
import { openAddress } from "../io/transports/open.ts";
import { openWaiting } from "../io/transports/waiting.ts";
import { RecordedCard } from "../sim/recordedcard.ts";
import { contractVersion } from "../wire/commands.ts";
import type { Take } from "../wire/recording.ts";
import type { Hello } from "./context.ts";
import { Link } from "./link.ts";
import { readRecording, recordTo } from "./recorder.ts";

export type Target =
  | {
      readonly kind: "port";
      /** As `--port` has it. */
      readonly path: string;
      readonly baud: number;
      readonly settings?: PortSettings;
    }
  | { readonly kind: "sim"; readonly seed: number; readonly record?: string };

/** What else the command line says about a port. */
export interface PortSettings {
  /** Wait so long for a port that is busy, ms. */
  readonly waitLockMs?: number;
  readonly evict?: boolean;
  readonly dtr?: boolean;
  readonly rts?: boolean;
  /** Write down what goes over the line. */
  readonly record?: string;
}

export interface Session {
  readonly link: Link;
  readonly clock: Clock;
  close(): void;
}

/** Says something about the line to a person, one sentence at a time. */
type Note = (text: string) => void;

/** Opens the line; nothing is asked yet. Rejects with the Failure of the port. */
export async function open(target: Target, timeoutMs: number, note: Note): Promise<Session> {
  if (target.kind === "sim") {
    const { openSim } = await import("./simlink.ts");
    const { seed, record } = target;
    const wrap = (line: Port): Port => (record === undefined ? line : recordTo(record, line, note));
    return openSim(seed, timeoutMs, wrap);
  }
  const port = await openTarget(target, note);
  const clock = new RealClock();
  const shared = parseAddress(target.path).kind === "serial";
  const look = shared ? rarely(() => sharersNote(target.path)) : () => "";
  const link = new Link(port, clock, { timeoutMs, firstSequence: randomInt(256), note: look });
  return { link, clock, close: () => link.close() };
}

/** The line of a card, recorded if asked for; a new port object with every call. */
export async function openTarget(
  { path, baud, settings = {} }: Target & { kind: "port" },
  note: Note,
): Promise<Port> {
  const { waitLockMs = 0, evict = false, dtr, rts, record } = settings;
  const address = parseAddress(path);
  if (address.kind === "sim") throw new Failure("usage.invalid", `${path} is no line.`);
  const control = { ...(dtr === undefined ? {} : { dtr }), ...(rts === undefined ? {} : { rts }) };
  const openOnce = async (): Promise<Port> =>
    address.kind === "file"
      ? playBack(address.path, readRecording(address.path))
      : openAddress(address, { baud, ...control, note });
  const port = await openWaiting(openOnce, { waitMs: waitLockMs, evict, note });
  if (record === undefined) return port;
  try {
    return recordTo(record, port, note);
  } catch (error) {
    port.close();
    throw error;
  }
}

/** The serial device at `path`. */
export function openPort(path: string, baud: number): Promise<Port> {
  return openAddress({ kind: "serial", path }, { baud, note: () => {} });
}

/** A recording as a card: its text in its time, its answers when they are asked for. */
export function playBack(file: string, takes: readonly Take[]): RecordedCard {
  const clock = new RealClock();
  return new RecordedCard({ clock, takes, name: `file:${file}`, speed: 1, closesAtEnd: true });
}

/** Asks for the card's greeting and refuses a contract that this console does not know. */
export async function greet(link: Link): Promise<Hello> {
  const hello = await link.request("card.hello", {}).catch((error: unknown) => {
    throw notKennel(error);
  });
  if (hello.contract !== contractVersion) {
    throw new Failure(
      "wire.version",
      `the card speaks contract ${hello.contract}, this console ${contractVersion}: ` +
        `use the console that came with agent ${hello.version}.`,
      { evidence: { card: hello.contract, console: contractVersion } },
    );
  }
  link.know(hello.tags);
  return hello;
}

function notKennel(error: unknown): unknown {
  if (!(error instanceof Failure) || error.evidence.rc !== 8) return error;
  return new Failure(
    "link.refused",
    "something answers SMP on this line, but it is no Kennel agent (it has no group 64).",
    { cause: error, evidence: error.evidence },
  );
}

/** Looking through all processes takes tens of milliseconds: at most once in this time. */
const lookEveryMs = 10_000;

function rarely(look: () => string): () => string {
  const clock = new RealClock();
  let seen = { text: "", untilMs: -Infinity };
  return () => {
    if (clock.now() >= seen.untilMs) seen = { text: look(), untilMs: clock.now() + lookEveryMs };
    return seen.text;
  };
}

/** Two readers on one line split the bytes between them; the lock keeps out only who asks. */
function sharersNote(path: string): string {
  const others = sharers(path);
  if (others.length === 0) return "";
  return `Also open in ${others.map(nameHolder).join(" and ")}, which may be taking the bytes.`;
}
