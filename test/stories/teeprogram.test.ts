// deadline: 120 s
// kenneld as users start it, on a scripted TEE device.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exitCodes } from "../../agent/errors.ts";
import { twinObstacle, unless } from "../children.ts";
import { type FakeTee, makeFakeTee, type Script } from "../faketee.ts";
import { type Answer, ask, Cable, Program } from "../programs.ts";

const story = suite("a real TEE's programs");
const wired = unless(twinObstacle(), story);

const uuids = {
  keystore: "aaaaaaaa-0000-0000-0000-000000000000",
  unlock: "bbbbbbbb-0000-0000-0000-000000000000",
};
/** Longest that anything here takes, ms. */
const patienceMs = 30_000;

interface Bench {
  readonly cable: Cable;
  readonly fake: FakeTee;
  readonly agent: Program;
  /** The TEE as the console shows it, once it is as `wanted`. */
  tee(wanted: (answer: Answer) => boolean): Promise<Answer>;
  /** Processes that the agent started. */
  helpers(): string[];
}

async function bench(world: Script, body: (bench: Bench) => Promise<void>): Promise<void> {
  const cable = new Cable();
  const folder = mkdtempSync(join(tmpdir(), "kennel-state-"));
  const fake = makeFakeTee(world);
  const config = join(folder, "config.json");
  const applications = Object.entries(uuids).map(([service, uuid]) => ({ service, uuid }));
  const socket = join(folder, "tee.sock");
  const tee = { services: ["keystore", "unlock"], applications, socket };
  writeFileSync(config, JSON.stringify({ tee }));
  const place = ["--port", cable.card, "--state", folder, "--config", config];
  const device = ["--watchdog", "simulate", "--tee", "require", "--tee-device", fake.device];
  Object.assign(process.env, fake.env);
  const agent = new Program("kenneld", [...place, ...device], 60_000);
  delete process.env.LD_PRELOAD;
  try {
    await agent.says("kenneld ready");
    await body({
      cable,
      fake,
      agent,
      helpers: () => {
        const { pid } = agent.child;
        const list = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
        return list.split(" ").filter((one) => one !== "");
      },
      tee: async (wanted) => {
        const endMs = Date.now() + patienceMs;
        for (;;) {
          const answer = await ask(cable.host, "tee", "status");
          if (answer.ok && wanted(answer)) return answer;
          assert.ok(Date.now() < endMs, `not as wanted: ${JSON.stringify(answer)}`);
        }
      },
    });
  } finally {
    fake.script({});
    await agent.kill("SIGKILL");
    cable.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const isReady = ({ data }: Answer): boolean => data.state === "ready";

async function untilGone(pids: readonly string[]): Promise<void> {
  const endMs = Date.now() + patienceMs;
  while (pids.some((pid) => existsSync(`/proc/${pid}`))) {
    assert.ok(Date.now() < endMs, `still there: ${pids}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

wired("the services of a real TEE are opened, and what can be restarted is said", () =>
  bench({}, async ({ tee, helpers, agent }) => {
    const { data } = await tee(isReady);
    assert.is(data.simulated, false);
    assert.equal(data.powers, ["session"]);
    assert.equal(data.sessions, [
      { service: "keystore", open: true },
      { service: "unlock", open: true },
    ]);
    const started = helpers();
    assert.ok(started.length >= 1);
    const { code } = await agent.kill("SIGTERM");
    assert.is(code, exitCodes.ok);
    await untilGone(started);
  }),
);

wired("a TEE in which everything hangs stops neither the agent nor its end", () =>
  bench({ dead: 1 }, async ({ tee, helpers, cable, agent }) => {
    await tee(({ data }) => data.state === "restore_tee");
    const status = await ask(cable.host, "status");
    assert.is(status.code, exitCodes.ok);
    const started = helpers();
    assert.is(started.length, 2);
    const { code } = await agent.kill("SIGTERM");
    assert.is(code, exitCodes.ok);
    await untilGone(started);
  }),
);

wired("the helpers end with an agent that is killed", () =>
  bench({}, async ({ tee, helpers, agent }) => {
    await tee(isReady);
    const started = helpers();
    await agent.kill("SIGKILL");
    await untilGone(started);
  }),
);

wired("a TEE that is required and absent is an error that names the device", async () => {
  const device = ["--tee", "require", "--tee-device", "/nowhere/tee0"];
  const agent = new Program("kenneld", ["--watchdog", "simulate", ...device]);
  const { code, stderr } = await agent.ended;
  assert.is(code, exitCodes.not_found);
  assert.match(stderr, /a TEE is required: no \/nowhere\/tee0: no TEE driver is loaded/);
});

story.run();
