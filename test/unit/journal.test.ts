// What survives a power cut: the old value or the new one, whatever was cut, flipped or lost.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Disk } from "../../agent/io/disk.ts";
import { type Codec, Journal, type Outcome } from "../../agent/journal.ts";
import { PowerCut, SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import { decodeMap, encodeMap } from "../../agent/wire/cbor.ts";
import { crc32, seal } from "../../agent/wire/seal.ts";
import { check, map, text, uint } from "../../agent/wire/shape.ts";
import { fuzz } from "../fuzz.ts";
import { fromAscii } from "../hex.ts";

const journal = suite("journal");

interface Counter {
  readonly n: number;
  /** Says `n` once more, so that a mixture of two values shows. */
  readonly words: string;
}

const lost = -1;
const absent = -2;
const shape = map({ n: uint, words: text });
const codec: Codec<Counter> = {
  encode: (value) => encodeMap({ ...value }),
  decode: (bytes) => check(shape, decodeMap(bytes), "counter"),
  fallback: (wasLost) => ({ n: wasLost ? lost : absent, words: "" }),
};

/** Longer and shorter in turn, so that a torn value is not as long as the one before. */
function counter(n: number): Counter {
  return { n, words: `${n} `.repeat(1 + ((n * 7) % 30)) };
}

function open(disk: Disk): Journal<Counter> {
  return new Journal(disk, "count", codec);
}

/** Opens the journal and demands that what it believes is whole. */
function believed(disk: Disk): { n: number; outcome: Outcome } {
  const { value, outcome } = open(disk);
  if (value.n >= 0) assert.equal(value, counter(value.n), "a mixture was believed");
  return { n: value.n, outcome };
}

/** Three commits and a good copy: count.a holds 3, count.b 2, count.good 2. */
function written(): SimDisk {
  const disk = new SimDisk(new Random(1));
  const first = open(disk);
  first.commit(counter(1));
  first.commit(counter(2));
  first.keepAsGood();
  first.commit(counter(3));
  return disk;
}

function damaged(file: string, change: (bytes: Uint8Array) => Uint8Array): SimDisk {
  const disk = written();
  const bytes = disk.read(file);
  assert.ok(bytes !== undefined, file);
  disk.write(file, change(bytes));
  return disk;
}

function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const flipped = bytes.slice();
  flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
  return flipped;
}

const files = ["count.a", "count.b", "count.good"] as const;
/** What each file's damage must lead to, whatever is damaged in it. */
const afterDamage = {
  "count.a": { n: 2, outcome: "spare" },
  "count.b": { n: 3, outcome: "spare" },
  "count.good": { n: 3, outcome: "current" },
} as const;

for (const file of files) {
  journal(`B2-01 every single flipped bit of ${file} is detected or harmless`, () => {
    const bits = (written().read(file)?.length ?? 0) * 8;
    for (let bit = 0; bit < bits; bit += 1) {
      const found = believed(damaged(file, (bytes) => flip(bytes, bit)));
      assert.equal(found, afterDamage[file], `bit ${bit}`);
    }
  });

  journal(`B2-01 every truncation of ${file} is detected or harmless`, () => {
    const length = written().read(file)?.length ?? 0;
    for (let to = 0; to < length; to += 1) {
      const found = believed(damaged(file, (bytes) => bytes.slice(0, to)));
      assert.equal(found, afterDamage[file], `to ${to} bytes`);
    }
  });
}

journal("B2-01 damage in all copies at once never gives a value that was not committed", () => {
  fuzz(3000, (random) => {
    const disk = written();
    for (const file of files) {
      const bytes = disk.read(file) ?? new Uint8Array(0);
      for (let hit = random.int(3); hit > 0; hit -= 1) {
        bytes[random.int(bytes.length)] = random.int(256);
      }
      disk.write(file, random.chance(0.3) ? bytes.slice(0, random.int(bytes.length)) : bytes);
    }
    assert.ok([3, 2, lost].includes(believed(disk).n));
  });
});

