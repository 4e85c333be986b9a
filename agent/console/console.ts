/**
 * `kennel console`: the card's console text on this terminal, or with `--stdio` every byte of the
 * line on stdin and stdout, for rigs. Lasts across resets of the card and losses of the line.
 */
import { fstatSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import type { Failure } from "../errors.ts";
import { RealClock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";
import { Deframer } from "../wire/frame.ts";
import type { Outcome } from "./context.ts";
import { EscapeKeys, escapeHelp } from "./escapes.ts";
import { KeptLine } from "./keptline.ts";

export interface ConsoleOptions {
  readonly port: string;
  readonly open: () => Promise<Port>;
  /** False for lines that cannot come back: their end is the end. */
  readonly comesBack: boolean;
  /** Every byte as it is; without, frames are left out and `~.` ends. */
  readonly raw: boolean;
  /** Infinity: until stopped, `~.`, or the end of stdin. */
  readonly forMs: number;
  readonly stop: AbortSignal;
  readonly note: (text: string) => void;
}

/** Output that its reader leaves waiting; the card does not stop for it. */
const outputBytesMax = 1_048_576;
/** After the end of stdin, what was typed last gets this long to go out. */
const drainMs = 500;
const drainPollMs = 10;
/** 0x06 and 0x04 from the card may begin a frame: alone for so long they are text. */
const keyMs = 50;

export async function cardConsole(options: ConsoleOptions): Promise<Outcome> {
  const { stop, note, forMs, raw } = options;
  const output = new Output();
  let end: (failure: Failure | null) => void = () => {};
  const over = new Promise<Failure | null>((resolve) => {
    end = resolve;
  });
  const show = raw ? (bytes: Uint8Array) => output.write(bytes) : textOnly(output);
  const line = new KeptLine({
    open: options.open,
    clock: new RealClock(),
    comesBack: options.comesBack,
    onData: show,
    onDown: (cause) => note(`${cause}. Waiting for it to come back.`),
    onUp: (name) => note(`the line is back: ${name}`),
    // A recording has an end; all other lines are lost.
    onGone: (failure) => end(options.port.startsWith("file:") ? null : failure),
  });
  const timer = forMs === Infinity ? undefined : setTimeout(end, forMs, null);
  stop.addEventListener("abort", () => end(null), { once: true });
  output.onGone = () => end(null);
  let release: () => void = () => {};
  try {
    await line.start();
    if (!raw) note(`connected to ${options.port}; ~. at the start of a line ends, ~? helps`);
    release = keyboard(line, { ...options, end: () => end(null) });
    if (stop.aborted) end(null);
    const failure = await over;
    if (failure !== null) throw failure;
    await untilWritten(line, output, stop);
    if (output.droppedBytes > 0) {
      note(`${output.droppedBytes} bytes from the card were dropped: nobody read them`);
    }
    return { data: {}, text: "", printed: true };
  } finally {
    clearTimeout(timer);
    release();
    line.close();
  }
}

interface Keyboard extends ConsoleOptions {
  readonly end: () => void;
}

/** Joins stdin to the line; returns what gives the terminal back. */
function keyboard(line: KeptLine, { raw, forMs, note, end }: Keyboard): () => void {
  const { stdin } = process;
  const isTty = stdin.isTTY === true;
  const escapes = new EscapeKeys();
  let refused = false;
  const send = (bytes: Uint8Array): void => {
    if (bytes.length === 0) return;
    const isTaken = line.write(bytes);
    if (!isTaken && !refused) note("the line takes nothing now: what is typed is dropped");
    refused = !isTaken;
  };
  const onData = (bytes: Buffer): void => {
    if (raw || !isTty) return send(bytes);
    const { send: keys, wants } = escapes.push(bytes);
    send(keys);
    if (wants === "help") note(escapeHelp);
    if (wants === "end") end();
  };
  const giveBack = (): void => {
    if (isTty) stdin.setRawMode(false);
  };
  if (isTty && !raw) {
    stdin.setRawMode(true);
    process.once("exit", giveBack);
  }
  stdin.on("data", onData);
  // Who asked for a time gets it also when there is nothing more to type.
  if (forMs === Infinity) stdin.once("end", end).once("close", end);
  stdin.on("error", () => {});
  return () => {
    stdin.removeListener("data", onData);
    stdin.pause();
    if (!raw) giveBack();
  };
}

/** Leaves frames out; a prompt that does not end its line is shown at once. */
function textOnly(output: Output): (bytes: Uint8Array) => void {
  const deframer = new Deframer();
  let timer: NodeJS.Timeout | undefined;
  const showPending = (withHalf: boolean): void => {
    const prompt = deframer.takePending(withHalf);
    if (prompt !== null) output.write(prompt);
  };
  return (bytes) => {
    clearTimeout(timer);
    for (const item of deframer.push(bytes)) {
      if (item.kind === "text") output.write(item.bytes);
    }
    showPending(false);
    if (!deframer.isResting) timer = setTimeout(() => showPending(true), keyMs);
  };
}

async function untilWritten(line: KeptLine, output: Output, stop: AbortSignal): Promise<void> {
  const endMs = performance.now() + drainMs;
  const isWaiting = (): boolean => line.waitingBytes > 0 || output.waitingBytes > 0;
  while (isWaiting() && !stop.aborted && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, drainPollMs));
  }
}

const stdout = 1;

/**
 * Stdout that never blocks: Node's own does on pipes, and a rig that stopped reading would keep us
 * from hearing SIGTERM.
 */
class Output {
  droppedBytes = 0;
  onGone: () => void = () => {};
  private readonly pipe: Socket | null;

  constructor() {
    const stats = fstatSync(stdout);
    this.pipe =
      stats.isFIFO() || stats.isSocket() ? new Socket({ fd: stdout, readable: false }) : null;
    this.pipe?.on("error", () => this.onGone());
  }

  get waitingBytes(): number {
    return this.pipe?.writableLength ?? 0;
  }

  write(bytes: Uint8Array): void {
    if (this.waitingBytes + bytes.length > outputBytesMax) {
      this.droppedBytes += bytes.length;
    } else if (this.pipe !== null) {
      this.pipe.write(Buffer.from(bytes));
    } else {
      this.writeAll(bytes);
    }
  }

  /** Terminals and files: they take everything, sooner or later. */
  private writeAll(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(stdout, bytes, at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN") this.droppedBytes += bytes.length;
      else this.onGone();
    }
  }
}
