/** A pair of byte streams as a `Port`: sockets, and the stdin and stdout of a child. */
import type { Readable, Writable } from "node:stream";
import { type Port, portQueueBytesMax } from "../port.ts";

export interface StreamLine {
  readonly name: string;
  readonly input: Readable;
  readonly output: Writable;
  /** Lets go of what is behind the streams; called once. */
  readonly release: () => void;
  /** Bytes that may wait for a far end that does not read; `portQueueBytesMax` unless given. */
  readonly queueBytes?: number;
  /** The owner calls `end`, as it knows more than the streams tell. */
  readonly isEndedByOwner?: true;
}

export class StreamPort implements Port {
  readonly name: string;
  private readonly line: StreamLine;
  private ended: string | null = null;
  private tellClose: ((cause: string) => void) | null = null;
  private tellData: (bytes: Uint8Array) => void = () => {};

  /** `line`'s streams are connected: what is written before that would be kept for later. */
  constructor(line: StreamLine) {
    this.line = line;
    this.name = line.name;
    const { input, output, isEndedByOwner } = line;
    const end = (cause: string): void => {
      if (isEndedByOwner !== true) this.end(cause);
    };
    input.on("data", (bytes: Uint8Array) => this.tellData(bytes));
    input.on("end", () => end(`${this.name}: the other end closed it`));
    for (const stream of new Set([input, output])) {
      stream.on("error", (error: Error) => end(`${this.name}: ${error.message}`));
      stream.on("close", () => end(`${this.name} was closed`));
    }
  }

  get waitingBytes(): number {
    return this.line.output.writableLength;
  }

  write(bytes: Uint8Array): boolean {
    const { output, queueBytes = portQueueBytesMax } = this.line;
    if (this.ended !== null || !output.writable) return false;
    if (output.writableLength + bytes.length > queueBytes) return false;
    output.write(Buffer.from(bytes));
    return true;
  }

  onData(listen: (bytes: Uint8Array) => void): void {
    this.tellData = listen;
  }

  onClose(listen: (cause: string) => void): void {
    const { ended } = this;
    if (ended === null) this.tellClose = listen;
    else setImmediate(() => listen(ended));
  }

  close(): void {
    this.end("closed");
  }

  /** Ends the line for a reason that the streams do not tell. The first reason counts. */
  end(cause: string): void {
    if (this.ended !== null) return;
    this.ended = cause;
    this.tellData = () => {};
    const tell = this.tellClose;
    this.tellClose = null;
    this.line.release();
    if (tell !== null) setImmediate(() => tell(cause));
  }
}
