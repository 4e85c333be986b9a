// Who may command a card: signed commands on simulated cards, and everything that is none.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { failures } from "../../agent/heads/signatures.ts";
import type { World } from "../../agent/sim/world.ts";
import type { Envelope } from "../../agent/wire/cose.ts";
import {
  authorised,
  type Body,
  bothKeys,
  Commander,
  HostEnd,
  refusalOf,
  requestOf,
} from "../commander.ts";
import { card, confirmed, reportsOf } from "../worlds.ts";

const stories = suite("access");
const keys = { policy: "keys" } as const;

interface Bench {
  readonly world: World;
  readonly end: HostEnd;
  readonly ops: Commander;
  readonly boss: Commander;
}

/** A running card with two authorised keys, both at its first line. */
function bench(file = bothKeys, options: Parameters<typeof card>[0] = {}): Bench {
  const world = card({ access: keys, watchdog: { allow_disarm: true }, ...options });
  world.authority.write(file);
  world.power(true);
  confirmed(world);
  const end = new HostEnd(world);
  return { world, end, ops: new Commander(end, "ops"), boss: new Commander(end, "boss") };
}

const isArmed = (world: World): boolean => world.agent?.watchdog.isArmed === true;
const reasons = (world: World): unknown[] =>
  reportsOf(world, "access:refused").map(({ why }) => why);

/** Refused by name, in the form that the group has, told by a report, and nothing was done. */
function isRefused(world: World, answer: Body, why: string): void {
  assert.is(refusalOf(answer), why);
  const { rc, err } = answer as { rc?: number; err?: { rc: number } };
  assert.is(rc ?? err?.rc, 11);
  assert.is(reasons(world).at(-1), `access.${why}`);
  assert.ok(isArmed(world), "the card goes on as before");
}

stories("a change that is not signed is refused in every form, and says what to do", () => {
  const { world, end } = bench();
  isRefused(world, end.ask("wdt.disarm"), "unsigned");
  for (const name of ["wdt.disarm", "os.reset"] as const) {
    assert.equal(Object.keys(end.ask(name)), ["rc", "rsn"], `${name}: as of any message`);
    assert.is(end.ask(name, {}, 0).rc, 11, "in version 1 as well");
  }
  assert.match(String(end.ask("wdt.arm").rsn), /2 keys are authorised: .*--key/);
  assert.ok(end.ask("card.status").boot, "reading is open");
  assert.is(refusalOf(end.ask("report.acknowledge", { boot: "1", seq: 1 })), "unsigned");
  assert.ok(end.ask("report.subscribe").boot, "following is reading");
});

stories("without any key nobody changes anything, and the refusal says how to begin", () => {
  const { world, end } = bench("");
  assert.match(String(end.ask("wdt.disarm").rsn), /0 keys are authorised: .*kennel keygen/);
  isRefused(world, end.ask("wdt.disarm"), "unsigned");
  assert.equal(reportsOf(world, "access:keys"), [{ keys: 0, problem: "" }]);
});

stories("an open card obeys everybody, and is never silent about it", () => {
  const { world, end } = bench("", { access: { policy: "open" } });
  assert.is(reportsOf(world, "access:open").length, 1);
  assert.is(end.ask("card.status").access, "open");
  const { access, next } = end.ask("card.protection") as { access: Body; next: string[] };
  assert.equal([access.policy, access.weak], ["open", true]);
  assert.match(next.join("; "), /access.policy keys/);
  assert.is(end.ask("wdt.disarm").armed, false);
});

stories("who holds the lease of an open card is not disturbed by the unsigned", () => {
  const { world, end, ops } = bench(bothKeys, { access: { policy: "open" } });
  ops.takes();
  isRefused(world, end.ask("wdt.disarm"), "not_owner");
  ops.does("access.release");
  assert.is(end.ask("wdt.disarm").armed, false);
});

