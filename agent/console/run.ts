/** One run of the console: which card is meant, how it is reached, and how the outcome is said. */
import { hostname } from "node:os";
import { exitCodes, Failure } from "../errors.ts";
import { listPorts } from "../io/serialfault.ts";
import { parseAddress } from "../io/transports/address.ts";
import { envelopeTextMax } from "../wire/cose.ts";
import { Authority } from "./authority.ts";
import type { Context, Hello, Outcome } from "./context.ts";
import { findSigners } from "./keys.ts";
import { greet, open, type PortSettings, type Session, type Target } from "./session.ts";
import { type Paint, painter, withoutControls } from "./show.ts";
import type { Terminal } from "./terminal.ts";

export interface Setting {
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by SIGINT or SIGTERM. */
  readonly stop: AbortSignal;
  /** This program's file, for the demonstration, which starts it a second time. */
  readonly script: string;
  /** How a line is opened; tests give one with a scripted card at its end. */
  readonly open?: (
    target: Target,
    timeoutMs: number,
    note: (text: string) => void,
  ) => Promise<Session>;
}

/** The options that every command takes. */
export interface GlobalOptions {
  readonly port?: string;
  readonly baud: number;
  readonly sim?: boolean;
  readonly seed: number;
  readonly json?: boolean;
  readonly timeout: number;
  /** The key to sign with, and the card that is meant. */
  readonly key?: string;
  readonly device?: string;
  /** Seconds; true: for ever. */
  readonly waitLock?: number | true;
  readonly evict?: true;
  readonly dtr?: boolean;
  readonly rts?: boolean;
  readonly record?: string;
}

/** What `--port` means together with the options for ports. */
export function targetOf(path: string, options: GlobalOptions): Target {
  const address = parseAddress(path);
  if (address.kind === "sim") return simTarget(address.seed ?? options.seed, options.record);
  const { baud, waitLock, evict, dtr, rts, record } = options;
  const settings: PortSettings = {
    ...(waitLock === undefined
      ? {}
      : { waitLockMs: waitLock === true ? Infinity : waitLock * 1000 }),
    ...(evict === undefined ? {} : { evict }),
    ...(dtr === undefined ? {} : { dtr }),
    ...(rts === undefined ? {} : { rts }),
    ...(record === undefined ? {} : { record }),
  };
  const isPlain = Object.keys(settings).length === 0;
  return { kind: "port", path, baud, ...(isPlain ? {} : { settings }) };
}

function simTarget(seed: number, record: string | undefined): Target {
  return { kind: "sim", seed, ...(record === undefined ? {} : { record }) };
}

/** Opens a lost line again; null where it cannot come back. */
type Reopen = (() => Promise<Session>) | null;

/** Serial ports named when none was given. */
const suggestedMax = 4;

/** What the commands work with. */
export class Run {
  readonly setting: Setting;
  readonly paint: Paint;
  readonly isJson: boolean;
  /** The command as it was understood, such as `wdt status`; "" before that. */
  command = "";
  /** Exit status of what was printed. */
  exit = 0;

  constructor(setting: Setting, isJson: boolean) {
    this.setting = setting;
    this.isJson = isJson;
    this.paint = painter(setting.terminal.colours && !isJson);
  }

  /** Where `options` says the card is. Failure `usage.invalid` when they do not say. */
  target(options: GlobalOptions): Target {
    const { port, sim, seed, record } = options;
    if (sim === true && port !== undefined) {
      throw new Failure("usage.invalid", "give --port or --sim, not both.");
    }
    if (sim === true) return simTarget(seed, record);
    const path = port ?? this.setting.env.KENNEL_PORT ?? "";
    if (path !== "") return targetOf(path, options);
    const ports = listPorts().slice(0, suggestedMax);
    const here = ports.length > 0 ? ` Ports here: ${ports.join(", ")}.` : "";
    throw new Failure(
      "usage.invalid",
      `which card? Give --port PATH or set KENNEL_PORT; --sim takes a simulated one.${here}`,
      { evidence: { ports } },
    );
  }

