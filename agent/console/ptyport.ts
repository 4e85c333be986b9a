/** Joins a simulated card's serial line to a pseudo terminal, as a UART joins a card to a cable. */

import { type NativePty, native } from "../../native/index.ts";
import { type Port, portQueueBytesMax } from "../io/port.ts";

/** Taken from the terminal at once. */
const readBytesMax = 4096;

export interface Cable {
  /** What a console opens: /dev/pts/N. */
  readonly path: string;
  /** Bytes for a host that does not read, or for a card that does not; lost as on a real line. */
  readonly droppedBytes: number;
  close(): void;
}

/** `line` is the host's end of the card's serial line. Failure `native.missing`. */
export function plug(line: Port): Cable {
  const { Pty } = native();
  return new PtyCable(line, new Pty());
}

class PtyCable implements Cable {
  droppedBytes = 0;
  private readonly line: Port;
  private readonly pty: NativePty;
  private readonly waiting: Uint8Array[] = [];
  private waitingBytes = 0;

  constructor(line: Port, pty: NativePty) {
    this.line = line;
    this.pty = pty;
    line.onData((bytes) => this.toHost(bytes));
    pty.onReady((news) => {
      if (news === "readable") this.toCard();
      else if (news === "writable") this.flush();
    });
  }

  get path(): string {
    return this.pty.path;
  }

  close(): void {
    this.line.onData(() => {});
    this.pty.close();
  }

  private toHost(bytes: Uint8Array): void {
    if (this.waitingBytes + bytes.length > portQueueBytesMax) {
      this.droppedBytes += bytes.length;
      return;
    }
    this.waiting.push(bytes);
    this.waitingBytes += bytes.length;
    this.flush();
  }

  private flush(): void {
    for (let first = this.waiting[0]; first !== undefined; first = this.waiting[0]) {
      const taken = this.pty.write(first);
      this.waitingBytes -= taken;
      if (taken < first.length) {
        this.waiting[0] = first.subarray(taken);
        return;
      }
      this.waiting.shift();
    }
  }

  private toCard(): void {
    for (let bytes = this.pty.read(readBytesMax); bytes !== null; ) {
      if (!this.line.write(bytes)) this.droppedBytes += bytes.length;
      bytes = this.pty.read(readBytesMax);
    }
  }
}
