import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Follower, type FollowOptions } from "../../agent/console/follow.ts";
import { bootsMax, gapsMax, Inbox, showGap } from "../../agent/console/inbox.ts";
import { Link } from "../../agent/console/link.ts";
import type { Session } from "../../agent/console/session.ts";
import { Failure } from "../../agent/errors.ts";
import type { LineFaults } from "../../agent/sim/port.ts";
import { World } from "../../agent/sim/world.ts";
import type { Report } from "../../agent/wire/commands.ts";
import { rejectsCode } from "../assert.ts";
import { nic7, reports } from "../consolecard.ts";
import { run, ScriptedCard, turn } from "../consolerig.ts";
import { fuzzAsync } from "../fuzz.ts";

const test = suite("console follow");

function report(boot: string, seq: number): Report {
  return { boot, seq, at_ms: seq, kind: "boot:stage", class: "state", data: {} };
}

test("an inbox takes every report once and knows which is next", () => {
  const inbox = new Inbox(null);
  assert.is(inbox.isNext(report("1-a", 1)), false, "before the first, none is");
  assert.is(inbox.take(report("1-a", 4)), true);
  assert.is(inbox.isNext(report("1-a", 5)), true);
  assert.is(inbox.isNext(report("2-b", 1)), false);
  assert.is(inbox.take(report("1-a", 4)), false);
  assert.is(inbox.take(report("2-b", 1)), true);
  assert.is(inbox.isKnown(report("1-a", 3)), true, "also of an earlier boot");
  assert.is(inbox.received, 2);
  assert.equal(inbox.gaps, [], "what came before the first went to an earlier host");
});

test("B13-03 holes in the sequence of a boot are noticed, as is a boot that begins late", () => {
  const inbox = new Inbox({ boot: "1-a", seq: 3 });
  inbox.take(report("1-a", 6));
  inbox.take(report("2-b", 2));
  assert.equal(inbox.gaps, [
    { boot: "1-a", from: 4, to: 5 },
    { boot: "2-b", from: 1, to: 1 },
  ]);
  const [first = "", second = ""] = inbox.gaps.map(showGap);
  assert.match(first, /^reports 4 to 5 of boot 1-a never arrived/);
  assert.match(second, /^report 1 of boot 2-b never arrived/);
});

test("an inbox stays small over a thousand boots full of holes", () => {
  const inbox = new Inbox({ boot: "0-x", seq: 0 });
  for (let boot = 1; boot <= 1000; boot++) inbox.take(report(`${boot}-x`, 7));
  assert.is(inbox.received, 1000);
  assert.is(inbox.perBoot.size, bootsMax);
  assert.is(inbox.gaps.length, gapsMax);
});

interface Followed {
  readonly world: World;
  readonly heard: Report[];
  readonly notes: string[];
  readonly follower: Follower;
}

/** Follows a card that boots now and lives as `live` schedules, for `lengthMs` of its time. */
async function follow(
  world: World,
  lengthMs: number,
  live: (world: World) => void,
  options: Partial<FollowOptions> = {},
): Promise<Followed> {
  const { clock } = world;
  const [line] = world.lines;
  if (line === undefined) throw new Error("a card without a line");
  const link = new Link(line.host, clock, { timeoutMs: 3000, firstSequence: 7 });
  const session = { link, clock, close: () => link.close() };
  const heard: Report[] = [];
  const notes: string[] = [];
  const follower = new Follower(session, {
    since: null,
    keep: false,
    clock,
    endMs: lengthMs,
    stop: new AbortController().signal,
    reopen: null,
    note: (text) => notes.push(text),
    deliver: async (batch) => {
      await turn();
      heard.push(...batch);
    },
    ...options,
  });
  world.power(true);
  live(world);
  let over = false;
  const done = (): void => {
    over = true;
  };
  const running = follower.run();
  running.then(done, done);
  while (!over) {
    world.advance(10);
    await turn();
  }
  await running;
  return { world, heard, notes, follower };
}

/** Every report that the card has numbered has arrived, once and in order. */
function assertComplete({ world, heard, follower }: Followed): void {
  const keys = heard.map(({ boot, seq }) => `${boot}:${seq}`);
  assert.is(new Set(keys).size, keys.length, "none twice");
  const boots = world.agent?.ledger.boots() ?? [];
  assert.ok(boots.length > 0);
  for (const { boot, lastSeq, acknowledged } of boots) {
    const seqs = heard.filter((one) => one.boot === boot).map(({ seq }) => seq);
    assert.equal(
      seqs,
      Array.from({ length: lastSeq }, (_, at) => at + 1),
      `all of boot ${boot}`,
    );
    assert.is(acknowledged, lastSeq);
  }
  assert.equal(follower.inbox.gaps, []);
  assert.is(world.agent?.ledger.pending.length, 0);
}

