// The report ledger: full and failing disks, damage, bounds, acknowledgements and order.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Failure } from "../../agent/errors.ts";
import type { Disk } from "../../agent/io/disk.ts";
import { bootsMax, Ledger, pendingMax, segmentBytesMax } from "../../agent/ledger.ts";
import { SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import { encodeMap } from "../../agent/wire/cbor.ts";
import { type Report, report as reportShape } from "../../agent/wire/commands.ts";
import { seal } from "../../agent/wire/seal.ts";
import { check, textMax } from "../../agent/wire/shape.ts";

const ledger = suite("ledger");

function idOf({ boot, seq }: Report): string {
  return `${boot}#${seq}`;
}

function idsOf(reports: readonly Report[]): string[] {
  return reports.map(idOf);
}

function newDisk(seed = 1): SimDisk {
  return new SimDisk(new Random(seed));
}

/** Adds `count` reports named by their order. */
function fill(mine: Ledger, count: number, worth: "safety" | "state" = "state", bulk = ""): void {
  for (let at = 0; at < count; at += 1) mine.add(at, "test:report", worth, { at, bulk });
}

function wrap(disk: SimDisk, change: Partial<Disk>): Disk {
  return {
    read: (name) => disk.read(name),
    write: (name, bytes) => disk.write(name, bytes),
    append: (name, bytes) => disk.append(name, bytes),
    sync: (name) => disk.sync(name),
    remove: (name) => disk.remove(name),
    ...change,
  };
}

function refuse(): never {
  throw new Failure("journal.degraded", "no space left on the disk");
}

ledger("a full segment is written anew with what is pending, and the old one is removed", () => {
  const disk = newDisk();
  const mine = new Ledger(disk, "b1");
  const bulk = "z".repeat(200);
  for (let round = 0; round < 2500; round += 1) {
    fill(mine, 1, "safety", bulk);
    if (round % 3 === 0) mine.acknowledge("b1", round - 20);
    mine.flush();
    const sizes = disk.names().map((name) => disk.read(name)?.length ?? 0);
    assert.ok(sizes.length === 1 && (sizes[0] ?? 0) <= segmentBytesMax, sizes.join());
  }
  const ids = idsOf(mine.pending);
  assert.ok(ids.length < 30);
  const again = new Ledger(disk, "b2");
  assert.equal(idsOf(again.pending), ids);
  assert.not(again.salvaged);
});

for (const fails of ["write", "sync", "remove", "append"] as const) {
  ledger(`reports from while ${fails} failed are on disk once it works again`, () => {
    const disk = newDisk();
    const change: Partial<Disk> = {};
    const seen = wrap(disk, {
      [fails]: (name: string, bytes: Uint8Array) =>
        (change[fails] ?? disk[fails].bind(disk))(name, bytes),
    });
    const mine = new Ledger(seen, "b1");
    fill(mine, 3);
    mine.flush();
    change[fails] = refuse;
    const bulk = "z".repeat(textMax);
    for (let at = 0; at < 400; at += 1) {
      fill(mine, 5, "safety", bulk);
      mine.flush();
      mine.acknowledge("b1", at * 5);
      mine.flush();
    }
    if (fails !== "remove") assert.match(mine.degraded ?? "", /no space/);
    delete change[fails];
    fill(mine, 1);
    mine.flush();
    assert.is(mine.degraded, null);
    disk.powerLoss();
    assert.equal(idsOf(new Ledger(disk, "b2").pending), idsOf(mine.pending));
  });
}

for (const fault of ["full", "readOnly"] as const) {
  ledger(`B2-05 on a disk that is ${fault} reports are kept in memory, and it says so`, () => {
    const disk = newDisk();
    const first = new Ledger(disk, "b1");
    fill(first, 2);
    first.flush();
    disk.faults = { [fault]: true };
    const mine = new Ledger(disk, "b2");
    fill(mine, 3);
    assert.not.throws(() => mine.flush());
    assert.is(mine.pending.length, 5);
    assert.match(mine.degraded ?? "", fault === "full" ? /no space/ : /read-only/);
    assert.is(mine.acknowledge("b1", 2), 3);
    disk.faults = {};
    fill(mine, 1);
    mine.flush();
    assert.is(mine.degraded, null);
    disk.powerLoss();
    assert.equal(idsOf(new Ledger(disk, "b3").pending), ["b2#1", "b2#2", "b2#3", "b2#4"]);
  });
}

// Damage ------------------------------------------------------------------------------------------

/** A segment with counts, reports, acknowledgements and an appended tail, and what it holds. */
function written(): { disk: SimDisk; name: string; pending: readonly Report[] } {
  const disk = newDisk();
  const first = new Ledger(disk, "b1");
  fill(first, 6, "safety");
  first.acknowledge("b1", 2);
  first.flush();
  const mine = new Ledger(disk, "b2");
  fill(mine, 4);
  mine.flush();
  const [name = ""] = disk.names();
  return { disk, name, pending: mine.pending };
}

ledger("every flipped bit costs one report at most and never changes one", () => {
  const { disk, name, pending } = written();
  const bytes = disk.read(name) ?? new Uint8Array(0);
  const contents = new Map(pending.map((report) => [idOf(report), JSON.stringify(report)]));
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const hurt = bytes.slice();
    hurt[bit >> 3] = (hurt[bit >> 3] as number) ^ (1 << (bit & 7));
    disk.write(name, hurt);
    for (const other of disk.names()) if (other !== name) disk.remove(other);
    const again = new Ledger(disk, "b3");
    assert.ok(again.salvaged, `bit ${bit} was not noticed`);
    const ids = idsOf(again.pending);
    const missing = pending.filter((report) => !ids.includes(idOf(report)));
    assert.ok(missing.length <= 1, `bit ${bit} lost ${idsOf(missing)}`);
    for (const report of again.pending) {
      const content = contents.get(idOf(report));
      // An acknowledgement that is lost brings its reports back.
      const isAcknowledged = report.boot === "b1" && report.seq <= 2;
      assert.ok(isAcknowledged || content === JSON.stringify(report), `bit ${bit}`);
    }
    again.flush();
    assert.not(new Ledger(disk, "b4").salvaged, "what was salvaged is whole again");
  }
});

