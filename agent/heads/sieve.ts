/**
 * Lets through what is worth a report and counts the rest: of each kind the first at once, then at
 * most one in `everyMs` with how many there were since. So nobody can fill the ledger by asking for
 * what he may not have.
 */

/** Between two reports of one kind, ms. */
const everyMs = 60_000;
/** Kinds that are told apart; what comes beyond is counted as one. */
const kindsMax = 32;
const others = "others";

interface Held<T> {
  count: number;
  last: T;
  nextMs: number;
}

export class Sieve<T> {
  /** All that ever came. */
  total = 0;
  private readonly tell: (last: T, count: number) => void;
  private readonly held = new Map<string, Held<T>>();

  /** `tell` gets the newest of a kind, and how many there were since the last time. */
  constructor(tell: (last: T, count: number) => void) {
    this.tell = tell;
  }

  add(kind: string, what: T, nowMs: number): void {
    this.total += 1;
    const isKnown = this.held.has(kind) || this.held.size < kindsMax;
    const key = isKnown ? kind : others;
    const held = this.held.get(key);
    if (held === undefined) {
      this.held.set(key, { count: 0, last: what, nextMs: nowMs + everyMs });
      return this.tell(what, 1);
    }
    held.count += 1;
    held.last = what;
  }

  /** When something that was held back is to be told. */
  get dueMs(): number {
    return Math.min(...[...this.held.values()].map(({ nextMs }) => nextMs));
  }

  tick(nowMs: number): void {
    for (const [kind, held] of this.held) {
      if (held.nextMs > nowMs) continue;
      if (held.count === 0) {
        this.held.delete(kind);
        continue;
      }
      const { count, last } = held;
      Object.assign(held, { count: 0, nextMs: nowMs + everyMs });
      this.tell(last, count);
    }
  }
}
