// deadline: 240 s
// The campaign of `npm run rig -- campaign tee`: thousands of seeded lives of a TEE, with crashes
// at every step of the machine, during recovery and two at once; and that it can fail.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { steps } from "../../agent/machines/teestate.ts";
import { campaignProgram } from "../../agent/rig/campaigns/campaign.ts";
import { TeeCampaign } from "../../agent/rig/campaigns/tee.ts";
import { type TeeBug, teeBugs } from "../../agent/rig/campaigns/teecard.ts";
import {
  crashingLife,
  type Hits,
  injected,
  killedLife,
  live,
  slowLife,
} from "../../agent/rig/campaigns/teelives.ts";
import { tornLife } from "../../agent/rig/campaigns/teetorn.ts";
import { fuzz } from "../fuzz.ts";

const campaign = suite("tee campaign");
const dist = join(__dirname, "../../../dist");
const hits: Hits = new Map();
const count = (name: string): number => hits.get(name) ?? 0;

campaign("1500 lives with crashes everywhere: one true verdict each, and never a deadlock", () => {
  fuzz(1500, (random, seed) => crashingLife(random, seed, hits, null));
});

campaign("400 lives of a card whose agent is killed and which is reset settle", () => {
  fuzz(400, (random, seed) => killedLife(random, seed, hits, null));
});

campaign("100 lives of a TEE that is slow and alive: nothing is restarted", () => {
  fuzz(100, (random, seed) => slowLife(random, seed, hits, null));
});

campaign("a journal torn or changed at every byte is the other slot's, or feared", () => {
  fuzz(5, (random, seed) => tornLife(random, seed, hits, null));
});

campaign("the campaign has struck every step, and seen every verdict and every end", () => {
  if (process.env.SEED !== undefined) return;
  for (const step of ["ready", "suspect", ...steps]) {
    const strikes = injected.reduce((sum, fault) => sum + count(`${fault} in ${step}`), 0);
    assert.ok(strikes >= 10, `${strikes} strikes in ${step}`);
  }
  for (const fault of injected) {
    const strikes = [...hits].filter(([name]) => name.startsWith(`${fault} in`));
    assert.ok(strikes.length > 0, fault);
  }
  for (const verdict of ["answered", "unavailable", "outcome_unknown", "quarantined"]) {
    assert.ok(count(`once ${verdict}`) >= 8, `once ${verdict}`);
  }
  assert.ok(count("idempotent replayed") >= 20);
  assert.ok(count("keyed replayed") >= 20);
  assert.ok(count("two at once") >= 200);
  for (const state of ["ready", "degraded", "escalate"]) {
    assert.ok(count(`ended ${state}`) >= 20, `ended ${state}`);
  }
  assert.ok(count("killed life ended unrecoverable") >= 3);
});

campaign("a seed gives the same life every time", () => {
  const tell = (): string => {
    const lines: string[] = [];
    fuzz(3, (random, seed) => lines.push(JSON.stringify(live(random, seed, hits).events)));
    return lines.join("\n");
  };
  assert.is(tell(), tell());
});

/** The promise that each planted defect breaks. */
const broken: Record<TeeBug, RegExp> = {
  replays_once: /a duplicated effect/,
  stale_sessions: /a call served by a stale session/,
  silent_loss: /a silent loss/,
  impatient: /a false restart of a slow TEE/,
  no_clock: /a deadlock|a silent loss/,
};

async function run(...argv: string[]): Promise<{ status: number; said: string[] }> {
  const said: string[] = [];
  const tee = new TeeCampaign(dist);
  const status = await campaignProgram(["tee", ...argv], { tee }, (line) => said.push(line));
  return { status, said };
}

for (const bug of teeBugs) {
  campaign(`with the planted bug ${bug} it fails, and says how to see that again`, async () => {
    const { status, said } = await run("--seed", "1", "--runs", "60", "--bug", bug);
    assert.is(status, 1);
    assert.match(said.at(-1) ?? "", /^\d+ passed, [1-9]\d* failed$/);
    const at = said.findIndex((line) => broken[bug].test(line));
    assert.ok(at >= 0, said.join("\n"));
    const [, seed = ""] = /^FAIL {2}seed (\d+)/.exec(said[at] ?? "") ?? [];
    const line = `      npm run rig -- campaign tee --seed ${seed} --runs 1 --bug ${bug}`;
    assert.is(said[at + 1], line);
    const again = await run("--seed", seed, "--runs", "1", "--bug", bug);
    assert.is(again.said[0], said[at], "the same failure");
    assert.is((await run("--seed", seed, "--runs", "1")).status, 0, "and none without it");
  });
}

campaign("a life on the twin's process, killed with -9, passes as well", async () => {
  const { status, said } = await run("--seed", "100", "--runs", "1");
  assert.is(said.at(-1), "1 passed, 0 failed", said.join("\n"));
  assert.is(status, 0);
  assert.match(said.join("\n"), /kill -9 of the TEE OS [1-9]/);
});

campaign("what is no campaign, no bug and no number is said", async () => {
  const tee = new TeeCampaign(dist);
  const { write } = process.stderr;
  process.stderr.write = () => true;
  try {
    for (const argv of [["tea"], ["tee", "--bug", "x"], ["tee", "--runs", "-1"], ["tee", "--x"]]) {
      assert.is(await campaignProgram(argv, { tee }), 2, argv.join(" "));
    }
  } finally {
    process.stderr.write = write;
  }
});

campaign.run();
