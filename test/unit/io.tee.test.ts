import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RealClock } from "../../agent/io/clock.ts";
import { DeviceTee, detectTee, type TeeSetup } from "../../agent/io/devicetee.ts";
import { runProgram } from "../../agent/io/programs.ts";
import type { TeeOperation, TeeOutcome } from "../../agent/io/tee.ts";
import { launchHelper } from "../../agent/io/teeprocess.ts";
import { SupplicantWatch } from "../../agent/io/teesupplicant.ts";
import { temporaryFolder, twinObstacle, unless } from "../children.ts";
import { type FakeTee, makeFakeTee, type Script } from "../faketee.ts";

const teeSuite = suite("io tee");
const onFake = unless(twinObstacle(), teeSuite);

const helperProgram = join(__dirname, "../../../dist/kennel-tee.cjs");
/** Longest that an answer of the fake takes, the start of a helper included, ms. */
const answerMs = 10_000;
const bytes = (first: number): Uint8Array => new Uint8Array(16).fill(first);

/** The real device code on a scripted device. */
class Bench {
  readonly fake: FakeTee;
  readonly tee: DeviceTee;
  readonly news: string[] = [];
  readonly pids: number[] = [];
  readonly proc = temporaryFolder();
  private nextCall = 1;

  constructor(world: Script = {}, change: Partial<TeeSetup> = {}) {
    this.fake = makeFakeTee(world);
    const launch = launchHelper(helperProgram, this.fake.device);
    this.tee = new DeviceTee({
      device: this.fake.device,
      clock: new RealClock(),
      launch: (gone) => {
        Object.assign(process.env, this.fake.env);
        const helper = launch(gone);
        delete process.env.LD_PRELOAD;
        if (helper.pid !== null) this.pids.push(helper.pid);
        return helper;
      },
      runProgram,
      services: new Map([
        ["keystore", { uuid: bytes(0xaa), login: 0, queryCommand: 9 }],
        ["unlock", { uuid: bytes(0xbb), login: 0, queryCommand: null }],
      ]),
      canary: { uuid: bytes(0xcc), command: 0, outputBytes: 64 },
      providers: {},
      supplicant: new SupplicantWatch("tee-supplicant", this.proc),
      isWanted: true,
      ...change,
    });
    this.tee.listen(({ about, because }) => this.news.push(`${about}: ${because}`));
  }

