/**
 * A line that is kept: lost, it is opened again until it is back, each time as a new port. What is
 * written while it is away is refused, never kept for the card that comes back.
 */
import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";

export interface KeptLineOptions {
  /** A new port with every call. */
  readonly open: () => Promise<Port>;
  readonly clock: Clock;
  readonly onData: (bytes: Uint8Array) => void;
  readonly onDown: (cause: string) => void;
  readonly onUp: (name: string) => void;
  /** The line cannot come back, such as the end of a recording. */
  readonly onGone: (failure: Failure) => void;
  /** False: the first loss is the end. */
  readonly comesBack: boolean;
}

/** Between two attempts to open the line again, ms. */
const reopenMs = 250;

export class KeptLine {
  private readonly options: KeptLineOptions;
  private port: Port | null = null;
  private isClosed = false;
  private cancel: () => void = () => {};

  constructor(options: KeptLineOptions) {
    this.options = options;
  }

  /** Opens the line for the first time; rejects with the Failure of the port. */
  async start(): Promise<void> {
    this.take(await this.options.open());
  }

  get isUp(): boolean {
    return this.port !== null;
  }

  /** What the line is called; null while it is away. */
  get name(): string | null {
    return this.port?.name ?? null;
  }

  /** False: the line is away, or takes no more; nothing of it will be sent later. */
  write(bytes: Uint8Array): boolean {
    return this.port?.write(bytes) ?? false;
  }

  get waitingBytes(): number {
    return this.port?.waitingBytes ?? 0;
  }

  close(): void {
    this.isClosed = true;
    this.cancel();
    this.port?.close();
    this.port = null;
  }

  private take(port: Port): void {
    if (this.isClosed) return port.close();
    this.port = port;
    port.onData((bytes) => {
      if (this.port === port) this.options.onData(bytes);
    });
    port.onClose((cause) => {
      if (this.port === port) this.lose(port, cause);
    });
  }

  private lose(port: Port, cause: string): void {
    this.port = null;
    port.close();
    const { comesBack, onDown, onGone } = this.options;
    if (comesBack) {
      onDown(cause);
      return this.later();
    }
    const evidence = { port: port.name, cause };
    onGone(new Failure("port.lost", `the line ${port.name} was lost: ${cause}.`, { evidence }));
  }

  private later(): void {
    const { clock } = this.options;
    this.cancel = clock.at(clock.now() + reopenMs, () => void this.again());
  }

  /** A line that was there may come back in any way: also from another's hands. */
  private async again(): Promise<void> {
    try {
      this.take(await this.options.open());
      if (this.port !== null) this.options.onUp(this.port.name);
    } catch (error) {
      if (this.isClosed) return;
      if (error instanceof Failure) return this.later();
      const what = error instanceof Error ? error.message : String(error);
      this.options.onGone(new Failure("console.defect", `a defect: ${what}. Please report it.`));
    }
  }
}