stories("a signed command is obeyed, answered as itself, and told", () => {
  const { world, boss } = bench();
  boss.takes();
  const answer = boss.does("wdt.disarm", { by: "me" });
  assert.equal(
    [answer.armed, answer.protection],
    [false, world.agent?.watchdog.status().protection],
  );
  const [told] = reportsOf(world, "access:command");
  assert.is(told?.command, "wdt.disarm");
  assert.match(String(told?.by), /^boss@boss \(SHA256:/);
  const refused = boss.does("wdt.disarm");
  assert.is((refused.err as { group: number } | undefined)?.group, 66, "its own refusals as well");
});

stories("a replayed command is refused", () => {
  const { world, end, ops } = bench();
  ops.takes();
  const frame = ops.signed("wdt.hold", { for_ms: 1000 });
  end.send(frame);
  assert.ok(end.next().hold_until_ms);
  end.send(frame);
  isRefused(world, end.next(), "replayed");
});

stories("a command for another card is refused", () => {
  const here = bench();
  const there = bench(bothKeys, { seed: 2 });
  there.boss.takes();
  const frame = there.boss.signed("wdt.disarm");
  here.end.send(frame);
  isRefused(here.world, here.end.next(), "device");
  there.end.send(frame);
  assert.is(there.end.next().armed, false, "and was good for the card that was meant");
});

stories("commands in another order than they were signed in are refused", () => {
  const { world, end, ops } = bench();
  ops.takes();
  const first = ops.signed("wdt.hold", { for_ms: 1000 });
  const second = ops.signed("wdt.hold", { for_ms: 2000 }, { counter: ops.session().counter + 1 });
  end.send(second);
  isRefused(world, end.next(), "reordered");
  end.send(first);
  assert.ok(end.next().hold_until_ms);
  end.send(second);
  assert.ok(end.next().hold_until_ms, "in order it is good");
});

stories("an expired command is refused, and so is one that is good for too long", () => {
  const { world, end, ops } = bench();
  ops.takes({ for_ms: 600_000 });
  const frame = ops.signed("wdt.hold", { for_ms: 1000 });
  world.advance(5001);
  end.send(frame);
  isRefused(world, end.next(), "expired");
  const late = ops.session().now_ms + 61_000;
  isRefused(world, ops.does("wdt.hold", { for_ms: 1000 }, { untilMs: late }), "expired");
});

stories("a command of another boot or of another line's session is refused", () => {
  const { world, end, ops } = bench();
  const before = ops.signed("access.take");
  world.killAgent();
  world.startAgent();
  confirmed(world);
  end.send(before);
  isRefused(world, end.next(), "boot");
  const other = new Commander(new HostEnd(world, 1), "ops");
  end.send(other.signed("access.take"));
  isRefused(world, end.next(), "session");
});

stories("forged, unauthorised, damaged: each is refused by its name", () => {
  const { world, end, ops, boss } = bench();
  end.send(ops.signed("access.take", {}, { kid: boss.kid }));
  isRefused(world, end.next(), "forged");
  const stranger = new Commander(end, "stranger");
  assert.is(stranger.session().roles, undefined);
  isRefused(world, stranger.does("access.take"), "unknown_key");
  isRefused(world, end.ask("access.signed", { cose: Uint8Array.of(0x84, 0x40) }), "malformed");
  const within = ops.does("access.signed", { cose: new Uint8Array(0) });
  assert.is(within.rc, 8, "nothing signed within something signed");
  const nothing = ops.wrapped(envelope(ops), new Uint8Array(0));
  end.send(nothing);
  assert.match(String(end.next().rsn), /exactly one request/);
});

function envelope(by: Commander): Envelope {
  const { device, boot, nonce, counter, now_ms } = by.session();
  const { kid, seat } = by;
  return { kid, device, boot, nonce, counter, epoch: 0, seat, untilMs: now_ms + 5000 };
}

stories("a changed byte anywhere in a signed command is refused", () => {
  const { world, end, ops } = bench();
  ops.takes({ for_ms: 600_000 });
  const frame = ops.signed("wdt.hold", { for_ms: 1000 });
  for (let at = frame.length - 64 - 60; at < frame.length; at += 3) {
    const changed = frame.slice();
    changed[at] = (changed[at] ?? 0) ^ 1;
    end.send(changed);
    assert.ok(["forged", "malformed", "limited"].includes(refusalOf(end.next())), `byte ${at}`);
    world.advance(1000);
  }
  assert.is(reportsOf(world, "wdt:hold").length, 0);
});

stories("what a key may do is what its line says", () => {
  const { world, ops, boss } = bench();
  ops.takes();
  isRefused(world, ops.does("wdt.disarm"), "role");
  isRefused(world, ops.does("rig.inject", { fault: "hang" }), "role");
  isRefused(world, ops.does("access.take", { force: true }), "role");
  ops.does("access.release");
  boss.takes();
  assert.equal(boss.does("rig.inject", { fault: "tee_crash" }), {});
});

stories("a key that is taken out of the file stops at once, and one that is added starts", () => {
  const { world, end, ops } = bench(authorised("ops", "operate"));
  ops.takes();
  world.authority.write(authorised("boss", "operate"));
  isRefused(world, ops.does("wdt.hold", { for_ms: 1000 }), "unknown_key");
  world.advance(20_000);
  const boss = new Commander(end, "boss");
  boss.takes();
  assert.ok(boss.does("wdt.hold", { for_ms: 1000 }).hold_until_ms);
  world.authority.write("", "authorized_keys can be written by others: chmod go-w it");
  isRefused(world, boss.does("wdt.hold", { for_ms: 1000 }), "unknown_key");
  assert.match(String(end.ask("access.status").problem), /chmod go-w/);
});

stories("where reading takes keys, nothing but what signing needs is told to everybody", () => {
  const { world, end, ops } = bench(authorised("ops", ""), { access: { ...keys, read: "keys" } });
  isRefused(world, end.ask("card.status"), "unsigned");
  isRefused(world, end.ask("report.subscribe"), "unsigned");
  assert.equal(end.ask("os.echo", { d: "hi" }), { r: "hi" });
  assert.ok((end.ask("card.hello").tags as string[]).includes("access.read_keys"));
  assert.is(ops.does("card.status").access, "keys", "a key without a role reads");
  isRefused(world, ops.does("wdt.check_in", { task: "x" }), "role");
});

stories("a flood of refusals is counted, and told as a number", () => {
  const { world, end, ops } = bench();
  const bad = ops.signed("access.take", {}, { device: "another" });
  for (let sent = 0; sent < 100; sent++) {
    end.send(bad);
    end.next();
    end.ask("wdt.disarm");
  }
  const { refused } = end.ask("access.status") as { refused: Record<string, number> };
  assert.is(refused["access.unsigned"], 100);
  const { "access.device": checked = 0, "access.limited": limited = 0 } = refused;
  assert.is(checked + limited, 100);
  assert.ok(checked >= failures.burst && limited > 0, "few of them were looked at");
  world.advance(600_000);
  const told = reportsOf(world, "access:refused");
  assert.ok(told.length < 40, `${told.length} reports`);
  const sum = told.reduce((total, { count }) => total + Number(count), 0);
  assert.is(sum, 200, "and none is left out of the count");
  ops.takes();
  assert.ok(ops.does("wdt.hold", { for_ms: 1000 }).hold_until_ms, "the owner is let in again");
});

stories("B14-01 one commands, the other is told who, and reads as before", () => {
  const { world, end, ops } = bench();
  const boss = new Commander(new HostEnd(world, 1), "boss");
  ops.takes({ for_ms: 60_000 });
  const answer = boss.does("wdt.disarm");
  isRefused(world, answer, "not_owner");
  assert.match(String(answer.rsn), /epoch 1 is ops@ops \(SHA256:.*\) for \d+ s more/);
  isRefused(world, boss.does("access.take"), "not_owner");
  assert.ok(boss.end.ask("card.status").boot);
  const { lease } = boss.session();
  assert.equal([lease.state, lease.epoch, lease.mine], ["held", 1, false]);
  assert.ok(ops.does("wdt.hold", { for_ms: 1000 }).hold_until_ms);
  assert.is(refusalOf(end.ask("wdt.disarm")), "unsigned");
  const twin = new Commander(boss.end, "ops", "elsewhere");
  isRefused(world, twin.does("wdt.hold", { for_ms: 1000 }), "not_owner");
});

stories(
  "B14-02 a holder that is not heard of is followed by another; what it says late is fenced",
  () => {
    const { world, end, ops, boss } = bench();
    ops.takes();
    const late = ops.signed(
      "wdt.hold",
      { for_ms: 1000 },
      { untilMs: ops.session().now_ms + 59_000 },
    );
    world.advance(11_000);
    assert.equal(
      reportsOf(world, "access:ended").map(({ why }) => why),
      ["lapsed"],
    );
    boss.takes();
    assert.is(boss.session().lease.epoch, 2);
    end.send(late);
    const answer = end.next();
    isRefused(world, answer, "fenced");
    assert.match(String(answer.rsn), /epoch 2 is boss@boss/);
    boss.does("access.release");
    isRefused(world, ops.does("wdt.hold", { for_ms: 1000 }, { epoch: 1 }), "fenced");
    isRefused(world, ops.does("wdt.hold", { for_ms: 1000 }), "unclaimed");
  },
);

stories("B14-03 two claims at once have one winner, whoever was first", () => {
  for (const order of [0, 1]) {
    const { world, ops } = bench();
    const boss = new Commander(new HostEnd(world, 1), "boss");
    const claims = [ops, boss].map((by) => ({ by, frame: by.signed("access.take") }));
    if (order === 1) claims.reverse();
    for (const { by, frame } of claims) {
      by.end.send(frame);
      world.advance(100);
    }
    for (const { by } of claims) assert.is(by.end.next().state, "claimed");
    isRefused(world, ops.does("wdt.hold", { for_ms: 1000 }), "unclaimed");
    world.advance(300);
    const { lease } = ops.session();
    assert.equal([lease.state, lease.mine, lease.epoch], ["held", true, 1], `order ${order}`);
    isRefused(world, boss.does("wdt.disarm"), "not_owner");
  }
});

stories("B14-04 a take-over is told, happens once, and not again after a restart", () => {
  const { world, end, ops, boss } = bench();
  ops.takes({ for_ms: 600_000 });
  const force = boss.signed("access.take", { force: true });
  end.send(force);
  assert.equal([end.next().epoch, boss.session().lease.mine], [2, true]);
  const [told] = reportsOf(world, "access:taken_over");
  assert.match(`${told?.by} from ${told?.from}`, /^boss@boss .* from ops@ops /);
  isRefused(world, ops.does("wdt.hold", { for_ms: 1000 }, { epoch: 1 }), "fenced");
  end.send(force);
  isRefused(world, end.next(), "replayed");
  world.killAgent();
  world.startAgent();
  confirmed(world);
  const { lease } = boss.session();
  assert.equal([lease.state, lease.epoch], ["free", 2], "the number goes on, nobody holds it");
  end.send(force);
  isRefused(world, end.next(), "boot");
  assert.is(reportsOf(world, "access:taken_over").length, 1);
  ops.takes();
  assert.is(ops.session().lease.epoch, 3);
});

stories("B14-05 a card that loses every host is neither disarmed nor reset", () => {
  const { world, ops } = bench();
  ops.takes({ for_ms: 600_000 });
  const { boot } = world.agent ?? {};
  for (const { card: end } of world.lines) end.close();
  world.advance(86_400_000);
  assert.equal([world.resets.length, isArmed(world)], [0, true]);
  assert.is(world.agent?.boot, boot, "the same agent, a day later");
  assert.is(reportsOf(world, "wdt:disarmed").length, 0);
});

stories("epochs go on over resets of the card, whatever is cut", () => {
  const { world, ops } = bench();
  for (let epoch = 1; epoch <= 4; epoch++) {
    ops.takes();
    assert.is(ops.session().lease.epoch, epoch);
    world.power(false);
    world.power(true);
    confirmed(world);
  }
});

stories("requests within the same packet are each looked at by themselves", () => {
  const { world, end, boss } = bench();
  boss.takes();
  const both = [boss.signed("wdt.hold", { for_ms: 500 }), requestOf("wdt.disarm", {})];
  end.send(new Uint8Array(Buffer.concat(both)));
  assert.ok(end.next().hold_until_ms);
  isRefused(world, end.next(), "unsigned");
});

stories.run();
