/**
 * One line, many clients. Each client has what looks like the line itself: console text with SMP
 * frames in it. Requests get sequence numbers of the broker's own on the line, so that the clients'
 * cannot collide; answers go to who asked, pushed reports to who subscribed, text to everybody.
 * What is typed comes from one client at a time. Only whole frames go out: half of one, or a client
 * that does not read, is that client's trouble alone.
 */

import { halfFrameMs } from "../heads/host.ts";
import { leaseMs } from "../heads/subscriber.ts";
import type { Clock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";
import { commands, reportPush } from "../wire/commands.ts";
import { Deframer, enframe } from "../wire/frame.ts";
import { encodeMessage, type Header, responseHeader } from "../wire/smp.ts";
import { type Piece, Routes, split, withSequence } from "./routes.ts";

export interface BrokerOptions {
  readonly clock: Clock;
  /** Sends to the card; false when the line is away or takes no more. */
  readonly write: (bytes: Uint8Array) => boolean;
  /** Tells who watches the broker; one sentence at a time. */
  readonly note: (text: string) => void;
  /** 0 to 255; another one in every process, so that late answers to the last do not fit. */
  readonly firstSequence: number;
}

/** Clients at a time; another one is told so and cut off. */
export const clientsMax = 16;
/** Longest SMP packet taken from either side; Zephyr's servers take 2 to 4 kB. */
const packetBytes = 8192;
/** Requests taken out of one packet; the rest is dropped. */
const requestsPerPacketMax = 8;
/** After this without typing the keyboard is free for the next who types. */
export const typingMs = 30_000;
/** Ctrl-D and Ctrl-F may begin a frame: alone for so long they are keys. */
const keyMs = 50;

export interface BrokerCounts {
  readonly clients: number;
  readonly requests: number;
  readonly answers: number;
  /** Answers that came too late, or that nobody had asked for. */
  readonly strays: number;
  /** Frames and typed pieces that the line did not take. */
  readonly refused: number;
  /** Clients that did not read. */
  readonly cutOff: number;
}

interface Client {
  readonly port: Port;
  readonly name: string;
  readonly deframer: Deframer;
  /** The last byte it was sent was no newline. */
  isMidLine: boolean;
  /** Pushed reports are wanted until then; 0: not at all. */
  subscribedUntilMs: number;
  /** Who it was told has the keyboard. */
  toldOf: Client | null;
  cancel: () => void;
}

export class Broker {
  private readonly options: BrokerOptions;
  private readonly clients = new Set<Client>();
  private readonly routes: Routes<Client>;
  private readonly fromCard = new Deframer({ packetBytes });
  private readonly count = { requests: 0, answers: 0, strays: 0, refused: 0, cutOff: 0 };
  private downFor: string | null = null;
  private writer: Client | null = null;
  private writerUntilMs = 0;
  private cancelHalf: () => void = () => {};

  constructor(options: BrokerOptions) {
    this.options = options;
    this.routes = new Routes(options.firstSequence);
  }

  get counts(): BrokerCounts {
    return { clients: this.clients.size, ...this.count };
  }

  /** Takes in a client under a name for messages, such as `pid 4127 (kennel, user lab3)`. */
  attach(port: Port, name: string): void {
    if (this.clients.size >= clientsMax) {
      port.write(noteText(`${clientsMax} clients are here already: try again later`));
      return port.close();
    }
    const deframer = new Deframer({ packetBytes });
    const fresh = { isMidLine: false, subscribedUntilMs: 0, toldOf: null, cancel: () => {} };
    const client: Client = { port, name, deframer, ...fresh };
    this.clients.add(client);
    port.onData((bytes) => this.fromClient(client, bytes));
    port.onClose(() => this.forget(client));
    if (this.downFor !== null) this.tell(client, `the line is away: ${this.downFor}`);
  }

  /** The line is lost: nothing that was asked on it will be answered any more. */
  down(cause: string): void {
    this.downFor = cause;
    this.cancelHalf();
    this.fromCard.reset();
    this.routes.clear();
    this.writer = null;
    for (const client of this.clients) this.tell(client, `${cause}. Waiting for it to come back`);
  }

  up(name: string): void {
    this.downFor = null;
    for (const client of this.clients) this.tell(client, `the line is back: ${name}`);
  }

  /** Takes what the card sent. */
  fromLine(bytes: Uint8Array): void {
    this.cancelHalf();
    // Lines that came together go on together: a chatty card is not one write per line and client.
    const text: Uint8Array[] = [];
    for (const item of this.fromCard.push(bytes)) {
      if (item.kind === "text") text.push(item.bytes);
      if (item.kind !== "message") continue;
      this.show(text.splice(0));
      for (const piece of split(item.bytes)) this.route(piece);
    }
    const prompt = this.fromCard.takePending(false);
    this.show(prompt === null ? text : [...text, prompt]);
    this.cancelHalf = this.watch(this.fromCard, () => {
      const key = this.fromCard.takePending(true);
      if (key !== null) this.show([key]);
    });
  }

  close(): void {
    this.cancelHalf();
    for (const client of [...this.clients]) {
      this.forget(client);
      client.port.close();
    }
  }

  private show(parts: readonly Uint8Array[]): void {
    if (parts.length === 0) return;
    const text = Buffer.concat(parts);
    for (const client of this.clients) this.send(client, text);
  }

  /** One answer, or a report that was pushed. */
  private route({ header, bytes }: Piece): void {
    if (header === null) return;
    const found = this.routes.take(header);
    if (found !== null) {
      this.count.answers += 1;
      return this.sendFrame(found.owner, withSequence(bytes, found.sequence));
    }
    const { group, command, op } = header;
    const isPush =
      op === "read_response" && group === reportPush.group && command === reportPush.id;
    if (!isPush) this.count.strays += 1;
    else for (const client of this.subscribers(null)) this.sendFrame(client, bytes);
  }

  private subscribers(besides: Client | null): Client[] {
    const nowMs = this.options.clock.now();
    return [...this.clients].filter(
      (client) => client !== besides && client.subscribedUntilMs > nowMs,
    );
  }

  private fromClient(client: Client, bytes: Uint8Array): void {
    client.cancel();
    for (const item of client.deframer.push(bytes)) {
      if (item.kind === "text") this.type(client, item.bytes);
      else if (item.kind === "message") {
        for (const piece of split(item.bytes).slice(0, requestsPerPacketMax)) {
          this.ask(client, piece);
        }
      }
    }
    this.typePending(client, false);
    client.cancel = this.watch(client.deframer, () => this.typePending(client, true));
  }

  private typePending(client: Client, withHalf: boolean): void {
    const keys = client.deframer.takePending(withHalf);
    if (keys !== null) this.type(client, keys);
  }

  /** Looks after what is half there: a lone key goes on soon, half a frame is given up. */
  private watch(deframer: Deframer, takeKey: () => void): () => void {
    if (deframer.isResting) return () => {};
    const { clock } = this.options;
    const nowMs = clock.now();
    const cancels = [
      clock.at(nowMs + keyMs, takeKey),
      clock.at(nowMs + halfFrameMs, () => deframer.reset()),
    ];
    return () => {
      for (const cancel of cancels) cancel();
    };
  }

  private ask(client: Client, { header, bytes }: Piece): void {
    if (header === null || (header.op !== "read" && header.op !== "write")) return;
    const message = this.leased(client, header, bytes);
    if (message === null) {
      const done = { ...responseHeader(header), body: {} };
      return this.sendFrame(client, encodeMessage(done));
    }
    const sequence = this.routes.add(client, header);
    this.count.requests += 1;
    if (this.options.write(enframe(withSequence(message, sequence)))) return;
    // Silence, as of a card that is away; the client asks again.
    this.routes.drop(sequence);
    this.count.refused += 1;
  }

  /**
   * The card knows one subscriber per line, so the broker keeps account of its clients': it asks
   * for the longest lease of them, and lets nobody end what another still wants (null then).
   */
  private leased(client: Client, header: Header, bytes: Uint8Array): Uint8Array | null {
    const { group, command } = header;
    const is = (name: "report.subscribe" | "report.unsubscribe" | "report.acknowledge"): boolean =>
      group === commands[name].group && command === commands[name].id;
    const nowMs = this.options.clock.now();
    if (is("report.unsubscribe")) {
      client.subscribedUntilMs = 0;
      return this.subscribers(client).length > 0 ? null : bytes;
    }
    if (is("report.acknowledge") && client.subscribedUntilMs > 0) {
      client.subscribedUntilMs = Math.max(client.subscribedUntilMs, nowMs + leaseMs.usual);
      return bytes;
    }
    if (!is("report.subscribe")) return bytes;
    const [piece] = split(bytes);
    const wanted = piece?.body()?.for_ms;
    const forMs = Math.min(typeof wanted === "number" ? wanted : leaseMs.usual, leaseMs.max);
    client.subscribedUntilMs = nowMs + forMs;
    const others = this.subscribers(client).map((other) => other.subscribedUntilMs - nowMs);
    const longest = Math.max(forMs, ...others);
    if (longest <= forMs) return bytes;
    return encodeMessage({ ...header, body: { for_ms: Math.ceil(longest) } });
  }

  /** What is typed goes to the card from one client at a time; who else types is told who. */
  private type(client: Client, keys: Uint8Array): void {
    const nowMs = this.options.clock.now();
    const { writer } = this;
    if (writer !== null && writer !== client && nowMs < this.writerUntilMs) {
      if (client.toldOf === writer) return;
      client.toldOf = writer;
      const leftS = Math.ceil((this.writerUntilMs - nowMs) / 1000);
      return this.tell(client, `${writer.name} is typing; yours was dropped. Free in ${leftS} s`);
    }
    this.writer = client;
    this.writerUntilMs = nowMs + typingMs;
    client.toldOf = null;
    if (!this.options.write(keys)) this.count.refused += 1;
  }

  private tell(client: Client, text: string): void {
    if (client.isMidLine) this.send(client, newline);
    this.send(client, noteText(text));
  }

  /** A frame begins on a fresh line: some clients look for it nowhere else. */
  private sendFrame(client: Client, message: Uint8Array): void {
    const frame = enframe(message);
    this.send(client, client.isMidLine ? Uint8Array.of(...newline, ...frame) : frame);
  }

  private send(client: Client, bytes: Uint8Array): void {
    if (!this.clients.has(client)) return;
    if (client.port.write(bytes)) {
      client.isMidLine = bytes.at(-1) !== newline[0];
      return;
    }
    this.count.cutOff += 1;
    this.options.note(`${client.name} does not read and was cut off`);
    this.forget(client);
    client.port.close();
  }

  private forget(client: Client): void {
    client.cancel();
    this.clients.delete(client);
    this.routes.forget(client);
    if (this.writer === client) this.writer = null;
  }
}

const newline = Uint8Array.of(0x0a);

function noteText(text: string): Uint8Array {
  return new TextEncoder().encode(`[kennel serve] ${text}\r\n`);
}
