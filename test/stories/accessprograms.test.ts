// deadline: 120 s
// Who may command, with both programs as users start them and a serial cable between them.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Link } from "../../agent/console/link.ts";
import { openPort } from "../../agent/console/session.ts";
import { RealClock } from "../../agent/io/clock.ts";
import type { Envelope } from "../../agent/wire/cose.ts";
import { nativeObstacle, temporaryFolder, unless } from "../children.ts";
import {
  authorised as authorisedLine,
  kidOf,
  pairs,
  refusalOf,
  requestOf,
  signedBy,
} from "../commander.ts";
import { type Answer, ask, Cable, Program } from "../programs.ts";

const programs = suite("access programs");
const wired = unless(nativeObstacle(), programs);

interface Bench {
  readonly cable: Cable;
  /** Where the keys are, and the agent's state in `state`. */
  readonly folder: string;
  /** Starts the agent, again after the first time. */
  agent(...options: string[]): Promise<Program>;
  /** Makes a key; returns its file. */
  key(name: string): Promise<string>;
  /** Authorises these: file and roles. */
  authorise(...keys: [string, string][]): void;
}

async function bench(body: (bench: Bench) => Promise<void>): Promise<void> {
  const cable = new Cable();
  const folder = temporaryFolder();
  const state = join(folder, "state");
  const agents: Program[] = [];
  const lines = new Map<string, string>();
  const agent = async (...options: string[]): Promise<Program> => {
    const simulated = ["--watchdog", "simulate", "--tee", "simulate", "--allow-disarm"];
    const where = ["--port", cable.card, "--state", state];
    const started = new Program("kenneld", [...where, ...simulated, ...options], 100_000);
    agents.push(started);
    await started.says("kenneld ready");
    return started;
  };
  const key = async (name: string): Promise<string> => {
    const file = join(folder, name);
    const made = await ask(cable.host, "keygen", file, "--comment", name);
    assert.is(made.code, 0);
    lines.set(file, made.data.line);
    return file;
  };
  const authorise = (...keys: [string, string][]): void => {
    const text = keys.map(([file, roles]) => {
      return lines.get(file)?.replace('"operate"', `"${roles}"`);
    });
    writeFileSync(join(state, "authorized_keys"), text.join("\n"), { mode: 0o600 });
  };
  try {
    await body({ cable, folder, agent, key, authorise });
  } finally {
    for (const { child } of agents) child.kill("SIGKILL");
    await Promise.all(agents.map(({ ended }) => ended));
    cable.close();
  }
}

const told = (reports: Answer, kind: string): Record<string, unknown>[] =>
  (reports.data.reports as { kind: string; data: Record<string, unknown> }[])
    .filter((report) => report.kind === kind)
    .map(({ data }) => data);

