// Thousands of seeded lives of a TEE, with crashes at every step of the machine, during recovery
// and two at once. Whatever happens, each call has one verdict, and it is true.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CallClass } from "../../agent/machines/teecalls.ts";
import { steps } from "../../agent/machines/teestate.ts";
import type { Random } from "../../agent/sim/random.ts";
import { type Injected, simCommand, type TeeFaults } from "../../agent/sim/teemodel.ts";
import { fuzz } from "../fuzz.ts";
import { type Made, type RigOptions, TeeRig } from "../teerig.ts";

const campaign = suite("tee campaign");

const injected: readonly Injected[] = [
  "panic",
  "core_panic",
  "hang",
  "silent_restart",
  "supplicant_death",
];
const commands = [
  ...[simCommand.count, simCommand.read, simCommand.store, simCommand.slow],
  ...[simCommand.count, simCommand.read, simCommand.store, simCommand.malformed],
];
const classes: readonly CallClass[] = ["idempotent", "keyed", "once"];
/** After the last fault and call, everything has to have settled. */
const busyMs = 60_000;
const settleMs = 240_000;

/** What happened over all runs: a campaign that hits nothing proves nothing. */
const hits = new Map<string, number>();

function hit(what: string): void {
  hits.set(what, (hits.get(what) ?? 0) + 1);
}

function optionsOf(random: Random, seed: number): RigOptions {
  const services = ["keystore", "face", "seal", "attest"].slice(0, random.range(1, 4));
  const faults: TeeFaults = {
    staticSharedMemory: random.chance(0.3),
    timerArmed: random.chance(0.3),
    ...(random.chance(0.1) ? { restartHangs: true } : {}),
    ...(random.chance(0.2) ? { restartFails: random.range(1, 3) } : {}),
    ...(random.chance(0.1)
      ? { poison: [{ service: "keystore", command: 9, kills: random.pick(kills) }] }
      : {}),
  };
  const model = {
    threads: random.pick([2, 8]),
    hardwareStatus: random.chance(0.8),
    ...(random.chance(0.15) ? { powers: ["session" as const] } : {}),
  };
  return { seed, services, faults, model, config: { cardReset: random.chance(0.8) } };
}
const kills = ["service", "tee_os"] as const;

/** Lets something go wrong, now and then two things at once. */
function strike(rig: TeeRig, random: Random): void {
  const times = random.chance(0.3) ? 2 : 1;
  for (let index = 0; index < times; index++) {
    const fault = random.pick(injected);
    const { name } = random.pick(rig.config.services);
    hit(`${fault} in ${rig.state}`);
    rig.tee.inject(fault, name);
    // Firmware or a monitor may say so; most often nobody does.
    if (!random.chance(0.3)) continue;
    const service = fault === "panic" ? name : null;
    const ret = fault === "panic" ? 0xffff3024 : 0xffff000e;
    rig.act((head) => head.crashed(service, { errno: null, ret, origin: service ? 3 : 2 }));
  }
}

function plan(rig: TeeRig, random: Random): void {
  for (let count = random.range(5, 40); count > 0; count--) {
    rig.clock.at(rig.clock.now() + random.int(busyMs), () => {
      const { name } = random.pick(rig.config.services);
      const command = random.chance(0.1) ? 9 : random.pick(commands);
      rig.call(name, command, random.pick(classes));
    });
  }
  for (let count = random.range(0, 3); count > 0; count--) {
    rig.clock.at(rig.clock.now() + random.int(busyMs), () => strike(rig, random));
  }
  // Strikes tied to steps: the next time the machine is in one of them, and calls with them.
  let left = random.range(0, 3);
  const target = random.pick(steps);
  rig.onEvent = (event) => {
    if (event.kind !== "tee:step" || left === 0) return;
    if (event.step !== target && !random.chance(0.15)) return;
    left -= 1;
    rig.clock.at(rig.clock.now() + random.pick([0, 0.05, 5, 150]), () => strike(rig, random));
  };
}

function check(rig: TeeRig, made: Made): void {
  const { world } = rig.tee;
  const what = `call ${made.id} ${made.service}#${made.command} ${made.class}`;
  assert.is(made.answers.length, 1, `${what}: exactly one verdict`);
  const [{ atMs, answer }] = made.answers as [Made["answers"][number]];
  assert.ok(atMs - made.madeMs <= rig.config.callMaxMs + 1e-6, `${what}: in time`);
  hit(`${made.class} ${answer.verdict}`);
  const executed = world.executed.get(made.id) ?? 0;
  const isGood = answer.outcome?.errno === null && answer.outcome.ret === 0;
  if (made.class === "once") {
    assert.ok(executed <= 1, `${what}: executed ${executed} times`);
    if (answer.verdict === "answered" && isGood) assert.is(executed, 1, what);
    if (answer.verdict === "unavailable") assert.is(executed, 0, `${what}: not sent`);
    if (answer.verdict === "quarantined") assert.is(executed, 0, `${what}: not sent`);
    assert.is.not(answer.verdict, "replayed", what);
  }
  if (made.class === "keyed") {
    const applied = world.applied.get(`start1.${made.id}`) ?? 0;
    assert.ok(applied <= 1, `${what}: applied ${applied} times`);
    if (isGood) assert.is(applied, 1, `${what}: its effect is there`);
    if (answer.verdict === "unavailable") assert.is(applied, 0, `${what}: not sent`);
  }
  assert.ok(executed <= 1 + rig.config.replaysMax, `${what}: executed ${executed} times`);
}

