// Crash records: order, bounds, digests, and what survives kills and power cuts.
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CrashKind, CrashStore, recordBytesMax, recordsMax } from "../../agent/crashstore.ts";
import { Failure } from "../../agent/errors.ts";
import { sha256 } from "../../agent/io/digest.ts";
import { PowerCut, SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import { fuzz } from "../fuzz.ts";

const crashes = suite("crash store");

function bodyOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function keep(store: CrashStore, name: string, about: CrashKind = "reset", text = name) {
  return store.add({ name, about, boot: "1-00000001", body: bodyOf(text) });
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function codeOf(act: () => unknown): string {
  try {
    act();
    return "";
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return error.code;
  }
}

crashes(
  "B4-01 the worst comes first, of the same kind the latest; another start finds the same",
  () => {
    const disk = new SimDisk(new Random(1));
    const store = new CrashStore(disk, sha256);
    keep(store, "lost-1", "lost");
    keep(store, "tee-1", "tee");
    keep(store, "reset-1");
    keep(store, "reset-2");
    const names = ["reset-2", "reset-1", "tee-1", "lost-1"];
    assert.equal(
      store.list().map(({ name }) => name),
      names,
    );
    const again = new CrashStore(disk, sha256);
    assert.equal(again.list(), store.list());
    assert.is(again.list()[0]?.sha256, digest("reset-2"));
  },
);

crashes("a full store gives up the oldest of the least bad, never a worse one for a lesser", () => {
  const store = new CrashStore(new SimDisk(new Random(1)), sha256);
  keep(store, "tee-1", "tee");
  for (let at = 1; at < recordsMax; at += 1) assert.is(keep(store, `reset-${at}`), null);
  assert.is(keep(store, "reset-8")?.name, "tee-1");
  assert.is(keep(store, "lost-1", "lost")?.name, "lost-1");
  assert.is(keep(store, "reset-9")?.name, "reset-1");
  assert.is(store.list().length, recordsMax);
});

crashes("B4-04 a record goes with its digest alone, and does not come back", () => {
  const disk = new SimDisk(new Random(1));
  const store = new CrashStore(disk, sha256);
  keep(store, "reset-1");
  assert.is(
    codeOf(() => store.confirm("reset-1", digest("another"))),
    "crash.digest",
  );
  assert.is(
    codeOf(() => store.confirm("reset-2", digest("reset-1"))),
    "crash.missing",
  );
  assert.is(store.list().length, 1);
  store.confirm("reset-1", digest("reset-1").toUpperCase());
  assert.equal(store.list(), []);
  disk.powerLoss();
  assert.equal(new CrashStore(disk, sha256).list(), []);
});

crashes("reads in pieces, to the end and behind it; the longest record loses its end", () => {
  const store = new CrashStore(new SimDisk(new Random(1)), sha256);
  keep(store, "reset-1", "reset", "x".repeat(recordBytesMax + 10));
  const { bytes } = store.list()[0] ?? {};
  assert.is(bytes, recordBytesMax);
  assert.is(store.read("reset-1", 0, 1000).length, 1000);
  assert.is(store.read("reset-1", recordBytesMax - 10, 1000).length, 10);
  assert.is(store.read("reset-1", recordBytesMax + 10, 1000).length, 0);
});

crashes(
  "a disk that refuses: the record is there until the end of the agent, and that is said",
  () => {
    const disk = new SimDisk(new Random(1));
    disk.faults = { full: true };
    const store = new CrashStore(disk, sha256);
    keep(store, "reset-1");
    assert.is(store.list().length, 1);
    assert.is(store.degraded, "no space left on the disk");
  },
);

crashes(
  "the power cut at every disk operation: what was kept stays, what was confirmed is gone",
  () => {
    fuzz(40, (random) => {
      for (let operations = 0, isCut = true; isCut; operations += 1) {
        const disk = new SimDisk(random.fork(`after ${operations}`));
        const kept = new Set<string>();
        const gone = new Set<string>();
        disk.operationsLeft = operations;
        isCut = false;
        try {
          const store = new CrashStore(disk, sha256);
          for (let at = 0; at < 2 * recordsMax; at += 1) {
            const name = `reset-${at}`;
            const [worst] = store.list();
            const gives =
              store.list().length === recordsMax ? store.list().at(-1)?.name : undefined;
            if (gives !== undefined) kept.delete(gives);
            keep(store, name);
            kept.add(name);
            if (worst === undefined || !random.chance(0.3)) continue;
            kept.delete(worst.name);
            store.confirm(worst.name, worst.sha256);
            gone.add(worst.name);
          }
        } catch (error) {
          if (!(error instanceof PowerCut)) throw error;
          isCut = true;
        }
        disk.powerLoss();
        const names = new CrashStore(disk, sha256).list().map(({ name }) => name);
        for (const name of kept) assert.ok(names.includes(name), `${name} was lost`);
        for (const name of gone) assert.not(names.includes(name), `${name} came back`);
      }
    });
  },
);

crashes.run();
