/**
 * The virtual clock: time moves only when told to. Timers fire in the order of their deadlines
 * and, among equals, in the order in which they were set, so that a run is the same every time.
 */
import { assert } from "../errors.ts";
import type { Clock } from "../io/clock.ts";

/** `fire` is null once fired or cancelled; a cancelled timer leaves the heap later. */
type Timer = { readonly atMs: number; readonly order: number; fire: (() => void) | null };

/** Timers that may fire without time moving on; more is a program that re-arms for ever. */
const firesPerInstantMax = 100_000;
/** Below this many cancelled timers a sweep costs more than it frees. */
const sweepMin = 64;

function isBefore(left: Timer, right: Timer): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}

export class SimClock implements Clock {
  /** A binary heap, the next timer first. */
  private heap: Timer[] = [];
  private nowMs = 0;
  private wallOffsetMs = Date.UTC(2024, 0, 1);
  private order = 0;
  private cancelled = 0;

  now(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs + this.wallOffsetMs;
  }

  /** A deadline already past fires with the next `advance`, `advance(0)` included. */
  at(deadlineMs: number, fire: () => void): () => void {
    assert(!Number.isNaN(deadlineMs), "a deadline is a number");
    const timer: Timer = { atMs: deadlineMs, order: this.order++, fire };
    this.insert(timer);
    return () => {
      if (timer.fire === null) return;
      timer.fire = null;
      this.cancelled += 1;
      if (this.cancelled > sweepMin && this.cancelled * 2 > this.heap.length) this.sweep();
    };
  }

  /** The deadline of the next timer in monotonic ms, or null when none is set. */
  next(): number | null {
    while (this.heap[0]?.fire === null) {
      this.removeFirst();
      this.cancelled -= 1;
    }
    return this.heap[0]?.atMs ?? null;
  }

  /** Moves time on by `ms` >= 0, firing everything that falls due, also what that sets. */
  advance(ms: number): void {
    this.advanceTo(this.nowMs + ms);
  }

  advanceTo(deadlineMs: number): void {
    assert(deadlineMs >= this.nowMs, "virtual time does not run backwards");
    let fires = 0;
    for (let atMs = this.next(); atMs !== null && atMs <= deadlineMs; atMs = this.next()) {
      fires = atMs > this.nowMs ? 0 : fires + 1;
      assert(fires < firesPerInstantMax, "timers let time move on");
      this.nowMs = Math.max(this.nowMs, atMs);
      const timer = this.removeFirst();
      const { fire } = timer;
      timer.fire = null;
      fire?.();
    }
    this.nowMs = Math.max(this.nowMs, deadlineMs);
  }

  /** The date is set: wall time jumps by `ms`, monotonic time does not notice. */
  stepWall(ms: number): void {
    this.wallOffsetMs += ms;
  }

  /** The card sleeps: CLOCK_MONOTONIC stands still, the date moves on. */
  suspend(ms: number): void {
    this.stepWall(ms);
  }

  private insert(timer: Timer): void {
    let index = this.heap.length;
    for (; index > 0; index = (index - 1) >> 1) {
      const parent = this.heap[(index - 1) >> 1] as Timer;
      if (!isBefore(timer, parent)) break;
      this.heap[index] = parent;
    }
    this.heap[index] = timer;
  }

  private removeFirst(): Timer {
    const { heap } = this;
    const [first, last] = [heap[0] as Timer, heap.pop() as Timer];
    let index = 0;
    for (let below = 1; below < heap.length; below = index * 2 + 1) {
      const right = heap[below + 1];
      if (right && isBefore(right, heap[below] as Timer)) below += 1;
      const child = heap[below] as Timer;
      if (!isBefore(child, last)) break;
      heap[index] = child;
      index = below;
    }
    if (heap.length > 0) heap[index] = last;
    return first;
  }

  private sweep(): void {
    const all = this.heap;
    this.heap = [];
    for (const timer of all) if (timer.fire !== null) this.insert(timer);
    this.cancelled = 0;
  }
}