function checkCard(rig: TeeRig): void {
  const { tee } = rig;
  assert.is(tee.world.staleServed, 0, "no call is served in a stale session");
  assert.is(tee.overlaps, 0, "no two restarts at once");
  assert.is(tee.doubleRestores, 0, "no status is restored twice");
  assert.ok(
    ["ready", "degraded", "unrecoverable", "escalate"].includes(rig.state),
    `it ended in ${rig.state}`,
  );
  hit(rig.withheld.length > 0 ? "ended escalate" : `ended ${rig.state}`);
  assert.is(rig.head.status().in_flight, 0);
  const { recoveryMaxMs } = rig.config;
  for (const { event } of rig.events) {
    if (event.kind === "tee:restored") assert.ok(event.took_ms <= recoveryMaxMs);
  }
  const escalations = rig.events.filter(({ event }) => event.kind === "tee:escalated").length;
  assert.is(rig.withheld.length, escalations, "no card reset without its report");
  if (rig.state !== "ready") return;
  const open = rig.head.status().sessions.filter((session) => session.open);
  assert.is(tee.listedSessions, open.length, "no session is left over");
  assert.equal(toldAvailable(rig).sort(), open.map(({ service }) => service).sort());
  // It does not only say so: whatever is open answers. A death that nobody has met so far is met
  // by the first call, which is then replayed.
  for (const { service } of open) {
    const made = rig.call(service, simCommand.read, "idempotent");
    rig.advance(30_000);
    const verdict = made.answers[0]?.answer.verdict ?? "none";
    if (rig.head.status().quarantined.includes(`${service}#${simCommand.read}`)) continue;
    const given = rig.state === "ready" ? ["answered", "replayed"] : ["unavailable"];
    assert.ok(given.includes(verdict), `${service} in ${rig.state}: ${verdict}`);
  }
  assert.ok(rig.notices.length > 0);
}

/** Services whose subscribers believe that they can be had. */
function toldAvailable(rig: TeeRig): string[] {
  const told = new Set<string>();
  for (const { event } of rig.events) {
    if (event.kind === "tee:available") told.add(event.service);
    if (event.kind === "tee:unavailable") told.delete(event.service);
  }
  return [...told];
}

function live(random: Random, seed: number): TeeRig {
  const rig = new TeeRig(optionsOf(random, seed)).ready();
  plan(rig, random);
  rig.advance(busyMs);
  rig.onEvent = () => undefined;
  rig.advance(settleMs);
  return rig;
}

campaign("4000 lives with crashes everywhere: one true verdict each, and never a deadlock", () => {
  fuzz(4000, (random, seed) => {
    const rig = live(random, seed);
    checkCard(rig);
    for (const made of rig.calls) check(rig, made);
  });
});

campaign(
  "1000 lives of a card whose agent is killed and which is reset: bounded, and it settles",
  () => {
    fuzz(1000, (random, seed) => {
      const rig = new TeeRig(optionsOf(random, seed)).ready();
      let machines = 1;
      plan(rig, random);
      const strikes = rig.onEvent;
      rig.onEvent = (event) => {
        strikes(event);
        if (event.kind !== "tee:escalated") return;
        rig.clock.at(rig.clock.now() + random.range(1, 50_000), () => {
          machines += 1;
          rig.tee.powerCycle();
          rig.start(`machine-${machines}`);
        });
      };
      for (let kills = random.range(1, 5); kills > 0; kills--) {
        rig.clock.at(rig.clock.now() + random.int(busyMs), () => {
          hit(`killed in ${rig.state}`);
          rig.start(`machine-${machines}`);
        });
      }
      rig.advance(busyMs);
      rig.onEvent = () => undefined;
      rig.advance(settleMs);
      assert.ok(machines - 1 <= rig.config.resetsMax, `${machines - 1} resets`);
      assert.ok(
        ["ready", "degraded", "unrecoverable", "escalate"].includes(rig.state),
        `it ended in ${rig.state}`,
      );
      assert.is(rig.tee.world.staleServed, 0);
      for (const [key, count] of rig.tee.world.applied)
        assert.is(count, 1, `${key} ${count} times`);
      for (const { answers } of rig.calls) assert.ok(answers.length <= 1);
      if (rig.state !== "ready") return;
      const open = rig.head.status().sessions.filter((session) => session.open);
      assert.is(rig.tee.listedSessions, open.length, "no session is left over");
    });
    assert.ok((hits.get("killed in ready") ?? 0) > 500);
  },
);

campaign("the campaign has struck every step, and seen every verdict and every end", () => {
  if (process.env.SEED !== undefined) return;
  for (const step of ["ready", "suspect", ...steps]) {
    const strikes = injected.reduce((sum, fault) => {
      return sum + (hits.get(`${fault} in ${step}`) ?? 0);
    }, 0);
    // Steps of the agent's own are over at once: nothing can happen in the midst of them.
    const passing = ["save_ree", "suspend", "notify_unavailable", "resume", "notify_available"];
    if (!passing.includes(step)) assert.ok(strikes >= 20, `${strikes} strikes in ${step}`);
  }
  for (const verdict of ["answered", "unavailable", "outcome_unknown", "quarantined"]) {
    assert.ok((hits.get(`once ${verdict}`) ?? 0) >= 20, `once ${verdict}`);
  }
  assert.ok((hits.get("idempotent replayed") ?? 0) >= 20);
  assert.ok((hits.get("keyed replayed") ?? 0) >= 20);
  for (const state of ["ready", "degraded", "escalate"]) {
    assert.ok((hits.get(`ended ${state}`) ?? 0) >= 20, `ended ${state}`);
  }
});

campaign("a seed gives the same life every time", () => {
  const tell = (): string => {
    const lines: string[] = [];
    fuzz(3, (random, seed) => lines.push(JSON.stringify(live(random, seed).events)));
    return lines.join("\n");
  };
  assert.is(tell(), tell());
});

campaign.run();
