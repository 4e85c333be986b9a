/**
 * The clock of one simulated process: its timers and inputs die with it, and wait while its
 * event loop is blocked. Time itself, the chip and the refresh thread go on.
 */
import type { Clock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";
import type { Tee } from "../io/tee.ts";

export class LifeClock implements Clock {
  private readonly base: Clock;
  private alive = true;
  private hungUntilMs = -Infinity;

  constructor(base: Clock) {
    this.base = base;
  }

  now(): number {
    return this.base.now();
  }

  wallMs(): number {
    return this.base.wallMs();
  }

  at(deadlineMs: number, fire: () => void): () => void {
    return this.base.at(deadlineMs, () => this.run(fire));
  }

  /** Runs something of this process: now, when its loop is free again, or never. */
  run(act: () => void): void {
    if (!this.alive) return;
    if (this.base.now() >= this.hungUntilMs) return act();
    if (this.hungUntilMs < Infinity) this.base.at(this.hungUntilMs, () => this.run(act));
  }

  /** The event loop is blocked for `forMs`; Infinity = for ever. */
  hang(forMs: number): void {
    this.hungUntilMs = this.base.now() + forMs;
  }

  /** The process is gone: nothing of it ever runs again. */
  kill(): void {
    this.alive = false;
  }

  /** A TEE as this process has it. */
  tee(tee: Tee): Tee {
    return {
      facts: () => tee.facts(),
      perform: (operation, done) => {
        tee.perform(operation, (outcome) => this.run(() => done(outcome)));
      },
    };
  }

  /** A port as this process has it. */
  port(end: Port): Port {
    const run = (act: () => void): void => this.run(act);
    return {
      name: end.name,
      write: (bytes) => end.write(bytes),
      onData: (listen) => end.onData((bytes) => run(() => listen(bytes))),
      onClose: (listen) => end.onClose((cause) => run(() => listen(cause))),
      get waitingBytes() {
        return end.waitingBytes;
      },
      close: () => end.close(),
    };
  }
}
