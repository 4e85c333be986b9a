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
import { leaseMs, Subscriber } from "./subscriber.ts";

/** What answers each command. A command without a handler answers `rc` 8, not supported. */
export type Handlers = {
  readonly [N in CommandName]?: (request: RequestOf<N>, line: Line) => ResponseOf<N>;
};

/** A half frame older than this is given up, so that it never locks the line; ms. */
export const halfFrameMs = 3000;
/** Requests answered from one packet; more are refused. */
const requestsPerPacketMax = 8;

/** One serial line with whoever is at its other end. */
export class Line {
  readonly port: Port;
  readonly deframer = new Deframer({ text: "count" });
  subscriber: Subscriber | null = null;
  /** Frames that could not be sent because the host does not read. */
  dropped = 0;
  lastByteMs = 0;

  constructor(port: Port) {
    this.port = port;
  }

  send(bytes: Uint8Array): boolean {
    const sent = this.port.write(enframe(bytes));
    if (!sent) this.dropped += 1;
    return sent;
  }
}

/** Commands by "group/id", for finding what a request asks. */
const byId = new Map<string, CommandName>(
  Object.entries(commands).map(([name, { group, id }]) => [`${group}/${id}`, name as CommandName]),
);

export interface HostIo {
  readonly clock: Clock;
  readonly ledger: Ledger;
  readonly emit: (event: AgentEvent) => void;
  /** Throws a Failure unless an unsigned request may have this. */
  readonly allow: (name: CommandName, line: Line) => void;
}

export class HostHead {
  readonly lines: Line[] = [];
  private readonly io: HostIo;
  private readonly handlers: Handlers;

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
    for (const found of line.deframer.push(bytes)) {
      if (found.kind === "message") this.packet(line, found.bytes);
      else if (found.kind === "bad") this.io.emit({ kind: "link:bad", problem: found.reason });
    }
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
      else line.subscriber.pump(nowMs, (report) => line.send(pushed(report)));
    }
  }

  subscribe(line: Line, forMs: number | undefined): number {
    const nowMs = this.io.clock.now();
    const granted = Math.min(Math.max(forMs ?? leaseMs.usual, 1000), leaseMs.max);
    line.subscriber = new Subscriber(this.io.ledger, nowMs, granted);
    return granted;
  }

  private packet(line: Line, bytes: Uint8Array): void {
    const parsed = parsePacket(bytes);
    for (const item of parsed.slice(0, requestsPerPacketMax)) {
      if (item.kind === "bad") {
        this.io.emit({ kind: "link:bad", problem: item.reason });
        if (item.header === undefined) continue;
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
      const answer = message(this.handle(line, request));
      if (answer.length > packetBytesMax) {
        throw new Failure("wire.too_large", `an answer of ${answer.length} bytes`);
      }
      return answer;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return message(errorBody(request.header, error));
    }
  }

  private handle(line: Line, request: Request): Record<string, unknown> {
    const { group, command: id, op } = request.header;
    const name = byId.get(`${group}/${id}`);
    const handler = name === undefined ? undefined : this.handlers[name];
    if (name === undefined || handler === undefined) {
      throw new Failure("wire.unsupported", `group ${group} command ${id}`);
    }
    const wanted: Command<unknown, unknown> = commands[name];
    if (wanted.op !== "either" && wanted.op !== op) {
      throw new Failure("wire.unsupported", `${name} is a ${wanted.op}`);
    }
    const body = check(wanted.request, request.body, name);
    this.io.allow(name, line);
    return (handler as (body: unknown, line: Line) => Record<string, unknown>)(body, line);
  }
}

/** A report as it is sent unasked: a read response of the report group. */
function pushed(report: Report): Uint8Array {
  const { group, id } = reportPush;
  return encodeMessage({
    version: 1,
    op: "read_response",
    group,
    seq: 0,
    command: id,
    body: report,
  });
}
