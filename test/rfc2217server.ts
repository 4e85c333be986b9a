/** The twin of an RFC 2217 server: one serial port that echoes, and ways to be a bad server. */
import type { Socket } from "node:net";
import {
  answerOffset,
  comPort,
  escaped,
  negotiate,
  option,
  subnegotiation,
  TelnetParser,
  telnet,
  uint32,
} from "../agent/io/transports/telnet.ts";

export interface ServerFaults {
  /** Says DONT to the COM port option, as a plain telnet server. */
  readonly refuses?: boolean;
  /** Grants this speed, whatever is asked. */
  readonly grants?: number;
  /** Closes the connection in the middle of the negotiation. */
  readonly hangsUp?: boolean;
  /** Sends every byte by itself. */
  readonly slowly?: boolean;
  /** Offers options that nobody needs, and repeats itself. */
  readonly talkative?: boolean;
}

/** What the client has asked for: `5: 8` is SET-CONTROL DTR on. */
export class Rfc2217Server {
  readonly asked: string[] = [];
  /** What the client answered to offers: verb and option. */
  readonly answered: string[] = [];
  private readonly faults: ServerFaults;

  constructor(faults: ServerFaults = {}) {
    this.faults = faults;
  }

  readonly serve = (client: Socket): void => {
    const parser = new TelnetParser();
    const { refuses, hangsUp, slowly, talkative } = this.faults;
    const send = (bytes: Uint8Array): void => {
      if (slowly === true) for (const byte of bytes) client.write(Uint8Array.of(byte));
      else client.write(bytes);
    };
    const { DO, DONT, WILL, SB, SE, IAC } = telnet;
    if (talkative === true) {
      for (const name of [1, 31, option.binary, option.binary]) {
        send(negotiate(WILL, name));
        send(negotiate(DO, name));
      }
      send(Uint8Array.of(IAC, 241, IAC, SB, 24, 1, IAC, SE));
    }
    client.on("data", (bytes) => {
      for (const item of parser.push(bytes)) {
        if (item.kind === "data") send(escaped(item.bytes));
        else if (item.kind === "sub") this.command(item.bytes, send);
        else if (item.verb === WILL && item.option === option.comPort) {
          if (hangsUp === true) client.end();
          else send(negotiate(refuses === true ? DONT : DO, option.comPort));
        } else this.answered.push(`${item.verb}/${item.option}`);
      }
    });
  };

  private command([command = 0, ...value]: Uint8Array, send: (bytes: Uint8Array) => void): void {
    const bytes = Uint8Array.from(value);
    const isBaud = command === comPort.setBaud;
    const number = isBaud ? new DataView(bytes.buffer).getUint32(0) : (bytes[0] ?? 0);
    this.asked.push(`${command}: ${number}`);
    const granted = isBaud ? uint32(this.faults.grants ?? number) : bytes;
    send(subnegotiation(command + answerOffset, granted));
  }
}
