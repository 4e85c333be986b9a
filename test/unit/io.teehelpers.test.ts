import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { DeviceTee, type TeeSetup } from "../../agent/io/devicetee.ts";
import type { RunProgram } from "../../agent/io/program.ts";
import type { TeeOperation, TeeOutcome, TeeWait } from "../../agent/io/tee.ts";
import { lostMax } from "../../agent/io/teehelpers.ts";
import { launchHelper, type TeeHelper } from "../../agent/io/teeprocess.ts";
import { SupplicantWatch } from "../../agent/io/teesupplicant.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import type { PipeReply, PipeRequest } from "../../agent/wire/teepipe.ts";

const helpers = suite("tee helpers");

/** A helper whose calls hang and that cannot be killed, until the test lets it go. */
class StuckHelper implements TeeHelper {
  readonly pid = null;
  isAbandoned = false;
  isGone = false;
  isReady = true;
  readonly asked: string[] = [];
  /** Requests of these kinds are answered well. */
  answers: readonly string[] = ["open", "version"];
  private pending: ((reply: PipeReply | null) => void)[] = [];
  private readonly gone: (how: string) => void;

  constructor(gone: (how: string) => void) {
    this.gone = gone;
  }

  get waiting(): number {
    return this.pending.length;
  }

  request(request: Omit<PipeRequest, "id">, done: (reply: PipeReply | null) => void): void {
    if (this.isGone) return done(null);
    this.asked.push(request.op);
    const session = this.asked.length;
    if (this.isAbandoned || !this.answers.includes(request.op)) this.pending.push(done);
    else done({ id: 1, ret: 0, origin: 4, session });
  }

  shut(): void {
    this.asked.push("shut");
  }

  abandon(): void {
    this.isAbandoned = true;
  }

  die(): void {
    this.isGone = true;
    this.gone("it was ended by SIGKILL");
    for (const done of this.pending.splice(0)) done(null);
  }
}

/** A device that nobody has open. */
const unheld = "/dev/full";
const driver = { unload: ["unload"], load: ["load"] };
const supplicant = { stop: ["stop"], start: ["start"] };

/** The device code with helpers that get stuck, in virtual time. */
class Bench {
  readonly clock = new SimClock();
  readonly started: StuckHelper[] = [];
  readonly programs: string[] = [];
  readonly news: string[] = [];
  /** Programs that fail, by their first word. */
  failing: readonly string[] = [];
  /** Helpers take their time to start; requests that they answer well. */
  starting = false;
  answers: readonly string[] | null = null;
  readonly tee: DeviceTee;

  constructor(change: Partial<TeeSetup> = {}) {
    const runProgram: RunProgram = (command, done) => {
      this.programs.push(command.join(" "));
      const ok = !this.failing.includes(command[0] ?? "");
      const value = ok ? "CNTPS GICD" : "status 1";
      if (command[0] !== "hang") queueMicrotask(() => done({ ok, value }));
      return () => this.programs.push(`ended ${command[0]}`);
    };
    this.tee = new DeviceTee({
      device: "/dev/null",
      clock: this.clock,
      launch: (gone) => {
        const helper = new StuckHelper(gone);
        helper.isReady = !this.starting;
        helper.answers = this.answers ?? helper.answers;
        this.started.push(helper);
        return helper;
      },
      runProgram,
      services: new Map([["keystore", { uuid: new Uint8Array(16), login: 0, queryCommand: 1 }]]),
      canary: { uuid: new Uint8Array(16), command: 0, outputBytes: 0 },
      providers: {},
      supplicant: new SupplicantWatch("none", "/nowhere"),
      isWanted: true,
      ...change,
    });
    this.tee.listen(({ because }) => this.news.push(because));
  }

  /** The outcome in short, once there is one. */
  async ask(
    operation: TeeOperation,
    waits: (on: TeeWait) => void = () => undefined,
  ): Promise<() => string> {
    const said: TeeOutcome[] = [];
    this.tee.perform(operation, (outcome) => said.push(outcome), waits);
    await new Promise((resolve) => setImmediate(resolve));
    return () => said.map(({ errno, ret }) => errno ?? ret.toString(16)).join() || "...";
  }

  async open() {
    const session = { context: 1, id: 1 };
    assert.is((await this.ask({ kind: "open", service: "keystore", context: 1 }))(), "0");
    return session;
  }
}

