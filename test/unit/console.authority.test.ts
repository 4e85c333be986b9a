/** console/authority.ts on a simulated card that takes keys: leases, second attempts, refusals. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Authority } from "../../agent/console/authority.ts";
import type { Signer } from "../../agent/console/keys.ts";
import { Link } from "../../agent/console/link.ts";
import { signEd25519 } from "../../agent/io/ed25519.ts";
import type { World } from "../../agent/sim/world.ts";
import { rejectsCode } from "../assert.ts";
import { bothKeys, kidOf, pairs, requestOf, signedBy } from "../commander.ts";
import { turn } from "../consolerig.ts";
import { card, confirmed, reportsOf } from "../worlds.ts";

const authority = suite("console authority");
const timeoutMs = 5000;

function running(access: "keys" | "open" = "keys"): World {
  const world = card({ access: { policy: access }, watchdog: { allow_disarm: true } });
  world.authority.write(bothKeys);
  world.power(true);
  confirmed(world);
  return world;
}

function signer(name: keyof typeof pairs, before: () => Promise<void> = async () => {}): Signer {
  const sign = async (data: Uint8Array): Promise<Uint8Array> => {
    await before();
    return signEd25519(pairs[name], data);
  };
  return { kid: kidOf(pairs[name]), where: name, isSlow: false, sign };
}

/** A console at a line of the card; `tags` as its greeting has them. */
function consoleAt(world: World, at: number, signers: Signer[], device?: string): Link {
  const port = world.lines[at]?.host;
  if (port === undefined) throw new Error("no such line");
  const link = new Link(port, world.clock, { timeoutMs, firstSequence: 0 });
  link.authority = new Authority(link, {
    clock: world.clock,
    tags: world.agent?.access.tags ?? null,
    signers: async () => signers,
    seat: `seat${at}`,
    device,
  });
  return link;
}

/** Moves the card's time on until `work` has settled. */
async function until<T>(world: World, work: Promise<T>): Promise<T> {
  let isSettled = false;
  const settled = (): void => {
    isSettled = true;
  };
  work.then(settled, settled);
  for (let turns = 0; !isSettled; turns++) {
    if (turns > 20_000) throw new Error("waited for nothing");
    world.advance(5);
    await turn();
  }
  return work;
}

const kinds = (world: World): string[] =>
  (world.agent?.ledger.pending ?? [])
    .map(({ kind }) => kind)
    .filter((kind) => kind.startsWith("access:") && kind !== "access:keys");

authority("one command takes the lease, is obeyed, and lets go", async () => {
  const world = running();
  const link = consoleAt(world, 0, [signer("boss")]);
  const state = await until(world, link.request("wdt.disarm", {}));
  assert.is(state.armed, false);
  assert.equal(kinds(world), ["access:granted", "access:command", "access:ended"]);
});

authority("of several keys the one that the card knows is taken", async () => {
  const world = running();
  const link = consoleAt(world, 0, [signer("stranger"), signer("ops")]);
  await until(world, link.request("wdt.hold", { for_ms: 100 }));
  const [command] = reportsOf(world, "access:command");
  assert.match(String(command?.by), /^ops@seat0 /);
  // Obeyed as far as authority goes: what is refused is the task.
  const said = await until(world, link.request("wdt.check_in", { task: "none" })).catch(String);
  assert.match(String(said), /no task named none/);
});

authority("where another used the key in between, the command is signed again, once", async () => {
  const world = running();
  let others = 0;
  const boss = signer("boss", async () => {
    if (others++ !== 0) return;
    const { device, boot, nonce, counter, now_ms } = await link.plain(
      "access.session",
      { key: kidOf(pairs.boss), seat: "other" },
      timeoutMs,
    );
    const envelope = { kid: kidOf(pairs.boss), device, boot, nonce, counter, epoch: 0 };
    const release = requestOf("access.release", {});
    const untilMs = now_ms + 1000;
    const cose = signedBy(pairs.boss, { ...envelope, untilMs, seat: "other" }, release);
    await link.exchange("access.signed", { cose }, timeoutMs);
  });
  const link = consoleAt(world, 0, [boss]);
  const state = await until(world, link.request("wdt.disarm", {}));
  assert.is(state.armed, false);
  const told = reportsOf(world, "access:refused").map(({ why }) => why);
  assert.equal(told, ["access.replayed"]);
});

authority("B14-03 two consoles at once: one is obeyed, the other is told who", async () => {
  const world = running();
  const links = [consoleAt(world, 0, [signer("boss")]), consoleAt(world, 1, [signer("ops")])];
  const work = links.map((link) => link.request("wdt.hold", { for_ms: 100 }));
  const outcomes = await until(world, Promise.allSettled(work));
  assert.equal(
    outcomes.map(({ status }) => status),
    ["rejected", "fulfilled"],
    "ops stands first in the file",
  );
  const [lost] = outcomes;
  const reason = lost?.status === "rejected" ? lost.reason : null;
  assert.is(reason?.code, "access.not_owner");
  assert.match(reason.message, /ops@seat1/);
});

authority("another card than the one that is meant gets no signature", async () => {
  const world = running();
  let signed = 0;
  const boss = signer("boss", async () => void signed++);
  const link = consoleAt(world, 0, [boss], "nic8");
  const work = link.request("wdt.disarm", {});
  const failure = await rejectsCode(() => until(world, work), "access.device");
  assert.match(failure.message, "sim-1");
  assert.is(signed, 0);
});

authority("without a key the card refuses by name, and nothing can be acknowledged", async () => {
  const world = running();
  const link = consoleAt(world, 0, []);
  const refused = await rejectsCode(
    () => until(world, link.request("wdt.disarm", {})),
    "access.unsigned",
  );
  assert.is(refused.exit, 8);
  assert.ok(await until(world, link.authority?.cannotChange(timeoutMs) ?? Promise.resolve(false)));
});

authority("an open card is asked as ever, and nothing is signed", async () => {
  const world = running("open");
  const link = consoleAt(world, 0, []);
  assert.is((await until(world, link.request("wdt.disarm", {}))).armed, false);
  assert.equal(kinds(world), ["access:open"]);
});

authority.run();
