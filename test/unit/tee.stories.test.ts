import { suite } from "uvu";
import * as assert from "uvu/assert";
import { steps } from "../../agent/machines/teestate.ts";
import { TeeRig, verdictOf } from "../../agent/rig/campaigns/teecard.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";

const stories = suite("tee stories");
const { count, read, slow, spin, store } = simCommand;

/** Events of these kinds, in the order in which they were reported. */
function order(rig: TeeRig, from: number): string[] {
  return rig.events.slice(from).flatMap(({ event }) => {
    if (event.kind === "tee:step") return [event.step];
    return event.kind === "tee:crashed" || event.kind === "tee:restored" ? [event.kind] : [];
  });
}

stories("A3-01 the order of a recovery is observable, each step after the one before", () => {
  const rig = new TeeRig().ready();
  const from = rig.events.length;
  rig.tee.crash();
  rig.advance(20_000);
  assert.equal(order(rig, from), ["tee:crashed", ...steps, "tee:restored"]);
  const times = rig.events.slice(from).map(({ atMs }) => atMs);
  assert.equal(
    times,
    [...times].sort((left, right) => left - right),
  );
  const notified = rig.said(from).filter((line) => line.startsWith("unavailable"));
  assert.equal(notified, ["unavailable keystore", "unavailable fingerprint"]);
  assert.equal(rig.notices.slice(-2), [
    "unavailable: keystore,fingerprint",
    "available: keystore,fingerprint",
  ]);
  assert.is(rig.state, "ready");
  assert.is(rig.tee.restarts, 1);
});

stories("A3-01 what the platform cannot save is called absent, and nothing is made up", () => {
  const rig = new TeeRig({ model: { hardwareStatus: false } }).ready();
  const from = rig.events.length;
  rig.tee.crash();
  rig.advance(20_000);
  const said = order(rig, from);
  assert.ok(said.includes("save_hardware (absent)"));
  assert.ok(said.includes("restore_hardware (absent)"));
  assert.not.ok(rig.head.status().powers.includes("hardware_status"));
  assert.is(rig.state, "ready");
});

stories("A3-02 sessions come back, and each call in flight has the verdict of its class", () => {
  const services = ["keystore", "face", "seal"];
  const rig = new TeeRig({ services, model: { threads: 8 } }).ready();
  const made = {
    once: rig.call("keystore", slow, "once"),
    keyed: rig.call("face", slow, "keyed"),
    again: rig.call("face", slow, "idempotent"),
    reading: rig.call("seal", slow, "idempotent"),
  };
  rig.advance(1_500);
  // All four have had their effect, and none its answer.
  assert.is(rig.tee.world.executed.get(made.once.id), 1);
  rig.tee.crash();
  rig.advance(60_000);
  assert.is(rig.state, "ready");
  assert.is(verdictOf(made.once), "outcome_unknown");
  assert.is(verdictOf(made.keyed), "answered", "it was done before, the service says");
  assert.is(verdictOf(made.again), "replayed");
  assert.is(verdictOf(made.reading), "replayed");
  assert.is(rig.tee.world.executed.get(made.once.id), 1, "never sent twice");
  assert.equal([...rig.tee.world.applied.values()], [1], "a keyed effect happened once");
  assert.is(rig.tee.world.executed.get(made.again.id), 2);
  const sessions = rig.head.status().sessions;
  assert.equal(
    sessions,
    services.map((service) => ({ service, open: true })),
  );
  const restored = rig.events.find(({ event }) => event.kind === "tee:restored")?.event;
  assert.is(restored?.kind === "tee:restored" ? restored.unknown : -1, 1);
});

stories("A3-02 a call is sent again at most twice, whatever happens to it", () => {
  const poison = [{ service: "keystore", command: 77, kills: "service" as const }];
  const rig = new TeeRig({ faults: { poison }, config: { poisonCount: 100 } }).ready();
  const made = rig.call("keystore", 77, "idempotent");
  rig.advance(30_000);
  assert.is(verdictOf(made), "unavailable");
  assert.is(made.answers[0]?.answer.outcome, null, "no answer is made of a crash");
  assert.is(rig.head.status().crashes, 3);
  assert.is(rig.state, "ready");
});