wired("from a card without keys to one that is commanded, and what is refused on the way", () =>
  bench(async ({ cable, agent, key, authorise }) => {
    await agent();
    const refused = await ask(cable.host, "wdt", "disarm", "--yes");
    assert.equal([refused.code, refused.error.code], [8, "access.unsigned"]);
    assert.match(refused.error.message, "kennel keygen");
    const boss = await key("boss");
    const unknown = await ask(cable.host, "wdt", "disarm", "--yes", "--key", boss);
    assert.is(unknown.error.code, "access.unknown_key");
    authorise([boss, "operate"]);
    const role = await ask(cable.host, "wdt", "disarm", "--yes", "--key", boss);
    assert.is(role.error.code, "access.role");
    authorise([boss, "operate,danger"]);
    const other = ["--key", boss, "--device", "nic8"];
    const meant = await ask(cable.host, "wdt", "disarm", "--yes", ...other);
    assert.is(meant.error.code, "access.device");
    const done = await ask(cable.host, "wdt", "disarm", "--yes", "--key", boss);
    assert.equal([done.code, done.data.armed], [0, false]);
    const kept = await ask(cable.host, "reports");
    assert.is(kept.data.acknowledged, false, "without a key nothing is consumed");
    const reports = await ask(cable.host, "reports", "--key", boss);
    assert.is(reports.data.acknowledged, true);
    assert.equal(
      told(reports, "access:refused").map(({ why }) => why),
      ["access.unsigned", "access.unknown_key", "access.role"],
    );
    const [command] = told(reports, "access:command");
    assert.is(command?.command, "wdt.disarm");
    assert.match(String(command?.by), /^boss@.* \(SHA256:/);
    const { data } = await ask(cable.host, "access", "status");
    assert.equal([data.policy, data.keys, data.lease.state], ["keys", 1, "free"]);
  }),
);

wired("B14-01 B14-04 two consoles: one commands until the other takes over by force", () =>
  bench(async ({ cable, agent, key, authorise }) => {
    const first = await agent();
    const ops = await key("ops");
    const boss = await key("boss");
    authorise([ops, "operate"], [boss, "operate,danger"]);
    const taken = await ask(cable.host, "access", "take", "--for", "60", "--key", ops);
    assert.equal([taken.code, taken.data.epoch, taken.data.mine], [0, 1, true]);
    const refused = await ask(cable.host, "wdt", "disarm", "--yes", "--key", boss);
    assert.is(refused.error.code, "access.not_owner");
    assert.match(refused.error.message, /epoch 1 is ops@/);
    const held = await ask(cable.host, "wdt", "hold", "--for", "5", "--yes", "--key", ops);
    assert.is(held.code, 0);
    const unsure = await ask(cable.host, "access", "take", "--force", "--key", boss);
    assert.is(unsure.error.code, "safety.unconfirmed");
    const forced = await ask(cable.host, "access", "take", "--force", "--yes", "--key", boss);
    assert.equal([forced.data.epoch, forced.data.mine], [2, true]);
    const lost = await ask(cable.host, "wdt", "hold", "--for", "5", "--yes", "--key", ops);
    assert.is(lost.error.code, "access.not_owner");
    await first.kill("SIGKILL");
    await agent();
    const { data } = await ask(cable.host, "access", "status");
    assert.equal([data.lease.state, data.lease.epoch], ["free", 2], "the force is not repeated");
    const again = await ask(cable.host, "access", "take", "--key", ops);
    assert.equal([again.data.epoch, again.data.mine], [3, true]);
    const released = await ask(cable.host, "access", "release", "--key", ops);
    assert.is(released.data.state, "free");
    const reports = await ask(cable.host, "reports", "--keep");
    const [takeover] = told(reports, "access:taken_over");
    assert.match(`${takeover?.by} from ${takeover?.from}`, /^boss@.* from ops@/);
  }),
);

wired("a follower without a key follows and consumes nothing; open is told and weak", () =>
  bench(async ({ cable, agent, key, authorise }) => {
    const first = await agent();
    authorise([await key("ops"), "operate"]);
    const follow = ["--port", cable.host, "reports", "--follow", "--for", "2"];
    const follower = await new Program("kennel", follow).ended;
    assert.is(follower.code, 0);
    assert.match(follower.stdout, "agent:started");
    assert.match(follower.stderr, "no key to acknowledge with");
    const kept = await ask(cable.host, "reports", "--keep");
    assert.is(told(kept, "agent:started").length, 1);
    await first.kill("SIGTERM");
    await agent("--access", "open");
    const { data } = await ask(cable.host, "protect");
    assert.equal([data.access.policy, data.access.weak], ["open", true]);
    assert.is((await ask(cable.host, "status")).data.access, "open");
    assert.is((await ask(cable.host, "wdt", "disarm", "--yes")).code, 0);
    assert.is(told(await ask(cable.host, "reports"), "access:open").length, 1);
  }),
);

/** What a man in the middle of the line can do: it has the bytes, and no key. */
wired("unsigned, replayed, re-addressed, reordered, expired: refused over a real line", () =>
  bench(async ({ cable, folder, agent }) => {
    await agent("--name", "nic7");
    const line = authorisedLine("boss", "operate,danger");
    writeFileSync(join(folder, "state", "authorized_keys"), line, { mode: 0o600 });
    const port = await openPort(cable.host, 115_200);
    const clock = new RealClock();
    const link = new Link(port, clock, { timeoutMs: 5000, firstSequence: 1 });
    const pair = pairs.boss;
    const kid = kidOf(pair);
    const seat = "bench";
    const envelope = async (): Promise<Envelope> => {
      const { device, boot, nonce, counter, now_ms, lease } = await link.plain(
        "access.session",
        { key: kid, seat },
        5000,
      );
      const epoch = lease.mine ? lease.epoch : 0;
      return { kid, seat, device, boot, nonce, counter, epoch, untilMs: now_ms + 20_000 };
    };
    const send = async (cose: Uint8Array): Promise<string> => {
      const answer = await link.exchange("access.signed", { cose }, 5000);
      return refusalOf(answer);
    };
    const hold = requestOf("wdt.hold", { for_ms: 100 });
    const signed = async (change: Partial<Envelope> = {}): Promise<Uint8Array> =>
      signedBy(pair, { ...(await envelope()), ...change }, hold);
    try {
      const take = requestOf("access.take", { for_ms: 60_000 });
      assert.is(await send(signedBy(pair, await envelope(), take)), "");
      while (!(await link.plain("access.status", {}, 5000)).lease.ends_in_ms);
      const unsigned = await link.exchange("wdt.hold", { for_ms: 100 }, 5000);
      assert.is(refusalOf(unsigned), "unsigned");
      const once = await signed();
      assert.is(await send(once), "");
      assert.is(await send(once), "replayed");
      assert.is(await send(await signed({ device: "nic8" })), "device");
      const { counter } = await envelope();
      assert.is(await send(await signed({ counter: counter + 1 })), "reordered");
      const { now_ms } = await link.plain("access.session", {}, 5000);
      assert.is(await send(await signed({ untilMs: now_ms })), "expired");
      assert.is(await send(await signed({ nonce: new Uint8Array(16) })), "session");
      assert.is(await send(await signed({ boot: "1-00000000" })), "boot");
      assert.is(await send(await signed()), "", "and what is right is obeyed");
    } finally {
      link.close();
    }
    const reports = await ask(cable.host, "reports", "--keep");
    assert.equal(
      told(reports, "access:refused").map(({ why }) => String(why).slice("access.".length)),
      ["unsigned", "replayed", "device", "reordered", "expired", "session", "boot"],
    );
    assert.is(told(reports, "access:command").length, 2);
  }),
);

programs.run();
