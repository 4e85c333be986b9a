// deadline: 120 s
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AgentEvent } from "../../agent/events.ts";
import { type TeeAnswer, TeeHead } from "../../agent/heads/tee.ts";
import { RealClock } from "../../agent/io/clock.ts";
import { DeviceTee } from "../../agent/io/devicetee.ts";
import { runProgram } from "../../agent/io/programs.ts";
import { launchHelper } from "../../agent/io/teeprocess.ts";
import type { TeeProviders } from "../../agent/io/teeproviders.ts";
import { SupplicantWatch } from "../../agent/io/teesupplicant.ts";
import type { CallClass } from "../../agent/machines/teecalls.ts";
import { type TeeConfig, teeConfig } from "../../agent/machines/teeconfig.ts";
import { emptyHistory, type ReeContext } from "../../agent/machines/teerecord.ts";
import { temporaryFolder, twinObstacle, unless } from "../children.ts";
import { type FakeTee, makeFakeTee, type Script } from "../faketee.ts";

const deviceSuite = suite("tee head on a device");
const onFake = unless(twinObstacle(), deviceSuite);

const helperProgram = join(__dirname, "../../../dist/kennel-tee.cjs");
/** Longest that anything here takes, ms. */
const patienceMs = 20_000;
const bytes = (first: number): Uint8Array => new Uint8Array(16).fill(first);

/** Short enough for a test, long enough for the start of a helper on a busy machine. */
const impatient: Partial<TeeConfig> = {
  callLateMs: 200,
  callMaxMs: 8_000,
  canaryEveryMs: 500,
  canaryLateMs: 1_000,
  suspectMs: 2_000,
  backoffMs: [0],
};

/** The third head on the real device code on a scripted device, in real time. */
class Bench {
  readonly fake: FakeTee = makeFakeTee();
  readonly clock = new RealClock();
  readonly events: AgentEvent[] = [];
  readonly withheld: string[] = [];
  readonly proc = temporaryFolder();
  readonly tee: DeviceTee;
  readonly head: TeeHead;
  /** Told of each event as it happens. */
  onEvent: (event: AgentEvent) => void = () => undefined;
  /** It was suspect: seen here, as a canary that answers ends that at once. */
  looked = false;
  private isOver = false;
  private context: ReeContext | null = null;
  readonly pids: number[] = [];
  private readonly ticking: NodeJS.Timeout;

