/**
 * Lives of a TEE from seeds: what goes wrong in them, and what has to hold at their end whatever
 * did. Virtual time; teeprocesses.ts has those in which real processes are killed.
 */
import type { CallClass } from "../../machines/teecalls.ts";
import { steps } from "../../machines/teestate.ts";
import type { Random } from "../../sim/random.ts";
import { type Injected, simCommand, type TeeFaults } from "../../sim/teemodel.ts";
import { Violation } from "./campaign.ts";
import { type Made, type RigOptions, type TeeBug, TeeRig } from "./teecard.ts";

/** What happened over all lives, and how often. */
export type Hits = Map<string, number>;

export const injected: readonly Injected[] = [
  "panic",
  "core_panic",
  "hang",
  "silent_restart",
  "supplicant_death",
  "helper_death",
  "unbind",
  "unload",
];
/** By their weight: what no restart can mend would otherwise end every other life. */
const dice: readonly Injected[] = [
  ...["panic", "panic", "panic", "core_panic", "core_panic", "core_panic", "hang", "hang"],
  ...["silent_restart", "silent_restart", "supplicant_death", "supplicant_death"],
  ...["helper_death", "helper_death", "unload", "unbind"],
] as readonly Injected[];
const commands = [
  ...[simCommand.count, simCommand.read, simCommand.store, simCommand.slow],
  ...[simCommand.count, simCommand.read, simCommand.store, simCommand.malformed],
];
const classes: readonly CallClass[] = ["idempotent", "keyed", "once"];
const kills = ["service", "tee_os"] as const;
const poisonCommand = 9;
const ends: readonly string[] = ["ready", "degraded", "unrecoverable", "escalate"];
/** After the last fault and call, everything has to have settled. */
const busyMs = 60_000;
const settleMs = 240_000;

/** Throws a Violation of this promise unless it holds. */
export function hold(condition: boolean, promise: string, evidence: string): void {
  if (!condition) throw new Violation(promise, evidence);
}
export const promises = {
  verdict: "a silent loss",
  once: "a duplicated effect",
  stale: "a call served by a stale session",
  slow: "a false restart of a slow TEE",
  deadlock: "a deadlock",
  told: "what is said is not so",
  journal: "a torn journal",
} as const;

function hit(hits: Hits, what: string): void {
  hits.set(what, (hits.get(what) ?? 0) + 1);
}

function optionsOf(random: Random, seed: number, bug: TeeBug | null): RigOptions {
  const services = ["keystore", "face", "seal", "attest"].slice(0, random.range(1, 4));
  const faults: TeeFaults = {
    staticSharedMemory: random.chance(0.3),
    timerArmed: random.chance(0.3),
    ...(random.chance(0.1) ? { restartHangs: true } : {}),
    ...(random.chance(0.2) ? { restartFails: random.range(1, 3) } : {}),
    ...(random.chance(0.2)
      ? { poison: [{ service: "keystore", command: poisonCommand, kills: random.pick(kills) }] }
      : {}),
  };
  const model = {
    threads: random.pick([2, 8]),
    hardwareStatus: random.chance(0.8),
    ...(random.chance(0.15) ? { powers: ["session" as const] } : {}),
  };
  const config = { cardReset: random.chance(0.8) };
  return { seed, services, faults, model, config, ...(bug === null ? {} : { bug }) };
}

/** Lets something go wrong, now and then two things at once. */
function strike(rig: TeeRig, random: Random, hits: Hits): void {
  const times = random.chance(0.3) ? 2 : 1;
  if (times === 2) hit(hits, "two at once");
  for (let index = 0; index < times; index++) {
    const fault = random.pick(dice);
    const { name } = random.pick(rig.config.services);
    hit(hits, `${fault} in ${rig.state}`);
    rig.tee.inject(fault, name);
    // Firmware or a monitor may say so; most often nobody does.
    if (!random.chance(0.3) || (fault !== "panic" && fault !== "core_panic")) continue;
    const service = fault === "panic" ? name : null;
    const ret = fault === "panic" ? 0xffff3024 : 0xffff000e;
    rig.act((head) => head.crashed(service, { errno: null, ret, origin: service ? 3 : 2 }));
  }
}

