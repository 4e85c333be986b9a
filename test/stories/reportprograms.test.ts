// deadline: 300 s
// Reports between real programs over a serial cable: kills on either side, a lost store, the past.
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readStore } from "../../agent/console/archive.ts";
import { nativeObstacle, unless } from "../children.ts";
import { ask, bench, Program } from "../programs.ts";

const programs = suite("report programs");
const wired = unless(nativeObstacle(), programs);

interface Identity {
  readonly boot: string;
  readonly seq: number;
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "kennel-store-"));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What the store of the only card has, as `boot:seq`, in its order. */
function stored(folder: string, card: string): string[] {
  return [...readStore(folder, card).entries()].flatMap((entry) =>
    entry.t === "report" ? [`${entry.report.boot}:${entry.report.seq}`] : [],
  );
}

wired("a host killed at any time loses nothing: all that was made is stored, in order", () =>
  bench(({ cable, agent }) =>
    inFolder(async (folder) => {
      await agent("--lab");
      const { data } = await ask(cable.host, "hello");
      const follow = ["--port", cable.host, "reports", "--follow", "--store", folder];
      for (let round = 0; round < 3; round += 1) {
        await ask(cable.host, "rig", "tee_crash");
        const follower = new Program("kennel", follow);
        const enough = follower.says(round === 0 ? "agent:started" : "tee:");
        await Promise.race([enough, follower.ended]);
        // Wherever it is now: between a report, its sync and its acknowledgement.
        await new Promise((resolve) => setTimeout(resolve, round * 7));
        await follower.kill("SIGKILL");
      }
      const last = await ask(cable.host, "reports", "--store", folder);
      assert.is(last.code, 0);
      const keys = stored(folder, data.device);
      const own = keys.map((key) => Number(key.split(":")[1]));
      const { data: status } = await ask(cable.host, "status");
      assert.equal(
        [...new Set(own)],
        Array.from({ length: Math.max(...own) }, (_, at) => at + 1),
        "no gap",
      );
      assert.ok(Math.max(...own) <= status.reports.last_seq);
      assert.ok(own.length > 20);
    }),
  ),
);

wired(
  "the card killed between report and acknowledgement tells it again, and it is kept once",
  () =>
    bench(({ cable, agent }) =>
      inFolder(async (folder) => {
        const first = await agent();
        const kept = await ask(cable.host, "reports", "--keep", "--store", folder);
        await first.kill("SIGKILL");
        await agent();
        const after = await ask(cable.host, "reports", "--store", folder);
        assert.is(after.code, 0);
        const keys = stored(folder, (await ask(cable.host, "hello")).data.device);
        assert.is(new Set(keys).size, keys.length, "none twice");
        for (const { boot, seq } of kept.data.reports as Identity[]) {
          assert.ok(keys.includes(`${boot}:${seq}`));
        }
        const again = await ask(cable.host, "reports", "--keep");
        const known = new Set(keys);
        for (const { boot, seq } of again.data.reports as Identity[]) {
          assert.not(known.has(`${boot}:${seq}`), "what is stored was acknowledged");
        }
      }),
    ),
);

wired("B13-04 a silent card: its last state with its age, and its state at any report", () =>
  bench(({ cable, agent }) =>
    inFolder(async (folder) => {
      const started = await agent("--name", "silent");
      await ask(cable.host, "wdt", "hold", "--for", "600", "--yes");
      await ask(cable.host, "reports", "--store", folder);
      const live = await ask(cable.host, "state");
      await started.kill("SIGKILL");
      const last = await ask("/nowhere", "state", "--store", folder);
      assert.is(last.code, 0);
      assert.ok(last.data.age_ms > 0 && last.data.age_ms < 60_000, `${last.data.age_ms}`);
      assert.equal(last.data.missing, []);
      assert.equal({ ...last.data.state, at_ms: 0 }, { ...live.data.state, at_ms: 0 });
      assert.ok(last.data.state.hold_until_ms > 0);
      const { boot } = last.data.state;
      const then = await ask("/nowhere", "state", "--store", folder, "--at", `${boot}:1`);
      assert.equal([then.data.state.seq, then.data.state.name], [1, "silent"]);
      assert.is(then.data.state.hold_until_ms, undefined);
      const now = await ask("/nowhere", "state", "--store", folder, "--at", last.data.as_of);
      assert.is(now.data.state.seq, last.data.state.seq);
      const before = await ask("/nowhere", "state", "--store", folder, "--at", "1d");
      assert.equal([before.code, before.error.code], [3, "store.missing"]);
    }),
  ),
);

