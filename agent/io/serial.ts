/**
 * A serial port as a `Port`. Every opening makes a new object: what is written while closed would
 * be sent to the next device, so writes are gated on the state of the line.
 */
import { read, realpathSync } from "node:fs";
import { promisify } from "node:util";
import type { LinuxOpenOptions } from "@serialport/bindings-cpp";
import { LinuxBinding } from "@serialport/bindings-cpp/dist/linux";
import { unixRead } from "@serialport/bindings-cpp/dist/unix-read";
import { SerialPortStream } from "@serialport/stream";
import { native } from "../../native/index.ts";
import { Failure } from "../errors.ts";
import { EndingPort } from "./endingport.ts";
import { type Port, portQueueBytesMax } from "./port.ts";
import { obstacle, openFailure } from "./serialfault.ts";

export interface SerialOptions {
  /** Bits per second; a pty takes any. */
  readonly baud: number;
  /** Control lines to set or to clear once open; those not given stay as the system has them. */
  readonly dtr?: boolean;
  readonly rts?: boolean;
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
 * Opens `path` raw, 8N1, under an exclusive flock and TIOCEXCL, without touching DTR or RTS beyond
 * what the kernel does, unless asked. Calls `done` once, later, with the port or with a Failure:
 * port.missing, port.permission, port.busy (naming the holder), port.lost, usage.invalid (baud
 * rate, control lines).
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
    if (error) return done(openFailure(path, options.baud, error));
    const port = new SerialPort(path, stream);
    const problem = setControlLines(path, stream, options);
    if (problem === null) return done(port);
    port.close();
    done(problem);
  });
}

/**
 * Bars also those who ask for no lock, while the port is open. Not on a pty: there the bar would
 * outlive us, as its maker has it open too. Best effort: the lock is what counts.
 */
function setExclusive(path: string, stream: SerialPortStream, on: boolean): void {
  try {
    const fd = descriptor(stream);
    if (fd === null || realpathSync(path).startsWith("/dev/pts/")) return;
    native().exclusive(fd, on);
  } catch {
    // No addon here, or a device that knows no such thing.
  }
}

/** Null once the port is closed. */
function descriptor(stream: SerialPortStream): number | null {
  return (stream.port as { fd?: number | null } | undefined)?.fd ?? null;
}

/** What could not be set; null when all that was asked for is. */
function setControlLines(
  path: string,
  stream: SerialPortStream,
  { dtr, rts }: SerialOptions,
): Failure | null {
  try {
    const fd = descriptor(stream) ?? -1;
    if (dtr !== undefined) native().controlLine(fd, "dtr", dtr);
    if (rts !== undefined) native().controlLine(fd, "rts", rts);
    return null;
  } catch (cause) {
    if (cause instanceof Failure) return cause;
    const message = `${path} has no control lines to set (${(cause as Error).message}).`;
    return new Failure("usage.invalid", message, { cause, evidence: { port: path } });
  }
}

class SerialPort extends EndingPort {
  private readonly stream: SerialPortStream;
  private waiting = 0;

  constructor(name: string, stream: SerialPortStream) {
    super(name);
    this.stream = stream;
    setExclusive(name, stream, true);
    stream.on("close", (error: Error | null | undefined) => this.end(lossCause(name, error)));
    stream.on("error", (error: Error) => this.end(lossCause(name, error)));
    // Reading goes on without a listener: it is how the end of the line is noticed.
    stream.on("data", (bytes: Uint8Array) => this.tellData(bytes));
  }

  get waitingBytes(): number {
    return this.waiting;
  }

  write(bytes: Uint8Array): boolean {
    if (this.isOver || !this.stream.isOpen) return false;
    if (this.waiting + bytes.length > portQueueBytesMax) return false;
    this.waiting += bytes.length;
    this.stream.write(Buffer.from(bytes), () => {
      this.waiting -= bytes.length;
    });
    return true;
  }

  protected release(): void {
    const { stream } = this;
    if (!stream.isOpen) {
      stream.destroy();
      return;
    }
    setExclusive(this.name, stream, false);
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
