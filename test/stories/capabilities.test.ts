/** What a card says it can do is what it does: each tag tried, and what happens without it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Link } from "../../agent/console/link.ts";
import { greet } from "../../agent/console/session.ts";
import { Failure } from "../../agent/errors.ts";
import { plainModel } from "../../agent/sim/watchdogmodels.ts";
import { simConfig, World, type WorldOptions } from "../../agent/sim/world.ts";
import type { CommandName } from "../../agent/wire/commands.ts";
import { rejectsCode } from "../assert.ts";
import { hello } from "../consolecard.ts";
import { ScriptedCard } from "../consolerig.ts";
import { LateHost } from "../latehost.ts";
import { ask, confirmed, reportsOf, runningCard } from "../worlds.ts";

const stories = suite("capabilities");

function booted(options: Omit<WorldOptions, "seed"> = {}): World {
  const world = new World({ seed: 1, ...options });
  world.power(true);
  world.until(() => world.agent !== null, 60_000);
  return world;
}

function tagsOf(world: World): readonly string[] {
  return ask(world, "card.hello").tags;
}

/** Whether a command is obeyed, and if not, under which name it is refused. */
function tried(world: World, name: CommandName, request = {}): string {
  try {
    ask(world, name, request);
    return "done";
  } catch (error) {
    if (error instanceof Failure) return error.code;
    if (error instanceof TypeError) return "no handler";
    throw error;
  }
}

stories("B11-01 the greeting comes within 1 s of attaching, on each line", () => {
  for (const at of [0, 1]) {
    const world = runningCard();
    const host = new LateHost(world, at);
    const attachedMs = world.clock.now();
    host.send("card.hello", {});
    assert.ok(world.until(() => host.answers("card.hello").length > 0, 10_000));
    const tookMs = world.clock.now() - attachedMs;
    assert.ok(tookMs < 1000, `${tookMs} ms`);
    const [answer] = host.answers("card.hello");
    assert.equal([answer?.contract, answer?.device], [1, "sim-1"]);
  }
});

stories("B11-01 a command that the card does not know is refused, not met with silence", () => {
  const world = runningCard();
  const host = new LateHost(world);
  const unknown = [
    [68, 99],
    [64, 99],
    [99, 0],
  ];
  for (const [group = 0, command = 0] of unknown) host.raw(group, command);
  world.advance(1000);
  const refused = host.heard.filter(({ body }) => body.rc === 8);
  assert.is(refused.length, unknown.length);
});

stories("B11-01 tags that this console does not know are ignored", async () => {
  const tags = [...hello.tags, "future.thing", "another.one"];
  const card = new ScriptedCard({ "card.hello": () => ({ ...hello, tags, colour: "blue" }) });
  const greeting = await card.until(greet(card.link()));
  assert.ok(greeting.tags.includes("future.thing"));
});

stories("B11 what the card lacks is refused by the host itself, and nothing is sent", async () => {
  const card = new ScriptedCard({ "card.hello": () => hello });
  const link: Link = card.link();
  await card.until(greet(link));
  const { message } = await card.until(
    rejectsCode(() => link.request("report.state", {}), "card.lacks"),
  );
  assert.match(message, /report\.state/);
  assert.equal(card.names, ["card.hello"]);
});

stories("B11-02 the watchdog's tag is its backend", () => {
  assert.ok(tagsOf(booted()).includes("wdt.simulated"));
  const bare = booted({ model: plainModel, config: simConfig({ watchdog: { policy: "prefer" } }) });
  const backend = ask(bare, "wdt.probe").backend;
  assert.ok(tagsOf(bare).includes(`wdt.${backend}`));
});

stories("B11-02 wdt.disarm: with it the countdown stops, without it the card refuses", () => {
  const can = booted();
  assert.ok(tagsOf(can).includes("wdt.disarm"));
  assert.is(tried(can, "wdt.disarm", { by: "operator" }), "done");
  assert.not(ask(can, "wdt.state").armed);
  const cannot = booted({ config: simConfig({ watchdog: { allow_disarm: false } }) });
  assert.not(tagsOf(cannot).includes("wdt.disarm"));
  assert.is(tried(cannot, "wdt.disarm", { by: "operator" }), "safety.unconfirmed");
  assert.ok(ask(cannot, "wdt.state").armed);
});

stories("B11-02 wdt.reset_cause: with it the hardware tells of its reset", () => {
  const world = booted();
  const hasTag = tagsOf(world).includes("wdt.reset_cause");
  world.hangKernel();
  world.until(() => world.resets.length > 0, 300_000);
  confirmed(world);
  const [died] = reportsOf(world, "boot:died");
  const [evidence] = reportsOf(world, "boot:evidence");
  assert.is(died?.cause === "watchdog", hasTag, String(evidence?.evidence));
});

stories("B11-02 rig: with it faults can be asked for, without it there is no such command", () => {
  const lab = booted();
  assert.ok(tagsOf(lab).includes("rig"));
  assert.is(tried(lab, "rig.faults"), "done");
  const plain = booted({ config: simConfig({ lab: false }) });
  assert.not(tagsOf(plain).includes("rig"));
  assert.is(tried(plain, "rig.faults"), "no handler");
});

stories("B11-02 boot.record: with it there is a hand-off record to show", () => {
  const world = booted();
  assert.is(tagsOf(world).includes("boot.record"), ask(world, "boot.record").present);
});

stories("B11-02 report.state, report.crash and reset.notice do what they say", () => {
  const world = booted();
  const tags = tagsOf(world);
  for (const tag of ["report.subscribe", "report.state", "report.crash", "reset.notice"]) {
    assert.ok(tags.includes(tag), tag);
  }
  const host = new LateHost(world);
  host.attach();
  world.advance(1000);
  assert.equal(host.state, world.agent?.state);
  assert.equal(ask(world, "report.crashes"), { crashes: [] });
  assert.is(tried(world, "report.crash", { name: "none" }), "crash.missing");
  assert.is(ask(world, "report.reset").coming, false);
  assert.is(tried(world, "report.reset_hold", { for_ms: 1 }), "reset.none");
});

stories("B11-02 tee tags are the restarts that the ladder takes", () => {
  const world = runningCard();
  const { powers } = ask(world, "tee.state");
  const told = tagsOf(world).filter((tag) => tag.startsWith("tee."));
  assert.equal(
    told,
    powers.map((power) => `tee.${power}`),
  );
  world.tee.inject("core_panic");
  world.advance(120_000);
  const taken = ask(world, "tee.crashes").crashes.map(({ rung }) => rung);
  for (const rung of taken) assert.ok(told.includes(`tee.${rung}`), rung);
  assert.ok(taken.length > 0);
});

stories.run();
