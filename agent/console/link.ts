/**
 * Requests and answers over a port: SMP version 2, one request on the line at a time. Reads are
 * asked again within their deadline; a write is sent once, since its first copy may have been
 * obeyed. Every answer is checked against the contract before anybody sees it.
 */
import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";
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
import { encodeMessage, type Op, parsePacket, type Request } from "../wire/smp.ts";
import { tagOf } from "../wire/tags.ts";
import { askingForWords, type Body, checked } from "./answer.ts";
import type { Authority } from "./authority.ts";
import { type Evidence, noEvidence, seeBad, seePrompt, seeText, unanswered } from "./evidence.ts";

/** As the header has it: 1 is SMP version 2. */
const smpVersion = 1;
/** How often a read is asked before its deadline. */
export const readAttempts = 3;
/** Requests waiting for their turn; a caller that wants more has lost its measure. */
export const waitingMax = 32;

export interface LinkOptions {
  /** How long one request may take, all its attempts together. */
  readonly timeoutMs: number;
  /** 0 to 255; begins elsewhere in every process, so that answers to the last one do not fit. */
  readonly firstSequence: number;
  /** What the port can add to a timeout, such as who else reads it. */
  readonly note?: () => string;
}

interface Call {
  readonly name: CommandName;
  readonly body: Body;
  readonly timeoutMs: number;
  /** Sequence numbers of its copies: an answer to any of them will do. */
  readonly sequences: number[];
  readonly seen: Evidence;
  readonly settle: (answer: Body | Failure) => void;
  cancel: () => void;
}

export class Link {
  readonly port: Port;
  /** Signs what takes authority; null: everything goes out as it is. */
  authority: Authority | null = null;
  private readonly clock: Clock;
  private readonly options: LinkOptions;
  private readonly deframer = new Deframer();
  private readonly waiting: Call[] = [];
  private call: Call | null = null;
  private sequence: number;
  private lost: Failure | null = null;
  /** What the card at the other end can do; null while it has not said. */
  private tags: ReadonlySet<string> | null = null;
  private tellReport: (report: Report) => void = () => {};
  private tellLost: (failure: Failure) => void = () => {};

  constructor(port: Port, clock: Clock, options: LinkOptions) {
    this.port = port;
    this.clock = clock;
    this.options = options;
    this.sequence = options.firstSequence & 0xff;
    port.onData((bytes) => this.receive(bytes));
    port.onClose((cause) => this.lose(cause));
  }

  /** From now on a command that a card without its tag would not know is refused here. */
  know(tags: readonly string[]): void {
    this.tags = new Set(tags);
  }

  /** Sets the one listener for pushed reports; they come only after `report.subscribe`. */
  onReport(listen: (report: Report) => void): void {
    this.tellReport = listen;
  }

  /** Sets the one listener for the loss of the port. Called once. */
  onLost(listen: (failure: Failure) => void): void {
    this.tellLost = listen;
    if (this.lost !== null) listen(this.lost);
  }

  /**
   * Sends a request when its turn comes, signed where it must be, and resolves with the checked
   * answer. Rejects with a Failure: link.timeout, link.garbled, link.refused or access.* (the card
   * said no), wire.malformed (the answer breaks the contract), port.lost, queue.full, key.*,
   * card.lacks (nothing was sent).
   */
  request<N extends CommandName>(
    name: N,
    body: RequestOf<N> & Body,
    timeoutMs: number = this.options.timeoutMs,
  ): Promise<ResponseOf<N>> {
    if (this.authority?.covers(name) === true) return this.authority.request(name, body, timeoutMs);
    return this.plain(name, body, timeoutMs);
  }

  /** The same, unsigned. */
  plain<N extends CommandName>(
    name: N,
    body: RequestOf<N> & Body,
    timeoutMs: number,
  ): Promise<ResponseOf<N>> {
    return this.exchange(name, body, timeoutMs, (answer) => checked(name, answer) as ResponseOf<N>);
  }

