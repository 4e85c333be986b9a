// What a client of a real OP-TEE was measured to see, row by row (reference, "What a client sees"):
// the twin does the same, with the same codes and origins. Times in ms.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SessionRef, TeeOperation, TeeOutcome } from "../../agent/io/tee.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { Random } from "../../agent/sim/random.ts";
import { SimTee } from "../../agent/sim/tee.ts";
import { simCommand, type TeeFaults, type TeeModel, teeModel } from "../../agent/sim/teemodel.ts";

const { count, read, slow, spin, store } = simCommand;
const poison = 99;
/** Longer than anything that returns at all. */
const everMs = 3_600_000;

interface Asked {
  readonly into: TeeOutcome[];
  atMs: number;
}

class Bench {
  readonly clock = new SimClock();
  readonly tee: SimTee;
  private calls = 0;

  constructor(faults: TeeFaults = {}, model: Partial<TeeModel> = {}) {
    this.tee = new SimTee(this.clock, new Random(1), teeModel(["keystore", "face"], model), faults);
  }

  begin(operation: TeeOperation): Asked {
    const asked: Asked = { into: [], atMs: Infinity };
    this.tee.perform(operation, (outcome) => {
      asked.into.push(outcome);
      asked.atMs = this.clock.now();
    });
    return asked;
  }

  invoking(session: SessionRef, command: number): TeeOperation {
    this.calls += 1;
    return { kind: "invoke", session, command, call: this.calls, key: null, input: null };
  }

  /** errno, or ret and origin; `never` for what has not returned after an hour. */
  ask(operation: TeeOperation, forMs = 10_000): string {
    const asked = this.begin(operation);
    this.clock.advance(forMs);
    return codeOf(asked);
  }

  invoke(session: SessionRef, command: number, forMs = 10_000): string {
    return this.ask(this.invoking(session, command), forMs);
  }

  open(service: string, context = 1): SessionRef {
    const asked = this.begin({ kind: "open", service, context });
    this.clock.advance(1_000);
    const session = asked.into[0]?.session;
    assert.ok(session, `${service}: ${codeOf(asked)}`);
    return session as SessionRef;
  }

  opening(service = "face", context = 9): string {
    return this.ask({ kind: "open", service, context });
  }
}

function codeOf({ into: [outcome] }: Asked): string {
  if (outcome === undefined) return "never";
  return outcome.errno ?? `${outcome.ret.toString(16)}/${outcome.origin}`;
}

function returned({ into: [outcome] }: Asked): number | undefined {
  return outcome?.value;
}

const ok = "0/4";
const targetDead = "ffff3024/3";
const communication = "ffff000e/2";
const kills = (what: "service" | "tee_os"): TeeFaults => ({
  poison: [{ service: "keystore", command: poison, kills: what }],
});
const manyInstances = { services: [{ name: "keystore", singleInstance: false }] };

