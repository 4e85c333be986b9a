/** A small campaign of boots with random faults; the bench runs a large one. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { campaign } from "../bench/boots.ts";

const stories = suite("campaign");

stories("300 boots with random faults: no card stays stuck, and each hang is named after", () => {
  const { boots, faults, slots } = campaign(300, 1000);
  assert.ok(boots >= 300);
  assert.ok(Object.keys(faults).length === 8, "every kind of fault took place");
  assert.ok(!("none" in slots));
});

stories.run();