helpers("a helper's start counts into no deadline of what is asked of it", async () => {
  const bench = new Bench();
  bench.starting = true;
  const waits: string[] = [];
  const canary = await bench.ask({ kind: "canary" }, (on) => waits.push(on));
  bench.clock.advance(50_000);
  assert.is(canary(), "...");
  assert.equal([...new Set(waits)], ["helper"]);
  const [helper] = bench.started;
  assert.ok(helper);
  helper.isReady = true;
  bench.clock.advance(500);
  const count = waits.length;
  bench.clock.advance(59_000);
  assert.is(canary(), "...", "a whole call's time from then on");
  assert.is(waits.length, count, "and no more is told");
  bench.clock.advance(1_000);
  assert.is(canary(), "EOWNERDEAD");
});

helpers("a helper that does not start is given up for that, by its own name", async () => {
  const bench = new Bench();
  bench.starting = true;
  const canary = await bench.ask({ kind: "canary" });
  bench.clock.advance(60_000);
  assert.is(canary(), "EOWNERDEAD");
  assert.match(bench.news.join(), /is given up: it did not start within 60000 ms/);
});

const nobody = { now: () => null, atStart: () => null };
const opening = { kind: "open", service: "keystore", context: 1 } as const;

helpers("a real helper says that it has started, and nobody takes that for an answer", async () => {
  const program = join(__dirname, "../../../dist/kennel-tee.cjs");
  await new Promise<void>((resolve, reject) => {
    const helper = launchHelper(
      program,
      "/dev/null",
    )((how) => {
      if (helper.isReady) resolve();
      else reject(new Error(`it never was ready: ${how}`));
    });
    helper.request({ op: "version" }, () => helper.shut());
    assert.not.ok(helper.isReady, "not before it has said so");
  });
});

helpers("an opening without a supplicant waits for one in a TEE that lives", async () => {
  const bench = new Bench({ supplicant: nobody });
  bench.answers = ["canary"];
  bench.tee.prepare();
  const waits: string[] = [];
  const opened = await bench.ask(opening, (on) => waits.push(on));
  bench.clock.advance(300_000);
  assert.is(opened(), "...");
  assert.is(waits.length, 150);
  assert.equal([...new Set(waits)], ["supplicant"]);
  for (const helper of bench.started) helper.answers = [];
  bench.clock.advance(130_000);
  assert.is(opened(), "EOWNERDEAD", "a TEE that gives no sign of life is not waited for");
  assert.is(waits.length, 150);
});

helpers(
  "an opening with a supplicant, or one that we can start, has its time and no more",
  async () => {
    const there = { now: () => "7@1", atStart: () => "7@1" };
    for (const change of [
      { supplicant: there },
      { supplicant: nobody, providers: { supplicant } },
    ]) {
      const bench = new Bench(change);
      bench.answers = ["canary"];
      bench.tee.prepare();
      const waits: string[] = [];
      const opened = await bench.ask(opening, (on) => waits.push(on));
      bench.clock.advance(60_000);
      assert.is(opened(), "EOWNERDEAD");
      assert.equal(waits, []);
    }
  },
);

const call = { command: 1, call: 1, key: null, input: null } as const;

helpers("a closing waits until a helper that cannot be killed has really ended", async () => {
  const bench = new Bench();
  const session = await bench.open();
  const inside = await bench.ask({ kind: "invoke", session, ...call });
  const closing = await bench.ask({ kind: "close", session });
  bench.clock.advance(2_000);
  assert.ok(bench.started[0]?.isAbandoned);
  assert.is(inside(), "EOWNERDEAD", "the call has its answer at once");
  assert.is(closing(), "...", "its effect may still come");
  assert.is(bench.tee.lostHelpers, 1);
  const again = await bench.ask({ kind: "close", session });
  assert.is(again(), "...");
  bench.started[0]?.die();
  assert.is(closing(), "0");
  assert.is(again(), "0");
  assert.is(bench.tee.lostHelpers, 0);
});

helpers("a helper that was given up has a successor, and its sessions are lost", async () => {
  const bench = new Bench();
  const session = await bench.open();
  const inside = await bench.ask({ kind: "invoke", session, ...call });
  bench.clock.advance(60_000);
  assert.is(inside(), "EOWNERDEAD");
  assert.match(bench.news.join(), /given up: a call has no answer after 60000 ms/);
  assert.is((await bench.ask({ kind: "invoke", session, ...call }))(), "EOWNERDEAD");
  await bench.ask({ kind: "open", service: "keystore", context: 2 });
  assert.is(bench.started.length, 2);
  assert.equal(bench.started[1]?.asked, ["open"]);
});

