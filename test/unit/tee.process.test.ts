// deadline: 120 s
// The twin as a process of its own: kill -9 is a crash of the TEE OS, and several helper processes
// see the same one.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TwinLife } from "../../agent/rig/campaigns/twinlife.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";
import { temporaryFolder } from "../children.ts";

const process_ = suite("tee twin process");
const dist = join(__dirname, "../../../dist");
const { count, read, slow, store } = simCommand;

/** Short enough for a test, long enough for processes that start on a busy machine. */
const config = {
  callLateMs: 500,
  callMaxMs: 15_000,
  canaryEveryMs: 500,
  canaryLateMs: 1_000,
  suspectMs: 2_000,
  backoffMs: [0],
};

async function living(body: (life: TwinLife) => Promise<void>): Promise<void> {
  const services = ["keystore", "unlock"];
  const life = new TwinLife({ dist, folder: temporaryFolder(), services, config, timesBy: 0.1 });
  try {
    await body(await life.ready());
  } finally {
    life.close();
  }
}

process_("kill -9 of the TEE OS with calls inside: one verdict each, and it is restored", () =>
  living(async (life) => {
    assert.is((await life.call("keystore", store, "keyed")).verdict, "answered");
    assert.is((await life.call("keystore", count, "once")).outcome?.value, 1);
    const inside = [
      life.call("keystore", slow, "once"),
      life.call("unlock", slow, "keyed"),
      life.call("unlock", read, "idempotent"),
    ];
    life.twin.kill();
    await life.until("crashed", () => life.head.status().crashes > 0);
    const [once, keyed, idempotent] = (await Promise.all(inside)).map(({ verdict }) => verdict);
    assert.is(once, "outcome_unknown");
    assert.ok(keyed === "replayed" || keyed === "answered", keyed);
    assert.ok(idempotent === "replayed" || idempotent === "answered", idempotent);
    await life.until("ready", () => life.head.state.kind === "ready");
    assert.is(life.twin.restartsMs.length, 1, "one restart");
    assert.is((await life.call("keystore", count, "once")).outcome?.value, 1, "RAM is gone");
    assert.is((await life.call("keystore", store, "once")).outcome?.value, 2, "storage is not");
    const ran = readFileSync(join(life.twin.folder, "witness"), "utf8").split("\n");
    assert.ok(ran.filter((line) => line.startsWith(`keystore ${slow} `)).length <= 1);
  }),
);

process_("a helper that is killed loses its sessions, and the TEE OS nothing", () =>
  living(async (life) => {
    assert.is((await life.call("keystore", count, "once")).outcome?.value, 1);
    const [first] = life.helpers;
    assert.ok(first?.pid);
    process.kill(first.pid, "SIGKILL");
    await life.until("gone", () => first.isGone);
    const again = await life.call("keystore", count, "idempotent");
    assert.is(again.verdict, "replayed");
    assert.is(again.outcome?.value, 2, "the instance lived on");
    assert.is(life.twin.restartsMs.length, 0);
  }),
);

process_("a supplicant that is killed holding a request looks like a lack of memory", () =>
  living(async (life) => {
    const told = (control: Parameters<typeof life.twin.control>[0]): Promise<boolean> => {
      return new Promise((resolve) => life.twin.control(control, resolve));
    };
    // 0.04 ms become 400: time enough to kill it in between.
    assert.ok(await told({ control: "faults", slowness: 10_000 }));
    const call = life.call("keystore", store, "keyed");
    const isGone = await new Promise<boolean>((resolve) => {
      const passOn = life.twin.runner(() => () => undefined);
      setTimeout(() => passOn(["kennel-twin", "supplicant-stop"], ({ ok }) => resolve(ok)), 100);
    });
    assert.ok(isGone);
    assert.ok(await told({ control: "faults" }));
    const { verdict, outcome } = await call;
    assert.is(verdict, "replayed");
    assert.is(outcome?.value, 1, "stored once");
    const rungs = life.events.map(({ event }) => (event.kind === "tee:rung" ? event.rung : ""));
    assert.ok(rungs.includes("supplicant"), "the supplicant was restarted");
    assert.is(life.twin.restartsMs.length, 0, "and not the TEE OS");
  }),
);

process_.run();
