import { suite } from "uvu";
import * as assert from "uvu/assert";
import { steps } from "../../agent/machines/teestate.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";
import { type Made, TeeRig } from "../teerig.ts";

const stories = suite("tee stories");
const { count, malformed, read, slow, spin, store } = simCommand;

/** The one verdict of a call; fails when there is none, or more than one. */
function verdictOf(made: Made): string {
  assert.is(made.answers.length, 1, `call ${made.id} has exactly one verdict`);
  return made.answers[0]?.answer.verdict ?? "none";
}

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

for (const [name, damage] of [
  ["damaged", (bytes: Uint8Array) => bytes.map((byte, at) => (at === 30 ? byte ^ 4 : byte))],
  ["truncated", (bytes: Uint8Array) => bytes.slice(0, bytes.length - 7)],
  ["of another version", (bytes: Uint8Array) => bytes.map((byte, at) => (at === 4 ? 9 : byte))],
  ["gone", () => new Uint8Array(0)],
] as const) {
  stories(`A3-06 a saved context that is ${name} is not restored, and that is reported`, () => {
    const rig = new TeeRig().ready();
    rig.onEvent = (event) => {
      if (event.kind !== "tee:step" || event.step !== "restart") return;
      const saved = rig.disk.read("tee.context");
      assert.ok(saved !== undefined);
      rig.disk.write("tee.context", damage(saved ?? new Uint8Array(0)));
    };
    rig.tee.crash();
    rig.advance(20_000);
    assert.is(rig.state, "ready");
    assert.is(rig.said().filter((line) => line.startsWith("context refused")).length, 1);
    for (const { open } of rig.head.status().sessions) assert.ok(open, "registered anew");
  });
}

stories("A3-06 a context of an earlier crash is not taken for this one's", () => {
  const rig = new TeeRig().ready();
  rig.tee.crash();
  rig.advance(20_000);
  const old = rig.disk.read("tee.context") ?? new Uint8Array(0);
  rig.onEvent = (event) => {
    if (event.kind === "tee:step" && event.step === "restart") rig.disk.write("tee.context", old);
  };
  const from = rig.events.length;
  rig.tee.crash();
  rig.advance(20_000);
  assert.match(rig.said(from).join("\n"), /context refused: it is of epoch 2/);
  assert.is(rig.state, "ready");
});

for (const step of steps.slice(0, 8)) {
  stories(`A3-07 a crash during ${step} leads one rung up, not to two restarts at once`, () => {
    const rig = new TeeRig().ready();
    let armed = true;
    rig.onEvent = (event) => {
      if (!armed || event.kind !== "tee:step" || event.step !== step) return;
      armed = false;
      rig.clock.at(rig.clock.now(), () => {
        rig.tee.crash();
        rig.act((head) => head.crashed(null, { errno: null, ret: 0xffff000e, origin: 2 }));
      });
    };
    rig.tee.inject("panic", "keystore");
    const made = rig.call("keystore", read, "idempotent");
    rig.advance(60_000);
    if (step === "restart" || step === "restore_hardware") {
      // The repair of one session has neither: the crash is one of a whole TEE OS.
      assert.ok(armed);
    } else {
      assert.not.ok(armed, "the crash happened");
      assert.match(rig.said().join("\n"), /rung tee_os/);
    }
    assert.is(rig.state, "ready");
    assert.is(rig.tee.overlaps, 0);
    assert.is(rig.tee.doubleRestores, 0);
    assert.ok(["replayed", "unavailable"].includes(verdictOf(made)));
  });

  stories(
    `A3-07 a TEE OS that dies again during ${step} is reset with its card, or comes back`,
    () => {
      const rig = new TeeRig().ready();
      let armed = true;
      rig.onEvent = (event) => {
        if (!armed || event.kind !== "tee:step" || event.step !== step) return;
        armed = false;
        rig.clock.at(rig.clock.now(), () => {
          rig.tee.crash();
          rig.act((head) => head.crashed(null, { errno: null, ret: 0xffff000e, origin: 2 }));
        });
      };
      rig.tee.crash();
      rig.advance(60_000);
      assert.not.ok(armed, "the crash happened");
      const late = ["restart", "restore_hardware", "restore_ree", "restore_tee"].includes(step);
      assert.is(rig.state, late ? "escalate" : "ready");
      assert.is(rig.withheld.length, late ? 1 : 0);
      assert.is(rig.tee.overlaps, 0);
      assert.is(rig.tee.doubleRestores, 0);
    },
  );
}

