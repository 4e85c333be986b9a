/** machines/bootrecord.ts: what firmware counted and settled stands, also of agentless boots. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  beginBoot,
  claim,
  confirm,
  emptyRecord,
  type FirmwarePrevious,
  idsOfCurrent,
  pastMax,
} from "../../agent/machines/bootrecord.ts";

const firmware = suite("boot record of firmware");
const attemptsMax = 3;
const begin = { randomId: "0a", machine: "m1", hardware: "unknown", attemptsMax } as const;
const fresh = beginBoot(emptyRecord(false, attemptsMax), begin).record;

const dead: FirmwarePrevious = {
  boot: "6-dead",
  slot: "a",
  stage: "hand_off",
  step: "kernel_entry",
  uptime_ms: 900,
  confirmed: false,
  cause: "watchdog",
};
const claimed = { boot: "7-live", slot: "b", failures: 0, attempts_max: attemptsMax } as const;

firmware("A1-05 a boot in which no agent came is told from firmware's record", () => {
  const { past, current, boots } = claim(fresh, { ...claimed, previous: dead });
  assert.is(current?.boot, "7-live");
  assert.is(boots, 7);
  const [entry] = past;
  assert.is(past.length, 1);
  assert.equal([entry?.boot, entry?.stage, entry?.cause], ["6-dead", "hand_off", "watchdog"]);
});

firmware("a boot that the agent knows better is not replaced", () => {
  const before = claim(fresh, { ...claimed, boot: "6-dead", slot: "a" });
  const again = beginBoot(confirm(before), { ...begin, machine: "m2", hardware: "panic" }).record;
  const { past } = claim(again, { ...claimed, previous: dead });
  assert.equal(
    past.map(({ boot, cause }) => [boot, cause]),
    [["6-dead", "panic"]],
  );
});

firmware("A1-13 another slot after a failed boot has used up the attempts of the first", () => {
  assert.equal(claim(fresh, { ...claimed, previous: dead }).failures, { a: attemptsMax, b: 0 });
  const clean = { ...dead, cause: "clean" } as const;
  assert.equal(claim(fresh, { ...claimed, previous: clean }).failures, { a: 0, b: 0 });
  const confirmed = { ...dead, confirmed: true };
  assert.equal(claim(fresh, { ...claimed, previous: confirmed }).failures, { a: 0, b: 0 });
});

firmware("every agent of one boot of the machine gave it an id", () => {
  let record = claim(fresh, { ...claimed, boot: "6-first" });
  const restarted = beginBoot(record, begin).record;
  assert.equal(idsOfCurrent(restarted)?.slice(1), ["6-first"]);
  for (let count = 0; count <= pastMax; count++) record = beginBoot(record, begin).record;
  assert.is(idsOfCurrent(record), null, "more agents than are remembered");
  assert.is(idsOfCurrent(emptyRecord(false, attemptsMax)), null);
});

firmware.run();
