// machines/limits.ts: the search for what a device takes.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { anyTaken, nearestTaken } from "../../agent/machines/limits.ts";
import { fuzz } from "../fuzz.ts";

const limits = suite("limits");

/** A device that takes `[min, max]` and runs with `runsMs`. */
function device(min: number, max: number, runsMs: number) {
  const asked: number[] = [];
  let now = runsMs;
  const attempt = (ms: number): number | null => {
    asked.push(ms);
    if (ms < min || ms > max) return null;
    now = ms;
    return ms;
  };
  return { attempt, asked, runs: () => now };
}

limits("the nearest taken timeout, and the device runs with it, in at most 17 tries", () => {
  fuzz(300, (random) => {
    const whole = (from: number, to: number): number => Math.round(random.range(from, to));
    const min = whole(1, 50);
    const max = whole(min, 3000);
    const runs = whole(min, max);
    const asked = random.chance(0.5) ? whole(max + 1, 86_400) : whole(0, min - 1);
    const found = device(min * 1000, max * 1000, runs * 1000);
    const granted = nearestTaken(asked * 1000, runs * 1000, found.attempt);
    assert.is(granted, (asked > max ? max : min) * 1000);
    assert.is(found.runs(), granted);
    assert.ok(found.asked.length <= 17, `${found.asked.length} tries`);
    const [low, high] = [Math.min(asked, runs) * 1000, Math.max(asked, runs) * 1000];
    assert.ok(
      found.asked.every((ms) => ms >= low && ms <= high),
      `${found.asked} within ${low} to ${high}`,
    );
  });
});

limits("a fixed timeout stays, and a device that takes nothing is known to", () => {
  const fixed = device(30_000, 30_000, 30_000);
  assert.is(nearestTaken(60_000, 30_000, fixed.attempt), 30_000);
  assert.is(
    anyTaken(60_000, () => null),
    null,
  );
  assert.is(anyTaken(60_000, device(1000, 8000, 0).attempt), 7000);
});

limits.run();
