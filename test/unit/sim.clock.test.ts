import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../../agent/sim/clock.ts";

const clockSuite = suite("sim clock");

/** Deadlines below 500 ms with many equals among them, the same every time. */
function deadlinesOf(count: number): number[] {
  let state = 12_345;
  return Array.from({ length: count }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state % 500;
  });
}

/** What a plainly right clock would do: sort, equals in the order they were set. */
function orderOf(deadlines: readonly number[]): number[] {
  return deadlines
    .map((atMs, index) => ({ atMs, index }))
    .sort((left, right) => left.atMs - right.atMs || left.index - right.index)
    .map(({ index }) => index);
}

clockSuite("timers fire by deadline, and among equals in the order they were set", () => {
  const clock = new SimClock();
  const fired: number[] = [];
  const deadlines = deadlinesOf(2000);
  for (const [index, atMs] of deadlines.entries()) clock.at(atMs, () => fired.push(index));
  clock.advance(500);
  assert.equal(fired, orderOf(deadlines));
  assert.is(clock.next(), null);
});

clockSuite("now is the deadline while a timer fires, and the target afterwards", () => {
  const clock = new SimClock();
  const seen: number[] = [];
  clock.at(10, () => seen.push(clock.now()));
  clock.at(25.5, () => seen.push(clock.now()));
  clock.advance(100);
  assert.equal(seen, [10, 25.5]);
  assert.is(clock.now(), 100);
});

clockSuite("what a timer sets fires in the same advance when it falls due in it", () => {
  const clock = new SimClock();
  const seen: string[] = [];
  clock.at(10, () => {
    seen.push("first");
    clock.at(10, () => seen.push("same instant"));
    clock.at(20, () => seen.push("later"));
    clock.at(21, () => seen.push("too late"));
  });
  clock.at(10, () => seen.push("second"));
  clock.advanceTo(20);
  assert.equal(seen, ["first", "second", "same instant", "later"]);
  assert.is(clock.next(), 21);
});

clockSuite("a cancelled timer never fires, whoever cancels it and however often", () => {
  const clock = new SimClock();
  const seen: string[] = [];
  const cancelEarly = clock.at(5, () => seen.push("early"));
  const cancelLate = clock.at(15, () => seen.push("late"));
  const cancelFired = clock.at(1, () => seen.push("fired"));
  clock.at(10, () => cancelLate());
  cancelEarly();
  cancelEarly();
  assert.is(clock.next(), 1);
  clock.advance(2);
  cancelFired();
  assert.is(clock.next(), 10);
  clock.advance(100);
  assert.equal(seen, ["fired"]);
  assert.is(clock.next(), null);
});

clockSuite("a timer re-armed a million times takes no more room than a few", () => {
  const clock = new SimClock();
  let fired = 0;
  const count = (): void => {
    fired += 1;
  };
  let cancel = clock.at(1000, count);
  for (let index = 1; index <= 1_000_000; index++) {
    cancel();
    cancel = clock.at(1000 + index, count);
  }
  const { heap } = clock as unknown as { heap: unknown[] };
  assert.ok(heap.length < 200, `${heap.length} entries kept`);
  clock.advanceTo(1_000_999);
  assert.is(fired, 0);
  clock.advance(1);
  assert.is(fired, 1);
});

clockSuite("cancelling many leaves exactly the others, in order", () => {
  const clock = new SimClock();
  const fired: number[] = [];
  const deadlines = deadlinesOf(5000);
  const cancels = deadlines.map((atMs, index) => clock.at(atMs, () => fired.push(index)));
  const isKept = (index: number): boolean => (index * 7919) % 10 < 3;
  for (const [index, cancel] of cancels.entries()) if (!isKept(index)) cancel();
  clock.advance(500);
  assert.equal(fired, orderOf(deadlines).filter(isKept));
});

clockSuite("a deadline already past fires with the next advance, even by nothing", () => {
  const clock = new SimClock();
  clock.advance(50);
  let firedAtMs = -1;
  clock.at(20, () => {
    firedAtMs = clock.now();
  });
  assert.is(firedAtMs, -1);
  clock.advance(0);
  assert.is(firedAtMs, 50);
});

clockSuite("suspend and a changed date move wall time only, and no timer", () => {
  const clock = new SimClock();
  const wallMs = clock.wallMs();
  let fired = false;
  clock.at(1000, () => {
    fired = true;
  });
  clock.suspend(3_600_000);
  clock.stepWall(-500);
  assert.is(clock.now(), 0);
  assert.is(clock.wallMs() - wallMs, 3_599_500);
  clock.advance(999);
  assert.not(fired);
  assert.is(clock.wallMs() - wallMs, 3_600_499);
});

clockSuite("time does not run backwards, and a timer that re-arms for ever is found", () => {
  const clock = new SimClock();
  clock.advance(10);
  assert.throws(() => clock.advanceTo(9), /backwards/);
  assert.throws(() => clock.at(Number.NaN, () => {}), /deadline/);
  const rearm = (): void => {
    clock.at(clock.now(), rearm);
  };
  rearm();
  assert.throws(() => clock.advance(1), /move on/);
});

clockSuite.run();
