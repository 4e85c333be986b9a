/** agent/rig/campaigns/hostile.ts: a hostile peer on the line of a running card. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hostileCard } from "../../agent/rig/campaigns/hostile.ts";
import { targetsOf } from "../../agent/rig/campaigns/hostilebytes.ts";
import type { World } from "../../agent/sim/world.ts";
import { commands } from "../../agent/wire/commands.ts";

const campaign = suite("hostile line");

campaign("six thousand inputs end nothing, delay nothing, and many of them are obeyed", () => {
  for (const seed of [1, 2]) {
    const { answers, obeyed } = hostileCard(seed, 3000);
    assert.ok(answers > 2000, `${answers} answers`);
    assert.ok(obeyed > 1000, `${obeyed} obeyed: the inputs are too bad to reach what they test`);
  }
});

campaign("every command is aimed at, with the members it knows", () => {
  const targets = targetsOf([]);
  assert.is(targets.length, Object.keys(commands).length);
  const read = targets.find(({ group, id }) => group === 68 && id === 3);
  assert.equal(read?.members, ["boot", "since", "max"]);
});

const planted: Readonly<Record<string, [(world: World) => void, RegExp]>> = {
  "an exception in a handler": [
    (world) => {
      const { agent } = world;
      if (agent === null) return;
      agent.boot.history = () => {
        throw new TypeError("planted");
      };
    },
    /made an exception escape/,
  ],
  "an answer that keeps the agent from everything else": [
    (world) => {
      const { agent } = world;
      if (agent === null) return;
      const tasks = agent.watchdog.tasks.bind(agent.watchdog);
      agent.watchdog.tasks = () => {
        world.hangAgent(20_000);
        return tasks();
      };
    },
    /echo gave \[\]/,
  ],
};
for (const [name, [spoil, problem]] of Object.entries(planted)) {
  campaign(`canary: ${name} is found`, () => {
    assert.throws(() => hostileCard(1, 3000, { spoil }), problem);
  });
}

campaign.run();
