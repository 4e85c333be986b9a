/**
 * Lines that the native addon holds: a pty of our own, and character devices that are no terminals
 * (rshim). Readiness comes from the event loop's poller: a silent line occupies no thread of the
 * pool that serialport shares.
 */
import { readdirSync } from "node:fs";
import { type NativeLine, native } from "../../../native/index.ts";
import { Failure } from "../../errors.ts";
import { EndingPort } from "../endingport.ts";
import { type Port, portQueueBytesMax } from "../port.ts";
import { listPorts, obstacle, openFailure } from "../serialfault.ts";

/** Taken from the line at once; rshim gives at most 512. */
const readBytesMax = 4096;

class LinePort extends EndingPort {
  private readonly line: NativeLine;
  private readonly waiting: Uint8Array[] = [];
  private waitingCount = 0;

  constructor(name: string, line: NativeLine) {
    super(name);
    this.line = line;
    line.onReady((news) => {
      if (news === "lost") this.end(`${name} is gone`);
      else this.attempt(news === "readable" ? () => this.receive() : () => this.flush());
    });
  }

  get waitingBytes(): number {
    return this.waitingCount;
  }

  write(bytes: Uint8Array): boolean {
    if (this.isOver || this.waitingCount + bytes.length > portQueueBytesMax) return false;
    this.waiting.push(bytes.slice());
    this.waitingCount += bytes.length;
    // What waits already waits for room: the line says when there is some.
    if (this.waiting.length === 1) this.attempt(() => this.flush());
    return !this.isOver;
  }

  private receive(): void {
    while (!this.isOver) {
      const bytes = this.line.read(readBytesMax);
      if (bytes === null) return;
      this.tellData(bytes);
    }
  }

  private flush(): void {
    for (let first = this.waiting[0]; first !== undefined; first = this.waiting[0]) {
      const taken = this.line.write(first);
      this.waitingCount -= taken;
      if (taken < first.length) {
        this.waiting[0] = first.subarray(taken);
        return;
      }
      this.waiting.shift();
    }
  }

  private attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.end(`${this.name} is gone: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  protected release(): void {
    this.waiting.length = 0;
    this.waitingCount = 0;
    this.line.close();
  }
}

/** A new pseudo terminal; `tell` gets what the card's end is called. Throws native.missing. */
export function openPty(tell: (path: string) => void): Port {
  const { Pty } = native();
  const pty = new Pty();
  tell(pty.path);
  return new LinePort(`pty:${pty.path}`, pty);
}

/**
 * A character device by plain open, read and write, never asked for terminal settings, which rshim
 * answers half. Throws port.missing, port.busy, port.permission, port.lost, native.missing.
 */
export function openPlain(path: string): Port {
  const { Line } = native();
  const refused = obstacle(path);
  if (refused?.code === "port.missing") throw missing(path);
  if (refused !== null) throw refused;
  let line: NativeLine;
  try {
    line = new Line(path);
  } catch (error) {
    throw refusal(path, error as Error);
  }
  try {
    return new LinePort(path, line);
  } catch (error) {
    line.close();
    throw refusal(path, error as Error);
  }
}

function missing(path: string): Failure {
  const cards = rshims();
  const seen =
    cards.length > 0
      ? `Cards here: ${cards.join(", ")}.`
      : "There is no rshim card here: is the rshim service running, or does a BMC own the card?";
  return new Failure("port.missing", `no console ${path}. ${seen}`, {
    evidence: { port: path, cards, ports: listPorts() },
  });
}

/** As people name them: rshim:0. */
function rshims(): string[] {
  try {
    const names = readdirSync("/dev").filter((name) => /^rshim\d+$/.test(name));
    return names.sort().map((name) => name.replace("rshim", "rshim:"));
  } catch {
    return [];
  }
}

function refusal(path: string, cause: Error): Failure {
  const { code, syscall } = cause as NodeJS.ErrnoException;
  if (code === "EPERM" && syscall === "open") {
    const message =
      `no permission for ${path}: EPERM. An rshim card in locked mode (secure NIC) has no ` +
      "console for the host; ask its BMC.";
    return new Failure("port.permission", message, { cause, evidence: { port: path } });
  }
  return openFailure(path, 0, cause);
}
