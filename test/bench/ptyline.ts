/** A pty's master as a line, as fast as the kernel is or at the pace of a UART. */
import { setInterval as every } from "node:timers";
import type { Port } from "../../agent/io/port.ts";
import { type NativePty, native } from "../../native/index.ts";

const readBytesMax = 4096;
/** How often a paced line looks what has come due; what has come due since is made up for. */
const paceMs = 1;
/** A UART is never late, and this timer is: what a late look at most makes up for, ms of line. */
const catchUpMs = 100;

export interface PtyLine {
  readonly port: Port;
  /** What the other program opens. */
  readonly path: string;
  close(): void;
}

/** `baud`: bits per second at ten bits a byte, of what comes in; Infinity: unpaced. */
export function ptyLine(baud = Number.POSITIVE_INFINITY): PtyLine {
  const pty = new (native().Pty)();
  let listen: (bytes: Uint8Array) => void = () => {};
  let waiting: Uint8Array[] = [];
  const flush = (): void => {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      const taken = pty.write(first);
      if (taken < first.length) {
        waiting[0] = first.subarray(taken);
        return;
      }
      waiting.shift();
    }
  };
  const unpaced = baud === Number.POSITIVE_INFINITY;
  const end = unpaced ? () => {} : pace(pty, baud, (bytes) => listen(bytes));
  pty.onReady((news) => {
    if (news === "writable") return flush();
    if (news !== "readable" || !unpaced) return;
    // What is left is told of again: a flood keeps nobody else from his turn.
    const bytes = pty.read(readBytesMax);
    if (bytes !== null) listen(bytes);
  });
  const port: Port = {
    name: pty.path,
    write: (bytes) => {
      waiting.push(bytes);
      flush();
      return true;
    },
    onData: (take) => {
      listen = take;
    },
    onClose: () => {},
    get waitingBytes() {
      return waiting.reduce((sum, { length }) => sum + length, 0);
    },
    close: () => {},
  };
  const close = (): void => {
    end();
    waiting = [];
    pty.close();
  };
  return { port, path: pty.path, close };
}

/** Reads no more than the line would have carried by now. */
function pace(pty: NativePty, baud: number, take: (bytes: Uint8Array) => void): () => void {
  const bytesPerMs = baud / 10_000;
  let credit = 0;
  let lastMs = performance.now();
  const timer = every(() => {
    const nowMs = performance.now();
    credit = Math.min(credit + (nowMs - lastMs) * bytesPerMs, catchUpMs * bytesPerMs);
    lastMs = nowMs;
    while (credit >= 1) {
      const bytes = pty.read(Math.min(Math.floor(credit), readBytesMax));
      if (bytes === null) {
        // A line that was idle has nothing to make up for.
        credit = 0;
        return;
      }
      credit -= bytes.length;
      take(bytes);
    }
  }, paceMs);
  return () => clearInterval(timer);
}
