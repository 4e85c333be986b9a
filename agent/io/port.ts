/**
 * A serial line as the agent and the console see it: bytes in, bytes out, and it may vanish.
 * Nothing here ever blocks the caller.
 */
export interface Port {
  /** What to call it in messages: a path such as /dev/ttyUSB0, or `sim`. */
  readonly name: string;
  /**
   * Queues `bytes` as one piece. Returns false, and sends none of them, when more than
   * `portQueueBytesMax` are already waiting or the line is gone: drops are the caller's to count.
   */
  write(bytes: Uint8Array): boolean;
  /** Sets the one listener for received bytes. The bytes are the listener's to keep. */
  onData(listen: (bytes: Uint8Array) => void): void;
  /** Sets the one listener for the end of the line: unplugged, hung up or closed. Called once. */
  onClose(listen: (cause: string) => void): void;
  /** Bytes accepted by `write` and not yet handed to the line. */
  readonly waitingBytes: number;
  close(): void;
}

/** Bound on bytes waiting for a host that stopped reading: 16 kB is 1.4 s at 115200 Bd. */
export const portQueueBytesMax = 16_384;