wired("B13-05 a store that was erased is there again from the card alone", () =>
  bench(({ cable, agent }) =>
    inFolder(async (folder) => {
      await agent("--name", "lost");
      await ask(cable.host, "reports", "--store", folder);
      const before = await ask("/nowhere", "inventory", "--store", folder);
      rmSync(folder, { recursive: true });
      const rebuilt = await ask("/nowhere", "inventory", cable.host, "--store", folder);
      assert.is(rebuilt.code, 0);
      const after = await ask("/nowhere", "inventory", "--store", folder);
      const [was, is] = [before.data.cards[0], after.data.cards[0]];
      for (const part of ["device", "name", "version", "boot", "slot", "failures"]) {
        assert.equal(is[part], was[part], part);
      }
      assert.equal([is.tee_epoch, is.tee_crashes], [was.tee_epoch, was.tee_crashes]);
      assert.equal(is.state.stage, was.state.stage);
      const silent = await ask("/nowhere", "inventory", "/nowhere/at/all");
      assert.is(silent.code, 6);
      assert.match(silent.data.cards[0].problem, /no such/);
    }),
  ),
);

wired("one program writes a store at a time, and a killed one leaves no lock", () =>
  bench(({ cable, agent }) =>
    inFolder(async (folder) => {
      await agent();
      const holder = new Program("kennel", [
        ...["--port", cable.host, "reports", "--follow", "--store", folder],
      ]);
      await holder.says("agent:started");
      const other = await ask(cable.host, "reports", "--store", folder);
      assert.ok(["store.busy", "port.busy"].includes(other.error.code), other.error.message);
      await holder.kill("SIGKILL");
      assert.is((await ask(cable.host, "reports", "--store", folder)).code, 0);
    }),
  ),
);

/** A simulated card on pseudo terminals; `body` gets its two lines. */
async function simulated(body: (one: string, other: string) => Promise<void>): Promise<void> {
  const card = new Program("kennel", ["card"], 120_000);
  try {
    await card.says("simulated from seed");
    const [one = "", other = ""] = [...card.stdout.matchAll(/card: (\S+)/g)].map(([, pty]) => pty);
    await body(one, other);
  } finally {
    await card.kill("SIGTERM");
  }
}

wired("B4-02 a download that was broken off goes on, is checked, and only then let go", () =>
  simulated((port) =>
    inFolder(async (folder) => {
      await ask(port, "rig", "tee_crash");
      const file = join(folder, "record.txt");
      const crashes = await untilKept(port);
      assert.match(crashes[0].name, /^tee-/);
      const first = await ask(port, "crash", "get", "--keep", "--out", `${file}.part`);
      assert.is(first.code, 0);
      const whole = readFileSync(`${file}.part`, "utf8");
      truncateSync(`${file}.part`, 700);
      const second = await ask(port, "crash", "get", "--out", file);
      assert.equal([second.code, second.data.resumed], [0, 700]);
      assert.is(readFileSync(file, "utf8"), whole);
      assert.not(existsSync(`${file}.part`));
      assert.match(whole.slice(0, 512), /cause: tee\nstage: runtime\n/);
      assert.equal((await ask(port, "crash", "list")).data.crashes, []);
      const none = await ask(port, "crash", "get", "--out", file);
      assert.is(none.error.code, "crash.missing");
    }),
  ),
);

/** A TEE that does not return counts as crashed once its calls are late: that takes some 10 s. */
async function untilKept(port: string) {
  for (const endMs = Date.now() + 60_000; Date.now() < endMs; ) {
    const { data } = await ask(port, "crash", "list");
    if (data.crashes.length > 0) return data.crashes;
  }
  throw new Error("no crash record was kept");
}

wired("B7-02 two hosts: one asks for a reset, the other holds it and then lets it come", () =>
  simulated(async (one, other) => {
    const follower = new Program("kennel", ["--port", other, "reports", "--follow"], 60_000);
    await follower.says("wdt:armed");
    assert.is((await ask(one, "reset", "--yes")).code, 0);
    await follower.says("wdt:pre_reset");
    await follower.kill("SIGTERM");
    const held = await ask(other, "notice", "hold", "--for", "40", "--by", "other");
    assert.equal([held.data.coming, held.data.cause, held.data.holds], [true, "commanded", 1]);
    assert.ok(held.data.deadline_ms - held.data.now_ms > 30_000);
    const unsure = await ask(other, "notice", "ack");
    assert.is(unsure.error.code, "safety.unconfirmed");
    assert.is((await ask(other, "notice", "ack", "--yes")).code, 0);
    const back = new Program("kennel", ["--port", other, "reports", "--follow"], 60_000);
    await back.says("boot:recovered");
    await back.kill("SIGTERM");
    const { data } = await ask(one, "notice");
    assert.is(data.coming, false);
  }),
);

programs.run();
