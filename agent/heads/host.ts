/**
 * The agent's side of the serial lines: takes requests, answers them, and pushes reports to a
 * subscriber. Whatever arrives on a line, it never throws and never blocks.
 */
import { Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Clock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";
import type { Ledger } from "../ledger.ts";
import { type Command, packetBytesMax } from "../wire/command.ts";
import {
  type CommandName,
  commands,
  type Report,
  type RequestOf,
  type ResponseOf,
  reportPush,
} from "../wire/commands.ts";
import { Deframer, enframe } from "../wire/frame.ts";
import { check } from "../wire/shape.ts";
import {
  encodeMessage,
  errorBody,
  parsePacket,
  type Request,
  responseHeader,
} from "../wire/smp.ts";
import type { Actor } from "./signatures.ts";
import { leaseMs, type Position, pushBacklogMax, Subscriber } from "./subscriber.ts";

/** What answers each command. A command without a handler answers `rc` 8, not supported. */
export type Handlers = {
  readonly [N in CommandName]?: (
    request: RequestOf<N>,
    line: Line,
    actor: Actor | null,
  ) => ResponseOf<N>;
};

/** A half frame older than this is given up, so that it never locks the line; ms. */
export const halfFrameMs = 3000;
/** Requests answered from one packet; more are refused. */
const requestsPerPacketMax = 8;
/**
 * An answer that comes later than this is none: its client has given it up, and would take it for
 * the answer to what it asked since (smpclient waits 2.5 s, smpmgr 2 s).
 */
export const answerWithinMs = 2000;
/** What waited on the lines while the agent stood still arrives within this time. */
const catchUpMs = 250;

/** One serial line with whoever is at its other end. */
export class Line {
  readonly port: Port;
  readonly deframer = new Deframer({ text: "count" });
  subscriber: Subscriber | null = null;
  /** Frames that could not be sent because the host does not read. */
  dropped = 0;
  lastByteMs = 0;
  /** Text that had come over this line when something was last sent. */
  private textBytes = 0;
  private readonly counts = { requests: 0, refused: 0, late: 0, bytes: 0, peak: 0 };

  constructor(port: Port) {
    this.port = port;
  }

  send(bytes: Uint8Array): boolean {
    const { textBytes } = this.deframer.seen;
    // Who types here has an echo or a prompt on the line, and some clients find a frame only where
    // a line begins.
    const sent = this.port.write(
      textBytes === this.textBytes ? enframe(bytes) : onFreshLine(bytes),
    );
    this.textBytes = textBytes;
    if (!sent) this.dropped += 1;
    this.counts.peak = Math.max(this.counts.peak, this.port.waitingBytes);
    return sent;
  }

  count(what: "requests" | "refused" | "late" | "bytes", by = 1): void {
    this.counts[what] += by;
  }

  /** What came over this line since it was opened, for the statistics. */
  counters(): Record<string, number> {
    const { messages, textBytes, skippedBytes, bad } = this.deframer.seen;
    const { requests, refused, late, bytes, peak } = this.counts;
    return {
      bytes,
      packets: messages,
      requests,
      refused,
      late,
      text_bytes: textBytes,
      skipped_bytes: skippedBytes,
      frames_bad: [...bad.values()].reduce((sum, count) => sum + count, 0),
      crc_bad: bad.get("crc") ?? 0,
      answers_dropped: this.dropped,
      waiting_peak: peak,
    };
  }
}

/** Commands by "group/id/operation", for finding what a request asks. */
const byId = new Map<string, CommandName>(
  Object.entries(commands).flatMap(([name, { group, id, op }]) =>
    (op === "either" ? (["read", "write"] as const) : [op]).map((one) => {
      return [`${group}/${id}/${one}`, name as CommandName] as const;
    }),
  ),
);

export interface HostIo {
  readonly clock: Clock;
  readonly ledger: Ledger;
  /** Whose reports are pushed. */
  readonly device: () => string;
  readonly emit: (event: AgentEvent) => void;
  readonly access: Gate;
}

/** Decides who may have what: heads/access.ts. */
export interface Gate {
  /** Throws a Failure unless whoever asks may have this; null: the request is unsigned. */
  allow(name: CommandName, line: Line, actor: Actor | null): void;
  /** Who signed this, and the request in it; throws a Failure for what is not to be obeyed. */
  open(cose: Uint8Array, line: Line): { actor: Actor; payload: Uint8Array };
}

export class HostHead {
  readonly lines: Line[] = [];
  private readonly io: HostIo;
  private readonly handlers: Handlers;
  /** Requests that come before this are too old to be answered, ms. */
  private staleUntilMs = 0;

  constructor(io: HostIo, handlers: Handlers) {
    this.io = io;
    this.handlers = handlers;
  }

  attach(port: Port): Line {
    const line = new Line(port);
    this.lines.push(line);
    this.io.emit({ kind: "link:up", port: port.name });
    return line;
  }

  /** The line is gone; another may be attached in its place. */
  detach(line: Line, problem: string): void {
    const at = this.lines.indexOf(line);
    if (at >= 0) this.lines.splice(at, 1);
    this.io.emit({ kind: "link:down", problem });
  }

  received(line: Line, bytes: Uint8Array): void {
    const nowMs = this.io.clock.now();
    if (line.deframer.pendingBytes > 0 && nowMs - line.lastByteMs > halfFrameMs) {
      line.deframer.reset();
    }
    line.lastByteMs = nowMs;
    line.count("bytes", bytes.length);
    for (const found of line.deframer.push(bytes)) {
      if (found.kind === "message") this.packet(line, found.bytes);
      else if (found.kind === "bad") this.io.emit({ kind: "link:bad", problem: found.reason });
    }
  }

  /**
   * The agent could do nothing for `ms`: what hosts asked meanwhile is neither obeyed nor answered
   * any more, as nobody waits for it.
   */
  stoodStill(ms: number): void {
    if (ms > answerWithinMs) this.staleUntilMs = this.io.clock.now() + catchUpMs;
  }

  /** When a line next needs attention without any event. */
  get dueMs(): number {
    return Math.min(Infinity, ...this.lines.map((line) => line.subscriber?.dueMs ?? Infinity));
  }

  /** Ends leases and pushes what subscribers may be sent now. */
  pump(): void {
    const nowMs = this.io.clock.now();
    for (const line of this.lines) {
      if (line.subscriber === null) continue;
      if (nowMs >= line.subscriber.endsMs) line.subscriber = null;
      else line.subscriber.pump(nowMs, (report) => this.push(line, report));
    }
  }

  private push(line: Line, report: Report): boolean {
    if (line.port.waitingBytes > pushBacklogMax) return false;
    return line.send(pushed(this.io.device(), report));
  }

  /** `after`: nothing up to there is pushed. Returns the lease granted, ms. */
  subscribe(line: Line, forMs: number | undefined, after: Position | null = null): number {
    const nowMs = this.io.clock.now();
    const granted = Math.min(Math.max(forMs ?? leaseMs.usual, 1000), leaseMs.max);
    line.subscriber = new Subscriber(this.io.ledger, nowMs, granted, after);
    return granted;
  }

  private packet(line: Line, bytes: Uint8Array): void {
    const parsed = parsePacket(bytes);
    if (this.io.clock.now() < this.staleUntilMs) return line.count("late", parsed.length);
    line.count("requests", parsed.length);
    for (const item of parsed.slice(0, requestsPerPacketMax)) {
      if (item.kind === "bad") {
        this.io.emit({ kind: "link:bad", problem: item.reason });
        if (item.header === undefined) continue;
        line.count("refused");
        line.send(encodeMessage({ ...responseHeader(item.header), body: { rc: item.rc } }));
      } else if (item.header.op === "read" || item.header.op === "write") {
        line.send(this.answer(line, item));
      }
    }
  }

  private answer(line: Line, request: Request): Uint8Array {
    const header = responseHeader(request.header);
    const message = (body: Record<string, unknown>): Uint8Array =>
      encodeMessage({ ...header, body });
    try {
      const answer = message(this.handle(line, request, null));
      if (answer.length > packetBytesMax) {
        throw new Failure("wire.too_large", `an answer of ${answer.length} bytes`);
      }
      return answer;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      line.count("refused");
      return message(errorBody(request, error));
    }
  }

  private handle(line: Line, request: Request, actor: Actor | null): Record<string, unknown> {
    const { group, command: id, op } = request.header;
    const name = byId.get(`${group}/${id}/${op}`);
    if (name === "access.signed" && actor === null) {
      return this.signed(line, check(commands[name].request, request.body, name).cose);
    }
    const handler = name === undefined ? undefined : this.handlers[name];
    if (name === undefined || handler === undefined) {
      throw new Failure("wire.unsupported", `there is no ${op} of group ${group} command ${id}`);
    }
    const wanted: Command<unknown, unknown> = commands[name];
    const body = check(wanted.request, request.body, name);
    this.io.access.allow(name, line, actor);
    type Answer = (body: unknown, line: Line, actor: Actor | null) => Record<string, unknown>;
    return (handler as Answer)(body, line, actor);
  }

  /** The one request in a signed command, answered as it would be by itself. */
  private signed(line: Line, cose: Uint8Array): Record<string, unknown> {
    const { actor, payload } = this.io.access.open(cose, line);
    const [inner, ...more] = parsePacket(payload);
    const isOne = inner?.kind === "request" && more.length === 0;
    if (!isOne || (inner.header.op !== "read" && inner.header.op !== "write")) {
      throw new Failure("wire.malformed", "a signed command holds exactly one request");
    }
    try {
      return this.handle(line, inner, actor);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return errorBody(inner, error);
    }
  }
}

function onFreshLine(message: Uint8Array): Uint8Array {
  const frame = enframe(message);
  const bytes = new Uint8Array(frame.length + 1);
  bytes[0] = 0x0a;
  bytes.set(frame, 1);
  return bytes;
}

/** A report as it is sent unasked: a read response of the report group. */
function pushed(device: string, report: Report): Uint8Array {
  const { group, id } = reportPush;
  return encodeMessage({
    version: 1,
    op: "read_response",
    group,
    seq: 0,
    command: id,
    body: { device, ...report },
  });
}
