/**
 * A serial port as a `Port`. Every opening makes a new object: what is written while closed would
 * be sent to the next device, so writes are gated on the state of the line.
 */
import { read } from "node:fs";
import { promisify } from "node:util";
import type { LinuxOpenOptions } from "@serialport/bindings-cpp";
import { LinuxBinding } from "@serialport/bindings-cpp/dist/linux";
import { unixRead } from "@serialport/bindings-cpp/dist/unix-read";
import { SerialPortStream } from "@serialport/stream";
import type { Failure } from "../errors.ts";
import { type Port, portQueueBytesMax } from "./port.ts";
import { obstacle, openFailure } from "./serialfault.ts";

export interface SerialOptions {
  /** Bits per second; a pty takes any. */
  readonly baud: number;
}

/** One read at a time; a line at 12 MBd brings 5 kB in the time a busy loop takes to turn. */
const readBytesMax = 16_384;

const readSome = promisify(read);

/**
 * A raw terminal has either bytes or EAGAIN; it reads as empty only once it was hung up. The
 * binding would then read again for ever, with a core to itself.
 */
async function readOrHangUp(...args: Parameters<typeof readSome>) {
  const result = await readSome(...args);
  if (result.bytesRead === 0) throw new Error("hung up");
  return result;
}

const hangUpBinding: typeof LinuxBinding = {
  list: () => LinuxBinding.list(),
  open: async (options: LinuxOpenOptions) => {
    const binding = await LinuxBinding.open(options);
    binding.read = (buffer: Buffer, offset: number, length: number) =>
      unixRead({ binding, buffer, offset, length, fsReadAsync: readOrHangUp });
    return binding;
  },
};

/**
 * Opens `path` raw, 8N1, under an exclusive flock, without touching DTR or RTS beyond what the
 * kernel does. Calls `done` once, later, with the port or with a Failure: port.missing,
 * port.permission, port.busy (naming the holder), port.lost, usage.invalid (baud rate).
 */
export function openSerial(
  path: string,
  options: SerialOptions,
  done: (opened: Port | Failure) => void,
): void {
  const refused = obstacle(path);
  if (refused !== null) {
    setImmediate(() => done(refused));
    return;
  }
  const stream = new SerialPortStream({
    binding: hangUpBinding,
    path,
    baudRate: options.baud,
    lock: true,
    hupcl: false,
    autoOpen: false,
    highWaterMark: readBytesMax,
  });
  stream.open((error) => {
    if (error) done(openFailure(path, options.baud, error));
    else done(new SerialPort(path, stream));
  });
}

class SerialPort implements Port {
  readonly name: string;
  private readonly stream: SerialPortStream;
  private waiting = 0;
  private ended: string | null = null;
  private tellClose: ((cause: string) => void) | null = null;
  private tellData: (bytes: Uint8Array) => void = () => {};

  constructor(name: string, stream: SerialPortStream) {
    this.name = name;
    this.stream = stream;
    stream.on("close", (error: Error | null | undefined) => this.end(lossCause(name, error)));
    stream.on("error", (error: Error) => this.end(lossCause(name, error)));
    // Reading goes on without a listener: it is how the end of the line is noticed.
    stream.on("data", (bytes: Uint8Array) => this.tellData(bytes));
  }

  get waitingBytes(): number {
    return this.waiting;
  }

  write(bytes: Uint8Array): boolean {
    if (this.ended !== null || !this.stream.isOpen) return false;
    if (this.waiting + bytes.length > portQueueBytesMax) return false;
    this.waiting += bytes.length;
    this.stream.write(Buffer.from(bytes), () => {
      this.waiting -= bytes.length;
    });
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

  /** The first cause counts; what is still queued is dropped with the stream. */
  private end(cause: string): void {
    if (this.ended !== null) return;
    this.ended = cause;
    const tell = this.tellClose;
    this.tellClose = null;
    this.release();
    if (tell !== null) setImmediate(() => tell(cause));
  }

  private release(): void {
    const { stream } = this;
    this.tellData = () => {};
    if (!stream.isOpen) {
      stream.destroy();
      return;
    }
    // A peer that stopped reading would keep a close waiting for the rest to go out.
    const close = (): void => stream.close(() => stream.destroy());
    if (this.waiting > 0) stream.flush(close);
    else close();
  }
}

function lossCause(name: string, error: Error | null | undefined): string {
  if (error === null || error === undefined) return `${name} was closed`;
  return `${name} is gone (unplugged or hung up): ${error.message}`;
}
