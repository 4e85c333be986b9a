// Programs of the card at the agent: who may do what, what becomes of calls, and of their callers.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { callLimits } from "../../agent/heads/appcalls.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";
import { policyOf } from "../../agent/teeservices.ts";
import { encodeMap } from "../../agent/wire/cbor.ts";
import { callsOfConnection } from "../../agent/wire/teeapi.ts";
import { AppRig, type Guest, root, stranger, toldOf, user, verdictOf } from "../apprig.ts";
import { fromAscii, toHex } from "../hex.ts";

const apps = suite("applications");
const { count, read, slow, spin } = simCommand;

const allowing = [
  policyOf("keystore", { service: "keystore", allow: { uids: [1000] } } as object),
  policyOf("fingerprint", { allow: { gids: [50] }, commands: [{ command: 1, class: "once" }] }),
];

const eventsOf = (rig: AppRig, kind: string): object[] =>
  rig.tee.events.map(({ event }) => event).filter((event) => event.kind === kind);

apps("a call is answered, with its epoch, and its output", () => {
  const rig = new AppRig();
  const guest = rig.join();
  const id = rig.call(guest, count, "once", { input: Uint8Array.of(7) });
  rig.advance(10);
  const { verdict, ret, output, sent } = verdictOf(guest, id);
  assert.equal([verdict, ret, output, sent], ["answered", 0, Uint8Array.of(7), true]);
});

apps("who is not registered for any service is told so and shown out, once in the reports", () => {
  const rig = new AppRig();
  for (let times = 0; times < 5; times++) {
    const guest = rig.join(user);
    const [first] = guest.said;
    assert.is(first?.kind === "refused" && first.error, "tee.denied");
    assert.ok(guest.isClosed);
  }
  assert.is(rig.head.summary().refused, 5);
  assert.equal(eventsOf(rig, "tee:refused").length, 1);
  rig.advance(60_001);
  const last = eventsOf(rig, "tee:refused").at(-1);
  assert.equal(last, {
    kind: "tee:refused",
    uid: 1000,
    pid: 11,
    because: "no service is registered for this user",
    count: 4,
  });
});

apps("users and groups get to the services that are theirs, and see no others", () => {
  const other = policyOf("attestation");
  const rig = new AppRig({
    services: ["keystore", "fingerprint", "attestation"],
    policies: [...allowing, other],
  });
  const guest = rig.join(user);
  guest.ask({ op: "services", id: 90 });
  rig.advance(0);
  const told = toldOf(guest, 90);
  assert.equal(told?.kind === "services" && told.services.map(({ service }) => service), [
    "keystore",
    "fingerprint",
  ]);
  const denied = rig.call(guest, read, "idempotent", { service: "attestation" });
  const unknown = rig.call(guest, read, "idempotent", { service: "nowhere" });
  for (const id of [denied, unknown]) {
    assert.is(verdictOf(guest, id).verdict, "rejected");
    assert.is(verdictOf(guest, id).error, "tee.denied");
  }
  const mine = rig.call(guest, read, "idempotent", { service: "fingerprint" });
  rig.advance(10);
  assert.is(verdictOf(guest, mine).verdict, "answered");
  const shut = rig.join(stranger);
  assert.ok(shut.isClosed);
});

apps("a registered class binds, except that once is granted always", () => {
  const policies = [
    policyOf("keystore", { commands: [{ command: count, class: "keyed" }] }),
    policyOf("fingerprint"),
  ];
  const rig = new AppRig({ policies });
  const guest = rig.join();
  const wrong = rig.call(guest, count, "idempotent");
  assert.is(verdictOf(guest, wrong).error, "tee.call");
  const strict = rig.call(guest, count, "once");
  const plain = rig.call(guest, count, null);
  const free = rig.call(guest, read, null);
  rig.advance(10);
  for (const id of [strict, plain, free]) assert.is(verdictOf(guest, id).verdict, "answered");
  assert.is(rig.tee.tee.world.applied.size, 1, "the plain one was keyed");
});