journal("B2-01 a record of another kind, version or length is no value", () => {
  const data = codec.encode(counter(9));
  const sealed = seal("KNLJ", data, 9);
  const newer = sealed.slice();
  newer[4] = 2;
  new DataView(newer.buffer).setUint32(16, crc32(newer.subarray(0, 16)));
  const foreign = [
    seal("KNLR", data, 9),
    newer,
    new Uint8Array([...sealed, 0]),
    seal("KNLJ", encodeMap({ n: "nine" }), 9),
    seal("KNLJ", fromAscii("no CBOR"), 9),
    new Uint8Array(0),
  ];
  for (const bytes of foreign) {
    assert.equal(believed(damaged("count.b", () => bytes)), { n: 3, outcome: "spare" });
  }
});

function breakHeader(bytes: Uint8Array): Uint8Array {
  return flip(bytes, 40);
}

function breakData(bytes: Uint8Array): Uint8Array {
  return flip(bytes, bytes.length * 8 - 50);
}

journal("B2-02 a good header with bad data falls to the spare slot", () => {
  assert.equal(believed(damaged("count.a", breakData)), { n: 2, outcome: "spare" });
});

journal("B2-02 bad headers in both slots fall to the last known good copy", () => {
  for (const hurt of [breakHeader, breakData]) {
    const disk = damaged("count.a", hurt);
    disk.write("count.b", hurt(disk.read("count.b") ?? new Uint8Array(0)));
    assert.equal(believed(disk), { n: 2, outcome: "last_known_good" });
  }
});

journal("B2-02 with every copy bad the defaults are taken, as of a record that was lost", () => {
  const disk = written();
  for (const file of files) disk.write(file, breakHeader(disk.read(file) ?? new Uint8Array(0)));
  assert.equal(believed(disk), { n: lost, outcome: "defaults" });
});

journal("B2-02 a card that never had a record is told apart from one that lost it", () => {
  const disk = new SimDisk(new Random(1));
  assert.equal(believed(disk), { n: absent, outcome: "absent" });
  disk.write("count.a", new Uint8Array(0));
  assert.equal(believed(disk), { n: lost, outcome: "defaults" });
});

journal("B2-02 after each recovery the next values are kept as ever", () => {
  for (const broken of [["count.a"], ["count.b"], ["count.a", "count.b"], files]) {
    const disk = written();
    for (const file of broken) disk.write(file, breakData(disk.read(file) ?? new Uint8Array(0)));
    const recovered = open(disk);
    for (const n of [10, 11, 12]) {
      recovered.commit(counter(n));
      assert.equal(believed(disk), { n, outcome: n === 10 ? believed(disk).outcome : "current" });
    }
  }
});

interface Lives {
  readonly disk: SimDisk;
  /** As the journal sees it; a layer that lies can stand between. */
  readonly seen: Disk;
  committed: number;
  attempted: number;
}

/** Opens, checks, and commits until the power fails. False when it did not. */
function liveUntilCut(lives: Lives, cut: number, commits: number): boolean {
  lives.disk.operationsLeft = cut;
  try {
    const { n } = believed(lives.seen);
    assert.ok(
      n === lives.committed || n === lives.attempted,
      `${n} is neither ${lives.committed} nor ${lives.attempted}`,
    );
    lives.committed = n;
    lives.attempted = n;
    const mine = open(lives.seen);
    for (let at = 0; at < commits; at += 1) {
      lives.attempted = Math.max(lives.attempted, 0) + 1;
      mine.commit(counter(lives.attempted));
      assert.is(mine.degraded, null);
      lives.committed = lives.attempted;
      if (at % 4 === 2) mine.keepAsGood();
    }
    return false;
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
    return true;
  } finally {
    lives.disk.operationsLeft = Infinity;
  }
}

