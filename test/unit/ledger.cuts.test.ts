// The report ledger through a card's lives: each ends by a kill or a power cut, anywhere.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Ledger, segmentBytesMax } from "../../agent/ledger.ts";
import { PowerCut, SimDisk } from "../../agent/sim/disk.ts";
import { Random } from "../../agent/sim/random.ts";
import type { Report } from "../../agent/wire/commands.ts";
import { textMax } from "../../agent/wire/shape.ts";
import { fuzz } from "../fuzz.ts";

const ledger = suite("ledger under cuts");

function idOf({ boot, seq }: Report): string {
  return `${boot}#${seq}`;
}

function idsOf(reports: readonly Report[]): string[] {
  return reports.map(idOf);
}

// One card's lives, with what its host and its disk must know ------------------------------------

interface Card {
  readonly disk: SimDisk;
  readonly random: Random;
  boots: number;
  /** Every report that was ever numbered, with its content. */
  readonly made: Map<string, string>;
  /** Flushed, and not acknowledged by anybody. */
  readonly kept: Set<string>;
  /** Acknowledged, and the flush after it returned. */
  readonly gone: Set<string>;
}

function newCard(random: Random): Card {
  const disk = new SimDisk(random.fork("disk"));
  return { disk, random, boots: 0, made: new Map(), kept: new Set(), gone: new Set() };
}

/** What must hold whenever a ledger was opened. */
function inspect(card: Card, mine: Ledger): void {
  const ids = idsOf(mine.pending);
  assert.is(new Set(ids).size, ids.length, "a report came back twice");
  for (const report of mine.pending) {
    assert.is(JSON.stringify(report), card.made.get(idOf(report)), "another content");
    assert.not(card.gone.has(idOf(report)), `${idOf(report)} came back although acknowledged`);
  }
  for (const id of card.kept) assert.ok(ids.includes(id), `${id} was lost`);
  const order = mine.boots().map(({ boot }) => boot);
  assert.equal(order, [...order].sort(byNumber), "boots out of order");
  const places = mine.pending.map(({ boot, seq }) => order.indexOf(boot) * 1e6 + seq);
  assert.equal(
    places,
    [...places].sort((one, other) => one - other),
    "reports out of order",
  );
}

function byNumber(left: string, right: string): number {
  return Number(left.slice(1)) - Number(right.slice(1));
}

function addSome(card: Card, mine: Ledger, bulk: string): string[] {
  return Array.from({ length: card.random.range(1, 4) }, () => {
    const { random } = card;
    const data = { n: random.int(1000), text: "x".repeat(random.int(40)), bulk };
    const worth = random.pick(["safety", "state"] as const);
    const report = mine.add(random.int(1e6), "test:report", worth, data);
    card.made.set(idOf(report), JSON.stringify(report));
    return idOf(report);
  });
}

/** The host acknowledges up to a random pending report; returns what it thereby has. */
function acknowledgeSome(card: Card, mine: Ledger): string[] {
  if (mine.pending.length === 0) return [];
  const { boot, seq } = card.random.pick(mine.pending);
  const had = mine.pending.filter((report) => report.boot === boot && report.seq <= seq);
  for (const id of idsOf(had)) card.kept.delete(id);
  mine.acknowledge(boot, seq);
  return idsOf(had);
}

/** Runs one life of the agent until the power fails. False when it did not. */
function live(card: Card, operations: number, turns: number, bulk = ""): boolean {
  card.disk.operationsLeft = operations;
  card.boots += 1;
  try {
    const mine = new Ledger(card.disk, `b${card.boots}`);
    inspect(card, mine);
    for (let turn = 0; turn < turns; turn += 1) {
      const added = addSome(card, mine, bulk);
      const had = card.random.chance(0.3) ? acknowledgeSome(card, mine) : [];
      mine.flush();
      assert.is(mine.degraded, null);
      for (const id of added) if (!had.includes(id)) card.kept.add(id);
      for (const id of had) card.gone.add(id);
    }
    return false;
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
    return true;
  } finally {
    card.disk.operationsLeft = Infinity;
  }
}

/** Four lives in a row, each ended at the same operation, for every operation there is. */
function cutEverywhere(
  random: Random,
  end: "cut" | "kill",
  through: (disk: SimDisk) => void = () => undefined,
): void {
  for (let operations = 0, isCut = true; isCut; operations += 1) {
    const card = newCard(random.fork(`after ${operations}`));
    through(card.disk);
    for (let life = 0; life < 4; life += 1) {
      isCut = live(card, operations, 5);
      if (end === "cut") card.disk.powerLoss();
    }
    live(card, Infinity, 1);
  }
}

ledger("the power cut at every disk operation loses no flushed report and brings none back", () => {
  fuzz(80, (random) => cutEverywhere(random, "cut"));
});

ledger("killed at every disk operation: no flushed report is lost, none comes back", () => {
  fuzz(20, (random) => cutEverywhere(random, "kill"));
});

/** Fills the segment with reports that the host has all got, to just before its rewrite. */
function fillSegment(card: Card, bulk: string): void {
  card.boots += 1;
  const mine = new Ledger(card.disk, `b${card.boots}`);
  let bytes = 0;
  while (bytes < segmentBytesMax - 4000) {
    for (const id of addSome(card, mine, bulk)) card.gone.add(id);
    mine.acknowledge(`b${card.boots}`, mine.pending.at(-1)?.seq ?? 0);
    mine.flush();
    bytes = Math.max(...card.disk.names().map((name) => card.disk.read(name)?.length ?? 0));
  }
}

ledger("a rewrite of the segment under power cuts loses nothing either", () => {
  const bulk = "y".repeat(textMax);
  fuzz(6, (random) => {
    const ends = new Set<string>();
    for (let operations = 0; operations < 24; operations += 1) {
      const card = newCard(random.fork(`after ${operations}`));
      live(card, Infinity, 1);
      fillSegment(card, bulk);
      live(card, operations, 8, bulk);
      ends.add(card.disk.names().join());
      card.disk.powerLoss();
      live(card, Infinity, 8, bulk);
      live(card, Infinity, 1);
    }
    assert.ok(ends.size >= 3, `the rewrite was not cut: ${[...ends].join(" ")}`);
  });
});

/** Must the cuts find fault with a ledger on such a disk? Then they would with ours. */
function isFoundOut(through: (disk: SimDisk) => void): boolean {
  try {
    for (let seed = 0; seed < 100; seed += 1) cutEverywhere(new Random(seed), "cut", through);
    return false;
  } catch (error) {
    return error instanceof Error && /was lost|came back/.test(error.message);
  }
}

ledger("these cuts find a ledger out that does not sync", () => {
  assert.ok(
    isFoundOut((disk) => {
      disk.sync = () => undefined;
    }),
  );
});

ledger.run();
