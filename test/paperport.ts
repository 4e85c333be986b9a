/** A port whose far end is the test: keeps what is written, and says what the test wants it to. */
import type { Port } from "../agent/io/port.ts";
import { Deframer, enframe } from "../agent/wire/frame.ts";
import { encodeMessage, type Header, parsePacket, type Request } from "../agent/wire/smp.ts";

type Body = Readonly<Record<string, unknown>>;

export class PaperPort implements Port {
  readonly name: string;
  readonly written: Uint8Array[] = [];
  waitingBytes = 0;
  /** Takes nothing any more, as of a far end that does not read. */
  isFull = false;
  isClosed = false;
  private readonly deframer = new Deframer({ packetBytes: 8192 });
  private listen: (bytes: Uint8Array) => void = () => {};
  private tellClose: (cause: string) => void = () => {};

  constructor(name = "paper") {
    this.name = name;
  }

  write(bytes: Uint8Array): boolean {
    if (this.isFull || this.isClosed) return false;
    this.written.push(bytes.slice());
    return true;
  }

  onData(listen: (bytes: Uint8Array) => void): void {
    this.listen = listen;
  }

  onClose(listen: (cause: string) => void): void {
    this.tellClose = listen;
  }

  close(): void {
    this.isClosed = true;
  }

  /** The far end sends something. */
  say(bytes: Uint8Array | string): void {
    this.listen(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
  }

  /** The far end goes away. */
  lose(cause = "unplugged"): void {
    this.tellClose(cause);
  }

  /** The far end sends a request. */
  ask(
    group: number,
    command: number,
    seq: number,
    body: Body = {},
    op: Header["op"] = "read",
  ): void {
    this.say(enframe(encodeMessage({ version: 1, op, group, seq, command, body })));
  }

  /** Everything written since the last look, as text. */
  text(): string {
    return Buffer.concat(this.written.splice(0)).toString("latin1");
  }

  /** Messages among what was written since the last look. */
  messages(): Request[] {
    const found = this.written.splice(0).flatMap((bytes) => this.deframer.push(bytes));
    return found.flatMap((item) => {
      if (item.kind !== "message") return [];
      return parsePacket(item.bytes).flatMap((one) => (one.kind === "request" ? [one] : []));
    });
  }
}

/** The answer to a request, as the card sends it. */
export function answerTo({ header }: Request, body: Body): Uint8Array {
  const op = header.op === "write" ? "write_response" : "read_response";
  return enframe(encodeMessage({ ...header, op, body }));
}
