/** From the options of the command line to a link that a card has answered on. */
import { randomInt } from "node:crypto";
import { Failure } from "../errors.ts";
import { type Clock, RealClock } from "../io/clock.ts";
import { nameHolder, sharers } from "../io/holder.ts";
import type { Port } from "../io/port.ts";
import { openSerial } from "../io/serial.ts";
import { contractVersion } from "../wire/commands.ts";
import type { Hello } from "./context.ts";
import { Link } from "./link.ts";

export type Target =
  | { readonly kind: "port"; readonly path: string; readonly baud: number }
  | { readonly kind: "sim"; readonly seed: number };

export interface Session {
  readonly link: Link;
  readonly clock: Clock;
  close(): void;
}

/** Opens the line; nothing is asked yet. Rejects with the Failure of the port. */
export async function open(target: Target, timeoutMs: number): Promise<Session> {
  if (target.kind === "sim") {
    const { openSim } = await import("./simlink.ts");
    return openSim(target.seed, timeoutMs);
  }
  const { path, baud } = target;
  const port = await openPort(path, baud);
  const clock = new RealClock();
  const note = rarely(() => sharersNote(path));
  const link = new Link(port, clock, { timeoutMs, firstSequence: randomInt(256), note });
  return { link, clock, close: () => link.close() };
}

export function openPort(path: string, baud: number): Promise<Port> {
  return new Promise((resolve, reject) => {
    openSerial(path, { baud }, (opened) => {
      if (opened instanceof Failure) reject(opened);
      else resolve(opened);
    });
  });
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