const at = (world: World, ms: number, act: () => void): void => void world.clock.at(ms, act);

/** A hang that the watchdog ends, a power cut, a crash of the TEE, an agent that is killed. */
function hardLife(world: World): void {
  at(world, 20_000, () => world.hangAgent(Infinity));
  at(world, 120_000, () => {
    world.power(false);
    world.power(true);
  });
  at(world, 150_000, () => world.tee.inject("core_panic"));
  at(world, 180_000, () => {
    world.killAgent();
    world.startAgent();
  });
}

test("B13-01 reports arrive once and in order across resets, power cuts and kill -9", async () => {
  const followed = await follow(new World({ seed: 3 }), 240_000, hardLife);
  assertComplete(followed);
  const boots = new Set(followed.heard.map(({ boot }) => boot));
  assert.is(boots.size, 4);
  assert.ok(followed.notes.some((note) => /^the card does not answer: nothing/.test(note)));
  assert.ok(followed.notes.some((note) => /^the card answers again, boot 2-/.test(note)));
});

test("B13-03 so it is over a line that loses, damages and mixes in text", async () => {
  await fuzzAsync(6, async (_random, seed) => {
    const world = new World({ seed });
    const faults: LineFaults = { flip: 0.03, lose: 0.03, text: 0.2 };
    const followed = await follow(world, 230_000, (card) => {
      for (const line of card.lines) line.faults = faults;
      hardLife(card);
      at(card, 225_000, () => {
        for (const line of card.lines) line.faults = {};
      });
    });
    assertComplete(followed);
  });
});

test("a host that keeps the reports leaves them on the card and hears each once", async () => {
  const followed = await follow(
    new World({ seed: 5 }),
    60_000,
    (world) => at(world, 20_000, () => world.tee.inject("core_panic")),
    { keep: true },
  );
  const { heard, world } = followed;
  assert.ok(heard.length > 20);
  assert.is(new Set(heard.map(({ seq }) => seq)).size, heard.length);
  assert.is(world.agent?.ledger.pending.length, heard.length);
});

test("reports are acknowledged only after they were delivered", async () => {
  const world = new World({ seed: 6 });
  let delivered = 0;
  const check = (): void => {
    const acknowledged = world.agent?.ledger.boots().at(-1)?.acknowledged ?? 0;
    assert.ok(acknowledged <= delivered, `${acknowledged} acknowledged, ${delivered} delivered`);
  };
  await follow(world, 20_000, () => {}, {
    deliver: async (batch) => {
      for (let count = 0; count < 20; count++) {
        check();
        await turn();
      }
      delivered += batch.length;
    },
  });
  assert.ok(delivered > 5);
});

test("what cannot be shown ends the following and is not acknowledged", async () => {
  const world = new World({ seed: 6 });
  const broken = follow(world, 20_000, () => {}, {
    deliver: () => Promise.reject(Object.assign(new Error("EPIPE"), { code: "EPIPE" })),
  });
  await broken.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "EPIPE"),
  );
  assert.is(world.agent?.ledger.boots().at(-1)?.acknowledged, 0);
});

test("a stop ends it while the card is silent, without waiting for an answer", async () => {
  const card = new ScriptedCard({ "report.subscribe": () => null });
  const link = card.link();
  const stop = new AbortController();
  const notes: string[] = [];
  const follower = new Follower(
    { link, clock: card.clock, close: () => link.close() },
    {
      since: null,
      keep: false,
      clock: card.clock,
      endMs: Infinity,
      stop: stop.signal,
      reopen: null,
      note: (text) => notes.push(text),
      deliver: () => Promise.resolve(),
    },
  );
  card.clock.at(5000, () => stop.abort());
  await card.until(follower.run());
  assert.ok(card.clock.now() < 20_000, `${card.clock.now()}`);
  assert.is(notes.length, 1, "one sentence for one silence");
});

/** nic7 with reports that can be subscribed to. */
function subscribable(): ScriptedCard {
  const last = reports.at(-1) as Report;
  return nic7({
    "report.subscribe": ({ for_ms }) => {
      return { boot: last.boot, last_seq: last.seq, pending: 0, for_ms: Number(for_ms) };
    },
    "report.unsubscribe": () => ({}),
  });
}

