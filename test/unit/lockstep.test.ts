// Row A2-21 and B16-01 without an emulator: the simulator against recordings of what emulated
// hardware under Linux's drivers did. Record anew: npm run rig -- lockstep --device D --record FILE
import { spawnSync } from "node:child_process";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bugs } from "../../agent/rig/lockstep/bugs.ts";
import { firstDivergence, toleranceMs } from "../../agent/rig/lockstep/compare.ts";
import { replay } from "../../agent/rig/lockstep/program.ts";
import { readRecording } from "../../agent/rig/lockstep/record.ts";
import { type Device, lockstep, type Outcome } from "../../agent/rig/lockstep/run.ts";
import { parseStep, scriptsFrom } from "../../agent/rig/lockstep/script.ts";
import { type DeviceName, models, simulate } from "../../agent/rig/lockstep/simulated.ts";
import { expired, type TraceEvent } from "../../agent/rig/lockstep/trace.ts";
import { throwsCode } from "../assert.ts";

const test = suite("lockstep");
const fileOf = (device: DeviceName): string =>
  path.join(__dirname, `../../../test/vectors/lockstep-${device}.jsonl`);
/** How many scripts are recorded. */
const recorded = { i6300esb: 100, itco: 100 } as const;

function found(device: DeviceName, name?: string): Outcome[] {
  const bug = name === undefined ? undefined : bugs[name];
  const outcomes = replay(fileOf(device), bug, () => undefined);
  return outcomes.filter(({ divergence }) => divergence !== undefined);
}

for (const device of ["i6300esb", "itco"] as const) {
  test(`A2-21 ${device}: the simulator does what the hardware did, script by script`, () => {
    const { traces } = readRecording(fileOf(device));
    assert.is(traces.length, recorded[device]);
    const expiries = traces.flat().filter(({ result }) => result === expired);
    assert.ok(expiries.length >= 8, `${expiries.length} expiries`);
    assert.equal(
      found(device).map(({ shown }) => shown),
      [],
    );
  });
}

/** The first event at which a planted mistake shows: sequence, event, step, what differs. */
function located(device: DeviceName, name: string): string {
  const [first] = found(device, name);
  if (first?.divergence === undefined) return "not found";
  const { at, differs } = first.divergence;
  return `${first.number}/${at} ${first.hardware[at]?.step}: ${differs.join(", ")}`;
}

const locations: Readonly<Record<DeviceName, Readonly<Record<string, string>>>> = {
  i6300esb: {
    pretimeout_cleared: "3/7 timeout 30000: pretimeoutMs",
    settimeout_does_not_refresh: "12/6 wait 60000: atMs",
    close_does_not_refresh: "24/5 wait 60000: atMs",
    timeout_forgotten: "21/7 open: timeoutMs",
    clamps: "1/5 timeout 4294968000: result, timeoutMs",
    boot_status_lost: "12/7 boot: bootStatus",
    counts_once: "12/3 wait 2000: result, look",
  },
  // It tells the time that is left, so that most mistakes show before they end in an expiry.
  itco: {
    pretimeout_cleared: "3/7 timeout 30000: pretimeoutMs",
    settimeout_does_not_refresh: "12/4 rewrite: leftMs",
    close_does_not_refresh: "24/4 close: leftMs",
    timeout_forgotten: "21/7 open: timeoutMs, leftMs",
    clamps: "1/5 timeout 4294968000: result, timeoutMs, leftMs",
    boot_status_lost: "not found",
    counts_once: "12/6 wait 60000: atMs",
  },
};

for (const [device, expected] of Object.entries(locations) as [DeviceName, object][]) {
  for (const [name, where] of Object.entries(expected)) {
    test(`B16-01 ${device}: the mistake ${name} shows first at ${where}`, () => {
      assert.is(located(device, name), where);
    });
  }
}

test("every mistake there is was planted, on both devices, and found on one at least", () => {
  const { i6300esb, itco } = locations;
  const names = Object.keys(bugs);
  assert.equal([Object.keys(i6300esb), Object.keys(itco)], [names, names]);
  for (const name of names) assert.ok(i6300esb[name] !== "not found" || itco[name] !== "not found");
});

/** Exit status and what is said by `npm run rig -- lockstep`. */
function told(...words: string[]): { status: number | null; said: string } {
  const program = path.join(__dirname, "../rig/main.cjs");
  const options = { encoding: "utf8", timeout: 30_000 } as const;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [program, "lockstep", ...words],
    options,
  );
  return { status, said: stdout + stderr };
}

