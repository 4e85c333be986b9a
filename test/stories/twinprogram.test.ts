// deadline: 120 s
// kenneld as users start it, on the simulated TEE whose TEE OS is a process: killed with -9.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exitCodes } from "../../agent/errors.ts";
import { twinObstacle, unless } from "../children.ts";
import { type Answer, ask, Cable, Program } from "../programs.ts";

const story = suite("the twin's programs");
const wired = unless(twinObstacle(), story);
/** Longest that anything here takes: a hang is noticed after at most 12 s. */
const patienceMs = 50_000;

async function until(
  cable: Cable,
  line: readonly string[],
  wanted: (answer: Answer) => boolean,
): Promise<Answer> {
  const endMs = Date.now() + patienceMs;
  for (;;) {
    const answer = await ask(cable.host, ...line);
    if (answer.ok && wanted(answer)) return answer;
    assert.ok(Date.now() < endMs, `not as wanted: ${JSON.stringify(answer)}`);
  }
}

wired("A3-04 kill -9 of the TEE OS: the services come back, the card is not reset", async () => {
  const cable = new Cable();
  const folder = mkdtempSync(join(tmpdir(), "kennel-twin-"));
  const twin = join(folder, "tee");
  const place = ["--port", cable.card, "--state", join(folder, "state")];
  const tee = ["--tee", "simulate", "--tee-device", `sim:${twin}`];
  const agent = new Program("kenneld", [...place, "--watchdog", "simulate", ...tee], 110_000);
  const pidOf = (): number => Number(readFileSync(join(twin, "pid"), "utf8"));
  try {
    await agent.says("kenneld ready");
    const before = await until(cable, ["tee", "status"], ({ data }) => data.state === "ready");
    assert.is(before.data.simulated, true);
    assert.equal(before.data.powers, ["session", "supplicant", "tee_os", "hardware_status"]);
    const { data: card } = await ask(cable.host, "status");
    const killed = pidOf();
    process.kill(killed, "SIGKILL");
    const { data } = await until(cable, ["tee", "status"], (answer) => {
      return answer.data.state === "ready" && answer.data.crashes === 1;
    });
    assert.ok((data.sessions as { open: boolean }[]).every(({ open }) => open));
    assert.is.not(pidOf(), killed, "another process");
    const sessions = await ask(cable.host, "tee", "sessions");
    for (const { epoch } of sessions.data.sessions as { epoch: number }[]) assert.is(epoch, 2);
    const { data: told } = await ask(cable.host, "tee", "crashes");
    assert.match(JSON.stringify(told), /"rung":"tee_os"/);
    const { data: after } = await ask(cable.host, "status");
    assert.is(after.boot, card.boot, "the same boot");
    const last = pidOf();
    assert.is((await agent.kill("SIGTERM")).code, exitCodes.ok);
    const endMs = Date.now() + patienceMs;
    while (existsSync(`/proc/${last}`)) {
      assert.ok(Date.now() < endMs, "the TEE OS ends with its agent");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  } finally {
    await agent.kill("SIGKILL");
    cable.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

story.run();
