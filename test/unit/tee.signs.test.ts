import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Made, TeeRig, verdictOf } from "../../agent/rig/campaigns/teecard.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";

const stories = suite("tee signs");
const { count, malformed, read, slow, store } = simCommand;

stories("A3-11 a slow TEE is looked at and left alone", () => {
  const rig = new TeeRig({ model: { threads: 8 } }).ready();
  // A canary of 1.5 ms takes 4.5 s: late, and within the threshold.
  rig.tee.faults = { slowness: 3_000 };
  rig.call("keystore", read, "idempotent");
  rig.advance(60_000);
  assert.is(rig.head.status().crashes, 0);
  assert.is(rig.tee.restarts, 0);
  assert.is(verdictOf(rig.calls[0] as Made), "answered");
  rig.tee.faults = {};
  rig.advance(20_000);
  assert.is(rig.state, "ready");
});

stories("A3-11 a TEE busy with long calls answers them, and that is a sign of life", () => {
  const rig = new TeeRig({ config: { callMaxMs: 120_000 } }).ready();
  const made = Array.from({ length: 16 }, () => rig.call("keystore", slow, "once"));
  rig.advance(60_000);
  assert.equal(new Set(made.map(verdictOf)), new Set(["answered"]));
  assert.is(rig.head.status().crashes, 0);
});

stories("A3-11 a hang is told from slowness at the threshold, not before", () => {
  const rig = new TeeRig().ready();
  rig.tee.inject("hang");
  const { canaryEveryMs, canaryLateMs, suspectMs } = rig.config;
  const hungMs = rig.clock.now();
  rig.advance(suspectMs - 1);
  assert.is(rig.head.status().crashes, 0);
  rig.advance(canaryEveryMs + canaryLateMs + 1);
  assert.is(rig.head.status().crashes, 1);
  const crashed = rig.events.find(({ event }) => event.kind === "tee:crashed");
  assert.ok((crashed?.atMs ?? 0) - hungMs >= suspectMs);
  assert.match(rig.said().join("\n"), /crashed tee_os hang/);
});

stories("A3-11 one lost reply of a living TEE restarts nothing", () => {
  const rig = new TeeRig().ready();
  rig.act((head) => head.late("a monitor"));
  assert.is(rig.state, "suspect");
  assert.is(verdictOf(rig.call("keystore", count, "once")), "unavailable");
  rig.advance(10);
  assert.is(rig.state, "ready");
  assert.is(rig.head.status().crashes, 0);
});

stories("A3-11 a caller with bad parameters is told so, and nobody else suffers", () => {
  const rig = new TeeRig({ config: { callMaxMs: 60_000 } }).ready();
  rig.call("keystore", count, "once");
  rig.advance(10);
  for (let index = 0; index < 20; index++) {
    const made = rig.call("keystore", malformed, "once");
    rig.advance(10);
    assert.is(verdictOf(made), "answered");
    assert.is(made.answers[0]?.answer.outcome?.ret, 0xffff0006);
  }
  const other = rig.call("keystore", count, "once");
  rig.advance(10);
  assert.is(other.answers[0]?.answer.outcome?.value, 2, "its session was left alone");
  assert.is(rig.head.status().crashes, 0);
  assert.equal(rig.head.status().quarantined, []);
});

stories("a supplicant that dies looks like a lack of memory, and is restarted alone", () => {
  const rig = new TeeRig().ready();
  const made = rig.call("keystore", store, "idempotent");
  rig.tee.inject("supplicant_death");
  rig.advance(10_000);
  assert.is(verdictOf(made), "replayed");
  assert.is(rig.tee.restarts, 0);
  assert.match(rig.said().join("\n"), /crashed supplicant ffff000c\/4 keystore#3/);
});

stories("a service that stays dead is down alone; the card is not reset for it", () => {
  const rig = new TeeRig({ faults: { keepsCrashed: "fingerprint" } }).ready();
  rig.advance(120_000);
  assert.is(rig.state, "ready");
  assert.equal(rig.head.status().sessions, [
    { service: "keystore", open: true },
    { service: "fingerprint", open: false },
  ]);
  assert.is(verdictOf(rig.call("fingerprint", read, "once")), "unavailable");
  const fine = rig.call("keystore", read, "once");
  rig.advance(10);
  assert.is(verdictOf(fine), "answered");
  rig.tee.faults = {};
  rig.act((head) => head.recover());
  rig.advance(5_000);
  assert.ok(rig.head.status().sessions.every(({ open }) => open));
});

stories("a device that others hold open is tried again until its time is up", () => {
  const rig = new TeeRig().ready();
  rig.tee.faults = { heldByOthers: true };
  rig.tee.crash();
  rig.advance(13_500);
  assert.is(rig.state, "restore_ree");
  rig.tee.faults = {};
  rig.advance(3_000);
  assert.is(rig.state, "ready");
});

stories("an agent that is killed leaves no session behind for the next one to trip over", () => {
  const rig = new TeeRig().ready();
  rig.call("keystore", slow, "once");
  rig.advance(10);
  rig.start();
  rig.advance(5_000);
  assert.is(rig.state, "ready");
  assert.is(rig.tee.listedSessions, 2);
  assert.is(rig.head.status().epoch, 2);
});

stories("A3-12 neither payloads nor panic texts reach a record, a report or the status", () => {
  const secret = "c0ffee-master-key";
  const bytes = new TextEncoder().encode(secret);
  const poison = [{ service: "keystore", command: 77, kills: "service" as const }];
  const rig = new TeeRig({ faults: { poison, panicText: `PANIC key=${secret}` } }).ready();
  const echoed = rig.call("keystore", count, "once", bytes);
  rig.advance(10);
  const [echo] = echoed.answers;
  assert.equal(echo?.answer.outcome?.output, bytes, "the caller has its output");
  assert.not.ok("detail" in (echo?.answer.outcome ?? {}), "and nothing that was printed");
  const refused = rig.call("keystore", malformed, "once", bytes);
  rig.advance(0.5);
  assert.is(refused.answers.length, 0, "its session is being asked");
  assert.not.ok(JSON.stringify(rig.head.state).includes(secret));
  const dying = rig.call("keystore", 77, "idempotent", bytes);
  const waiting = rig.call("keystore", slow, "keyed", bytes);
  rig.advance(1_000);
  rig.tee.crash();
  rig.advance(60_000);
  assert.is(dying.answers.length + waiting.answers.length, 2);
  const files = ["tee.a", "tee.b", "tee.context"].map((name) => {
    return new TextDecoder("latin1").decode(rig.disk.read(name) ?? new Uint8Array(0));
  });
  assert.ok((files[2] ?? "").length > 50, "a context was saved");
  const everything = JSON.stringify([
    rig.events,
    rig.head.status(),
    rig.head.crashes(),
    rig.head.state,
    rig.notices,
    rig.calls.map(({ answers }) => answers.map(({ answer }) => answer.because)),
  ]);
  for (const text of [everything, ...files]) assert.not.ok(text.includes(secret));
  const numbers = JSON.stringify([...bytes]).slice(1, -1);
  assert.not.ok(everything.includes(numbers), "nor as a list of numbers");
});

stories.run();