apps("what is no request is refused by name, and too much of it is cut off", () => {
  const rig = new AppRig();
  const guest = rig.join();
  guest.program.send(Uint8Array.of(0xff, 0xff));
  guest.program.send(encodeMap({ op: "call", id: 5, call: "x" }));
  guest.program.send(
    encodeMap({ op: "call", id: 6, call: "a b", service: "keystore", command: 1 }),
  );
  rig.advance(0);
  const [, noMap, noService] = guest.said;
  assert.is(noMap?.kind === "refused" && noMap.error, "wire.malformed");
  assert.not.ok(noMap !== undefined && "id" in noMap);
  assert.is(noService?.kind === "refused" && noService.id, 5);
  assert.is(verdictOf(guest, 6).error, "tee.call");
  for (let times = 0; times < 80; times++) guest.program.send(Uint8Array.of(0));
  rig.advance(0);
  assert.ok(guest.isClosed);
  assert.ok(eventsOf(rig, "tee:socket").length <= 3);
  const silent = rig.server.connect(root, { heard: (said) => first.push(said) });
  const first: unknown[] = [];
  silent.ask({ op: "services", id: 1 });
  silent.ask({ op: "hello", id: 2, version: 9 });
  rig.advance(0);
  assert.equal(
    first.map((said) => (said as { error: string }).error),
    ["wire.malformed", "wire.version"],
  );
});

apps("limits: of one connection, of one user, in all; each by name, and none lost", () => {
  const rig = new AppRig({ policies: allowing });
  const guest = rig.join(user);
  const ids = Array.from({ length: callsOfConnection + 3 }, () => rig.call(guest, slow, "once"));
  const full = ids.filter((id) => toldOf(guest, id) !== undefined);
  assert.is(full.length, 3);
  assert.is(verdictOf(guest, full[0] ?? 0).error, "tee.limit");
  const more: [Guest, number][] = [];
  while (more.length < callLimits.ofUser) {
    const next = rig.join(user);
    for (let at = 0; at < callsOfConnection; at++) more.push([next, rig.call(next, slow, "once")]);
  }
  const late = more.filter(([one, id]) => toldOf(one, id) !== undefined);
  assert.is(late.length, more.length + callsOfConnection - callLimits.ofUser);
  const other = rig.join(root);
  const mine = rig.call(other, read, "idempotent", { within_ms: 100_000 });
  rig.advance(200_000);
  assert.is(verdictOf(other, mine).verdict, "answered");
  for (const [one, id] of more) verdictOf(one, id);
  assert.is(rig.head.summary().calls, 0);
});

apps("more calls than the TEE takes at once wait their turn", () => {
  const rig = new AppRig();
  const guests = Array.from({ length: 10 }, () => rig.join());
  const ids = guests.map((guest) => rig.call(guest, count, "once"));
  rig.advance(100);
  for (const [at, guest] of guests.entries()) {
    assert.is(verdictOf(guest, ids[at] ?? 0).verdict, "answered");
  }
});

apps(
  "a client's time is its own: the deadline is told, the call goes on, its outcome is known",
  () => {
    const rig = new AppRig();
    const guest = rig.join();
    const id = rig.call(guest, slow, "once", { within_ms: 500, call: "mine" });
    rig.advance(499);
    assert.is(toldOf(guest, id), undefined);
    rig.advance(2);
    assert.is(verdictOf(guest, id).verdict, "deadline");
    assert.is(verdictOf(guest, id).sent, true);
    guest.ask({ op: "outcome", id: 900, call: "mine" });
    rig.advance(3_000);
    guest.ask({ op: "outcome", id: 901, call: "mine" });
    rig.advance(0);
    const [before, after] = [toldOf(guest, 900), toldOf(guest, 901)];
    assert.is(before?.kind === "outcome" && before.state, "under_way");
    assert.is(after?.kind === "outcome" && after.verdict, "answered");
    verdictOf(guest, id);
    assert.is(rig.tee.state, "ready", "a client's impatience is no sign against the TEE");
  },
);

apps("a service that is away: unavailable at once, or waited for; subscribers hear of it", () => {
  const rig = new AppRig();
  const guest = rig.join();
  guest.ask({ op: "subscribe", id: 800, service: "keystore" });
  rig.advance(0);
  rig.tee.tee.inject("core_panic");
  rig.tee.act((head) => head.crashed(null, { errno: null, ret: 0xffff000e, origin: 2 }));
  rig.advance(50);
  const now = rig.call(guest, count, "once");
  const later = rig.call(guest, count, "once", { waits: true });
  const short = rig.call(guest, count, "once", { waits: true, within_ms: 20 });
  assert.is(verdictOf(guest, now).verdict, "unavailable");
  assert.is(verdictOf(guest, now).sent, false);
  assert.is(toldOf(guest, later), undefined);
  rig.advance(30);
  assert.is(verdictOf(guest, short).verdict, "deadline");
  assert.is(verdictOf(guest, short).sent, false);
  rig.advance(10_000);
  assert.is(verdictOf(guest, later).verdict, "answered");
  const notices = guest.said.filter(({ kind }) => kind === "notice");
  assert.equal(
    notices.map((one) => one.kind === "notice" && one.available),
    [false, true],
  );
  assert.is(rig.tee.tee.world.executed.size, 1);
});

