// The host's store: what was flushed can be read after any cut, and rotation says what it takes.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Entry, Store } from "../../agent/console/store.ts";
import { PowerCut, SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import type { Report } from "../../agent/wire/commands.ts";
import { throwsCode } from "../assert.ts";
import { fuzz } from "../fuzz.ts";

const store = suite("console store");
const limits = { segments: 4, segmentBytes: 2000 };

function report(boot: string, seq: number): Report {
  return { boot, seq, at_ms: seq, kind: "boot:stage", class: "state", data: { seq } };
}

function run(boot: string, from: number, count: number): Report[] {
  return Array.from({ length: count }, (_, at) => report(boot, from + at));
}

function open(disk: SimDisk): Store {
  return new Store(disk, () => 1_700_000_000_000, limits);
}

function idsOf(entries: Iterable<Entry>): string[] {
  return [...entries].flatMap((entry) =>
    entry.t === "report" ? [`${entry.report.boot}:${entry.report.seq}`] : [],
  );
}

store("takes each report once, also over a restart, and knows where it stands", () => {
  const disk = new SimDisk(new Random(1));
  const first = open(disk);
  assert.is(first.position, null);
  first.reports(run("1-a", 1, 5));
  first.reports(run("1-a", 3, 5));
  first.flush();
  const second = open(disk);
  assert.equal(second.position, { boot: "1-a", seq: 7 });
  second.reports([report("1-a", 7), report("2-b", 1)]);
  second.flush();
  assert.equal(idsOf(open(disk).entries()).length, 8);
  assert.equal(open(disk).position, { boot: "2-b", seq: 1 });
  assert.not(open(disk).damaged);
});

store("rotation takes the oldest segment, and what it takes is counted", () => {
  const disk = new SimDisk(new Random(1));
  const mine = open(disk);
  for (let seq = 1; seq <= 300; seq += 1) {
    mine.reports([report("1-a", seq)]);
    mine.flush();
  }
  const again = open(disk);
  const kept = idsOf(again.entries());
  assert.ok(mine.lost > 0 && kept.length > 50);
  assert.is(kept.length + again.lost, 300);
  assert.is(again.lost, mine.lost);
  assert.equal(
    kept,
    run("1-a", again.lost + 1, kept.length).map(({ seq }) => `1-a:${seq}`),
  );
  assert.ok(
    [...again.entries()].some(({ t }) => t === "rotated"),
    "and said",
  );
});

store("a disk that refuses: nothing counts as stored, and a later flush brings it along", () => {
  const disk = new SimDisk(new Random(1));
  const mine = open(disk);
  disk.faults = { full: true };
  mine.reports(run("1-a", 1, 3));
  assert.match(throwsCode(() => mine.flush(), "store.failed").message, /Nothing was acknowledged/);
  assert.is(open(disk).position, null);
  disk.faults = {};
  mine.flush();
  assert.equal(open(disk).position, { boot: "1-a", seq: 3 });
});

/** Stores reports until the power fails. Returns those of which a flush returned. */
function live(disk: SimDisk, random: Random, boot: string, operations: number) {
  const flushed: string[] = [];
  disk.operationsLeft = operations;
  try {
    const mine = open(disk);
    let seq = mine.position?.boot === boot ? mine.position.seq : 0;
    for (let turn = 0; turn < 24; turn += 1) {
      const some = run(boot, seq + 1, random.range(1, 4));
      seq += some.length;
      mine.reports(some);
      mine.flush();
      flushed.push(...some.map((one) => `${one.boot}:${one.seq}`));
    }
    return { flushed, isCut: false };
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
    return { flushed, isCut: true };
  } finally {
    disk.operationsLeft = Infinity;
  }
}

function cutEverywhere(random: Random, end: "cut" | "kill", through = (_: SimDisk) => {}): void {
  for (let operations = 0, isCut = true; isCut; operations += 1) {
    const disk = new SimDisk(random.fork(`after ${operations}`));
    through(disk);
    const flushed: string[] = [];
    for (let life = 1; life <= 3; life += 1) {
      const lived = live(disk, random, `${life}-x`, operations);
      isCut = lived.isCut;
      flushed.push(...lived.flushed);
      if (end === "cut") disk.powerLoss();
      const after = open(disk);
      const kept = new Set(idsOf(after.entries()));
      const gone = flushed.filter((id) => !kept.has(id));
      assert.ok(gone.length <= after.lost, `${gone.length} were lost, ${after.lost} counted`);
      assert.equal(gone, flushed.slice(0, gone.length), "only the oldest go");
      // What is known is there, or was: else it would be acknowledged and never stored.
      const { position } = after;
      if (position === null) continue;
      assert.ok(kept.has(`${position.boot}:${position.seq}`), JSON.stringify(position));
    }
  }
}

store("the power cut at every disk operation: what was flushed is there, or counted", () => {
  fuzz(3, (random) => cutEverywhere(random, "cut"));
});

store("killed at every disk operation: what was flushed is there, or counted", () => {
  fuzz(1, (random) => cutEverywhere(random, "kill"));
});

store("these cuts find a store out that does not sync", () => {
  let found = "";
  for (let seed = 0; seed < 50 && found === ""; seed += 1) {
    try {
      cutEverywhere(new Random(seed), "cut", (disk) => {
        disk.sync = () => undefined;
      });
    } catch (error) {
      found = String(error);
    }
  }
  assert.match(found, /were lost|only the oldest|position/);
});

store.run();