/** The rows of the table, in its order and by its words. */
const rows: readonly (readonly [string, () => void])[] = [
  [
    "TA panics during INVOKE: ret FFFF3024, origin 3; same on every later call until CLOSE",
    () => {
      const bench = new Bench(kills("service"));
      const session = bench.open("keystore");
      assert.is(bench.invoke(session, poison), targetDead);
      for (const command of [read, count, store]) {
        assert.is(bench.invoke(session, command), targetDead);
      }
      assert.is(bench.ask({ kind: "close", session }), "0/4");
    },
  ],
  [
    "other sessions, multi-instance TA: unaffected",
    () => {
      const bench = new Bench(kills("service"), manyInstances);
      const [mine, other] = [bench.open("keystore", 1), bench.open("keystore", 2)];
      assert.is(bench.invoke(mine, poison), targetDead);
      assert.is(bench.invoke(other, count), ok);
    },
  ],
  [
    "other sessions, single-instance TA: all dead, FFFF3024/3, also of other contexts",
    () => {
      const bench = new Bench(kills("service"));
      const [mine, other] = [bench.open("keystore", 1), bench.open("keystore", 2)];
      assert.is(bench.invoke(mine, poison), targetDead);
      assert.is(bench.invoke(other, count), targetDead);
    },
  ],
  [
    "reopen while the dead session is still open: works, fresh instance, RAM counter back to 1",
    () => {
      const bench = new Bench(kills("service"));
      const session = bench.open("keystore");
      assert.is(bench.invoke(session, count), ok);
      assert.is(bench.invoke(session, poison), targetDead);
      const asked = bench.begin(bench.invoking(bench.open("keystore", 2), count));
      bench.clock.advance(10);
      assert.is(returned(asked), 1);
      assert.is(bench.invoke(session, read), targetDead);
    },
  ],
  [
    "TA with INSTANCE_KEEP_CRASHED: stays crashed, by design not respawned",
    () => {
      const bench = new Bench(kills("service"));
      assert.is(bench.invoke(bench.open("keystore"), poison), targetDead);
      bench.tee.faults = { keepsCrashed: "keystore" };
      assert.is(bench.opening("keystore"), targetDead);
      assert.is(bench.opening("face"), ok);
    },
  ],
  [
    "invoke/close after close: ioctl -1 EINVAL",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      assert.is(bench.ask({ kind: "close", session }), ok);
      assert.is(bench.invoke(session, read), "EINVAL");
      assert.is(bench.ask({ kind: "close", session }), "EINVAL");
    },
  ],
  [
    "core panic, CFG_HALT_CORES_ON_PANIC=y: nothing returns, not the kernel's answers either",
    () => {
      const bench = new Bench({ ...kills("tee_os"), haltsCores: true });
      bench.tee.inject("core_panic");
      assert.ok(bench.tee.coresHalted);
      assert.is(bench.ask({ kind: "version" }, everMs), "never");
      assert.is(bench.ask({ kind: "canary" }, everMs), "never");
    },
  ],
  [
    "core panic, =n: the caller stays inside, kill -9 has no effect, VERSION succeeds",
    () => {
      const bench = new Bench(kills("tee_os"));
      const session = bench.open("keystore");
      const caller = bench.begin(bench.invoking(session, poison));
      bench.clock.advance(100);
      bench.tee.inject("helper_death");
      bench.clock.advance(everMs);
      assert.is(codeOf(caller), "never", "not reaped");
      assert.is(bench.ask({ kind: "version" }, everMs), "never", "its process answers nothing");
      const fresh = new Bench(kills("tee_os"));
      fresh.begin(fresh.invoking(fresh.open("keystore"), poison));
      fresh.clock.advance(100);
      assert.is(fresh.ask({ kind: "version" }), ok, "from the kernel's memory: a lie");
      assert.is(fresh.ask({ kind: "canary" }, everMs), "never");
    },
  ],
  [
    "TEE OS restarted under the driver: that call and every later one FFFF000E/2 until reload",
    () => {
      const bench = new Bench(kills("tee_os"));
      const session = bench.open("keystore");
      const caller = bench.begin(bench.invoking(session, poison));
      bench.clock.advance(100);
      bench.tee.inject("silent_restart");
      bench.clock.advance(0);
      assert.is(codeOf(caller), communication);
      assert.is(bench.invoke(session, read), communication);
      assert.is(bench.opening(), communication);
      assert.is(bench.ask({ kind: "canary" }), communication);
      assert.is(bench.ask({ kind: "version" }), ok);
      bench.ask({ kind: "close", session });
      assert.is(bench.ask({ kind: "reattach" }), ok);
      assert.is(bench.opening(), ok);
    },
  ],
  [
    "same, static-SHM mode: unknown session FFFF0006/3, opens work, stale ids alias new ones",
    () => {
      const bench = new Bench({ staticSharedMemory: true });
      const [first, second] = [bench.open("keystore", 1), bench.open("face", 1)];
      bench.tee.inject("silent_restart");
      assert.is(bench.invoke(second, read), "ffff0006/3");
      const other = bench.open("keystore", 2);
      assert.is(other.id, first.id, "ids begin again");
      assert.is(bench.invoke(first, count), ok, "A's old id");
      assert.is(bench.tee.world.staleServed, 1, "in B's new session");
    },
  ],
  [
    "call parked in REE (TEE_Wait) across the restart: FFFF000E/2 when its wait ends",
    () => {
      const bench = new Bench();
      const parked = bench.begin(bench.invoking(bench.open("keystore"), slow));
      const startMs = bench.clock.now();
      bench.clock.advance(100);
      bench.tee.inject("silent_restart");
      bench.clock.advance(1_000);
      assert.is(codeOf(parked), "never");
      bench.clock.advance(10_000);
      assert.is(codeOf(parked), communication);
      assert.is(parked.atMs - startMs, 2_000);
    },
  ],
  [
    "supplicant absent: the call blocks until one appears, then success",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      bench.tee.inject("supplicant_death");
      const [storing, opening] = [
        bench.begin(bench.invoking(session, store)),
        bench.begin({ kind: "open", service: "face", context: 2 }),
      ];
      bench.clock.advance(2_200);
      assert.equal([codeOf(storing), codeOf(opening)], ["never", "never"]);
      assert.is(bench.ask({ kind: "canary" }, 0), "never", "and so does who needs their threads");
      bench.tee.world.startSupplicant();
      bench.clock.advance(1_000);
      assert.equal([codeOf(storing), codeOf(opening)], [ok, ok]);
    },
  ],
  [
    "supplicant SIGKILLed between requests, restarted 1 s later: transparent",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      bench.tee.inject("supplicant_death");
      const asked = bench.begin(bench.invoking(session, store));
      const startMs = bench.clock.now();
      bench.clock.advance(1_000);
      bench.tee.world.startSupplicant();
      bench.clock.advance(1_000);
      assert.is(codeOf(asked), ok);
      assert.ok(asked.atMs - startMs >= 1_000);
    },
  ],
  [
    "supplicant killed while holding a request: FFFF000C/4 of storage, FFFF000C/3 of a TA open",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      const storing = bench.begin(bench.invoking(session, store));
      const opening = bench.begin({ kind: "open", service: "face", context: 2 });
      bench.clock.advance(0.1);
      bench.tee.inject("supplicant_death");
      bench.clock.advance(0);
      assert.equal([codeOf(storing), codeOf(opening)], ["ffff000c/4", "ffff000c/3"]);
      bench.tee.world.startSupplicant();
      assert.is(bench.invoke(session, store), ok, "the next call is fine");
    },
  ],
  [
    "SIGKILL of a client inside the TEE: not reaped until the call ends; sessions then closed",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      const inside = bench.begin(bench.invoking(session, slow));
      const startMs = bench.clock.now();
      bench.clock.advance(500);
      bench.tee.inject("helper_death");
      const later = bench.begin(bench.invoking(session, read));
      bench.clock.advance(1_000);
      assert.equal([codeOf(inside), codeOf(later)], ["never", "never"]);
      assert.is(bench.tee.listedSessions, 1);
      bench.clock.advance(1_000);
      assert.equal([codeOf(inside), codeOf(later)], ["EOWNERDEAD", "EOWNERDEAD"]);
      assert.is(inside.atMs - startMs, 2_000);
      assert.is(bench.tee.listedSessions, 0);
      const forever = new Bench();
      const spinning = forever.begin(forever.invoking(forever.open("keystore"), spin));
      forever.tee.inject("helper_death");
      forever.clock.advance(everMs);
      assert.is(codeOf(spinning), "never");
    },
  ],
  [
    "CANCEL of TEE_Wait: returns at once, the call takes its time, then FFFF0002; busy: never",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      const waiting = bench.begin({
        ...bench.invoking(session, slow),
        call: 7,
      } as TeeOperation);
      const startMs = bench.clock.now();
      bench.clock.advance(500);
      const cancel = bench.begin({ kind: "cancel", call: 7 });
      bench.clock.advance(1);
      assert.is(codeOf(cancel), ok);
      assert.is(codeOf(waiting), "never");
      bench.clock.advance(2_000);
      assert.is(codeOf(waiting), "ffff0002/4");
      assert.is(waiting.atMs - startMs, 2_000, "not one moment sooner");
      const busy = bench.begin({ ...bench.invoking(session, spin), call: 8 } as TeeOperation);
      assert.is(bench.ask({ kind: "cancel", call: 8 }, everMs), ok);
      assert.is(codeOf(busy), "never");
    },
  ],
  [
    "more callers than CFG_NUM_THREADS (2): they queue; 8 of 2 s took 2 to 8 s each",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      const startMs = bench.clock.now();
      const callers = Array.from({ length: 8 }, () => bench.begin(bench.invoking(session, slow)));
      bench.clock.advance(everMs);
      const tookMs = callers.map(({ atMs }) => Math.round(atMs - startMs));
      assert.equal(tookMs, [2_000, 2_000, 4_000, 4_000, 6_000, 6_000, 8_000, 8_000]);
    },
  ],
  [
    "rmmod with any open fd: EAGAIN at once, harmless",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      bench.tee.inject("unload");
      assert.is(bench.ask({ kind: "reattach" }), "EAGAIN");
      assert.is(bench.invoke(session, count), ok);
      assert.is(bench.opening(), ok);
    },
  ],
  [
    "sysfs unbind with an open session: never finishes, the device is gone, rebind blocks too",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      bench.tee.inject("unbind");
      assert.is(bench.opening(), "ENOENT");
      assert.is(bench.ask({ kind: "canary" }), "ENOENT");
      assert.is(bench.invoke(session, count), ok, "what is open goes on");
      assert.is(bench.ask({ kind: "close", session }), ok);
      bench.clock.advance(everMs);
      assert.is(bench.opening(), "ENOENT", "also after all users exited");
      assert.is(bench.ask({ kind: "reattach" }, everMs), "never");
      bench.tee.powerCycle();
      assert.is(bench.opening(), ok, "a reboot");
    },
  ],
  [
    "clean rmmod/insmod (no users): does not restart the TEE, a keep-alive counter goes on",
    () => {
      const bench = new Bench();
      const session = bench.open("keystore");
      assert.is(bench.invoke(session, count), ok);
      bench.ask({ kind: "close", session });
      bench.tee.inject("unload");
      assert.is(bench.ask({ kind: "reattach" }), ok);
      const asked = bench.begin(bench.invoking(bench.open("keystore"), count));
      bench.clock.advance(10);
      assert.is(returned(asked), 2);
    },
  ],
  [
    "after rmmod: open ENOENT",
    () => {
      const bench = new Bench();
      bench.tee.inject("unload");
      assert.is(bench.opening(), "ENOENT");
      assert.is(bench.ask({ kind: "canary" }), "ENOENT");
    },
  ],
];

const table = suite("tee twin table");
for (const [name, body] of rows) table(name, body);
table.run();