  open(options: GlobalOptions): Promise<Session> {
    const opener = this.setting.open ?? open;
    return opener(this.target(options), options.timeout * 1000, (text) => this.note(text));
  }

  /** Tells something on the way; the answer itself goes to stdout. */
  note(text: string): void {
    this.setting.terminal.err(`kennel: ${withoutControls(text)}\n`);
  }

  /** Does `act` on a card that has greeted, and prints what came of it. */
  async onCard(
    options: GlobalOptions,
    act: (context: Context) => Promise<Outcome> | Outcome,
  ): Promise<void> {
    const { paint } = this;
    await this.onLine(options, async (session) => {
      const { link, clock } = session;
      const hello = await greet(link);
      this.authorise(options, session, hello);
      return act({ link, clock, paint, hello });
    });
  }

  /** Does `act` on whatever is at the other end of the line. A signal ends it at once. */
  async onLine(options: GlobalOptions, act: (session: Session) => Promise<Outcome>): Promise<void> {
    const session = await this.unlessStopped(this.open(options));
    this.authorise(options, session, null);
    try {
      await this.unlessStopped(act(session).then((outcome) => this.print(outcome)));
    } finally {
      session.close();
    }
  }

  /** Does `act`, which watches for signals itself, and prints the outcome also after one. */
  async untilStopped(
    options: GlobalOptions,
    act: (session: Session, hello: Hello, reopen: Reopen) => Promise<Outcome>,
  ): Promise<void> {
    const session = await this.unlessStopped(this.open(options));
    try {
      const hello = await this.unlessStopped(greet(session.link));
      this.authorise(options, session, hello);
      // Whoever was asked to make way once is not asked again for every loss of the line.
      const { evict: _evict, ...later } = options;
      const target = this.target(later);
      const comesBack = target.kind === "port" && !target.path.startsWith("file:");
      const reopen = async (): Promise<Session> => {
        const again = await this.open(later);
        this.authorise(options, again, hello);
        return again;
      };
      await this.print(await act(session, hello, comesBack ? reopen : null));
    } finally {
      session.close();
    }
  }

  /** Prints the outcome, then does what had to wait for that. */
  async print(outcome: Outcome): Promise<void> {
    const { out } = this.setting.terminal;
    const { command } = this;
    this.exit = this.setting.stop.aborted ? exitCodes.interrupted : (outcome.exit ?? exitCodes.ok);
    if (!this.isJson) {
      if (outcome.text !== "") await out(`${outcome.text}\n`);
    } else if (outcome.printed !== true) {
      await out(`${JSON.stringify({ ok: true, command, data: outcome.data })}\n`);
    }
    await outcome.afterwards?.();
  }

  /** From now on what takes authority goes out signed, where there is a key. */
  private authorise(options: GlobalOptions, { link, clock }: Session, hello: Hello | null): void {
    const { env } = this.setting;
    link.authority = new Authority(link, {
      clock,
      tags: hello?.tags ?? null,
      signers: () => findSigners(options.key, env),
      seat: seatOf(env.KENNEL_SEAT ?? hostname()),
      device: options.device,
    });
  }

  private async unlessStopped<T>(work: Promise<T>): Promise<T> {
    const { stop } = this.setting;
    let onStop = (): void => {};
    const stopped = new Promise<never>((_resolve, reject) => {
      onStop = () => reject(new Failure("console.interrupted", "interrupted."));
    });
    if (stop.aborted) onStop();
    stop.addEventListener("abort", onStop, { once: true });
    try {
      return await Promise.race([work, stopped]);
    } finally {
      stop.removeEventListener("abort", onStop);
    }
  }
}

/** Printable, and no longer than an envelope takes. */
function seatOf(name: string): string {
  return name.replace(/[^\x21-\x7e]/g, "").slice(0, envelopeTextMax);
}