helpers(
  "helpers that live on when given up are counted, and at their limit none is added",
  async () => {
    const bench = new Bench();
    for (let count = 0; count <= lostMax; count++) await bench.ask({ kind: "canary" });
    assert.is(bench.tee.lostHelpers, lostMax);
    const refused = await bench.ask({ kind: "canary" });
    assert.is(refused(), "EIO", "it says nothing of the TEE but that nobody can ask");
    assert.is(bench.started.length, lostMax);
    for (const helper of bench.started) helper.die();
    await bench.ask({ kind: "canary" });
    assert.is(bench.started.length, lostMax + 1);
  },
);

helpers("a canary that died with its helper is asked again, but not for ever", async () => {
  const bench = new Bench();
  const canary = await bench.ask({ kind: "canary" });
  bench.started[0]?.die();
  assert.is(canary(), "...");
  bench.started[1]?.die();
  assert.is(canary(), "...");
  bench.started[2]?.die();
  assert.is(canary(), "EOWNERDEAD");
});

helpers("a driver is not reloaded while a lost helper may hold it", async () => {
  const bench = new Bench({ providers: { driver, supplicant } });
  const session = await bench.open();
  await bench.ask({ kind: "invoke", session, ...call });
  const reattach = await bench.ask({ kind: "reattach" });
  assert.is(reattach(), "...");
  assert.is((await bench.ask({ kind: "reattach" }))(), "EBUSY", "one at a time");
  bench.clock.advance(1_000);
  assert.is(reattach(), "EAGAIN");
  assert.match(bench.news.join("\n"), /held by 1 of our helpers/);
  assert.equal(bench.programs, [], "nor is the supplicant stopped for nothing");
});

helpers("the driver is reloaded between the supplicant's stop and start", async () => {
  const bench = new Bench({ providers: { driver, supplicant }, device: unheld });
  assert.is((await bench.ask({ kind: "reattach" }))(), "0");
  assert.equal(bench.programs, ["stop", "unload", "load", "start"]);
});

helpers("a driver that is held is not unloaded, and the supplicant comes back", async () => {
  const bench = new Bench({ providers: { driver, supplicant }, device: unheld });
  bench.failing = ["unload"];
  assert.is((await bench.ask({ kind: "reattach" }))(), "EAGAIN");
  assert.equal(bench.programs, ["stop", "unload", "start"]);
});

helpers(
  "restarts go through the providers, and what they say is believed only by its end",
  async () => {
    const firmware = { command: ["firmware"] };
    const hardware = { save: ["save"], restore: ["restore"] };
    const bench = new Bench({ providers: { supplicant, firmware, hardware } });
    assert.is((await bench.ask({ kind: "restart", rung: "supplicant" }))(), "0");
    assert.is((await bench.ask({ kind: "restart", rung: "tee_os" }))(), "0");
    assert.is((await bench.ask({ kind: "save_hardware" }))(), "0");
    assert.is((await bench.ask({ kind: "restore_hardware", handle: 7 }))(), "ENOENT");
    assert.is((await bench.ask({ kind: "restore_hardware", handle: 1 }))(), "0");
    assert.equal(bench.programs, ["stop", "start", "firmware", "save", "restore"]);
    bench.failing = ["firmware", "stop", "save"];
    assert.is((await bench.ask({ kind: "restart", rung: "tee_os" }))(), "EIO");
    assert.match(bench.news.join("\n"), /failed: firmware: status 1/);
    const dead = await bench.ask({ kind: "restart", rung: "supplicant" });
    assert.is(dead(), "0", "a dead supplicant cannot be stopped, and is started all the same");
    assert.is((await bench.ask({ kind: "save_hardware" }))(), "EIO");
  },
);

helpers("a provider that does not end is ended and has failed", async () => {
  const bench = new Bench({ providers: { firmware: { command: ["hang"] } } });
  const restart = await bench.ask({ kind: "restart", rung: "tee_os" });
  assert.is((await bench.ask({ kind: "restart", rung: "tee_os" }))(), "EBUSY");
  bench.clock.advance(10_000);
  assert.is(restart(), "EIO");
  assert.equal(bench.programs, ["hang", "ended hang"]);
});

helpers("a TEE that nobody named services of is left alone", async () => {
  const bench = new Bench({ isWanted: false });
  assert.not.ok(bench.tee.facts().usable);
  assert.match(bench.tee.facts().because, /not called: neither it nor a service is named/);
  assert.is((await bench.ask({ kind: "canary" }))(), "ENOENT");
  assert.is(bench.started.length, 0);
});

helpers.run();
