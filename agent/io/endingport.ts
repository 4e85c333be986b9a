/** What every real `Port` has in common: one listener each, and an end that comes once. */
import type { Port } from "./port.ts";

export abstract class EndingPort implements Port {
  readonly name: string;
  private because: string | null = null;
  private tellClose: ((cause: string) => void) | null = null;
  /** The listener for data; nobody once the port has ended. */
  protected tellData: (bytes: Uint8Array) => void = () => {};

  constructor(name: string) {
    this.name = name;
  }

  abstract get waitingBytes(): number;
  abstract write(bytes: Uint8Array): boolean;
  /** Lets go of what is behind the port and drops what is still queued; called once. */
  protected abstract release(): void;

  protected get isOver(): boolean {
    return this.because !== null;
  }

  onData(listen: (bytes: Uint8Array) => void): void {
    this.tellData = listen;
  }

  onClose(listen: (cause: string) => void): void {
    const { because } = this;
    if (because === null) this.tellClose = listen;
    else setImmediate(() => listen(because));
  }

  close(): void {
    this.end("closed");
  }

  /** Ends the port. The first cause counts. */
  end(cause: string): void {
    if (this.because !== null) return;
    this.because = cause;
    this.tellData = () => {};
    const tell = this.tellClose;
    this.tellClose = null;
    this.release();
    if (tell !== null) setImmediate(() => tell(cause));
  }
}