apps("a call in the TEE as it crashes: its class decides, exactly once", () => {
  const rig = new AppRig();
  const guest = rig.join();
  const ids = (["idempotent", "keyed", "once"] as const).map((of) => rig.call(guest, slow, of));
  rig.advance(5);
  rig.tee.tee.inject("core_panic");
  rig.tee.act((head) => head.crashed(null, { errno: null, ret: 0xffff000e, origin: 2 }));
  rig.advance(25_000);
  const verdicts = ids.map((id) => verdictOf(guest, id).verdict);
  assert.equal(verdicts, ["replayed", "replayed", "outcome_unknown"]);
});

apps("an id names one call for ever", () => {
  const rig = new AppRig();
  const guest = rig.join();
  const id = { call: "one" };
  const first = rig.call(guest, slow, "once", id);
  const same = rig.call(guest, slow, "once", id);
  const other = rig.call(guest, count, "once", id);
  assert.is(verdictOf(guest, same).error, "tee.call");
  assert.is(verdictOf(guest, other).error, "tee.call");
  rig.advance(3_000);
  assert.is(verdictOf(guest, first).verdict, "answered");
  const again = rig.call(guest, slow, "once", { ...id, again: true });
  assert.is(verdictOf(guest, again).verdict, "answered");
  assert.is(verdictOf(guest, again).lost, true);
  const elsewhere = rig.join(user.uid === 0 ? root : { ...root, uid: 0, pid: 77 });
  const stolen = rig.call(elsewhere, count, "once", id);
  assert.is(verdictOf(elsewhere, stolen).error, "tee.call", "also from another process of his");
  assert.is(
    [...rig.tee.tee.world.executed.values()].reduce((sum, one) => sum + one, 0),
    1,
  );
});

apps("a caller that leaves: what was sent is settled in the book, what was not is not sent", () => {
  const rig = new AppRig();
  const guest = rig.join();
  rig.call(guest, slow, "once", { call: "gone" });
  guest.program.leave();
  rig.advance(3_000);
  const back = rig.join();
  back.ask({ op: "outcome", id: 700, call: "gone" });
  rig.advance(0);
  const told = toldOf(back, 700);
  assert.is(told?.kind === "outcome" && told.verdict, "answered");
  // The same caller comes back while its call is under way: it is told, and nobody else.
  const first = rig.join();
  rig.call(first, slow, "once", { call: "kept" });
  rig.advance(100);
  first.program.leave();
  const second = rig.join();
  const again = rig.call(second, slow, "once", { call: "kept", again: true });
  rig.advance(3_000);
  assert.is(verdictOf(second, again).verdict, "answered");
  assert.is(first.said.filter(({ kind }) => kind === "verdict").length, 0);
});

apps(
  "the agent dies with calls inside: once is unknown, keyed is asked after, none runs twice",
  () => {
    const rig = new AppRig();
    const guest = rig.join();
    const calls = { once: "once-1", keyed: "keyed-1", idempotent: "idem-1" } as const;
    for (const [of, call] of Object.entries(calls)) {
      rig.call(guest, slow, of as keyof typeof calls, { call });
    }
    rig.advance(100);
    rig.restart();
    assert.equal(eventsOf(rig, "tee:unfinished"), [{ kind: "tee:unfinished", count: 2 }]);
    const back = rig.join();
    const ids = Object.entries(calls).map(([of, call]) => {
      const more = { call, again: true, waits: true };
      return rig.call(back, slow, of as keyof typeof calls, more);
    });
    rig.advance(25_000);
    const said = ids.map((id) => verdictOf(back, id).verdict);
    assert.is(said[0], "outcome_unknown");
    assert.ok(said[1] === "answered" || said[1] === "replayed", said[1]);
    assert.is(said[2], "replayed");
    for (const [key, times] of rig.tee.tee.world.applied) assert.is(times, 1, key);
    // Asked once more: the same.
    const once = rig.call(back, slow, "once", { call: calls.once, again: true });
    assert.is(verdictOf(back, once).verdict, "outcome_unknown");
  },
);

