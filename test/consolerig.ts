/**
 * For tests of the console: a cable on a virtual clock, a card at its far end that answers as
 * scripted, and a terminal that keeps what is printed.
 */

import { Link } from "../agent/console/link.ts";
import { runConsole } from "../agent/console/program.ts";
import type { Session, Target } from "../agent/console/session.ts";
import type { Terminal } from "../agent/console/terminal.ts";
import { portQueueBytesMax as queueBytes } from "../agent/io/port.ts";
import { SimClock } from "../agent/sim/clock.ts";
import { SimLine } from "../agent/sim/port.ts";
import { Random } from "../agent/sim/random.ts";
import { type CommandName, commands, type Report, reportPush } from "../agent/wire/commands.ts";
import { Deframer, enframe } from "../agent/wire/frame.ts";
import {
  encodeMessage,
  type Header,
  type Message,
  parsePacket,
  responseHeader,
} from "../agent/wire/smp.ts";

type Body = Readonly<Record<string, unknown>>;
/** The answer's body; null: no answer. */
export type Answer = (body: Body, header: Header) => Body | null;
export type Script = { readonly [N in CommandName]?: Answer };

/** Virtual time per turn of the event loop while a test waits. */
const turnMs = 5;
/** A test that waits longer than this, on the virtual clock, waits for nothing. */
const patienceMs = 600_000;

export interface Asked {
  readonly name: string;
  readonly body: Body;
  readonly header: Header;
  readonly atMs: number;
}

/** Answers what its script knows, with `rc` 8 the rest, and remembers what it was asked. */
export class ScriptedCard {
  readonly clock = new SimClock();
  readonly line: SimLine;
  readonly asked: Asked[] = [];
  script: Script;
  private readonly deframer = new Deframer();

  constructor(script: Script) {
    this.script = script;
    const random = new Random(1);
    this.line = new SimLine({ baud: 1_000_000, random, clock: this.clock, queueBytes });
    this.line.card.onData((bytes) => this.receive(bytes));
  }

  /** Names of what it was asked, in order. */
  get names(): string[] {
    return this.asked.map(({ name }) => name);
  }

  link(timeoutMs = 3000, firstSequence = 0): Link {
    return new Link(this.line.host, this.clock, { timeoutMs, firstSequence });
  }

  /** Puts bytes on the line. */
  raw(bytes: Uint8Array | string): void {
    this.line.card.write(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
  }

  send(message: Message): void {
    this.raw(enframe(encodeMessage(message)));
  }

  answer(header: Header, body: Body): void {
    this.send({ ...responseHeader(header), body });
  }

  push(report: Report): void {
    const { group, id } = reportPush;
    this.send({ version: 1, op: "read_response", group, seq: 0, command: id, body: report });
  }

  /** Moves virtual time on until `work` has settled; what it rejects with is passed on. */
  async until<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    work.then(done, done);
    const endMs = this.clock.now() + patienceMs;
    while (!settled) {
      if (this.clock.now() > endMs) throw new Error("waited for nothing");
      this.clock.advance(turnMs);
      await turn();
    }
    return work;
  }

  private receive(bytes: Uint8Array): void {
    for (const found of this.deframer.push(bytes)) {
      if (found.kind !== "message") continue;
      for (const item of parsePacket(found.bytes)) {
        if (item.kind === "request") this.take(item.header, item.body);
      }
    }
  }

  /** That words are asked for beside a refusal is no part of what is asked. */
  private take(header: Header, { rsn: _words, ...body }: Body): void {
    const entry = Object.entries(commands).find(
      ([, { group, id, op }]) =>
        group === header.group && id === header.command && (op === "either" || op === header.op),
    );
    const name = (entry?.[0] ?? "unknown") as CommandName;
    this.asked.push({ name, body, header, atMs: this.clock.now() });
    const script = this.script[name];
    const answer = script === undefined ? { rc: 8 } : script(body, header);
    if (answer !== null) this.answer(header, answer);
  }
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A terminal that keeps what was printed. */
export class PaperTerminal implements Terminal {
  readonly isTty: boolean;
  readonly colours: boolean;
  readonly columns = 100;
  readonly rows = 40;
  stdout = "";
  stderr = "";
  /** Thrown by the next printing on stdout. */
  refuses: Error | null = null;

  constructor(colours = false) {
    this.isTty = colours;
    this.colours = colours;
  }

  out = (text: string): Promise<void> => {
    if (this.refuses !== null) return Promise.reject(this.refuses);
    this.stdout += text;
    return Promise.resolve();
  };

  err = (text: string): void => {
    this.stderr += text;
  };
}

export interface Ran {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly targets: readonly Target[];
}

export interface RunOptions {
  readonly terminal?: PaperTerminal;
  readonly env?: Readonly<Record<string, string>>;
  readonly stop?: AbortSignal;
}

/** Runs a command line, split at its spaces, on the card. */
export async function run(
  card: ScriptedCard,
  line: string,
  options: RunOptions = {},
): Promise<Ran> {
  const terminal = options.terminal ?? new PaperTerminal();
  const targets: Target[] = [];
  const open = (target: Target, timeoutMs: number): Promise<Session> => {
    targets.push(target);
    const link = card.link(timeoutMs);
    return Promise.resolve({ link, clock: card.clock, close: () => link.close() });
  };
  const setting = {
    terminal,
    env: options.env ?? { KENNEL_PORT: "/dev/card" },
    stop: options.stop ?? new AbortController().signal,
    script: "kennel.cjs",
    open,
  };
  const words = line.split(" ").filter((word) => word !== "");
  const exit = await card.until(runConsole(words, setting));
  return { exit, stdout: terminal.stdout, stderr: terminal.stderr, targets };
}