  /** Resolves with what `read` makes of the answer. */
  exchange<T = Body>(
    name: CommandName,
    body: Body,
    timeoutMs: number,
    read: (answer: Body) => T = (answer) => answer as T,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (answer: Body | Failure): void => {
        try {
          if (answer instanceof Failure) throw answer;
          resolve(read(answer));
        } catch (error) {
          reject(error);
        }
      };
      if (this.lost !== null) return settle(this.lost);
      const tag = tagOf[name];
      if (tag !== undefined && this.tags?.has(tag) === false) return settle(lacks(name, tag));
      if (this.waiting.length >= waitingMax) {
        const message = `${waitingMax} requests already wait for ${this.port.name}`;
        return settle(new Failure("queue.full", message));
      }
      const seen = noEvidence();
      this.waiting.push({ name, body, timeoutMs, sequences: [], seen, settle, cancel: () => {} });
      this.next();
    });
  }

  /** Ends the port; what is still asked fails with port.lost. */
  close(): void {
    this.lose("closed by the console");
    this.port.close();
  }

  private next(): void {
    if (this.call !== null) return;
    this.call = this.waiting.shift() ?? null;
    if (this.call !== null) this.send(this.call);
  }

  private send(call: Call): void {
    const { group, id, op } = commands[call.name];
    const seq = this.sequence;
    this.sequence = (seq + 1) & 0xff;
    call.sequences.push(seq);
    const asks: Op = op === "read" ? "read" : "write";
    const header = { version: smpVersion, op: asks, group, seq, command: id };
    const body = askingForWords(call.name, call.body);
    if (!this.port.write(enframe(encodeMessage({ ...header, body }))))
      return this.finish(call, this.stuck(call));
    const attempts = op === "write" ? 1 : readAttempts;
    const dueMs = this.clock.now() + call.timeoutMs / attempts;
    call.cancel = this.clock.at(dueMs, () => {
      if (call.sequences.length < attempts) this.send(call);
      else this.finish(call, this.giveUp(call));
    });
  }

  private finish(call: Call, answer: Body | Failure): void {
    if (this.call !== call) return;
    call.cancel();
    this.call = null;
    call.settle(answer);
    this.next();
  }

  private receive(bytes: Uint8Array): void {
    const seen = this.call?.seen ?? noEvidence();
    seen.bytes += bytes.length;
    const found = this.deframer.push(bytes);
    // A prompt waits for its answer without ending the line.
    if (found.length === 0 && this.deframer.pendingBytes === 0) seePrompt(seen, bytes);
    for (const item of found) {
      if (item.kind === "message") this.take(item.bytes, seen);
      else if (item.kind === "bad") seeBad(seen, item.reason);
      else seeText(seen, item.bytes);
    }
  }

  private take(packet: Uint8Array, seen: Evidence): void {
    for (const item of parsePacket(packet)) {
      try {
        if (item.kind === "bad") seeBad(seen, item.reason);
        else this.accept(item, seen);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        seeBad(seen, error.message);
      }
    }
  }

  private accept({ header, body }: Request, seen: Evidence): void {
    const { op, group, command: id, seq } = header;
    const isPush = op === "read_response" && group === reportPush.group && id === reportPush.id;
    if (isPush) return this.tellReport(check(reportPush.body, body, "a pushed report"));
    const { call } = this;
    const asked = call === null ? null : commands[call.name];
    const fits =
      asked !== null &&
      group === asked.group &&
      id === asked.id &&
      op === (asked.op === "read" ? "read_response" : "write_response");
    if (call !== null && fits && call.sequences.includes(seq)) this.finish(call, body);
    else seen.others += 1;
  }

  private giveUp(call: Call): Failure {
    const seen = { ...call.seen, partialBytes: this.deframer.pendingBytes };
    const request = {
      port: this.port.name,
      request: call.name,
      waitedMs: call.timeoutMs,
      attempts: call.sequences.length,
      acts: commands[call.name].op === "write",
      note: this.options.note?.() ?? "",
    };
    return unanswered(request, seen);
  }

  private stuck(call: Call): Failure {
    const { name, waitingBytes } = this.port;
    return new Failure(
      "link.timeout",
      `${call.name} was not sent: ${name} takes no more bytes (${waitingBytes} are waiting). ` +
        "The other end does not read: check flow control and the card.",
      { evidence: { port: name, request: call.name, waiting_bytes: waitingBytes } },
    );
  }

  private lose(cause: string): void {
    if (this.lost !== null) return;
    const { name } = this.port;
    const lost = new Failure("port.lost", `the line ${name} was lost: ${cause}.`, {
      evidence: { port: name, cause },
    });
    this.lost = lost;
    const calls = this.call === null ? this.waiting : [this.call, ...this.waiting];
    this.waiting.length = 0;
    this.call = null;
    for (const call of calls) {
      call.cancel();
      call.settle(lost);
    }
    this.tellLost(lost);
  }
}

function lacks(name: CommandName, tag: string): Failure {
  const message = `this card cannot do that: it does not tell of ${tag}. Nothing was sent.`;
  return new Failure("card.lacks", message, { evidence: { request: name, tag } });
}