stories("A3-01 who was told unavailable is told available, also after a second crash", () => {
  const rig = new TeeRig().ready();
  let armed = true;
  rig.onEvent = (event) => {
    if (!armed || event.kind !== "tee:step" || event.step !== "resume") return;
    armed = false;
    rig.tee.inject("panic", "keystore");
    rig.act((head) => head.crashed("keystore", { errno: null, ret: 0xffff3024, origin: 3 }));
  };
  const from = rig.events.length;
  rig.tee.crash();
  rig.advance(30_000);
  assert.is(rig.state, "ready");
  assert.is(rig.head.status().crashes, 2);
  const said = rig.said(from).filter((line) => / (keystore|fingerprint)$/.test(line));
  assert.equal(said, [
    "unavailable keystore",
    "unavailable fingerprint",
    "available keystore",
    "available fingerprint",
  ]);
});

stories("A3-02 a keyed call that was not done before the crash is done once after it", () => {
  const rig = new TeeRig().ready();
  const keyed = rig.call("keystore", slow, "keyed");
  rig.advance(500);
  assert.is(rig.tee.world.applied.size, 0);
  rig.tee.inject("silent_restart");
  rig.advance(60_000);
  assert.is(verdictOf(keyed), "replayed");
  assert.equal([...rig.tee.world.applied.values()], [1]);
});

stories("A3-02 secure storage survives the crash, counters in RAM do not", () => {
  const rig = new TeeRig().ready();
  for (let index = 0; index < 3; index++) {
    rig.call("keystore", count, "once");
    rig.call("keystore", store, "once");
  }
  rig.advance(100);
  rig.tee.crash();
  rig.advance(20_000);
  const ram = rig.call("keystore", count, "once");
  const object = rig.call("keystore", store, "once");
  rig.advance(100);
  assert.is(ram.answers[0]?.answer.outcome?.value, 1);
  assert.is(object.answers[0]?.answer.outcome?.value, 4);
});

stories("A3-03 a new call during recovery is unavailable at once, in every step", () => {
  const rig = new TeeRig().ready();
  const seen = new Map<string, string>();
  rig.onEvent = (event) => {
    if (event.kind !== "tee:step") return;
    const { step } = event;
    rig.clock.at(rig.clock.now(), () => {
      if (rig.state === "ready") return;
      const made = rig.call("keystore", read, "idempotent");
      if (made.answers.length === 1) seen.set(step, verdictOf(made));
    });
  };
  rig.tee.crash();
  rig.advance(20_000);
  const waiting = ["save_hardware", "restart", "restore_hardware", "restore_ree", "restore_tee"];
  for (const step of waiting) assert.is(seen.get(step), "unavailable", step);
  for (const made of rig.calls) assert.is(made.answers.length, 1);
});

stories("A3-03 more calls than the table holds are unavailable, not queued for ever", () => {
  const rig = new TeeRig({ config: { callsMax: 4 } }).ready();
  const made = Array.from({ length: 6 }, () => rig.call("keystore", slow, "idempotent"));
  assert.equal(
    made.map(({ answers }) => answers.length),
    [0, 0, 0, 0, 1, 1],
  );
  assert.match(made[5]?.answers[0]?.answer.because ?? "", /4 calls/);
  assert.is(rig.head.status().in_flight, 4);
});

stories(
  "A3-03 a call that never returns has its verdict in time, and its service comes back",
  () => {
    const rig = new TeeRig().ready();
    const stuck = rig.call("keystore", spin, "once");
    rig.advance(rig.config.callMaxMs);
    assert.is(verdictOf(stuck), "outcome_unknown");
    assert.is(stuck.answers[0]?.atMs, stuck.madeMs + rig.config.callMaxMs);
    // Closing its session waits for it in vain: only a restart of the TEE OS ends it.
    rig.advance(60_000);
    assert.is(rig.state, "ready");
    assert.is(rig.tee.restarts, 1);
    const after = rig.call("keystore", count, "once");
    rig.advance(10);
    assert.is(verdictOf(after), "answered");
  },
);

