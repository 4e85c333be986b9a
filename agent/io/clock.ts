/**
 * The only source of time in the agent. `now` is monotonic milliseconds since an arbitrary start
 * (CLOCK_MONOTONIC, which neither wall-clock steps nor suspend move); deadlines are in the same
 * scale. `wallMs` is for showing to people and for SMP datetime only; nothing is decided by it.
 */
export interface Clock {
  /** Monotonic milliseconds, may be fractional. */
  now(): number;
  /** Calls `fire` once, at or after `deadlineMs`. Returns a function that cancels it. */
  at(deadlineMs: number, fire: () => void): () => void;
  /** Milliseconds since 1970 as the card believes; may jump. */
  wallMs(): number;
}

/** The longest single sleep handed to the event loop; longer deadlines re-arm (2^31-1 ms limit). */
const sleepMaxMs = 2_000_000_000;

/** The real thing: process.hrtime is CLOCK_MONOTONIC on Linux. */
export class RealClock implements Clock {
  now(): number {
    return Number(process.hrtime.bigint() / 1000n) / 1000;
  }

  at(deadlineMs: number, fire: () => void): () => void {
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const leftMs = deadlineMs - this.now();
      timer = setTimeout(
        () => (this.now() >= deadlineMs ? fire() : arm()),
        Math.min(Math.max(Math.ceil(leftMs), 0), sleepMaxMs),
      );
    };
    arm();
    return () => clearTimeout(timer);
  }

  wallMs(): number {
    return Date.now();
  }
}
