// Seeded lives of programs whose TEE crashes, whose agent is killed, and who come back: no request
// has two verdicts, nothing that must not run twice does, and what was told stays true.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CallClass } from "../../agent/machines/teecalls.ts";
import type { Random } from "../../agent/sim/random.ts";
import { type Injected, simCommand } from "../../agent/sim/teemodel.ts";
import { AppRig, type Guest, verdictOf } from "../apprig.ts";
import { fuzz } from "../fuzz.ts";

const campaign = suite("applications campaign");
const classes: readonly CallClass[] = ["idempotent", "keyed", "once"];
const { count, read, slow, store } = simCommand;
const faults: readonly Injected[] = ["panic", "core_panic", "silent_restart"];
const hits = new Map<string, number>();

interface Asked {
  readonly call: string;
  readonly command: number;
  readonly class: CallClass;
  readonly service: string;
  /** Every request that was made for it: by whom, and its id. */
  readonly requests: [Guest, number][];
}

function ask(rig: AppRig, guest: Guest, asked: Asked, isAgain: boolean): void {
  const { call, command, class: of, service } = asked;
  const more = { call, service, waits: true, within_ms: 100_000, again: isAgain };
  asked.requests.push([guest, rig.call(guest, command, of, more)]);
}

function live(random: Random, seed: number): void {
  const rig = new AppRig({ seed });
  let guest = rig.join();
  const all: Asked[] = [];
  for (let turns = random.range(10, 30); turns > 0; turns--) {
    if (random.chance(0.7)) {
      const command = random.pick([count, read, slow, store]);
      const service = random.pick(["keystore", "fingerprint"]);
      const call = `c${all.length}`;
      const asked = { call, command, class: random.pick(classes), service, requests: [] };
      all.push(asked);
      ask(rig, guest, asked, false);
    }
    rig.advance(random.pick([0, 0.3, 5, 200, 3_000]));
    if (random.chance(0.1)) {
      rig.tee.tee.inject(random.pick(faults), "keystore");
      hits.set("crash", (hits.get("crash") ?? 0) + 1);
    }
    if (!random.chance(0.12)) continue;
    const isKill = random.chance(0.6);
    if (isKill) killAgent(rig);
    else guest.program.leave();
    hits.set(isKill ? "kill" : "leave", (hits.get(isKill ? "kill" : "leave") ?? 0) + 1);
    guest = rig.join();
    const open = all.filter(({ requests }) => !requests.some(([one, id]) => isTold(one, id)));
    for (const asked of open) ask(rig, guest, asked, true);
  }
  rig.advance(400_000);
  inspect(rig, all);
}

/** Its helper ends with its calls, as Linux has it: within that time none is inside any more. */
const helperMs = 20_000;

function killAgent(rig: AppRig): void {
  rig.restart();
  const { server } = rig;
  server.isLeftInside = true;
  rig.tee.clock.at(rig.tee.clock.now() + helperMs, () => {
    server.isLeftInside = false;
  });
}

function isTold(guest: Guest, id: number): boolean {
  return guest.said.some((said) => said.kind === "verdict" && said.id === id);
}

function inspect(rig: AppRig, all: readonly Asked[]): void {
  for (const { call, class: of, requests } of all) {
    const told = requests.filter(([guest, id]) => isTold(guest, id));
    const verdicts = told.map(([guest, id]) => verdictOf(guest, id));
    for (const { verdict } of verdicts) {
      hits.set(`${of} ${verdict}`, (hits.get(`${of} ${verdict}`) ?? 0) + 1);
    }
    // The last request's caller is there to the end: he has his verdict.
    const last = requests.at(-1);
    assert.ok(last !== undefined && isTold(...last), `${call} ${of}: no verdict`);
    if (of === "once") for (const { verdict } of verdicts) assert.is.not(verdict, "replayed");
  }
  for (const [key, times] of rig.tee.tee.world.applied) assert.is(times, 1, `${key}: ${times}`);
  assert.is(rig.head.summary().calls, 0, "nothing is left under way");
  const answered = all.filter(({ class: of, command, requests }) => {
    const good = ([guest, id]: [Guest, number]): boolean =>
      isTold(guest, id) && verdictOf(guest, id).verdict === "answered" && command === store;
    return of === "once" && requests.some(good);
  });
  const stored = ["keystore", "fingerprint"].map((name) => rig.tee.tee.world.vault(name).objects);
  const sum = stored.reduce((total, objects) => total + objects, 0);
  assert.ok(sum >= answered.length, "what was said to be done is done");
}

campaign("400 lives with crashes and killed agents: one verdict each, nothing twice", () => {
  fuzz(400, live);
  if (process.env.SEED !== undefined) return;
  for (const what of ["kill", "crash", "leave", "once outcome_unknown", "keyed replayed"]) {
    assert.ok((hits.get(what) ?? 0) >= 10, `${what}: ${hits.get(what) ?? 0}`);
  }
});

campaign("a command that crashes the TEE twice is quarantined, by name, and others go on", () => {
  const poison = [{ service: "keystore", command: 9, kills: "service" as const }];
  const rig = new AppRig({ faults: { poison } });
  const guest = rig.join();
  for (let times = 0; times < 2; times++) {
    const id = rig.call(guest, 9, "once", { waits: true });
    rig.advance(5_000);
    assert.is(verdictOf(guest, id).verdict, "outcome_unknown");
  }
  const again = rig.call(guest, 9, "once");
  assert.is(verdictOf(guest, again).verdict, "quarantined");
  assert.is(verdictOf(guest, again).sent, false);
  const other = rig.call(guest, count, "once", { waits: true });
  rig.advance(5_000);
  assert.is(verdictOf(guest, other).verdict, "answered");
});

campaign.run();
