// What `wdt explain` claims, against a simulated boot in which that very thing is made to hang.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Coverage,
  coverageOf,
  type Hang,
  hangNames,
  type Interval,
} from "../../agent/machines/coverage.ts";
import { ColdBoot } from "../../agent/sim/coldboot.ts";
import type { Random } from "../../agent/sim/random.ts";
import type { CoveragePlan } from "../../agent/wire/coverageplan.ts";
import { fuzz } from "../fuzz.ts";
import { plainPlan, randomPlan } from "../plans.ts";

const test = suite("coverage against the simulator");

/** No reset of any plan comes later than this after a hang: all its timeouts, twice each. */
function patience({ firmware, driver, owner, core }: CoveragePlan): number {
  const spans = [firmware?.timeout_ms, driver?.heartbeat_ms, owner?.timeout_ms];
  const sum = [...spans, owner?.promise_ms, core.open_timeout_ms].reduce<number>(
    (total, span) => total + (span ?? 0),
    0,
  );
  return sum * 2 + 100_000;
}

/** Both ends of the interval, 1 ms inside, and two instants between. */
function instants(random: Random, { fromMs, toMs }: Interval): number[] {
  const between = (): number => fromMs + random.next() * (toMs - fromMs);
  return [fromMs + 1, toMs - 1, between(), between()].filter((at) => at > fromMs && at < toMs);
}

function checkHang(plan: CoveragePlan, interval: Interval, what: Hang, atMs: number): string {
  const fate = interval.fates[what];
  const resetMs = new ColdBoot(plan, { what, atMs }).run(atMs + patience(plan));
  const where = `${what} at ${atMs} of ${JSON.stringify(plan)}`;
  if (resetMs !== null && resetMs < atMs) {
    assert.is(interval.stage, "reboot", `reset at ${resetMs}, before ${where}`);
    return "a reboot that took too long";
  }
  assert.is(resetMs === null ? "never" : "reset", fate?.kind, where);
  if (fate?.kind === "reset" && resetMs !== null) {
    const late = resetMs - atMs - fate.withinMs;
    assert.ok(late <= 0.01, `${late} ms after the promised reset: ${where}`);
  }
  return `${what} ${fate?.kind}`;
}

function checkPlan(random: Random, plan: CoveragePlan): { coverage: Coverage; seen: string[] } {
  const coverage = coverageOf(plan);
  const { intervals, wellResetMs } = coverage;
  assert.is(new ColdBoot(plan, null).run(plan.until_ms), wellResetMs, JSON.stringify(plan));
  const seen = intervals.flatMap((interval) =>
    hangNames
      .filter((what) => interval.fates[what] !== undefined)
      .flatMap((what) =>
        instants(random, interval).map((atMs) => checkHang(plan, interval, what, atMs)),
      ),
  );
  const ends = intervals.map(({ fromMs }, at) => [fromMs, intervals[at - 1]?.toMs ?? 0]);
  for (const [fromMs, beforeMs] of ends) assert.is(fromMs, beforeMs, "no hole between intervals");
  return { coverage, seen };
}

test("a hang is ended if and only if explain says so, within the time it says", () => {
  const counts = new Map<string, number>();
  fuzz(600, (random) => {
    for (const what of checkPlan(random, randomPlan(random)).seen) {
      counts.set(what, (counts.get(what) ?? 0) + 1);
    }
  });
  if (process.env.SEED !== undefined) return;
  for (const what of hangNames) {
    for (const fate of ["reset", "never"]) {
      assert.ok((counts.get(`${what} ${fate}`) ?? 0) > 100, `${what} ${fate} is among the plans`);
    }
  }
});

test("a plan without a gap has none at any instant", () => {
  fuzz(20, (random) => {
    const { coverage } = checkPlan(random, plainPlan);
    assert.equal(coverage.gaps, []);
    assert.is(coverage.wellResetMs, null);
  });
});

test.run();
