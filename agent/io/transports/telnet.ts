/**
 * The part of telnet (RFC 854, 855) and of its COM port option (RFC 2217) that a client of a serial
 * port needs: bytes in, data and commands out. No I/O and no time.
 */

export const telnet = {
  IAC: 255,
  DONT: 254,
  DO: 253,
  WONT: 252,
  WILL: 251,
  SB: 250,
  SE: 240,
} as const;

/** Options: eight clean bits, no half-duplex turns, and the serial port behind the connection. */
export const option = { binary: 0, suppressGoAhead: 3, comPort: 44 } as const;

/** COM port commands of the client; the server's answers are 100 higher. */
export const comPort = {
  setBaud: 1,
  setDataSize: 2,
  setParity: 3,
  setStopSize: 4,
  setControl: 5,
} as const;
/** Added to a command's number in its answer. */
export const answerOffset = 100;

/** Values of setControl. */
export const control = { noFlow: 1, dtrOn: 8, dtrOff: 9, rtsOn: 11, rtsOff: 12 } as const;

export type Item =
  | { readonly kind: "data"; readonly bytes: Uint8Array }
  /** `verb` is DO, DONT, WILL or WONT. */
  | { readonly kind: "option"; readonly verb: number; readonly option: number }
  | { readonly kind: "sub"; readonly option: number; readonly bytes: Uint8Array };

/** A subnegotiation longer than this is given up; the longest that RFC 2217 has is a signature. */
export const subBytesMax = 512;

/** Splits what a server sends, in pieces of any size. */
export class TelnetParser {
  private state: "data" | "iac" | "verb" | "sub" | "sub_iac" = "data";
  private verb = 0;
  private sub: number[] = [];

  push(bytes: Uint8Array): Item[] {
    const out: Item[] = [];
    let data: number[] = [];
    const endData = (): void => {
      if (data.length > 0) out.push({ kind: "data", bytes: Uint8Array.from(data) });
      data = [];
    };
    for (const value of bytes) {
      if (this.state === "data" && value !== telnet.IAC) data.push(value);
      else if (this.state === "iac" && value === telnet.IAC) {
        data.push(value);
        this.state = "data";
      } else {
        const item = this.command(value);
        if (item === null) continue;
        endData();
        out.push(item);
      }
    }
    endData();
    return out;
  }

  private command(value: number): Item | null {
    switch (this.state) {
      case "data":
        this.state = "iac";
        return null;
      case "iac":
        this.verb = value;
        this.sub = [];
        // Commands without an option, such as GA and NOP, say nothing to us.
        this.state = value === telnet.SB ? "sub" : value >= telnet.WILL ? "verb" : "data";
        return null;
      case "verb":
        this.state = "data";
        return { kind: "option", verb: this.verb, option: value };
      case "sub":
        if (value === telnet.IAC) this.state = "sub_iac";
        else this.take(value);
        return null;
      case "sub_iac":
        return this.endSub(value);
    }
  }

  /** After IAC within a subnegotiation: IAC stands for itself, all else ends it. */
  private endSub(value: number): Item | null {
    if (value === telnet.IAC) {
      this.take(value);
      this.state = "sub";
      return null;
    }
    this.state = "data";
    const [first, ...rest] = this.sub;
    if (value !== telnet.SE || first === undefined) return null;
    return { kind: "sub", option: first, bytes: Uint8Array.from(rest) };
  }

  private take(value: number): void {
    if (this.sub.length < subBytesMax) this.sub.push(value);
  }
}

/** Data as it goes over the connection: 255 doubled. */
export function escaped(bytes: Uint8Array): Uint8Array {
  const extra = bytes.reduce((count, value) => count + (value === telnet.IAC ? 1 : 0), 0);
  if (extra === 0) return bytes;
  const out = new Uint8Array(bytes.length + extra);
  let to = 0;
  for (const value of bytes) {
    out[to++] = value;
    if (value === telnet.IAC) out[to++] = value;
  }
  return out;
}

export function negotiate(verb: number, name: number): Uint8Array {
  return Uint8Array.of(telnet.IAC, verb, name);
}

/** One COM port command with its value. */
export function subnegotiation(command: number, value: Uint8Array): Uint8Array {
  const { IAC, SB, SE } = telnet;
  return Uint8Array.of(IAC, SB, option.comPort, command, ...escaped(value), IAC, SE);
}

export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}