function plan(rig: TeeRig, random: Random, hits: Hits): void {
  for (let count = random.range(5, 40); count > 0; count--) {
    rig.clock.at(rig.clock.now() + random.int(busyMs), () => {
      const { name } = random.pick(rig.config.services);
      const command = random.chance(0.1) ? poisonCommand : random.pick(commands);
      rig.call(name, command, random.pick(classes));
    });
  }
  for (let count = random.range(0, 3); count > 0; count--) {
    rig.clock.at(rig.clock.now() + random.int(busyMs), () => strike(rig, random, hits));
  }
  // Strikes tied to steps: the next time the machine is in one of them, and calls with them.
  let left = random.range(0, 3);
  const target = random.pick(steps);
  rig.onEvent = (event) => {
    if (event.kind !== "tee:step" || left === 0) return;
    if (event.step !== target && !random.chance(0.15)) return;
    left -= 1;
    // In the midst of a step of the agent's own too: those are over before any time has passed.
    const inMs = random.pick([null, 0, 0.05, 5, 150]);
    if (inMs === null) return strike(rig, random, hits);
    rig.clock.at(rig.clock.now() + inMs, () => strike(rig, random, hits));
  };
}

function checkCall(rig: TeeRig, made: Made, hits: Hits): void {
  const { world } = rig.tee;
  const what = `call ${made.id} ${made.service}#${made.command} ${made.class}`;
  hold(made.answers.length === 1, promises.verdict, `${what} has ${made.answers.length} verdicts`);
  const [{ atMs, answer }] = made.answers as [Made["answers"][number]];
  const tookMs = atMs - made.madeMs;
  hold(tookMs <= rig.config.callMaxMs + 1e-6, promises.verdict, `${what}: after ${tookMs} ms`);
  const { verdict } = answer;
  hit(hits, `${made.class} ${verdict}`);
  const executed = world.executed.get(made.id) ?? 0;
  const isGood = answer.outcome?.errno === null && answer.outcome.ret === 0;
  const said = `${what}: ${verdict}, executed ${executed} times`;
  const isUnsent = verdict === "unavailable" || verdict === "quarantined";
  if (made.class === "once") {
    hold(executed <= 1 && verdict !== "replayed", promises.once, said);
    if (verdict === "answered" && isGood) hold(executed === 1, promises.told, said);
    if (isUnsent) hold(executed === 0, promises.told, said);
  }
  if (made.class === "keyed") {
    const applied = world.applied.get(`start1.${made.id}`) ?? 0;
    hold(applied <= 1, promises.once, `${what}: applied ${applied} times`);
    if (isGood) hold(applied === 1, promises.told, `${what}: its effect is not there`);
    if (verdict === "unavailable") hold(applied === 0, promises.told, said);
  }
  hold(executed <= 1 + rig.config.replaysMax, promises.once, said);
}

function checkCard(rig: TeeRig, hits: Hits): void {
  const { tee } = rig;
  hold(tee.world.staleServed === 0, promises.stale, `${tee.world.staleServed} calls`);
  hold(tee.overlaps === 0, promises.told, "two restarts at once");
  hold(tee.doubleRestores === 0, promises.told, "a status was restored twice");
  hold(ends.includes(rig.state), promises.deadlock, `it ended in ${rig.state}`);
  hit(hits, rig.withheld.length > 0 ? "ended escalate" : `ended ${rig.state}`);
  hold(rig.head.status().in_flight === 0, promises.deadlock, "calls are under way for ever");
  const { recoveryMaxMs } = rig.config;
  for (const { event } of rig.events) {
    if (event.kind !== "tee:restored") continue;
    hold(event.took_ms <= recoveryMaxMs, promises.deadlock, `restored after ${event.took_ms} ms`);
  }
  const escalations = rig.events.filter(({ event }) => event.kind === "tee:escalated").length;
  hold(rig.withheld.length === escalations, promises.told, "a card reset without its report");
  if (rig.state === "ready") checkReady(rig);
}

function checkReady(rig: TeeRig): void {
  const open = rig.head.status().sessions.filter((session) => session.open);
  const names = open.map(({ service }) => service).sort();
  hold(noneLeft(rig, open.length), promises.stale, "a session is left over");
  const told = toldAvailable(rig).sort();
  hold(told.join() === names.join(), promises.told, `open ${names}, told ${told}`);
  // It does not only say so: whatever is open answers. A death that nobody has met so far is met
  // by the first call, which is then replayed.
  for (const { service } of open) {
    const made = rig.call(service, simCommand.read, "idempotent");
    rig.advance(30_000);
    const verdict = made.answers[0]?.answer.verdict ?? "none";
    if (rig.head.status().quarantined.includes(`${service}#${simCommand.read}`)) continue;
    const given = rig.state === "ready" ? ["answered", "replayed"] : ["unavailable"];
    const said = `${service} in ${rig.state}: ${verdict}`;
    hold(given.includes(verdict), promises.told, said);
  }
}

