/**
 * A serial port over TCP with its settings (RFC 2217): speed, 8N1, no flow control. DTR and RTS are
 * left as they are unless asked for. The line counts as open once the server has granted the speed.
 */

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { Failure } from "../../errors.ts";
import type { Port } from "../port.ts";
import type { SerialOptions } from "../serial.ts";
import { connectTcp } from "./socket.ts";
import { StreamPort } from "./streamport.ts";
import {
  answerOffset,
  comPort,
  control,
  escaped,
  type Item,
  negotiate,
  option,
  subnegotiation,
  TelnetParser,
  telnet,
  uint32,
} from "./telnet.ts";

/** The whole negotiation is three exchanges; a server that opens its port first takes a second. */
export const negotiationMs = 5000;

/** Rejects with port.refused (no RFC 2217, or not this speed), port.unreachable, port.lost. */
export async function openRfc2217(
  host: string,
  port: number,
  name: string,
  options: SerialOptions,
): Promise<Port> {
  const socket = await connectTcp(host, port, name);
  const line = new Rfc2217(name, socket, options);
  await line.granted;
  return new StreamPort({
    name,
    input: line.stream,
    output: line.stream,
    release: () => line.close(),
  });
}

class Rfc2217 {
  /** The serial line's own bytes. */
  readonly stream: Duplex;
  /** Resolves when the speed is granted, rejects with a Failure. */
  readonly granted: Promise<void>;
  private readonly name: string;
  private readonly socket: Socket;
  private readonly options: SerialOptions;
  private readonly parser = new TelnetParser();
  /** Options that both sides have agreed on: what is agreed already is not answered again. */
  private readonly agreed = new Set<string>();
  private settle: (failure: Failure | null) => void = () => {};

  constructor(name: string, socket: Socket, options: SerialOptions) {
    this.name = name;
    this.socket = socket;
    this.options = options;
    this.stream = new Duplex({
      read: () => {},
      write: (bytes: Buffer, _encoding, done) => void socket.write(escaped(bytes), () => done()),
      final: (done) => done(),
    });
    this.granted = new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.refuse("it does not answer the option"), negotiationMs);
      this.settle = (failure) => {
        clearTimeout(timer);
        this.settle = () => {};
        if (failure === null) return resolve();
        socket.destroy();
        reject(failure);
      };
    });
    socket.on("data", (bytes) => {
      for (const item of this.parser.push(bytes)) this.take(item);
    });
    const end = (cause: string): void => {
      this.settle(new Failure("port.lost", `${name}: ${cause}.`, { evidence: { port: name } }));
      this.stream.push(null);
    };
    socket.on("end", () => end("the server closed the connection"));
    socket.on("error", (error) => end(error.message));
    socket.on("close", () => end("the connection was closed"));
    const { DO, WILL } = telnet;
    this.offer(WILL, option.comPort);
    for (const plain of [option.binary, option.suppressGoAhead]) {
      this.offer(WILL, plain);
      this.offer(DO, plain);
    }
  }

  close(): void {
    this.socket.destroySoon();
    this.stream.destroy();
  }

  private offer(verb: number, name: number): void {
    this.agreed.add(`${verb}/${name}`);
    this.socket.write(negotiate(verb, name));
  }

  private take(item: Item): void {
    if (item.kind === "data") this.stream.push(Buffer.from(item.bytes));
    else if (item.kind === "option") this.agree(item.verb, item.option);
    else if (item.option === option.comPort) this.answered(item.bytes);
  }

  /** DO asks us to do it, WILL says that the server does: what we know is taken, no other. */
  private agree(verb: number, name: number): void {
    const { DO, DONT, WILL, WONT } = telnet;
    if (name === option.comPort) {
      if (verb === DO) return this.configure();
      if (verb === DONT) return this.refuse("it refuses the option: a plain telnet or raw port");
    }
    const ours = verb === DO ? WILL : verb === WILL ? DO : null;
    if (ours === null || this.agreed.has(`${ours}/${name}`)) return;
    const isKnown = Object.values(option).some((known) => known === name);
    if (isKnown) return this.offer(ours, name);
    this.socket.write(negotiate(ours === WILL ? WONT : DONT, name));
  }

  private configure(): void {
    const { baud, dtr, rts } = this.options;
    const set = (command: number, value: Uint8Array): void =>
      void this.socket.write(subnegotiation(command, value));
    set(comPort.setDataSize, Uint8Array.of(8));
    set(comPort.setParity, Uint8Array.of(1));
    set(comPort.setStopSize, Uint8Array.of(1));
    set(comPort.setControl, Uint8Array.of(control.noFlow));
    if (dtr !== undefined) {
      set(comPort.setControl, Uint8Array.of(dtr ? control.dtrOn : control.dtrOff));
    }
    if (rts !== undefined) {
      set(comPort.setControl, Uint8Array.of(rts ? control.rtsOn : control.rtsOff));
    }
    // Last, as its answer is what opens the line.
    set(comPort.setBaud, uint32(baud));
  }

  private answered(bytes: Uint8Array): void {
    if (bytes[0] !== comPort.setBaud + answerOffset || bytes.length < 5) return;
    const granted = new DataView(bytes.buffer, bytes.byteOffset + 1, 4).getUint32(0);
    if (granted === this.options.baud) return this.settle(null);
    this.refuse(`it grants ${granted} Bd, not ${this.options.baud}: choose --baud`);
  }

  private refuse(why: string): void {
    const message = `${this.name} does not do as RFC 2217 says: ${why}. Try tcp:// for raw bytes.`;
    const evidence = { port: this.name, problem: why };
    this.settle(new Failure("port.refused", message, { evidence }));
  }
}
