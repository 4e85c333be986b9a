// What the journal's fallbacks mean for a card: losing its boot record never makes it laxer.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bootCodec } from "../../agent/heads/bootcodec.ts";
import { Journal } from "../../agent/journal.ts";
import {
  type BootRecord,
  beginBoot,
  confirm,
  emptyRecord,
  mark,
  startTrial,
} from "../../agent/machines/bootrecord.ts";
import { SimDisk } from "../../agent/sim/disk.ts";
import type { Random } from "../../agent/sim/random.ts";
import { fuzz } from "../fuzz.ts";

const fallback = suite("fallback of the boot record");
const attemptsMax = 3;

/** A card's record after some boots that went well or badly. */
function someRecord(random: Random): BootRecord {
  let record = emptyRecord(false, attemptsMax);
  for (let boot = random.int(12); boot >= 0; boot -= 1) {
    record = nextBoot(record, random.chance(0.7));
    record = mark(record, "runtime", "checks", 9000);
    if (random.chance(0.3)) record = confirm(record);
    if (random.chance(0.1)) record = startTrial(record, random.pick(["a", "b"]));
  }
  return record;
}

/** As it reads after it was stored. */
function throughCodec(record: BootRecord): BootRecord {
  const codec = bootCodec(attemptsMax);
  return codec.decode(codec.encode(record));
}

function nextBoot(record: BootRecord, failed: boolean): BootRecord {
  const hardware = failed ? "watchdog" : "power";
  const machine = `machine ${record.boots}`;
  return beginBoot(record, { randomId: "r", machine, hardware, attemptsMax }).record;
}

/** How many boots a slot gets in a row when each of them fails. */
function attemptsOf(record: BootRecord): { a: number; b: number } {
  const attempts = { a: 0, b: 0 };
  let now = record;
  for (let boot = 0; boot < 4 * attemptsMax; boot += 1) {
    now = nextBoot(now, true);
    const slot = now.current?.slot ?? "safe";
    if (slot !== "safe") attempts[slot] += 1;
  }
  assert.is(now.current?.slot, "safe");
  return attempts;
}

fallback(
  "B2-06 a lost boot record gives no slot more than one attempt, and none is confirmed",
  () => {
    const record = bootCodec(attemptsMax).fallback(true);
    const attempts = attemptsOf(record);
    assert.ok(attempts.a <= 1 && attempts.b <= 1, JSON.stringify(attempts));
    assert.is(record.trial, null);
    assert.is(nextBoot(record, false).current?.confirmed, false);
  },
);

fallback("B2-06 a card that never had a record has all its attempts", () => {
  assert.equal(attemptsOf(bootCodec(attemptsMax).fallback(false)), { a: 3, b: 3 });
});

fallback("B2-06 the last known good record gives no slot more attempts than a lost one", () => {
  fuzz(500, (random) => {
    const disk = new SimDisk(random.fork("disk"));
    const codecOfBoots = bootCodec(attemptsMax);
    const mine = new Journal(disk, "boot", codecOfBoots);
    mine.commit(someRecord(random));
    mine.commit(startTrial(confirm(mine.value), "b"));
    mine.keepAsGood();
    for (const file of ["boot.a", "boot.b"]) disk.write(file, new Uint8Array(3));
    const again = new Journal(disk, "boot", codecOfBoots);
    assert.is(again.outcome, "last_known_good");
    const attempts = attemptsOf(again.value);
    assert.ok(attempts.a <= 1 && attempts.b <= 1, JSON.stringify(attempts));
    assert.is(again.value.boots, mine.value.boots);
    assert.is(again.value.past.at(-1)?.boot, mine.value.current?.boot);
    assert.is(nextBoot(again.value, false).current?.confirmed, false);
  });
});

fallback("B2-06 any damage to a boot record leaves one that was stored, or a stricter one", () => {
  fuzz(300, (random) => {
    const disk = new SimDisk(random.fork("disk"));
    const codecOfBoots = bootCodec(attemptsMax);
    const mine = new Journal(disk, "boot", codecOfBoots);
    const stored = [someRecord(random), someRecord(random)].map(throughCodec);
    for (const record of stored) mine.commit(record);
    const name = random.pick(disk.names());
    const bytes = disk.read(name) ?? new Uint8Array(0);
    const at = random.int(bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << random.int(8));
    disk.write(name, bytes);
    const { value, outcome } = new Journal(disk, "boot", codecOfBoots);
    assert.is(outcome, "spare");
    assert.ok(stored.some((record) => JSON.stringify(record) === JSON.stringify(value)));
  });
});

fallback.run();