/** A helper that died took its sessions with it, and the head has not met that yet. */
function noneLeft(rig: TeeRig, open: number): boolean {
  return rig.tee.listedSessions <= open;
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

/** A life with crashes everywhere, up to its end. */
export function live(random: Random, seed: number, hits: Hits, bug: TeeBug | null = null): TeeRig {
  const rig = new TeeRig(optionsOf(random, seed, bug)).ready();
  plan(rig, random, hits);
  rig.advance(busyMs);
  rig.onEvent = () => undefined;
  rig.advance(settleMs);
  return rig;
}

/** One true verdict for each call, and never a deadlock. */
export function crashingLife(random: Random, seed: number, hits: Hits, bug: TeeBug | null): void {
  const rig = live(random, seed, hits, bug);
  checkCard(rig, hits);
  for (const made of rig.calls) checkCall(rig, made, hits);
}

/** The agent is killed now and then, and the card reset where it asks for that. */
export function killedLife(random: Random, seed: number, hits: Hits, bug: TeeBug | null): void {
  const rig = new TeeRig(optionsOf(random, seed, bug)).ready();
  let machines = 1;
  plan(rig, random, hits);
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
  for (let times = random.range(1, 5); times > 0; times--) {
    rig.clock.at(rig.clock.now() + random.int(busyMs), () => {
      hit(hits, `agent killed in ${rig.state}`);
      rig.start(`machine-${machines}`);
    });
  }
  rig.advance(busyMs);
  rig.onEvent = () => undefined;
  rig.advance(settleMs);
  hit(hits, `killed life ended ${rig.state}`);
  const resets = machines - 1;
  hold(resets <= rig.config.resetsMax, promises.deadlock, `${resets} resets of the card`);
  hold(ends.includes(rig.state), promises.deadlock, `it ended in ${rig.state}`);
  hold(rig.tee.world.staleServed === 0, promises.stale, `${rig.tee.world.staleServed} calls`);
  for (const [key, count] of rig.tee.world.applied) {
    hold(count === 1, promises.once, `${key} applied ${count} times`);
  }
  for (const { answers, id } of rig.calls) {
    hold(answers.length <= 1, promises.verdict, `call ${id} has ${answers.length} verdicts`);
  }
  if (rig.state !== "ready") return;
  const open = rig.head.status().sessions.filter((session) => session.open);
  hold(noneLeft(rig, open.length), promises.stale, "a session is left over");
}

/** Longest that everything inside is slowed down: a canary then takes three quarters of 6 s. */
const slownessMax = 3_000;
/**
 * Above that a call which takes 2 s by itself has a thread for more than 5 s: with such calls on
 * every thread nothing at all is heard for as long as the threshold, and slow is no longer alive.
 */
const slowCallsMax = 2.5;

/** A TEE that is slow, busy and alive: nobody takes it for dead. */
export function slowLife(random: Random, seed: number, hits: Hits, bug: TeeBug | null): void {
  const services = ["keystore", "face", "seal"].slice(0, random.range(1, 3));
  const model = { threads: random.pick([2, 8]) };
  const rig = new TeeRig({ seed, services, model, ...(bug === null ? {} : { bug }) }).ready();
  const slowness = Math.exp(random.next() * Math.log(slownessMax));
  hit(hits, `slow by 10^${Math.floor(Math.log10(slowness))}`);
  rig.tee.faults = { slowness };
  const { count, read, store, slow } = simCommand;
  const mild = slowness > slowCallsMax ? [count, read, store] : [count, read, store, slow];
  for (let calls = random.range(5, 60); calls > 0; calls--) {
    rig.clock.at(rig.clock.now() + random.int(busyMs), () => {
      rig.call(random.pick(services), random.pick(mild), random.pick(classes));
    });
  }
  rig.advance(busyMs);
  rig.tee.faults = {};
  rig.advance(settleMs);
  const restarts = `slow ${slowness.toFixed(0)} times: ${rig.said().filter(isLoud).join("; ")}`;
  hold(rig.head.status().crashes === 0 && rig.tee.restarts === 0, promises.slow, restarts);
  hold(rig.state === "ready", promises.deadlock, `it ended in ${rig.state}`);
  for (const made of rig.calls) checkCall(rig, made, hits);
}

function isLoud(line: string): boolean {
  return line.startsWith("crashed") || line.startsWith("rung");
}
