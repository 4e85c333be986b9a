import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SessionRef, TeeOperation, TeeOutcome } from "../../agent/io/tee.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { Random } from "../../agent/sim/random.ts";
import { SimTee } from "../../agent/sim/tee.ts";
import { simCommand, type TeeFaults, type TeeModel, teeModel } from "../../agent/sim/teemodel.ts";

const twin = suite("sim tee");
const { count, read, slow, spin, store } = simCommand;

/** A twin that is asked one thing at a time. */
class Bench {
  readonly clock = new SimClock();
  readonly tee: SimTee;
  private calls = 0;

  constructor(faults: TeeFaults = {}, model: Partial<TeeModel> = {}) {
    const made = teeModel(["keystore", "face"], model);
    this.tee = new SimTee(this.clock, new Random(1), made, faults);
  }

  /** Outcomes arrive in `into`; with `ms` the clock moves on that far. */
  begin(operation: TeeOperation): TeeOutcome[] {
    const into: TeeOutcome[] = [];
    this.tee.perform(operation, (outcome) => into.push(outcome));
    assert.is(into.length, 0, "never before it returns");
    return into;
  }

  /** The outcome in short: errno, or ret and origin; `...` when it does not return. */
  ask(operation: TeeOperation, withinMs = 10_000): string {
    const into = this.begin(operation);
    this.clock.advance(withinMs);
    return codeOf(into);
  }

  open(service: string, context = 1): SessionRef {
    const into = this.begin({ kind: "open", service, context });
    this.clock.advance(1_000);
    const session = into[0]?.session;
    assert.ok(session !== undefined, `${service} opens: ${codeOf(into)}`);
    return session as SessionRef;
  }

  invoking(session: SessionRef, command: number): TeeOperation {
    this.calls += 1;
    return { kind: "invoke", session, command, call: this.calls, key: null, input: null };
  }

  invoke(session: SessionRef, command: number, withinMs = 10_000): string {
    return this.ask(this.invoking(session, command), withinMs);
  }

  value(session: SessionRef, command: number): number | undefined {
    const into = this.begin(this.invoking(session, command));
    this.clock.advance(10_000);
    return into[0]?.value;
  }
}

function codeOf(into: readonly TeeOutcome[]): string {
  const [outcome] = into;
  if (outcome === undefined) return "...";
  return outcome.errno ?? `${outcome.ret.toString(16)}/${outcome.origin}`;
}

twin("a panic is TARGET_DEAD from the TEE on every call of that session until it is closed", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  assert.is(bench.invoke(session, count), "0/4");
  const inside = bench.begin(bench.invoking(session, slow));
  bench.tee.inject("panic", "keystore");
  bench.clock.advance(3_000);
  assert.is(codeOf(inside), "ffff3024/3");
  for (let again = 0; again < 3; again++) assert.is(bench.invoke(session, read), "ffff3024/3");
  assert.is(bench.ask({ kind: "close", session }), "0/4");
  assert.is(bench.invoke(session, read), "EINVAL");
  assert.is(bench.ask({ kind: "close", session }), "EINVAL");
});

twin("one instance for all dies for all; an instance of one's own dies alone", () => {
  const shared = new Bench();
  const [first, second] = [shared.open("keystore", 1), shared.open("keystore", 2)];
  shared.tee.inject("panic", "keystore");
  assert.is(shared.invoke(first, read), "ffff3024/3");
  assert.is(shared.invoke(second, read), "ffff3024/3");
  assert.is(shared.invoke(shared.open("face"), read), "0/4");
  const services = [{ name: "keystore", singleInstance: false }];
  const poison = [{ service: "keystore", command: 99, kills: "service" as const }];
  const own = new Bench({ poison }, { services });
  const [mine, theirs] = [own.open("keystore", 1), own.open("keystore", 2)];
  assert.is(own.invoke(mine, 99), "ffff3024/3");
  assert.is(own.invoke(mine, read), "ffff3024/3");
  assert.is(own.invoke(theirs, read), "0/4");
});

twin("reopening while the dead session is still open works, with a fresh counter", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  assert.is(bench.value(session, count), 1);
  assert.is(bench.value(session, count), 2);
  bench.tee.inject("panic", "keystore");
  assert.is(bench.value(bench.open("keystore"), count), 1);
  assert.is(bench.invoke(session, read), "ffff3024/3");
});

twin("a panic of the TEE OS: nothing returns, VERSION lies, cancelling cancels nothing", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  const inside = bench.begin(bench.invoking(session, slow));
  bench.tee.crash();
  assert.is(bench.ask({ kind: "cancel", call: 1 }), "0/4");
  assert.is(bench.ask({ kind: "version" }), "0/4");
  assert.is(bench.ask({ kind: "canary" }, 600_000), "...");
  assert.is(bench.ask({ kind: "open", service: "face", context: 2 }, 600_000), "...");
  assert.is(codeOf(inside), "...");
});

twin("a restart under the driver: COMMUNICATION everywhere until it is registered anew", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  assert.is(bench.value(session, store), 1);
  const inside = bench.begin(bench.invoking(session, slow));
  bench.clock.advance(100);
  bench.tee.inject("silent_restart");
  assert.is(codeOf(inside), "...", "who waits outside learns of it when the wait is over");
  assert.is(bench.invoke(session, read), "ffff000e/2");
  assert.is(codeOf(inside), "ffff000e/2");
  assert.is(bench.ask({ kind: "open", service: "face", context: 2 }), "ffff000e/2");
  assert.is(bench.ask({ kind: "canary" }), "ffff000e/2");
  assert.is(bench.ask({ kind: "reattach" }), "EAGAIN", "a session is open");
  assert.is(bench.ask({ kind: "close", session }), "ffff000e/2");
  assert.is(bench.ask({ kind: "reattach" }), "0/4");
  const anew = bench.open("keystore", 2);
  assert.is(bench.value(anew, read), 0, "RAM is lost");
  assert.is(bench.value(anew, store), 2, "secure storage is not");
});