ledger("a tail torn anywhere leaves every report before it", () => {
  const { disk, name, pending } = written();
  const bytes = disk.read(name) ?? new Uint8Array(0);
  let before = 0;
  for (let length = 0; length <= bytes.length; length += 1) {
    for (const other of disk.names()) disk.remove(other);
    disk.write(name, bytes.slice(0, length));
    const ids = idsOf(new Ledger(disk, "b3").pending).filter((id) => !/^b1#[12]$/.test(id));
    assert.equal(ids, idsOf(pending).slice(0, ids.length), `${length} bytes`);
    assert.ok(ids.length >= before);
    before = ids.length;
  }
  assert.is(before, pending.length);
});

ledger("a new beginning over an old segment takes nothing of the old one for new", () => {
  const { disk, name, pending } = written();
  const mixed = disk.read(name) ?? new Uint8Array(0);
  mixed.set(seal("KNLR", encodeMap({ t: "begin" }), 50), 0);
  const mine = new Ledger(disk, "b3");
  fill(mine, 2);
  mine.flush();
  disk.write(name === "reports.0" ? "reports.1" : "reports.0", mixed);
  const ids = [...idsOf(pending), "b3#1", "b3#2"];
  assert.equal(idsOf(new Ledger(disk, "b4").pending), ids);
  assert.equal(idsOf(new Ledger(disk, "b5").pending), ids);
});

ledger("texts too long and numbers that are none do not cost the report", () => {
  const disk = newDisk();
  const mine = new Ledger(disk, "b1");
  const problem = "p".repeat(textMax - 1) + "😀".repeat(50);
  mine.add(1.5, "test:report", "safety", { problem, left: Infinity, not: Number.NaN });
  mine.flush();
  const again = new Ledger(disk, "b2");
  assert.not(again.salvaged);
  const [report] = again.pending;
  assert.is(report?.at_ms, 2);
  assert.is(String(report?.data.problem).length, textMax);
  assert.is(report?.data.left, "Infinity");
  assert.is(report?.data.not, "NaN");
  assert.equal(check(reportShape, report, "report"), report);
});

// Bounds, acknowledgements and order --------------------------------------------------------------

ledger("a spool that is full drops state before safety, oldest first, and counts", () => {
  const disk = newDisk();
  const mine = new Ledger(disk, "b1");
  fill(mine, 100, "safety");
  fill(mine, pendingMax - 100, "state");
  assert.equal(mine.takeDrops(), []);
  fill(mine, 50, "safety");
  assert.is(mine.pending.length, pendingMax);
  assert.equal(mine.takeDrops(), [{ class: "state", count: 50 }]);
  assert.equal(mine.takeDrops(), []);
  const seqs = mine.pending.map(({ seq }) => seq);
  assert.equal(seqs.slice(0, 101), [...Array.from({ length: 100 }, (_, at) => at + 1), 151]);
  fill(mine, pendingMax, "safety");
  assert.ok(mine.pending.every((report) => report.class === "safety"));
  assert.is(mine.pending[0]?.seq, 151 + (pendingMax - 100));
  mine.flush();
  const again = new Ledger(disk, "b2");
  assert.equal(idsOf(again.pending), idsOf(mine.pending));
  const [count] = again.boots();
  assert.equal(count, {
    boot: "b1",
    lastSeq: 2 * pendingMax + 50,
    acknowledged: 0,
    dropped: pendingMax + 50,
    droppedSafety: 150,
  });
});

ledger(
  "an acknowledgement covers all up to it, of its boot alone, and no more than was made",
  () => {
    const disk = newDisk();
    fillAndFlush(new Ledger(disk, "b1"), 3);
    const mine = new Ledger(disk, "b2");
    fillAndFlush(mine, 3);
    assert.is(mine.acknowledge("b2", 2), 4);
    assert.equal(idsOf(mine.pending), ["b1#1", "b1#2", "b1#3", "b2#3"]);
    assert.is(mine.acknowledge("b2", 1), 4);
    assert.is(mine.acknowledge("unknown", 9), 4);
    assert.is(mine.acknowledge("b2", 99), 3);
    fillAndFlush(mine, 1);
    assert.equal(idsOf(mine.pending).at(-1), "b2#4");
    assert.is(mine.acknowledge("b1", 99), 1);
  },
);

function fillAndFlush(mine: Ledger, count: number): void {
  fill(mine, count);
  mine.flush();
}

ledger(
  "reading from a place gives what is newer, by boots in their order and then by number",
  () => {
    const disk = newDisk();
    // Names whose alphabetical order is not the order of the boots.
    for (const boot of ["b9", "b10", "b2"]) fillAndFlush(new Ledger(disk, boot), 2);
    const mine = new Ledger(disk, "b1");
    fillAndFlush(mine, 1);
    const all = ["b9#1", "b9#2", "b10#1", "b10#2", "b2#1", "b2#2", "b1#1"];
    assert.equal(idsOf(mine.after(undefined, 0)), all);
    assert.equal(idsOf(mine.after("forgotten", 7)), all);
    assert.equal(idsOf(mine.after("b9", 0)), all);
    assert.equal(idsOf(mine.after("b9", 2)), all.slice(2));
    assert.equal(idsOf(mine.after("b10", 1)), all.slice(3));
    assert.equal(idsOf(mine.after("b1", 1)), []);
    assert.equal(
      mine.boots().map(({ boot }) => boot),
      ["b9", "b10", "b2", "b1"],
    );
  },
);

ledger("drops are counted per class, also by the next agent, and told of ever more rarely", () => {
  const disk = newDisk();
  const mine = new Ledger(disk, "b1");
  fill(mine, pendingMax, "safety");
  const told: string[] = [];
  for (let turn = 0; turn < 100; turn += 1) {
    fill(mine, 1, "safety");
    for (const { class: worth, count } of mine.takeDrops()) {
      told.push(`${turn} ${worth} ${count}`);
      // As the agent does: telling takes a place as well.
      mine.add(0, "report:dropped", "safety", { count });
    }
    mine.flush();
  }
  assert.equal(told, [
    "0 safety 1",
    "1 safety 2",
    "4 safety 4",
    "11 safety 8",
    "26 safety 16",
    "57 safety 32",
  ]);
  const [count] = new Ledger(disk, "b2").boots();
  assert.equal([count?.dropped, count?.droppedSafety], [106, 106]);
  mine.acknowledge("b1", 400);
  fill(mine, pendingMax, "state");
  assert.is(mine.takeDrops()[0]?.class, "state", "after room was made a drop is news");
});

ledger(
  "counts are kept of the last boots alone, and the reports of older ones count as dropped",
  () => {
    const disk = newDisk();
    for (let boot = 1; boot <= bootsMax; boot += 1) fillAndFlush(new Ledger(disk, `b${boot}`), 2);
    const mine = new Ledger(disk, "last");
    assert.is(mine.boots().length, bootsMax);
    assert.equal(mine.takeDrops(), [{ class: "state", count: 2 }]);
    assert.is(mine.pending[0]?.boot, "b2");
    fillAndFlush(mine, 1);
    const again = new Ledger(disk, "last but one");
    assert.is(again.pending[0]?.boot, "b3");
    assert.not(again.salvaged);
  },
);

ledger.run();