/** Cuts at every operation of three lives in a row, one after another on the same disk. */
function cutEverywhere(
  random: Random,
  through: (disk: SimDisk) => Disk,
  end: "cut" | "kill",
): void {
  for (let cut = 0, isCut = true; isCut; cut += 1) {
    const disk = new SimDisk(random.fork(`cut ${cut}`));
    const lives: Lives = { disk, seen: through(disk), committed: absent, attempted: absent };
    for (let life = 0; life < 3; life += 1) {
      isCut = liveUntilCut(lives, cut, 5);
      if (lives.attempted > 0 && lives.committed < 0) lives.committed = lost;
      if (end === "cut") disk.powerLoss();
      const { n } = believed(lives.seen);
      const isFirst = lives.committed < 0 && n < 0;
      assert.ok(isFirst || n === lives.committed || n === lives.attempted, `cut ${cut}: ${n}`);
      lives.committed = n;
      lives.attempted = n;
    }
  }
}

const asItIs = (disk: SimDisk): Disk => disk;

journal("B2-03 the power cut at every single disk operation leaves old or new, never mixed", () => {
  fuzz(400, (random) => cutEverywhere(random, asItIs, "cut"));
});

journal("B2-03 killed at every single disk operation: old or new, never mixed", () => {
  fuzz(20, (random) => cutEverywhere(random, asItIs, "kill"));
});

/** Must the power cuts find fault with it? That shows that they would find fault with us. */
function isFoundOut(through: (disk: SimDisk) => Disk): boolean {
  try {
    for (let seed = 0; seed < 400; seed += 1) cutEverywhere(new Random(seed), through, "cut");
    return false;
  } catch (error) {
    return error instanceof Error && /neither|cut \d+: /.test(error.message);
  }
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

journal("B2-03 these cuts find a journal out that does not sync", () => {
  assert.ok(isFoundOut((disk) => wrap(disk, { sync: () => undefined })));
});

journal("B2-03 these cuts find a journal out that has one slot alone", () => {
  const one = (name: string): string => name.replace(/\.[ab]$/, ".a");
  const through = (disk: SimDisk): Disk =>
    wrap(disk, {
      read: (name) => disk.read(one(name)),
      write: (name, bytes) => disk.write(one(name), bytes),
      sync: (name) => disk.sync(one(name)),
    });
  assert.ok(isFoundOut(through));
});

journal("the sequence number wraps without an old value coming back", () => {
  for (const [a, b] of [
    [0xfffffffe, 0xffffffff],
    [0xffffffff, 0xfffffffe],
    [0, 0xffffffff],
    [0xffffffff, 0],
  ] as const) {
    const disk = new SimDisk(new Random(1));
    const isNewerA = (a - b) >>> 0 < 0x80000000;
    disk.write("count.a", seal("KNLJ", codec.encode(counter(isNewerA ? 2 : 1)), a));
    disk.write("count.b", seal("KNLJ", codec.encode(counter(isNewerA ? 1 : 2)), b));
    for (let n = 2; n < 8; n += 1) {
      assert.equal(believed(disk), { n, outcome: "current" });
      open(disk).commit(counter(n + 1));
    }
  }
});

journal("staged values cost one write at the flush, and a commit covers them", () => {
  const disk = new SimDisk(new Random(1));
  const mine = open(disk);
  disk.operationsLeft = 2;
  for (let n = 1; n < 50; n += 1) mine.stage(counter(n));
  mine.flush();
  assert.is(disk.operationsLeft, 0);
  mine.flush();
  disk.operationsLeft = 2;
  mine.stage(counter(60));
  mine.commit(counter(61));
  mine.flush();
  disk.operationsLeft = Infinity;
  assert.equal(believed(disk), { n: 61, outcome: "current" });
});

for (const fault of ["full", "readOnly"] as const) {
  journal(`B2-05 on a disk that is ${fault} the value is kept in memory, and it says so`, () => {
    const disk = written();
    const mine = open(disk);
    disk.faults = { [fault]: true };
    assert.not.throws(() => mine.commit(counter(4)));
    assert.not.throws(() => mine.keepAsGood());
    assert.equal(mine.value, counter(4));
    assert.match(mine.degraded ?? "", fault === "full" ? /no space/ : /read-only/);
    assert.equal(believed(disk), { n: 3, outcome: "current" });
    disk.faults = {};
    mine.commit(counter(5));
    assert.is(mine.degraded, null);
    assert.equal(believed(disk), { n: 5, outcome: "current" });
  });
}

journal.run();
