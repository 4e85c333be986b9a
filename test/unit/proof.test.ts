/** machines/proof.ts: what readings of time left prove of a refresh, and what they do not. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as proof from "../../agent/machines/proof.ts";
import { Random } from "../../agent/sim/random.ts";

const suiteOf = suite("proof");

interface Device {
  /** Whether a refresh raises the counter. */
  readonly hears: boolean;
  /** How fast time left falls against time: 1 is right. */
  readonly rate: number;
  readonly fullMs: number;
  /** The phase of the whole seconds that are read, ms. */
  readonly phaseMs: number;
}

/** Runs the readings that the agent makes of such a device; one refresh per `everyMs`. */
function readingsOf(device: Device, everyMs: number, turns: number): proof.Proof {
  let raisedMs = 0;
  const left = (atMs: number): number => {
    const ms = device.fullMs - (atMs - raisedMs) * device.rate;
    return Math.floor((ms + device.phaseMs) / 1000) * 1000;
  };
  let found = proof.beginProof("keepalive", 0, left(0));
  for (let turn = 1; turn <= turns; turn++) {
    const lookMs = (turn - 1) * everyMs + proof.apartMs;
    if (proof.wantsLook(found) && lookMs < turn * everyMs) {
      found = proof.looked(found, lookMs, left(lookMs), true);
    }
    const atMs = turn * everyMs;
    const beforeMs = left(atMs);
    if (device.hears) raisedMs = atMs;
    found = proof.refreshedBetween(found, atMs, { beforeMs, afterMs: left(atMs), alone: true });
  }
  return found;
}

suiteOf("A2-01 a device that hears and counts right is proven, at any phase of its seconds", () => {
  const seed = 7;
  const random = new Random(seed);
  for (let run = 0; run < 500; run++) {
    const fullMs = 4000 + random.int(60_000);
    const found = readingsOf(
      { hears: true, rate: 1, fullMs, phaseMs: random.int(1000) },
      fullMs / 4,
      16,
    );
    assert.is(found.works, "yes", `seed ${seed} run ${run}: ${fullMs}`);
    if (fullMs >= 12_000) assert.ok(proof.fellTrue(found), `seed ${seed} run ${run}: ${fullMs}`);
  }
});

suiteOf("A2-01 a device that hears nothing is found out before it expires", () => {
  const seed = 8;
  const random = new Random(seed);
  for (let run = 0; run < 500; run++) {
    const fullMs = 5000 + random.int(60_000);
    const device = { hears: false, rate: 1, fullMs, phaseMs: random.int(1000) };
    assert.is(readingsOf(device, fullMs / 4, 3).works, "no", `seed ${seed} run ${run}: ${fullMs}`);
  }
});

suiteOf("a frozen counter proves nothing in either direction", () => {
  for (const hears of [true, false]) {
    const found = readingsOf({ hears, rate: 0, fullMs: 60_000, phaseMs: 0 }, 15_000, 20);
    assert.ok(proof.isFrozen(found));
    assert.equal([found.works, found.fell, proof.fellTrue(found)], ["untold", null, false]);
  }
});

suiteOf("a counter that runs twice or half as fast is measured, and is not right", () => {
  for (const rate of [2, 0.5]) {
    const found = readingsOf({ hears: true, rate, fullMs: 60_000, phaseMs: 0 }, 12_000, 3);
    assert.is(found.works, "yes");
    assert.is(proof.fellTrue(found), false, `${rate}`);
    const { byMs = 0, inMs = 1 } = found.fell ?? {};
    assert.ok(Math.abs(byMs - inMs * rate) <= 1000, `${byMs} in ${inMs}`);
  }
});

suiteOf("without time left nothing is claimed, and one still pair is not a frozen counter", () => {
  const none = proof.beginProof("keepalive", 0, null);
  assert.equal([none.works, proof.wantsLook(none)], ["untold", false]);
  const once = proof.looked(proof.beginProof("keepalive", 0, 9000), 3000, 9000, false);
  assert.equal([once.works, once.still, proof.isFrozen(once)], ["open", 1, false]);
});

suiteOf("with a service in between, only what it cannot explain counts", () => {
  const first = proof.beginProof("keepalive", 0, 30_000);
  const less = proof.looked(first, 15_000, 29_000, false);
  assert.is(less.fell, null, "it may have been refreshed a second ago");
  assert.equal(proof.looked(first, 15_000, 29_000, true).fell, { byMs: 1000, inMs: 15_000 });
  assert.is(proof.looked(less, 16_000, 30_000, false).works, "yes", "something raised it");
  assert.equal(proof.looked(first, 5000, 20_000, false).fell, { byMs: 10_000, inMs: 5000 });
});

suiteOf("a device that was proven is doubted when too little is left, and not before", () => {
  const found = readingsOf({ hears: true, rate: 1, fullMs: 60_000, phaseMs: 0 }, 15_000, 2);
  assert.is(proof.contradicts(found, 60_000 - 15_000 - 2000, 15_000), false);
  assert.is(proof.contradicts(found, 60_000 - 15_000 - 3000, 15_000), true);
});

suiteOf.run();
