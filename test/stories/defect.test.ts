// What a defect of the agent itself does: told, and never hidden by going on refreshing blindly.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Broken } from "../../agent/errors.ts";
import type { BootHead } from "../../agent/heads/boot.ts";
import type { World } from "../../agent/sim/world.ts";
import { enframe } from "../../agent/wire/frame.ts";
import { encodeMessage } from "../../agent/wire/smp.ts";
import { lastEnded, reportsOf, resetTime, runningCard } from "../worlds.ts";

const defects = suite("defect stories");

/** Makes the answer to `boot history` throw. */
function spoil(world: World, error: Error): void {
  const boot = world.agent?.boot as BootHead & { history: () => never };
  boot.history = () => {
    throw error;
  };
}

function askHistory(world: World): void {
  const header = { version: 1, op: "read", group: 65, seq: 1, command: 1 } as const;
  world.lines[0]?.host.write(enframe(encodeMessage({ ...header, body: {} })));
  world.advance(1000);
}

defects("a defect in answering is reported, and the card stays guarded", () => {
  const world = runningCard();
  spoil(world, new TypeError("no such thing"));
  askHistory(world);
  assert.equal(reportsOf(world, "agent:defect"), [{ what: "no such thing" }]);
  world.advance(3_600_000);
  assert.equal(world.resets, []);
  assert.is(world.agent?.watchdog.state.kind, "armed");
});

defects(
  "a broken belief ends the refresh: the watchdog resets the card and the cause is known",
  () => {
    const world = runningCard();
    const checkedInMs = world.agent?.watchdog.status().last_check_in_ms ?? Number.NaN;
    spoil(world, new Broken("for once"));
    askHistory(world);
    const promiseMs = world.config.runtime.promiseMs;
    const resetMs = resetTime(world);
    assert.ok(resetMs >= checkedInMs + promiseMs && resetMs <= world.clock.now());
    assert.ok(resetMs - checkedInMs <= 2 * promiseMs);
    assert.ok(world.until(() => world.agent?.boot.isConfirmed === true, 200_000));
    assert.equal([lastEnded(world)?.cause, lastEnded(world)?.culprit], ["watchdog", "agent"]);
  },
);

defects.run();