twin("with static shared memory an old id is unknown, or is somebody else's session", () => {
  const bench = new Bench({ staticSharedMemory: true });
  const mine = bench.open("keystore", 1);
  bench.tee.inject("silent_restart");
  assert.is(bench.invoke(mine, read), "ffff0006/3");
  const theirs = bench.open("face", 2);
  assert.is(theirs.id, mine.id, "ids begin again");
  assert.is(bench.value(theirs, count), 1);
  assert.is(bench.value(mine, count), 2, "an old id served in somebody else's session");
  assert.is(bench.tee.world.staleServed, 1);
});

twin("the supplicant's death aborts what it holds; later requests wait for the next one", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  const storing = bench.begin(bench.invoking(session, store));
  const opening = bench.begin({ kind: "open", service: "face", context: 1 });
  bench.tee.inject("supplicant_death");
  assert.is(codeOf(storing), "ffff000c/4");
  assert.is(storing[0]?.supplicantLost, true);
  assert.is(codeOf(opening), "ffff000c/3");
  const waiting = bench.begin(bench.invoking(session, store));
  assert.is(bench.invoke(session, read), "0/4", "what needs no storage goes on");
  assert.is(codeOf(waiting), "...");
  assert.is(bench.ask({ kind: "restart", rung: "supplicant" }), "0/4");
  assert.is(codeOf(waiting), "0/4");
});

twin("a call that never returns keeps its thread, its session and its instance", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  const stuck = bench.begin(bench.invoking(session, spin));
  assert.is(bench.ask({ kind: "close", session }, 600_000), "...", "closing waits for it");
  assert.is(bench.ask({ kind: "canary" }), "0/4", "there is a second thread");
  const second = bench.begin({ kind: "open", service: "keystore", context: 2 });
  bench.clock.advance(600_000);
  assert.is(codeOf(second), "...", "its one instance is taken");
  assert.is(bench.ask({ kind: "canary" }), "...", "and now both threads are");
  assert.is(bench.ask({ kind: "restart", rung: "tee_os" }), "0/4");
  assert.is(codeOf(stuck), "ffff000e/2");
});

twin("more callers than threads wait in line", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  const all = Array.from({ length: 8 }, () => bench.begin(bench.invoking(session, slow)));
  bench.clock.advance(2_001);
  assert.is(all.filter((into) => into.length > 0).length, 2);
  bench.clock.advance(6_000);
  assert.is(all.filter((into) => into.length > 0).length, 8);
});

twin("restarts hang, fail, and refuse company, as they are told to", () => {
  const failing = new Bench({ restartFails: 1 });
  assert.is(failing.ask({ kind: "restart", rung: "tee_os" }), "EIO");
  assert.is(failing.ask({ kind: "restart", rung: "tee_os" }), "0/4");
  const hanging = new Bench({ restartHangs: true });
  assert.is(hanging.ask({ kind: "restart", rung: "tee_os" }, 600_000), "...");
  assert.is(hanging.ask({ kind: "restart", rung: "tee_os" }), "EBUSY");
  assert.is(hanging.tee.overlaps, 1);
});

twin("an armed secure timer kills the restarted TEE OS unless the status is restored", () => {
  for (const restores of [false, true]) {
    const bench = new Bench({ timerArmed: true });
    bench.tee.crash();
    const saved = bench.begin({ kind: "save_hardware" });
    bench.clock.advance(1);
    const handle = saved[0]?.hardware?.handle ?? -1;
    const restarted = bench.begin({ kind: "restart", rung: "tee_os" });
    bench.clock.advance(300);
    assert.is(codeOf(restarted), "0/4");
    if (restores) assert.is(bench.ask({ kind: "restore_hardware", handle }, 1), "0/4");
    assert.is(bench.ask({ kind: "restore_hardware", handle: 99 }, 1), "ENOENT");
    bench.clock.advance(100);
    assert.is(bench.ask({ kind: "reattach" }), restores ? "0/4" : "ENODEV");
  }
});

twin("a power cycle answers nobody, forgets RAM and sessions, and keeps secure storage", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  assert.is(bench.value(session, store), 1);
  const inside = bench.begin(bench.invoking(session, slow));
  const restarting = bench.begin({ kind: "restart", rung: "tee_os" });
  bench.tee.powerCycle();
  bench.clock.advance(60_000);
  assert.is(codeOf(inside), "...");
  assert.is(codeOf(restarting), "...");
  assert.is(bench.tee.listedSessions, 0);
  assert.is(bench.tee.restarts, 0);
  assert.is(bench.value(bench.open("keystore"), store), 2);
});

twin("a client that dies is told nothing more, and the kernel closes its sessions", () => {
  const bench = new Bench();
  const session = bench.open("keystore");
  const inside = bench.begin(bench.invoking(session, slow));
  bench.tee.disconnect();
  bench.clock.advance(10_000);
  assert.is(codeOf(inside), "...");
  assert.is(bench.tee.listedSessions, 0);
  assert.is(bench.invoke(session, read), "EINVAL");
});

twin("a panic that stops every CPU leaves nobody to be answered", () => {
  const bench = new Bench({ haltsCores: true });
  bench.tee.crash();
  assert.ok(bench.tee.coresHalted);
  assert.is(bench.ask({ kind: "version" }), "...");
});

twin.run();
