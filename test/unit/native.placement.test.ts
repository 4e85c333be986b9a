// The rule by which refreshes are placed (native/refresher.h), on virtual time.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { native } from "../../native/index.ts";
import { nativeObstacle, unless } from "../children.ts";

const placementSuite = suite("native placement");
const onNative = unless(nativeObstacle(), placementSuite);

type Numbers = [last: number, checkIn: number, deadline: number, hardware: number, gap: number];

function next(...numbers: Numbers): number | null {
  const [last, checkIn, deadline, hardware, gap] = numbers.map((number) => BigInt(number));
  if (last === undefined || checkIn === undefined || deadline === undefined) return null;
  if (hardware === undefined || gap === undefined) return null;
  const result = native().RuntimeService.nextRefreshNs(last, checkIn, deadline, hardware, gap);
  return result === null ? null : Number(result);
}

// Worked out by hand: T1 = 100.
const worked: [string, Numbers, number | null][] = [
  ["half of T1 after the last, far from the end", [0, 0, 1000, 100, 0], 50],
  ["the final one where it is nearer than half of T1", [880, 0, 1000, 100, 0], 900],
  ["the final one where it is exactly half of T1 away", [850, 0, 1000, 100, 0], 900],
  ["none after the final one", [900, 0, 1000, 100, 0], null],
  ["none when the final one was late", [901, 0, 1000, 100, 0], null],
  ["room is left for the final one", [845, 0, 1000, 100, 20], 880],
  ["no closer than the gap, though that is behind the final one", [890, 0, 1000, 100, 20], 910],
  ["at the check-in when T2 = T1", [300, 340, 440, 100, 0], 340],
  ["in the past means at once", [0, 500, 650, 100, 0], 50],
  ["not before the check-in, whatever the deadline", [300, 340, 400, 100, 0], 340],
  ["an odd T1 is halved downwards", [0, 0, 1000, 101, 0], 50],
];
for (const [name, numbers, expected] of worked) {
  onNative(`by hand: ${name}`, () => assert.is(next(...numbers), expected));
}

/** Small and seeded: a failing run is repeated by its seed. */
function random(seed: number): (from: number, to: number) => number {
  let state = seed >>> 0;
  return (from, to) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return from + Math.floor((state / 2 ** 32) * (to - from + 1));
  };
}

interface Trace {
  /** Times of all refreshes. */
  readonly refreshes: number[];
  readonly checkIns: number[];
  /** When the hardware would have reset although the promise held, or null. */
  readonly early: number | null;
}

/** The thread's loop without lateness: check-ins at jittered intervals, then silence. */
function simulate(seed: number, hardware: number, promise: number, gap: number, count: number) {
  const draw = random(seed);
  const trace: Trace & { early: number | null } = { refreshes: [0], checkIns: [0], early: null };
  let last = 0;
  for (let turn = 0; turn <= count; turn++) {
    const checkIn = trace.checkIns.at(-1) ?? 0;
    const deadline = checkIn + promise;
    const following = turn === count ? deadline : checkIn + draw(1, promise - 1);
    for (;;) {
      const planned = next(last, checkIn, deadline, hardware, gap);
      const time = planned === null ? null : Math.max(planned, checkIn);
      if (time === null || time >= following) break;
      if (time - last > hardware) trace.early ??= time;
      trace.refreshes.push(time);
      last = time;
    }
    if (turn < count) trace.checkIns.push(following);
  }
  return trace;
}

const ratios = [1, 1.5, 2, 10];
for (const ratio of ratios) {
  onNative(`A2-05 no OS refresh, T2/T1 = ${ratio}: expiry at D, 300 random histories`, () => {
    for (let seed = 1; seed <= 300; seed++) {
      const hardware = random(seed)(1000, 60_000);
      const promise = Math.round(hardware * ratio);
      const { refreshes, checkIns, early } = simulate(seed, hardware, promise, 0, 20);
      const deadline = (checkIns.at(-1) ?? 0) + promise;
      assert.is(early, null, `seed ${seed}`);
      assert.is((refreshes.at(-1) ?? 0) + hardware, deadline, `seed ${seed}`);
    }
  });
}

for (const ratio of ratios) {
  onNative(`A2-06 T2/T1 = ${ratio}: 10 000 jittered periods keep T1/2 and the gap`, () => {
    const seed = 20_240_601 + ratio;
    const [hardware, gap] = [10_000, 1500];
    const promise = hardware * ratio;
    const { refreshes, checkIns, early } = simulate(seed, hardware, promise, gap, 10_000);
    assert.is(early, null, `seed ${seed}`);
    let index = 0;
    for (let at = 1; at < refreshes.length; at++) {
      const [from = 0, to = 0] = refreshes.slice(at - 1, at + 1);
      assert.ok(to - from >= gap, `seed ${seed}: gap ${to - from}`);
      // Only once the final refresh of a promise is done may the hardware run down further.
      while ((checkIns[index + 1] ?? Number.POSITIVE_INFINITY) <= from) index++;
      const final = (checkIns[index] ?? 0) + promise - hardware;
      const rested = from >= final;
      assert.ok(rested || to - from <= hardware / 2, `seed ${seed}: ${from} to ${to}`);
    }
    const expiry = (refreshes.at(-1) ?? 0) + hardware;
    const deadline = (checkIns.at(-1) ?? 0) + promise;
    assert.ok(expiry >= deadline && expiry < deadline + gap, `seed ${seed}: ${expiry - deadline}`);
  });
}

onNative("with room for the gap the expiry is exactly D, 1000 random plans", () => {
  for (let seed = 1; seed <= 1000; seed++) {
    const draw = random(seed);
    const hardware = draw(1000, 60_000);
    const gap = draw(0, Math.floor(hardware / 4));
    const promise = hardware + draw(gap, hardware * 20);
    // One check-in and then silence: what a hang after a healthy start looks like.
    const { refreshes, checkIns } = simulate(seed, hardware, promise, gap, 0);
    const deadline = (checkIns.at(-1) ?? 0) + promise;
    assert.is((refreshes.at(-1) ?? 0) + hardware, deadline, `seed ${seed}`);
  }
});

placementSuite.run();