function followerOn(
  card: ScriptedCard,
  endMs: number,
  reopen: FollowOptions["reopen"],
): { follower: Follower; notes: string[]; heard: Report[]; first: Link } {
  const first = card.link();
  const notes: string[] = [];
  const heard: Report[] = [];
  const { clock } = card;
  const session: Session = { link: first, clock, close: () => first.close() };
  const follower = new Follower(session, {
    since: null,
    keep: false,
    clock,
    endMs,
    stop: new AbortController().signal,
    reopen,
    note: (text) => notes.push(text),
    deliver: async (batch) => void heard.push(...batch),
  });
  return { follower, notes, heard, first };
}

test("X-03 a line that comes back is taken up again, and nothing comes twice", async () => {
  const card = subscribable();
  let attempts = 0;
  const reopen = (): Promise<Session> => {
    attempts += 1;
    if (attempts < 4) return Promise.reject(new Failure("port.missing", "no such port"));
    const link = card.link(3000, 100);
    return Promise.resolve({ link, clock: card.clock, close: () => link.close() });
  };
  const { follower, notes, heard } = followerOn(card, 12_000, reopen);
  card.clock.at(3000, () => card.line.host.unplug());
  await card.until(follower.run());
  assert.equal(heard, reports);
  assert.is(attempts, 4);
  assert.match(notes[0] ?? "", /was lost: unplugged\. Waiting for it to come back\./);
  assert.is(notes[1], "the line is back: sim:host");
  assert.is(notes.length, 2);
});

test("B13-03 a lost push is noticed at the next renewal, and read", async () => {
  const [first, second, third] = reports as [Report, Report, Report];
  let kept = [first, second];
  const card = new ScriptedCard({
    "report.subscribe": ({ for_ms }) => {
      const seq = kept.length === 3 ? third.seq : second.seq;
      return { boot: second.boot, last_seq: seq, pending: kept.length, for_ms: Number(for_ms) };
    },
    "report.read": ({ boot, since }) => {
      const at = kept.findIndex((one) => one.boot === boot && one.seq === since);
      return { reports: kept.slice(at + 1), more: false };
    },
    "report.acknowledge": () => ({ pending: 0 }),
    "report.unsubscribe": () => ({}),
  });
  const { follower, heard } = followerOn(card, 6000, null);
  card.clock.at(1000, () => {
    kept = [first, second, third];
  });
  card.clock.at(5500, () => assert.equal(heard, reports));
  await card.until(follower.run());
  assert.equal(heard, reports);
});

test("a line that cannot come back ends it", async () => {
  const card = subscribable();
  const { follower } = followerOn(card, Infinity, null);
  card.clock.at(3000, () => card.line.host.unplug());
  await card.until(rejectsCode(() => follower.run(), "port.lost"));
});

test("a card that refuses subscriptions ends it", async () => {
  const { follower } = followerOn(new ScriptedCard({}), Infinity, null);
  const card = new ScriptedCard({});
  const other = followerOn(card, Infinity, null);
  await card.until(rejectsCode(() => other.follower.run(), "link.refused"));
  assert.is(follower.inbox.received, 0);
});

test("reports --follow prints what comes, and a summary at the end", async () => {
  const card = subscribable();
  const later = { ...(reports.at(-1) as Report), seq: 3, kind: "tee:restored" };
  card.clock.at(4000, () => card.push(later));
  const ran = await run(card, "reports --follow --for 6");
  assert.is(ran.exit, 0);
  const lines = ran.stdout.trimEnd().split("\n");
  assert.is(lines.length, 5);
  assert.match(lines[3] ?? "", /^12-9f3a61c0:3 .* safety {2}tee:restored/);
  assert.is(lines[4], "4 reports of 2 boots");
  const acknowledged = card.asked.filter(({ name }) => name === "report.acknowledge");
  assert.equal(acknowledged.at(-1)?.body, { boot: later.boot, seq: 3 });
});

test("reports --follow --json prints one object when it ends", async () => {
  const ran = await run(subscribable(), "reports --follow --for 3 --json");
  const { ok, data } = JSON.parse(ran.stdout);
  assert.is(ok, true);
  assert.equal(data.reports, reports);
  assert.is(data.received, 3);
  assert.is(ran.stderr, "");
});

test("a signal ends reports --follow with its summary and exit 130", async () => {
  const card = subscribable();
  const stop = new AbortController();
  card.clock.at(5000, () => stop.abort());
  const ran = await run(card, "reports --follow", { stop: stop.signal });
  assert.is(ran.exit, 130);
  assert.match(ran.stdout, /3 reports of 2 boots\n$/);
});

test.run();