stories(
  "A3-07 two services that die at once are restored together, without a stronger restart",
  () => {
    const services = ["keystore", "face", "seal"];
    const rig = new TeeRig({ services, model: { threads: 8 } }).ready();
    rig.tee.inject("panic", "keystore");
    rig.tee.inject("panic", "face");
    const made = ["keystore", "face"].map((service) => rig.call(service, read, "idempotent"));
    rig.advance(2_000);
    assert.is(rig.state, "ready");
    assert.is(rig.tee.restarts, 0);
    assert.equal(made.map(verdictOf), ["replayed", "replayed"]);
    assert.not.ok(rig.said().some((line) => line.startsWith("rung supplicant")));
  },
);

stories("A3-08 crashes within the window climb the ladder, each rung is reported", () => {
  const rig = new TeeRig({ config: { poisonCount: 100, backoffMs: [0] } }).ready();
  const rungs: string[] = [];
  rig.onEvent = (event) => {
    if (event.kind === "tee:crashed") rungs.push(event.rung);
  };
  for (let crash = 0; crash < 10; crash++) {
    rig.tee.inject("panic", "keystore");
    rig.call("keystore", read, "idempotent");
    rig.advance(20_000);
  }
  assert.equal(rungs, [
    ...["session", "session", "session"],
    ...["supplicant", "supplicant", "supplicant"],
    ...["tee_os", "tee_os", "tee_os"],
    "card_reset",
  ]);
  assert.is(rig.state, "escalate");
  const said = rig.said().filter((line) => line.startsWith("rung"));
  assert.ok(said.some((line) => line === "rung session: skipped: tried 3 times within 600000 ms"));
});

stories("A3-08 N and W are settings, and a window without crashes starts anew", () => {
  const rig = new TeeRig({ config: { attemptsPerRung: 1, windowMs: 30_000, poisonCount: 100 } });
  rig.ready();
  const rungs: string[] = [];
  rig.onEvent = (event) => {
    if (event.kind === "tee:crashed") rungs.push(event.rung);
  };
  for (const waitMs of [5_000, 60_000, 5_000]) {
    rig.tee.inject("panic", "keystore");
    rig.call("keystore", read, "idempotent");
    rig.advance(waitMs);
  }
  assert.equal(rungs, ["session", "supplicant", "session"]);
});

stories("A3-08 the count survives a restart of the agent and a reset of the card", () => {
  const rig = new TeeRig({ config: { poisonCount: 100 } }).ready();
  const crash = (): string => {
    const from = rig.events.length;
    rig.tee.inject("panic", "keystore");
    rig.call("keystore", read, "idempotent");
    rig.advance(20_000);
    return rig.said(from).find((line) => line.startsWith("crashed")) ?? "";
  };
  assert.match(crash(), /crashed session/);
  assert.match(crash(), /crashed session/);
  rig.start();
  rig.advance(2_000);
  assert.match(crash(), /crashed session/);
  rig.tee.powerCycle();
  rig.start("machine-2");
  rig.advance(2_000);
  assert.match(crash(), /crashed supplicant/);
  assert.is(rig.head.status().crashes, 4);
});

stories("A3-08 a lost history is no reason for more restarts than a kept one", () => {
  const rig = new TeeRig({ config: { poisonCount: 100 } }).ready();
  for (const slot of ["a", "b"]) rig.disk.write(`tee.${slot}`, new Uint8Array(40));
  rig.start();
  rig.advance(2_000);
  const rungs: string[] = [];
  rig.onEvent = (event) => {
    if (event.kind === "tee:crashed") rungs.push(event.rung);
  };
  for (let crash = 0; crash < 4; crash++) {
    rig.tee.inject("panic", "keystore");
    rig.call("keystore", read, "idempotent");
    rig.advance(20_000);
  }
  assert.equal(rungs, ["session", "supplicant", "tee_os", "card_reset"]);
});

stories("A3-08 resets have a budget as well; then it takes an operator", () => {
  const rig = new TeeRig({ faults: { restartHangs: true } }).ready();
  for (const machine of ["machine-2", "machine-3"]) {
    rig.tee.crash();
    rig.advance(30_000);
    assert.is(rig.state, "escalate");
    rig.tee.powerCycle();
    rig.start(machine);
    rig.advance(2_000);
    assert.is(rig.state, "ready");
  }
  rig.tee.crash();
  rig.advance(30_000);
  assert.is(rig.state, "degraded");
  assert.match(rig.said().at(-1) ?? "", /reset 2 times already/);
  assert.is(rig.withheld.length, 2);
  rig.advance(600_000);
  assert.is(rig.state, "degraded", "it does not come back by itself");
  rig.tee.powerCycle();
  rig.tee.faults = {};
  rig.act((head) => head.recover());
  rig.advance(20_000);
  assert.is(rig.state, "ready");
  const after = rig.call("keystore", count, "once");
  rig.advance(100);
  assert.is(verdictOf(after), "answered");
});