stories("A3-04 one service's panic is repaired without a restart, and the others go on", () => {
  const services = ["keystore", "face"];
  const rig = new TeeRig({ services, model: { threads: 8 } }).ready();
  const other = rig.call("face", slow, "once");
  rig.call("keystore", count, "once");
  rig.advance(10);
  rig.tee.inject("panic", "keystore");
  const victim = rig.call("keystore", read, "idempotent");
  rig.advance(10);
  assert.is.not(rig.state, "ready");
  const during = rig.call("face", read, "idempotent");
  rig.advance(240);
  assert.is(rig.state, "ready", "within 250 ms");
  assert.is(rig.tee.restarts, 0);
  rig.advance(2_500);
  assert.is(verdictOf(victim), "replayed");
  assert.is(verdictOf(other), "answered");
  assert.is(verdictOf(during), "answered");
  assert.equal(rig.withheld, []);
  assert.not.ok(rig.said().includes("unavailable face"));
});

stories("A3-04 recovery never asks for a card reset while a milder restart helps", () => {
  const rig = new TeeRig({ faults: { timerArmed: true } }).ready();
  rig.tee.crash();
  rig.advance(30_000);
  assert.is(rig.state, "ready");
  assert.equal(rig.withheld, []);
});

stories("A3-04 a restarted TEE dies of the old hardware status unless it is restored", () => {
  const rig = new TeeRig({ faults: { timerArmed: true }, model: { hardwareStatus: false } });
  rig.ready();
  rig.tee.crash();
  rig.advance(300_000);
  assert.is(rig.withheld.length > 0, true, "no restart can help: the card is reset");
});

stories("A3-05 a restart that hangs ends in a card reset, cause first, within its deadline", () => {
  const rig = new TeeRig({ faults: { restartHangs: true } }).ready();
  const from = rig.events.length;
  const stuck = rig.call("keystore", slow, "once");
  rig.advance(100);
  rig.tee.crash();
  rig.act((head) => head.crashed(null, { errno: null, ret: 0xffff000e, origin: 2 }));
  const crashMs = rig.clock.now();
  rig.advance(rig.config.recoveryMaxMs);
  assert.is(rig.state, "escalate");
  assert.is(rig.withheld.length, 1);
  assert.match(rig.withheld[0] ?? "", /restart did not end in time/);
  const escalated = rig.events.find(({ event }) => event.kind === "tee:escalated");
  const took = (escalated?.atMs ?? Infinity) - crashMs;
  assert.ok(took <= rig.config.restartMaxMs + 2 * rig.config.stepMaxMs, `${took} ms`);
  assert.is(verdictOf(stuck), "outcome_unknown");
  assert.ok(rig.said(from).some((line) => line.startsWith("rung card_reset")));
  const late = rig.call("keystore", read, "idempotent");
  assert.is(verdictOf(late), "unavailable");
});

stories("A3-05 no recovery outlives its overall deadline, whatever hangs", () => {
  const rig = new TeeRig({ config: { restartMaxMs: 1e9, recoveryMaxMs: 40_000 } });
  rig.tee.faults = { restartHangs: true };
  rig.ready();
  rig.tee.crash();
  rig.advance(rig.config.canaryEveryMs + rig.config.canaryLateMs + rig.config.suspectMs);
  rig.advance(40_001);
  assert.is(rig.state, "escalate");
  assert.match(rig.withheld[0] ?? "", /not finished after 40000 ms, in restart/);
});

stories("A3-05 a card reset that does not come leaves a degraded TEE, not a false hope", () => {
  const rig = new TeeRig({ faults: { restartHangs: true } }).ready();
  rig.tee.crash();
  rig.advance(30_000);
  assert.is(rig.state, "escalate");
  rig.advance(rig.config.escalateMaxMs);
  assert.is(rig.state, "degraded");
  assert.match(rig.said().at(-1) ?? "", /the card reset did not come/);
});

