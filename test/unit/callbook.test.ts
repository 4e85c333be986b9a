// The intent journal: whatever a kill or a power cut leaves, no call is thought undone that ran.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CallBook, type Intent, keptMax, memoryMs } from "../../agent/callbook.ts";
import type { CallClass } from "../../agent/machines/teecalls.ts";
import { PowerCut, SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import { fuzz } from "../fuzz.ts";

const book = suite("call book");
const answered = { verdict: "answered", because: "00000000/4", sent: true, ret: 0 } as const;

function intent(id: string, of: CallClass = "once"): Intent {
  const digest = Uint8Array.from({ length: 16 }, (_, at) => at + id.length);
  return { uid: 1000, id, service: "keystore", command: 7, class: of, digest };
}

book("what was begun and not settled is left over in the next life, and only there", () => {
  const disk = new SimDisk(new Random(1));
  const first = new CallBook(disk, "1-a", 0);
  assert.is(first.begin([intent("x"), intent("y"), intent("z", "idempotent")], 0), null);
  first.settle(1000, "y", answered, 1);
  const mine = first.find(1000, "x");
  assert.ok(mine !== undefined && !first.isLeftOver(mine));
  const second = new CallBook(disk, "2-b", 5);
  assert.is(second.unfinished, 1);
  const left = second.find(1000, "x");
  assert.ok(left !== undefined && second.isLeftOver(left));
  assert.equal(left?.digest, intent("x").digest);
  assert.equal(second.find(1000, "y")?.settled, answered);
  assert.is(second.find(1000, "z"), undefined, "it may run any number of times");
  assert.is(second.find(0, "x"), undefined, "another user's");
  second.settle(1000, "x", { verdict: "outcome_unknown", because: "", sent: true }, 6);
  assert.is(new CallBook(disk, "3-c", 0).unfinished, 0);
});

/** One life on a disk that fails after so many operations; what the TEE saw, and what was told. */
function life(disk: SimDisk, boot: string, seen: Set<string>, told: Set<string>): void {
  const mine = new CallBook(disk, boot, 0);
  for (let at = 0; at < 6; at++) {
    const id = `${boot}-${at}`;
    if (mine.begin([intent(id), intent(`${id}k`, "keyed")], at) !== null) continue;
    seen.add(id);
    mine.settle(1000, id, answered, at);
    told.add(id);
  }
}

book("the power cut at every operation: what the TEE may have seen is never unknown", () => {
  for (let seed = 0; seed < 40; seed++) {
    for (let cut = 0; ; cut++) {
      const disk = new SimDisk(new Random(seed));
      const seen = new Set<string>();
      life(disk, "1-a", seen, new Set());
      disk.operationsLeft = cut;
      let isOver = true;
      try {
        life(disk, "2-b", seen, new Set());
      } catch (error) {
        if (!(error instanceof PowerCut)) throw error;
        isOver = false;
      }
      disk.powerLoss();
      const after = new CallBook(disk, "3-c", 0);
      for (const id of seen) {
        const found = after.find(1000, id);
        assert.ok(found !== undefined || !after.isCertain(0), `${id} after cut ${cut}`);
      }
      if (isOver) break;
    }
  }
});

book("a kill of the agent loses no verdict that was told: the kernel has it", () => {
  const disk = new SimDisk(new Random(3));
  const [seen, told] = [new Set<string>(), new Set<string>()];
  life(disk, "1-a", seen, told);
  const after = new CallBook(disk, "2-b", 0);
  for (const id of told) assert.is(after.find(1000, id)?.settled?.verdict, "answered", id);
});

book("damage is known as damage: an unknown id is then no proof of anything", () => {
  const disk = new SimDisk(new Random(1));
  life(disk, "1-a", new Set(), new Set());
  const [name = ""] = disk.names();
  const bytes = disk.read(name) ?? new Uint8Array();
  fuzz(300, (random) => {
    const hurt = bytes.slice();
    const at = random.int(bytes.length);
    hurt[at] = (hurt[at] ?? 0) ^ (1 << random.int(8));
    disk.write(name, hurt);
    const found = new CallBook(disk, "2-b", 0);
    const isWhole = Array.from({ length: 6 }, (_, index) => `1-a-${index}`).every((id) => {
      return found.find(1000, id) !== undefined;
    });
    // The very last record may be taken for one that the power cut short: it is of a verdict.
    assert.ok(isWhole || !found.isCertain(1e9), `bit of byte ${at}`);
  });
});

book(
  "it stays bounded, in memory and on disk, and what was forgotten lately is no certainty",
  () => {
    const disk = new SimDisk(new Random(1));
    const mine = new CallBook(disk, "1-a", 0);
    assert.ok(mine.isCertain(0));
    for (let at = 0; at < 5 * keptMax; at++) {
      mine.begin([intent(`${at}`)], at);
      mine.settle(1000, `${at}`, answered, at);
      const bytes = disk.names().reduce((sum, name) => sum + (disk.read(name)?.length ?? 0), 0);
      assert.ok(bytes < 1_000_000, `${bytes} bytes`);
    }
    const last = 5 * keptMax - 1;
    assert.is(mine.find(1000, "0"), undefined);
    assert.ok(mine.find(1000, `${last}`) !== undefined);
    assert.not.ok(mine.isCertain(last + 1));
    assert.ok(mine.isCertain(last + memoryMs + 1));
    assert.ok(new CallBook(disk, "2-b", 0).find(1000, `${last}`)?.settled !== null);
  },
);

book("a disk that fails and recovers: what was refused is not in it, the rest is", () => {
  const disk = new SimDisk(new Random(1));
  const mine = new CallBook(disk, "1-a", 0);
  mine.begin([intent("before")], 0);
  disk.faults = { full: true };
  assert.is(mine.begin([intent("refused")], 1)?.code, "journal.degraded");
  assert.ok(mine.degraded !== null);
  mine.settle(1000, "before", answered, 2);
  disk.faults = {};
  assert.is(mine.begin([intent("after")], 3), null);
  assert.is(mine.degraded, null);
  const next = new CallBook(disk, "2-b", 0);
  assert.is(next.find(1000, "refused"), undefined);
  assert.is(next.find(1000, "before")?.settled?.verdict, "answered");
  assert.ok(next.find(1000, "after") !== undefined);
});

book.run();