stories("A3-09 a call that kills its service twice is quarantined, its replay included", () => {
  const poison = [{ service: "keystore", command: 77, kills: "service" as const }];
  const rig = new TeeRig({ faults: { poison } }).ready();
  const made = rig.call("keystore", 77, "idempotent");
  rig.advance(20_000);
  assert.is(verdictOf(made), "quarantined");
  assert.equal(rig.head.status().quarantined, ["keystore#77"]);
  assert.ok(rig.said().includes("quarantined keystore#77"));
  const crashes = rig.head.status().crashes;
  assert.is(crashes, 2);
  const later = rig.call("keystore", 77, "once");
  assert.is(verdictOf(later), "quarantined");
  const innocent = rig.call("keystore", count, "once");
  rig.advance(20_000);
  assert.is(verdictOf(innocent), "answered");
  assert.is(rig.head.status().crashes, crashes);
});

stories("A3-09 a call that is answered when it is sent again is not to blame", () => {
  const rig = new TeeRig().ready();
  for (let crash = 0; crash < 3; crash++) {
    const made = rig.call("keystore", slow, "idempotent");
    rig.advance(100);
    rig.tee.inject("panic", "keystore");
    rig.advance(10_000);
    assert.is(verdictOf(made), "replayed");
  }
  assert.is(rig.head.status().crashes, 3);
  assert.equal(rig.head.status().quarantined, []);
});

stories("A3-09 quarantine survives a restart of the agent; an operator lifts it", () => {
  const poison = [{ service: "keystore", command: 77, kills: "service" as const }];
  const rig = new TeeRig({ faults: { poison } }).ready();
  rig.call("keystore", 77, "idempotent");
  rig.advance(20_000);
  rig.start();
  rig.advance(2_000);
  assert.is(verdictOf(rig.call("keystore", 77, "once")), "quarantined");
  rig.tee.faults = {};
  rig.act((head) => head.recover());
  assert.equal(rig.head.status().quarantined, []);
  const healed = rig.call("keystore", 77, "once");
  rig.advance(10);
  assert.is(verdictOf(healed), "answered");
});

stories("A3-09 a call that kills the whole TEE OS is found among others, and only it", () => {
  const poison = [{ service: "face", command: 66, kills: "tee_os" as const }];
  const services = ["keystore", "face"];
  const rig = new TeeRig({ services, faults: { poison }, model: { threads: 8 } }).ready();
  const innocent = [
    rig.call("keystore", slow, "idempotent"),
    rig.call("keystore", slow, "idempotent"),
  ];
  rig.advance(10);
  const guilty = rig.call("face", 66, "idempotent");
  rig.advance(200_000);
  assert.equal(rig.head.status().quarantined, ["face#66"]);
  assert.ok(["quarantined", "unavailable"].includes(verdictOf(guilty)));
  for (const made of innocent) assert.is(verdictOf(made), "replayed");
  assert.is(rig.state, "ready");
});

stories("A3-10 a platform without a restart of the TEE OS says so, and the rung is skipped", () => {
  const rig = new TeeRig({ model: { powers: ["session"] } }).ready();
  assert.equal(rig.head.status().powers, ["session", "hardware_status"]);
  rig.tee.crash();
  rig.advance(20_000);
  assert.is(rig.state, "escalate");
  assert.ok(
    rig.said().includes("rung tee_os: skipped: this platform has no such power"),
    rig.said().join("\n"),
  );
});

stories(
  "A3-10 without leave to reset the card the TEE is degraded, and says what is needed",
  () => {
    const config = { cardReset: false };
    const rig = new TeeRig({ model: { powers: ["session"] }, config }).ready();
    rig.tee.crash();
    rig.advance(20_000);
    assert.is(rig.state, "degraded");
    assert.equal(rig.withheld, []);
    assert.match(rig.said().at(-1) ?? "", /an operator is needed/);
  },
);

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
  assert.equal(echoed.answers[0]?.answer.outcome?.output, bytes, "the caller has its output");
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
