import { suite } from "uvu";
import * as assert from "uvu/assert";
import { steps } from "../../agent/machines/teestate.ts";
import { TeeRig, verdictOf } from "../../agent/rig/campaigns/teecard.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";

const stories = suite("tee ladder");
const { count, read, slow } = simCommand;

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

type Step = (typeof steps)[number];

const isBetween = (step: Step, first: Step, last: Step): boolean =>
  steps.indexOf(first) <= steps.indexOf(step) && steps.indexOf(step) <= steps.indexOf(last);

for (const step of steps.slice(0, 9)) {
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
      const late = isBetween(step, "restart", "verify");
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
  assert.is(rig.state, "unrecoverable");
  assert.match(rig.said().at(-1) ?? "", /unrecoverable: .*reset 2 times already/);
  assert.is(rig.withheld.length, 2);
  rig.advance(600_000);
  assert.is(rig.state, "unrecoverable", "it does not come back by itself");
  // Neither another agent nor another start of the card takes that for a new beginning.
  rig.start("machine-3");
  assert.is(rig.state, "unrecoverable");
  rig.tee.powerCycle();
  rig.tee.faults = {};
  rig.start("machine-4");
  rig.advance(4_000_000);
  assert.is(rig.state, "unrecoverable", "an hour later too");
  assert.match(rig.said().at(-1) ?? "", /unrecoverable: .*an operator is needed/);
  const refused = rig.call("keystore", count, "once");
  assert.is(verdictOf(refused), "unavailable");
  rig.act((head) => head.recover());
  rig.advance(20_000);
  assert.is(rig.state, "ready");
  const after = rig.call("keystore", count, "once");
  rig.advance(100);
  assert.is(verdictOf(after), "answered");
});

stories(
  "A3-08 a recovery that a reset cut short is finished at the next start, before ready",
  () => {
    const rig = new TeeRig({ faults: { restartHangs: true } }).ready();
    rig.call("keystore", slow, "once");
    rig.call("keystore", slow, "idempotent");
    rig.advance(10);
    rig.tee.crash();
    rig.act((head) => head.crashed(null, { errno: null, ret: 0xffff000e, origin: 2 }));
    rig.advance(30_000);
    assert.is(rig.state, "escalate");
    rig.tee.powerCycle();
    rig.tee.faults = {};
    const from = rig.events.length;
    rig.start("machine-2");
    rig.advance(2_000);
    assert.is(rig.state, "ready");
    const said = rig.said(from);
    assert.ok(said.indexOf("verify") < said.indexOf("restored, 0 replayed, 1 unknown"));
    assert.not.match(said.join("\n"), /context refused/);
    const [record] = rig.head.crashes().crashes.slice(-1);
    assert.ok((record?.took_ms ?? 0) > 0, "its record is complete");
    const again = rig.events.length;
    rig.start("machine-2");
    rig.advance(2_000);
    assert.not.match(rig.said(again).join("\n"), /restored/, "once");
  },
);

stories("the watchdog is refreshed no longer when no canary passes, whatever else happens", () => {
  const rig = new TeeRig({ model: { powers: ["session"] } }).ready();
  const { canaryEveryMs, canaryLateMs, suspectMs } = rig.config;
  rig.tee.inject("hang");
  rig.advance(canaryEveryMs + canaryLateMs + suspectMs + 100);
  assert.is(rig.withheld.length, 1, "no milder restart, no canary: no refresh");
  const restartable = new TeeRig({ faults: { restartHangs: true } }).ready();
  restartable.tee.inject("hang");
  restartable.advance(canaryEveryMs + canaryLateMs + suspectMs + rig.config.recoveryMaxMs + 100);
  assert.is(restartable.withheld.length, 1);
});

stories("A3-09 an operator allows one quarantined command again, and the others stay", () => {
  const commands = [77, 78];
  const poison = commands.map((command) => ({ service: "keystore", command }));
  const kills = poison.map((one) => ({ ...one, kills: "service" as const }));
  const config = { attemptsPerRung: 20 };
  const rig = new TeeRig({ faults: { poison: kills }, config }).ready();
  for (const command of commands) {
    rig.call("keystore", command, "idempotent");
    rig.advance(20_000);
  }
  assert.equal(rig.head.status().quarantined, ["keystore#77", "keystore#78"]);
  rig.act((head) => head.unquarantine({ service: "keystore", command: 77 }));
  assert.equal(rig.head.status().quarantined, ["keystore#78"]);
  rig.start();
  rig.advance(2_000);
  assert.equal(rig.head.status().quarantined, ["keystore#78"], "kept");
  rig.tee.faults = {};
  const healed = rig.call("keystore", 77, "once");
  rig.advance(10);
  assert.is(verdictOf(healed), "answered");
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

stories.run();
