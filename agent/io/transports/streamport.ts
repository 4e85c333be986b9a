/** A pair of byte streams as a `Port`: sockets, and the stdin and stdout of a child. */
import type { Readable, Writable } from "node:stream";
import { EndingPort } from "../endingport.ts";
import { portQueueBytesMax } from "../port.ts";

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

export class StreamPort extends EndingPort {
  private readonly line: StreamLine;

  /** `line`'s streams are connected: what is written before that would be kept for later. */
  constructor(line: StreamLine) {
    super(line.name);
    this.line = line;
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
    if (this.isOver || !output.writable) return false;
    if (output.writableLength + bytes.length > queueBytes) return false;
    output.write(Buffer.from(bytes));
    return true;
  }

  protected release(): void {
    this.line.release();
  }
}
