/** sim/disk.ts: what a power cut leaves of what was written. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PowerCut, SimDisk } from "../../agent/sim/disk.ts";
import { fuzz } from "../fuzz.ts";

const disk = suite("simulated disk");
const old = Uint8Array.of(1, 1, 1, 1, 1, 1);
const next = Uint8Array.of(2, 2, 2, 2, 2, 2);

function cuts(act: () => void): void {
  try {
    act();
  } catch (problem) {
    assert.ok(problem instanceof PowerCut);
    return;
  }
  assert.unreachable("the power was to fail");
}

disk("what was synced survives, whatever was planned after it", () => {
  fuzz(50, (random) => {
    const twin = new SimDisk(random);
    twin.write("x", old);
    twin.sync("x");
    twin.powerLoss();
    assert.equal(twin.read("x"), old);
  });
});

disk("the write at which the power fails may survive whole, torn or not at all", () => {
  const seen = new Set<string>();
  fuzz(200, (random) => {
    const twin = new SimDisk(random);
    twin.write("x", old);
    twin.sync("x");
    twin.operationsLeft = 0;
    cuts(() => twin.write("x", next));
    twin.powerLoss();
    seen.add(`${twin.read("x")}`);
  });
  assert.ok(seen.has(`${old}`) && seen.has(`${next}`) && seen.size > 4);
});

disk("after the power failed nothing reaches the disk any more", () => {
  fuzz(200, (random) => {
    const twin = new SimDisk(random);
    twin.write("x", old);
    twin.sync("x");
    twin.operationsLeft = 0;
    cuts(() => twin.sync("x"));
    cuts(() => twin.write("x", next));
    cuts(() => twin.append("x", next));
    cuts(() => twin.remove("x"));
    twin.powerLoss();
    assert.equal(twin.read("x"), old);
    twin.write("x", next);
    assert.equal(twin.read("x"), next, "with the power back it writes again");
  });
});

disk.run();
