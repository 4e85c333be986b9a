import { suite } from "uvu";
import * as assert from "uvu/assert";
import { configure } from "../../agent/config.ts";
import { WatchdogHead } from "../../agent/heads/watchdog.ts";
import type { Watchdog, WatchdogFacts } from "../../agent/io/watchdog.ts";
import { type Criterion, judge } from "../../agent/machines/criteria.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { SimChip, SimWatchdog } from "../../agent/sim/watchdog.ts";
import { plainModel } from "../../agent/sim/watchdogmodels.ts";

const criteria = suite("criteria");

/** Met only by what the driver says of itself. */
const told = ["set_timeout", "refresh", "survives_close"];

/** A driver on a kernel whose sysfs has no `options`: it tells them once it is open. */
function reticent(clock: SimClock): Watchdog {
  const chip = new SimChip(clock, plainModel, () => {});
  const plain = new SimWatchdog(chip, clock);
  const facts = (): WatchdogFacts => {
    const all = plain.facts();
    return plain.isOpen ? { ...all, holder: { pid: 1, name: "us" } } : { ...all, options: null };
  };
  return new Proxy(plain, {
    get: (target, name) => {
      if (name === "facts") return facts;
      const member = Reflect.get(target, name);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

function valuesOf(list: readonly Criterion[], names: readonly string[]): string[] {
  return names.map((name) => list.find((one) => one.name === name)?.value ?? "absent");
}

criteria("A2-01 options that are not shown yet are not called absent", () => {
  const facts = reticent(new SimClock()).facts();
  const wanted = { promiseMs: 30_000, hardwareMaxMs: null, hardwareMinGapMs: 0 };
  const hidden = judge(facts, wanted, "");
  const silence = "not shown before it is open";
  assert.equal(valuesOf(hidden.criteria, told), [silence, silence, silence]);
  const without = judge({ ...facts, options: 0 }, wanted, "");
  assert.equal(valuesOf(without.criteria, told), ["no", "no", "no"]);
});

criteria("A2-01 criteria are measured again once the device is open", () => {
  const clock = new SimClock();
  const watchdog = reticent(clock);
  const config = configure({ watchdog: { policy: "simulate" } }, "test");
  const nothing = (): void => {};
  const io = { clock, watchdog, problem: "", noteCulprit: nothing, clearCulprit: nothing };
  const head = new WatchdogHead({ ...io, lastWords: nothing, emit: nothing }, config);
  assert.not.equal(valuesOf(head.probe().criteria, told), ["yes", "yes", "yes"]);
  head.start();
  assert.equal(valuesOf(head.probe().criteria, told), ["yes", "yes", "yes"]);
  assert.equal(valuesOf(head.probe().criteria, ["exclusive"]), ["nobody"]);
});

criteria.run();