apps("while an earlier agent's helper may be inside, nothing of its calls is asked or sent", () => {
  const rig = new AppRig();
  rig.call(rig.join(), slow, "keyed", { call: "inside" });
  rig.advance(100);
  rig.restart();
  rig.server.isLeftInside = true;
  const back = rig.join();
  const id = rig.call(back, slow, "keyed", { call: "inside", again: true, within_ms: 60_000 });
  const fresh = rig.call(back, read, "once", { waits: true });
  rig.advance(20_000);
  assert.is(verdictOf(back, fresh).verdict, "answered");
  assert.is(toldOf(back, id), undefined);
  rig.server.isLeftInside = false;
  rig.advance(5_000);
  assert.is(verdictOf(back, id).verdict, "answered");
  assert.is(verdictOf(back, id).lost, true);
  assert.equal([...rig.tee.tee.world.applied.values()], [1]);
});

apps("after a restart an id is asked after without its input: keyed ones in the TEE", () => {
  const rig = new AppRig();
  const guest = rig.join();
  rig.call(guest, count, "keyed", { call: "done" });
  rig.advance(0.3);
  rig.tee.tee.inject("core_panic");
  rig.call(guest, count, "keyed", { call: "undone" });
  rig.call(guest, count, "once", { call: "once" });
  rig.restart();
  rig.advance(60_000);
  const back = rig.join();
  for (const [at, call] of ["done", "undone", "once", "never"].entries()) {
    back.ask({ op: "outcome", id: 600 + at, call });
  }
  rig.advance(30_000);
  const states = [600, 601, 602, 603].map((id) => {
    const told = toldOf(back, id);
    return told?.kind === "outcome" ? `${told.state} ${told.verdict ?? ""}`.trim() : "";
  });
  const { applied } = rig.tee.tee.world;
  const done = applied.has("app.0.done") ? "settled answered" : "settled unavailable";
  assert.equal(states, [done, "settled unavailable", "settled outcome_unknown", "unknown"]);
});

apps("a disk that takes nothing: what must not run twice is not sent", () => {
  const rig = new AppRig();
  const guest = rig.join();
  rig.tee.disk.faults = { full: true };
  const once = rig.call(guest, count, "once");
  const plain = rig.call(guest, read, "idempotent");
  rig.advance(10);
  assert.is(verdictOf(guest, once).verdict, "unavailable");
  assert.match(verdictOf(guest, once).because, /cannot be written down first/);
  assert.is(verdictOf(guest, plain).verdict, "answered");
  rig.tee.disk.faults = {};
  const next = rig.call(guest, count, "once");
  rig.advance(10);
  assert.is(verdictOf(guest, next).verdict, "answered");
});

apps("no input, no output and no panic text is in any record or report", () => {
  const secrets = ["PIN-4711-INPUT", "SECRET-PANIC-TEXT"];
  const rig = new AppRig({ faults: { panicText: secrets[1] ?? "" } });
  const guest = rig.join();
  const input = fromAscii(secrets[0] ?? "");
  for (const of of ["once", "keyed", "idempotent"] as const) rig.call(guest, count, of, { input });
  rig.call(guest, spin, "once", { input, within_ms: 100 });
  rig.advance(5);
  rig.tee.tee.inject("core_panic");
  rig.tee.act((head) => head.crashed(null, { errno: null, ret: 0xffff000e, origin: 2 }));
  rig.advance(60_000);
  rig.restart();
  rig.advance(10_000);
  const { disk, events } = rig.tee;
  assert.ok(disk.names().some((name) => name.startsWith("tee.calls")));
  const kept = disk.names().map((name) => toHex(disk.read(name) ?? new Uint8Array()));
  const told =
    JSON.stringify(events) +
    JSON.stringify(
      guest.said.map((one) => {
        return one.kind === "verdict" ? { ...one, output: undefined } : one;
      }),
    );
  for (const secret of secrets) {
    for (const file of kept) assert.not.ok(file.includes(toHex(fromAscii(secret))), secret);
    assert.not.ok(told.includes(secret), secret);
  }
});

apps.run();
