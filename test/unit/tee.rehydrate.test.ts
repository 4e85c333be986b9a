// What makes a service whole again after its session was opened, before anybody can have it.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWhole } from "../../agent/heads/rehydrate.ts";
import type { Tee, TeeOperation, TeeOutcome } from "../../agent/io/tee.ts";
import { teeConfig } from "../../agent/machines/teeconfig.ts";
import { TeeRig, verdictOf } from "../../agent/rig/campaigns/teecard.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";

const whole = suite("rehydrate");
const { count, read } = simCommand;
const recipe = [
  { command: count, input: null },
  { command: count, input: Uint8Array.of(1) },
];
const config = teeConfig([{ name: "keystore", rehydrate: recipe }, { name: "fingerprint" }]);

whole("a recipe is performed after each opening, also after a crash", () => {
  const rig = new TeeRig({ config: { services: config.services } }).ready();
  const first = rig.call("keystore", read, "idempotent");
  rig.advance(10);
  assert.is(first.answers[0]?.answer.outcome?.value, 2);
  rig.tee.inject("panic", "keystore");
  const hurt = rig.call("keystore", read, "idempotent");
  rig.advance(5_000);
  assert.is(verdictOf(hurt), "replayed");
  assert.is(hurt.answers[0]?.answer.outcome?.value, 2, "its RAM was made whole first");
  const other = rig.call("fingerprint", read, "idempotent");
  rig.advance(10);
  assert.is(other.answers[0]?.answer.outcome?.value, 0);
});

whole("a service whose recipe fails is not available, and the others are", () => {
  const poison = [{ service: "keystore", command: 9, kills: "service" as const }];
  const services = [
    { name: "keystore", rehydrate: [{ command: 9, input: null }] },
    { name: "fingerprint" },
  ];
  const options = { config: { services, cardReset: false }, faults: { poison } };
  const rig = new TeeRig(options).ready();
  rig.advance(60_000);
  const open = rig.head.status().sessions.filter((session) => session.open);
  assert.equal(
    open.map(({ service }) => service),
    ["fingerprint"],
  );
  assert.is(rig.tee.listedSessions, 1, "no session is left over");
});

whole("what fails is closed again, and nothing after it is called", () => {
  const asked: TeeOperation["kind"][] = [];
  const good: TeeOutcome = { errno: null, ret: 0, origin: 4, session: { context: 1, id: 2 } };
  const tee: Tee = {
    facts: () => {
      throw new Error("not asked");
    },
    perform: (operation, done) => {
      asked.push(operation.kind);
      const isRefused = operation.kind === "invoke";
      done(isRefused ? { errno: null, ret: 0xffff0007, origin: 4 } : good);
    },
  };
  const heard: [number, string][] = [];
  const opening = { kind: "open", service: "keystore", context: 1 } as const;
  openWhole(tee, opening, recipe, ({ ret }, problem) => heard.push([ret, problem]));
  assert.equal(asked, ["open", "invoke", "close"]);
  assert.equal(heard, [[0xffff0007, "rehydrate keystore#1"]]);
});

whole.run();