test("the exit status tells agreement, divergence and wrong usage apart", () => {
  const right = told("--replay", fileOf("itco"));
  assert.equal([right.status, right.said], [0, `${recorded.itco} agreed, 0 diverged\n`]);
  const wrong = told("--replay", fileOf("itco"), "--bug", "close_does_not_refresh");
  assert.is(wrong.status, 1);
  assert.match(wrong.said, /^sequence 24 diverged: open, .*, close, wait 60000\n/);
  assert.match(wrong.said, /simulator +4 .* left 2000.*\n +hardware +4 .* left 4000/);
  assert.is(told("--bug", "no_such_mistake").status, 2);
  assert.is(told("--device", "softdog").status, 2);
  assert.is(told("--rig", "sim").status, 2);
  assert.is(told("--replay", __filename).status, 11);
});

/** Hardware that is the simulator itself, but for what `spoil` does to the trace of a script. */
function deviceThat(spoil: (run: number, trace: TraceEvent[]) => TraceEvent[]) {
  const log: string[] = [];
  const device: Device = {
    run: async (script) => {
      log.push("run");
      const runs = log.filter((entry) => entry === "run").length;
      return spoil(runs, simulate(models.i6300esb, script));
    },
    reset: async () => void log.push("reset"),
  };
  return { device, log };
}

test("B16-02 after a divergence the card is reset and the run goes on from there", async () => {
  const scripts = scriptsFrom(1, 5);
  const { device, log } = deviceThat((run, trace) =>
    trace.map((event, at) => {
      const { look } = event;
      if (look === null) return event;
      // From the reset on, the hardware remembers an expiry that the simulator knew nothing of.
      if (run > 3) return { ...event, look: { ...look, bootStatus: 0x20 } };
      return run === 3 && at === 2 ? { ...event, look: { ...look, timeoutMs: 7000 } } : event;
    }),
  );
  const told: Outcome[] = [];
  await lockstep({ device: "i6300esb", scripts }, device, (outcome) => told.push(outcome));
  assert.equal(log, ["run", "run", "run", "reset", "run", "run"]);
  const diverged = told.filter(({ divergence }) => divergence !== undefined);
  assert.equal(
    diverged.map(({ number, divergence }) => [number, divergence]),
    [[3, { at: 2, differs: ["timeoutMs"] }]],
  );
  assert.match(String(diverged[0]?.shown), /simulator +2 .*\n +hardware +2 .*timeout 7000/);
});

test("an emulator that was late is asked again: what stays late has diverged", async () => {
  const scripts = scriptsFrom(1, 12).slice(-1);
  for (const lateRuns of [1, 2]) {
    const { device, log } = deviceThat((run, trace) => {
      const lateMs = run <= lateRuns ? 5000 : 0;
      return trace.map((event) => ({
        ...event,
        atMs: event.atMs + (event.result === expired ? lateMs : 0),
      }));
    });
    const told: Outcome[] = [];
    await lockstep({ device: "i6300esb", scripts }, device, (outcome) => told.push(outcome));
    assert.equal(log, ["run", "run"]);
    assert.is(told.length, 1);
    assert.is(told[0]?.wasLate, lateRuns === 1);
    assert.equal(told[0]?.divergence?.differs, lateRuns === 1 ? undefined : ["atMs"]);
  }
});

test("a seed gives the same scripts, and more of them do not change the first", () => {
  assert.equal(scriptsFrom(7, 40).slice(0, 10), scriptsFrom(7, 10));
  assert.not.equal(scriptsFrom(7, 10), scriptsFrom(8, 10));
  for (const script of scriptsFrom(7, 200)) for (const step of script) parseStep(step);
});

test("a step that means nothing is refused", () => {
  throwsCode(() => parseStep("dance"), "rig.fault");
  throwsCode(() => parseStep("wait long"), "rig.fault");
});

test("times agree within 1 s or 5 %, values exactly, and a trace that ends early does not", () => {
  assert.is(toleranceMs(4000), 1000);
  assert.is(toleranceMs(60_000), 3000);
  const at = (atMs: number, result: TraceEvent["result"] = expired): TraceEvent[] => [
    { step: "wait 60000", atMs, result, look: null },
  ];
  assert.is(firstDivergence(at(8000), at(9000)), undefined);
  assert.equal(firstDivergence(at(8000), at(9001)), { at: 0, differs: ["atMs"] });
  assert.equal(firstDivergence(at(8000), at(8000, null)), { at: 0, differs: ["result"] });
  assert.equal(firstDivergence(at(8000), []), { at: 0, differs: ["end"] });
});

test.run();
