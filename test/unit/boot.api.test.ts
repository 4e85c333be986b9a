/** sim/firmware.ts: the API that the boot environment installs, and its end. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../../agent/sim/clock.ts";
import { BootApi } from "../../agent/sim/firmware.ts";
import { SimChip } from "../../agent/sim/watchdog.ts";
import { plainModel } from "../../agent/sim/watchdogmodels.ts";
import { throwsCode } from "../assert.ts";

const api = suite("boot api");

function bench(rearm = true) {
  const clock = new SimClock();
  const expiredMs: number[] = [];
  const model = { ...plainModel, minMs: 2000, maxMs: 60_000 };
  const chip = new SimChip(clock, model, () => expiredMs.push(clock.now()));
  return { clock, chip, expiredMs, api: new BootApi(chip, rearm) };
}

api("A1-06 nonzero while stopped arms with it", () => {
  const { api, chip, clock, expiredMs } = bench();
  assert.is(api.set(5000), 5000);
  assert.is(chip.running, true);
  clock.advance(4999);
  assert.equal(expiredMs, []);
  clock.advance(1);
  assert.equal(expiredMs, [5000]);
});

api("A1-06 nonzero while running restarts with the new timeout", () => {
  const { api, clock, expiredMs } = bench();
  api.set(5000);
  clock.advance(4000);
  assert.is(api.set(20_000), 20_000);
  clock.advance(100_000);
  assert.equal(expiredMs, [24_000]);
});

api("A1-06 zero while stopped does nothing", () => {
  const { api, chip, clock, expiredMs } = bench();
  assert.is(api.set(0), 0);
  assert.is(chip.running, false);
  clock.advance(100_000);
  assert.equal(expiredMs, []);
});

api("A1-06 zero while running stops", () => {
  const { api, chip, clock, expiredMs } = bench();
  api.set(5000);
  assert.is(api.set(0), 0);
  assert.is(chip.running, false);
  clock.advance(100_000);
  assert.equal(expiredMs, []);
});

api("A1-06 less than the least and more than the most are refused and change nothing", () => {
  const { api, chip, clock, expiredMs } = bench();
  api.set(5000);
  clock.advance(1000);
  for (const timeoutMs of [1, 1999, 60_001]) {
    throwsCode(() => api.set(timeoutMs), "boot.range");
    assert.is(chip.timeoutMs, 5000);
  }
  clock.advance(100_000);
  assert.equal(expiredMs, [5000], "no refused call counted as a refresh");
  for (const timeoutMs of [2000, 60_000]) assert.is(api.set(timeoutMs), timeoutMs);
});

api("A1-11 no re-arm: refused as unsupported, and the old countdown goes on", () => {
  const { api, clock, expiredMs } = bench(false);
  api.set(5000);
  clock.advance(1000);
  throwsCode(() => api.set(20_000), "boot.unsupported");
  clock.advance(100_000);
  assert.equal(expiredMs, [5000]);
});

api("a device that cannot be stopped says so and goes on", () => {
  const { api, chip, clock, expiredMs } = bench();
  chip.faults = { noWayOut: true };
  api.set(5000);
  throwsCode(() => api.disable(), "boot.unsupported");
  throwsCode(() => api.set(0), "boot.unsupported");
  clock.advance(100_000);
  assert.equal(expiredMs, [5000]);
});

api("what was granted is returned, not what was asked", () => {
  const { api, chip } = bench();
  chip.faults = { grantsMs: 7000 };
  assert.is(api.set(5000), 7000);
});

api("A1-04 revoked: every call fails, disarm above all, and the countdown expires", () => {
  const { api, chip, clock, expiredMs } = bench();
  api.set(5000);
  clock.advance(1000);
  api.revoke();
  const calls = [
    () => api.disable(),
    () => api.set(0),
    () => api.set(20_000),
    () => api.refresh(),
    () => api.info(),
  ];
  for (const call of calls) throwsCode(call, "boot.revoked");
  assert.is(chip.running, true);
  assert.is(chip.leftMs(), 4000);
  clock.advance(3999);
  assert.equal(expiredMs, []);
  clock.advance(1);
  assert.equal(expiredMs, [5000]);
});

api.run();