stories("A3-05 a restart that fails is tried again, with growing waits and a limit", () => {
  const rig = new TeeRig({ faults: { restartFails: 2 } }).ready();
  rig.tee.crash();
  rig.advance(60_000);
  assert.is(rig.state, "ready");
  const begun = rig.events.filter(
    ({ event }) => event.kind === "tee:step" && event.step === "restart",
  );
  assert.is(begun.length, 3);
  const [first, second, third] = begun.map(({ atMs }) => atMs);
  assert.ok((second ?? 0) - (first ?? 0) >= 1_000);
  assert.ok((third ?? 0) - (second ?? 0) >= 10_000);
  const worn = new TeeRig({ faults: { restartFails: 3 } }).ready();
  worn.tee.crash();
  worn.advance(60_000);
  assert.is(worn.state, "escalate");
});

stories(
  "A3-02 a silent restart is found at the first call, and no old session is used again",
  () => {
    const services = ["keystore", "face", "seal"];
    const rig = new TeeRig({ services, faults: { staticSharedMemory: true } }).ready();
    rig.tee.inject("silent_restart");
    const made = services.map((service) => rig.call(service, count, "idempotent"));
    rig.advance(5_000);
    assert.equal(made.map(verdictOf), ["replayed", "replayed", "replayed"]);
    assert.is(rig.tee.restarts, 1, "it was not restarted once more");
    assert.is(rig.tee.world.staleServed, 0);
    assert.is(rig.tee.listedSessions, 3);
    assert.equal(rig.head.status().quarantined, []);
  },
);

stories("A3-02 an id that two sessions have shows a silent restart before any call is made", () => {
  const services = ["keystore", "face"];
  const rig = new TeeRig({ services, faults: { staticSharedMemory: true } }).ready();
  // Sessions 1 and 2; keystore's dies, and the TEE OS is restarted while it is repaired.
  rig.onEvent = (event) => {
    if (event.kind !== "tee:step" || event.step !== "restore_ree") return;
    rig.onEvent = () => undefined;
    rig.clock.at(rig.clock.now(), () => rig.tee.inject("silent_restart"));
  };
  rig.tee.inject("panic", "face");
  rig.call("face", read, "idempotent");
  rig.advance(5_000);
  const made = services.map((service) => rig.call(service, count, "once"));
  rig.advance(5_000);
  assert.equal(made.map(verdictOf), ["answered", "answered"]);
  assert.match(rig.said().join("\n"), /session id 1 was given twice/);
  assert.is(rig.tee.world.staleServed, 0);
});

for (const step of ["restore_ree", "restore_tee", "verify"] as const) {
  stories(`A3-07 another service that dies during ${step} is reopened too, and no more`, () => {
    const rig = new TeeRig({ model: { powers: ["session"] } }).ready();
    let armed = true;
    rig.onEvent = (event) => {
      if (!armed || event.kind !== "tee:step" || event.step !== step) return;
      armed = false;
      rig.clock.at(rig.clock.now(), () => {
        rig.tee.inject("panic", "fingerprint");
        const dead = { errno: null, ret: 0xffff3024, origin: 3 };
        rig.act((head) => head.crashed("fingerprint", dead));
      });
    };
    rig.tee.inject("panic", "keystore");
    const made = rig.call("keystore", read, "idempotent");
    rig.advance(60_000);
    assert.not.ok(armed, "the crash happened");
    assert.is(rig.state, "ready");
    assert.is(verdictOf(made), "replayed");
    assert.is(rig.withheld.length, 0, "one dead application is no reason to reset the card");
    const rungs = rig.said().filter((line) => line.startsWith("rung"));
    assert.is(rungs.length, 2, rungs.join("; "));
    assert.ok(rungs.every((line) => line.startsWith("rung session: crash ffff3024/3")));
    const restored = rig.said().filter((line) => line.startsWith("restored"));
    assert.is(restored.length, 1, "within the same recovery");
    const after = rig.call("fingerprint", count, "once");
    rig.advance(1_000);
    assert.is(verdictOf(after), "answered");
  });
}

stories.run();