  ask(operation: TeeOperation): Promise<TeeOutcome> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${operation.kind}: no answer`)), answerMs);
      this.tee.perform(operation, (outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      });
    });
  }

  async open(service = "keystore", context = 1) {
    const { session, ...said } = await this.ask({ kind: "open", service, context });
    if (session === undefined) throw new Error(`not open: ${JSON.stringify(said)}`);
    return session;
  }

  invoke(session: { context: number; id: number }, change: Partial<Invoke> = {}) {
    const call = this.nextCall++;
    return this.ask({
      kind: "invoke",
      session,
      command: 1,
      call,
      key: null,
      input: null,
      ...change,
    });
  }

  /** Ends the helpers, as the agent's end would. */
  async end(): Promise<void> {
    this.fake.script({});
    await this.ask({ kind: "reattach" });
    for (const pid of this.pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended already.
      }
    }
  }
}
type Invoke = Extract<TeeOperation, { kind: "invoke" }>;

/** A test with a bench that is put away whatever happens. */
function onBench(
  name: string,
  body: (bench: Bench) => Promise<void>,
  world: Script = {},
  change: Partial<TeeSetup> = {},
): void {
  onFake(name, async () => {
    const bench = new Bench(world, change);
    try {
      await body(bench);
    } finally {
      await bench.end();
    }
  });
}

const inShort = ({ errno, ret, origin }: TeeOutcome): string =>
  errno ?? `${ret.toString(16)}/${origin}`;

teeSuite("a missing TEE device is reported as missing, and what is no device as none", () => {
  const path = join(temporaryFolder(), "tee0");
  const absent = detectTee(path);
  assert.not.ok(absent.present || absent.usable || absent.simulated);
  assert.match(absent.because, /no TEE driver is loaded/);
  writeFileSync(path, "");
  assert.match(detectTee(path).because, /not a character device/);
  assert.not.ok(detectTee(path).present);
  rmSync(path);
  symlinkSync("/dev/null", path);
  const found = detectTee(path);
  assert.ok(found.present && found.usable);
  assert.equal(found.powers, ["session"], "nothing is claimed that cannot be done");
  assert.match(found.because, /no supplicant restart, no driver reload, no firmware restart/);
  assert.match(found.because, /hardware status absent/);
});

onBench("a call goes out with its input and comes back with its output", async (bench) => {
  const session = await bench.open();
  const input = Uint8Array.from([1, 2, 3]);
  const outcome = await bench.invoke(session, { input, key: "boot.1" });
  assert.equal(outcome, { errno: null, ret: 0, origin: 4, value: 1, output: input });
  assert.equal(await bench.ask({ kind: "query", session, key: "boot.1" }), {
    errno: null,
    ret: 0,
    origin: 4,
    value: 2,
    applied: true,
  });
  assert.is(inShort(await bench.ask({ kind: "close", session })), "0/0");
  // The descriptor of the context goes with its last session, once that call's thread has ended.
  const endMs = Date.now() + 5_000;
  while (bench.fake.log().at(-1) !== "close" && Date.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.is(bench.fake.log().at(-1), "close");
  assert.is(inShort(await bench.invoke(session)), "EINVAL");
});

onBench(
  "nothing is started before it is needed, and the canary has its own process",
  async (bench) => {
    assert.is(bench.pids.length, 0);
    await bench.open();
    assert.is(bench.pids.length, 1);
    assert.is(inShort(await bench.ask({ kind: "canary" })), "0/4");
    await bench.ask({ kind: "canary" });
    assert.is(bench.pids.length, 2);
  },
);

onBench("dead, VERSION still answers and the canary does not", async (bench) => {
  bench.fake.script({ dead: 1 });
  assert.is(inShort(await bench.ask({ kind: "version" })), "0/0");
  const first = bench.ask({ kind: "canary" });
  // The helper of a canary without an answer is given up for the next one.
  const second = bench.ask({ kind: "canary" });
  assert.is(inShort(await first), "EOWNERDEAD");
  assert.is(inShort(await bench.ask({ kind: "version" })), "0/0");
  bench.fake.script({});
  assert.is(inShort(await second), "0/4", "one that comes back is asked at last");
});

onBench("each death has its own sign", async (bench) => {
  const keystore = await bench.open();
  const unlock = await bench.open("unlock");
  // A trusted application died.
  bench.fake.script({ only: 0xaa, invokeret: 0xffff3024, invokeorigin: 3 });
  assert.is(inShort(await bench.invoke(keystore)), "ffff3024/3");
  assert.is(inShort(await bench.invoke(unlock)), "0/4");
  // The TEE OS was restarted, silently: with its driver loaded before, nothing passes.
  bench.fake.script({ generation: 1, driver: 0 });
  assert.is(inShort(await bench.invoke(unlock)), "ffff000e/2");
  assert.is(inShort(await bench.ask({ kind: "canary" })), "ffff000e/2");
  // The same with static shared memory: new sessions are served, old ones unknown.
  bench.fake.script({ generation: 1, driver: 1 });
  assert.is(inShort(await bench.invoke(unlock)), "ffff0006/3");
  assert.is(inShort(await bench.ask({ kind: "canary" })), "0/4");
  const alive = await bench.open("unlock", 2);
  const probed = await bench.ask({ kind: "query", session: alive, key: "k" });
  assert.is(inShort(probed), "ENOSYS", "an application that takes any command says nothing by it");
  // Without a command of its own to ask with, the session is asked by one that nobody has.
  const asked = await bench.ask({ kind: "query", session: unlock, key: "k" });
  assert.is(inShort(asked), "ffff0006/3");
  // The driver is gone.
  bench.fake.script({ device: 2 });
  assert.is(inShort(await bench.ask({ kind: "canary" })), "ENOENT");
  bench.fake.script({ invoke: 19 });
  assert.is(inShort(await bench.invoke(keystore)), "ENODEV");
});

onBench(
  "a lack of memory is the supplicant's death when the supplicant is another",
  async (bench) => {
    const supplicant = (pid: number, start: number): void => {
      mkdirSync(join(bench.proc, String(pid)), { recursive: true });
      const before = Array(18).fill("0").join(" ");
      const stat = `${pid} (tee-supplicant) S ${before} ${start} 0`;
      writeFileSync(join(bench.proc, String(pid), "stat"), stat);
    };
    supplicant(100, 5000);
    const session = await bench.open();
    bench.fake.script({ invokeret: 0xffff000c, invokeorigin: 4 });
    assert.is((await bench.invoke(session)).supplicantLost, undefined, "it lives: memory is short");
    const replace = (start: number): void => {
      rmSync(join(bench.proc, "100"), { recursive: true });
      supplicant(100, start);
    };
    replace(6000);
    assert.is((await bench.invoke(session)).supplicantLost, undefined, "it died before the call");
    bench.fake.script({ invokeret: 0xffff000c, invokeorigin: 4, hanginvoke: 1 });
    const inside = [bench.invoke(session), bench.invoke(session)];
    // Both are inside once a third, behind them, has been answered.
    await bench.ask({ kind: "version" });
    replace(7000);
    bench.fake.script({ invokeret: 0xffff000c, invokeorigin: 4 });
    for (const outcome of await Promise.all(inside)) {
      assert.ok(outcome.supplicantLost, "the same id is another process");
    }
  },
);

onBench("a helper that dies costs its calls and sessions, and nothing else", async (bench) => {
  const session = await bench.open();
  bench.fake.script({ hanginvoke: 1 });
  const inside = bench.invoke(session);
  await untilAsked(bench.fake, "0x8010a402", 1);
  process.kill(bench.pids[0] ?? 0, "SIGKILL");
  assert.is(inShort(await inside), "EOWNERDEAD");
  bench.fake.script({});
  assert.is(inShort(await bench.invoke(session)), "EINVAL", "the kernel closed it");
  const again = await bench.open("keystore", 2);
  assert.is(inShort(await bench.invoke(again)), "0/4");
  assert.match(bench.news.join("\n"), /helper for calls, pid \d+: it was ended by SIGKILL/);
  assert.is(bench.tee.lostHelpers, 0);
});

onBench("a closing behind a call that hangs gives the helper up", async (bench) => {
  const session = await bench.open();
  bench.fake.script({ hanginvoke: 1, hangclose: 1 });
  const inside = bench.invoke(session);
  const closed = await bench.ask({ kind: "close", session });
  assert.is(inShort(closed), "0/0", "closed with the process");
  assert.is(inShort(await inside), "EOWNERDEAD");
  assert.match(bench.news.join("\n"), /is given up: a closing has no answer after 2000 ms/);
});

onBench("cancelling is passed on, and is no end of the call", async (bench) => {
  const session = await bench.open();
  bench.fake.script({ hanginvoke: 1 });
  const inside = bench.invoke(session);
  assert.is(inShort(await bench.ask({ kind: "cancel", call: 1 })), "0/0");
  await untilAsked(bench.fake, "0x8008a404", 1);
  bench.fake.script({});
  assert.is(inShort(await inside), "0/4");
});

onBench("what no provider can do is refused as impossible", async (bench) => {
  assert.is(inShort(await bench.ask({ kind: "restart", rung: "tee_os" })), "ENOSYS");
  assert.is(inShort(await bench.ask({ kind: "restart", rung: "supplicant" })), "ENOSYS");
  assert.is(inShort(await bench.ask({ kind: "save_hardware" })), "ENOSYS");
  const session = await bench.open();
  assert.is(inShort(await bench.ask({ kind: "reattach" })), "0/0");
  assert.match(bench.news.join("\n"), /no driver reload is configured/);
  assert.is(inShort(await bench.invoke(session)), "EINVAL", "all that was open is closed");
});

/** Waits until the fake has answered `count` requests of a kind. */
async function untilAsked(fake: FakeTee, request: string, count: number): Promise<void> {
  const endMs = Date.now() + answerMs;
  const seen = (): number => fake.log().filter((line) => line.includes(request)).length;
  while (seen() < count) {
    assert.ok(Date.now() < endMs, `${count} of ${request} not seen`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

teeSuite.run();