  constructor(providers: (fake: FakeTee) => TeeProviders = () => ({})) {
    const launch = launchHelper(helperProgram, this.fake.device);
    this.tee = new DeviceTee({
      device: this.fake.device,
      clock: this.clock,
      launch: (gone) => {
        // A canary that dies with its helper is sent again: to one that ends at once.
        if (this.isOver) return launchHelper("/nowhere.cjs", "")(gone);
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
      providers: providers(this.fake),
      supplicant: new SupplicantWatch("tee-supplicant", this.proc),
      isWanted: true,
    });
    const services = [{ name: "keystore" }, { name: "unlock" }];
    this.head = new TeeHead(
      {
        clock: this.clock,
        tee: this.tee,
        post: (act) => act(),
        emit: (event) => {
          this.events.push(event);
          this.onEvent(event);
        },
        keep: () => undefined,
        saveContext: (context) => {
          this.context = context;
        },
        loadContext: () => this.context,
        notify: () => undefined,
        withhold: (because) => this.withheld.push(because),
        keyPrefix: "boot",
      },
      teeConfig(services, impatient),
      emptyHistory,
    );
    this.ticking = setInterval(() => {
      this.head.tick(this.clock.now());
      this.looked ||= this.head.state.kind === "suspect";
    }, 5);
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    const endMs = this.clock.now() + patienceMs;
    while (!holds()) {
      const said = this.events.slice(-20).map((event) => JSON.stringify(event));
      const found = `${this.head.state.kind}:\n${said.join("\n")}`;
      if (this.clock.now() > endMs) throw new Error(`not ${what}, but ${found}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async ready(): Promise<void> {
    this.head.start();
    await this.until("ready", () => this.head.state.kind === "ready");
  }

  call(service: string, callClass: CallClass = "idempotent"): Promise<TeeAnswer> {
    return new Promise((resolve) => this.head.call(service, 1, callClass, resolve));
  }

  /** The crashes so far: rung and code. */
  get crashes(): string[] {
    return this.events.flatMap((event) => {
      return event.kind === "tee:crashed" ? [`${event.rung} ${event.code}`] : [];
    });
  }

  async restored(): Promise<void> {
    await this.until("restored", () => this.events.some(({ kind }) => kind === "tee:restored"));
    await this.until("ready", () => this.head.state.kind === "ready");
  }

  end(): void {
    this.isOver = true;
    clearInterval(this.ticking);
    this.fake.script({});
    for (const pid of this.pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended already.
      }
    }
  }
}

function onBench(
  name: string,
  body: (bench: Bench) => Promise<void>,
  providers?: (fake: FakeTee) => TeeProviders,
): void {
  onFake(name, async () => {
    const bench = new Bench(providers);
    try {
      await bench.ready();
      await body(bench);
    } finally {
      bench.end();
    }
  });
}

/** A provider that brings the fake into another state. */
const brings = (fake: FakeTee, world: Script): readonly string[] => {
  const words = Object.entries(world).map(([name, number]) => `${name}=${number}`);
  return ["/bin/sh", "-c", `printf '%s' '${words.join(" ")}' > '${fake.env.TEE_SCRIPT}'`];
};
const nothing = ["/bin/true"];

/** A call that ends with OUT_OF_MEMORY while nobody died. */
async function shortOfMemory(bench: Bench): Promise<TeeAnswer> {
  bench.fake.script({ only: 0xaa, invokeret: 0xffff000c, invokeorigin: 4 });
  return bench.call("keystore");
}

/** Firmware restarts the TEE OS into life 1, and the driver is reloaded for it. */
const everything = (fake: FakeTee): TeeProviders => ({
  firmware: { command: brings(fake, { generation: 1 }) },
  driver: { unload: nothing, load: brings(fake, { generation: 1, driver: 1 }) },
});

onBench("a dead application is reopened, and nothing else is touched", async (bench) => {
  bench.fake.script({ only: 0xaa, invokeret: 0xffff3024, invokeorigin: 3 });
  bench.onEvent = ({ kind }) => {
    if (kind === "tee:crashed") bench.fake.script({});
  };
  const [keystore, unlock] = await Promise.all([bench.call("keystore"), bench.call("unlock")]);
  assert.is(keystore.verdict, "replayed");
  assert.is(unlock.verdict, "answered");
  await bench.restored();
  assert.equal(bench.crashes, ["session ffff3024/3"]);
});

onBench("a TEE OS that was restarted silently costs new sessions, no restart", async (bench) => {
  bench.fake.script({ generation: 1, driver: 1 });
  const answer = await bench.call("unlock");
  assert.is(answer.verdict, "replayed");
  await bench.restored();
  assert.equal(bench.crashes, ["session ffff0006/3"]);
});

onBench(
  "a dead TEE OS is restarted by firmware, and the driver reloaded for it",
  async (bench) => {
    bench.fake.script({ generation: 1, driver: 0 });
    const answer = await bench.call("keystore", "keyed");
    assert.ok(["replayed", "unavailable", "outcome_unknown", "answered"].includes(answer.verdict));
    await bench.restored();
    assert.equal(bench.crashes, ["tee_os ffff000e/2"]);
    assert.is((await bench.call("keystore")).verdict, "answered");
    const said = bench.events.flatMap((event) => {
      return event.kind === "tee:provider" ? [event.because] : [];
    });
    assert.equal(said, [
      "firmware restarts the TEE OS",
      "reloading the driver, which does not restart the TEE",
    ]);
    const steps = bench.events.flatMap((event) => (event.kind === "tee:step" ? [event.step] : []));
    assert.ok(steps.includes("save_hardware (absent)"), "what nobody offers is said to be absent");
  },
  everything,
);

onBench(
  "a hang is found by the canary alone, and the calls inside have their verdicts",
  async (bench) => {
    bench.fake.script({ dead: 1 });
    const once = await bench.call("unlock", "once");
    assert.is(once.verdict, "outcome_unknown");
    await bench.restored();
    assert.equal(bench.crashes, ["tee_os hang"]);
    assert.is((await bench.call("unlock")).verdict, "answered");
  },
  everything,
);

onBench(
  "a call that is slow in a living TEE is waited for, and nothing is restarted",
  async (bench) => {
    bench.fake.script({ only: 0xaa, hanginvoke: 1 });
    const slow = bench.call("keystore", "once");
    await bench.until("suspect", () => bench.looked);
    await bench.until("trusted again", () => bench.head.state.kind === "ready");
    bench.fake.script({});
    assert.is((await slow).verdict, "answered");
    assert.equal(bench.crashes, []);
  },
  everything,
);

onBench(
  "a lack of memory with another supplicant restarts the supplicant",
  async (bench) => {
    const supplicant = (start: number): void => {
      mkdirSync(join(bench.proc, "7"), { recursive: true });
      const stat = `7 (tee-supplicant) S ${Array(18).fill("0").join(" ")} ${start} 0`;
      writeFileSync(join(bench.proc, "7", "stat"), stat);
    };
    supplicant(1);
    assert.is((await shortOfMemory(bench)).verdict, "answered", "memory is short, and it lives");
    bench.fake.script({ only: 0xaa, invokeret: 0xffff000c, invokeorigin: 4, hanginvoke: 1 });
    bench.looked = false;
    const calling = bench.call("keystore");
    await bench.until("looked at", () => bench.looked);
    rmSync(join(bench.proc, "7"), { recursive: true });
    supplicant(2);
    bench.fake.script({ only: 0xaa, invokeret: 0xffff000c, invokeorigin: 4 });
    const answer = await calling;
    assert.is(answer.verdict, "replayed");
    await bench.restored();
    assert.equal(bench.crashes, ["supplicant ffff000c/4"]);
  },
  (fake) => ({ supplicant: { stop: nothing, start: brings(fake, {}) } }),
);

onBench("what no provider can restart is said, and the card reset is left", async (bench) => {
  bench.fake.script({ generation: 1, driver: 0 });
  await bench.until("escalated", () => bench.withheld.length > 0);
  const skipped = bench.events.flatMap((event) => {
    return event.kind === "tee:rung" ? [`${event.rung}: ${event.because}`] : [];
  });
  assert.ok(skipped.includes("tee_os: skipped: this platform has no such power"));
});

onBench(
  "a call inside a helper that is killed has its verdict, and is not blamed",
  async (bench) => {
    bench.fake.script({ only: 0xaa, hanginvoke: 1 });
    const inside = [bench.call("keystore"), bench.call("keystore", "once")];
    await bench.until("looked at", () => bench.looked);
    bench.onEvent = ({ kind }) => {
      if (kind === "tee:crashed") bench.fake.script({});
    };
    process.kill(bench.pids[0] ?? 0, "SIGKILL");
    const verdicts = (await Promise.all(inside)).map(({ verdict }) => verdict);
    assert.equal(verdicts, ["replayed", "outcome_unknown"]);
    await bench.restored();
    assert.equal(bench.crashes, ["session EOWNERDEAD"]);
    const crash = bench.events.find(({ kind }) => kind === "tee:crashed");
    assert.is(crash?.kind === "tee:crashed" ? crash.trigger : "none", "");
  },
);

onBench("helpers that are killed cost their calls and no crash of the TEE", async (bench) => {
  for (const pid of bench.pids) process.kill(pid, "SIGKILL");
  const answer = await bench.call("keystore");
  assert.ok(["replayed", "answered"].includes(answer.verdict), answer.verdict);
  await bench.until("ready", () => bench.head.state.kind === "ready");
  assert.ok(["replayed", "answered"].includes((await bench.call("unlock")).verdict));
  assert.not.ok(bench.crashes.some((crash) => crash.startsWith("tee_os")));
});

deviceSuite.run();
