/**
 * The firmware's pure parts in C, compiled with sanitizers and compared with their TypeScript
 * twins: the hand-off record, the boot state, the rules of choosing a slot, the configuration.
 */
// deadline: 180 s
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as record from "../../agent/machines/bootrecord.ts";
import { hash32, Random } from "../../agent/sim/random.ts";
import {
  decodeBootState,
  encodeBootState,
  type FirmwareBoots,
} from "../../agent/wire/bootstate.ts";
import { decodeHandOff, encodeHandOff, type HandOff } from "../../agent/wire/handoff.ts";
import { fromHex, toHex } from "../hex.ts";
import { skip } from "../skip.ts";
import bootVectors from "../vectors/boot.json" with { type: "json" };

const uefi = suite("uefi.native");
const root = join(__dirname, "../../..");
const program = join(root, ".build/test/uefi");
const buildMs = 120_000;
const runMs = 60_000;
const statusLack = 3;

function build(): string | null {
  const args = ["boot/build.mjs", "--tests", program];
  const options = { cwd: root, encoding: "utf8", timeout: buildMs } as const;
  const { status, stderr } = spawnSync(process.execPath, args, options);
  if (status === statusLack && process.env.CI !== "true") return stderr.trim();
  assert.is(status, 0, stderr);
  return null;
}

function run(args: readonly string[], input = ""): string {
  const options = { encoding: "utf8", input, timeout: runMs, maxBuffer: 1 << 26 } as const;
  const { status, stdout, stderr } = spawnSync(program, args, options);
  assert.is(status, 0, `${stdout}${stderr}`);
  return stdout;
}

/** One answer per line. */
function ask(lines: readonly string[]): string[] {
  const answers = run(["serve"], `${lines.join("\n")}\n`)
    .trimEnd()
    .split("\n");
  assert.is(answers.length, lines.length);
  return answers;
}

const stages = ["power_on", "os_load", "hand_off", "adopt", "runtime"] as const;
const causes = ["unknown", "power", "watchdog", "commanded", "clean", "panic"] as const;
const slots = ["a", "b", "safe"] as const;
const steps = ["", "load_kernel", "load_initrd", "a_step_with_a_long_name"] as const;
const sizes = [0, 1, 23, 24, 255, 256, 65_535, 65_536, 0xffffffff, 0x100000000, 2 ** 53 - 1];

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.int(from.length)] as T;
}

function randomEntry(random: Random): NonNullable<FirmwareBoots["current"]> {
  return {
    boot: `${random.int(1000)}-${random.int(0xffffffff).toString(16).padStart(8, "0")}`,
    slot: pick(random, slots),
    stage: pick(random, stages),
    step: pick(random, steps),
    uptime_ms: pick(random, sizes),
    confirmed: random.int(2) === 1,
    cause: pick(random, causes),
  };
}

function randomState(random: Random): FirmwareBoots {
  return {
    version: 1,
    boots: pick(random, sizes),
    active: pick(random, slots),
    ...(random.int(2) === 1 ? { trial: pick(random, ["a", "b"] as const) } : {}),
    failures: { a: random.int(101), b: random.int(101) },
    attempts_max: 1 + random.int(100),
    ...(random.int(4) > 0 ? { current: randomEntry(random) } : {}),
    ...(random.int(4) > 0 ? { previous: randomEntry(random) } : {}),
  };
}

function statesOf(count: number): FirmwareBoots[] {
  const random = new Random(hash32("uefi states"));
  return Array.from({ length: count }, () => randomState(random));
}

function same(what: string, ours: string, theirs: string): void {
  assert.is(theirs, ours, what);
}

const lack = build();
if (lack !== null) skip("uefi in C", lack);
else addTests();

function addTests(): void {
  uefi(
    "arming, hand-off, backends and counted attempts hold on fake registers and variables",
    () => {
      run(["check"]);
    },
  );

  uefi("damaged and random input is read within its bounds", () => {
    run(["fuzz", String(hash32("uefi fuzz")), "20000"]);
  });

  uefi("a boot state is the same bytes in C and here", () => {
    const sealed = statesOf(500).map((state) => toHex(encodeBootState(state)));
    const answers = ask(sealed.map((hex) => `state ${hex}`));
    for (const [at, hex] of sealed.entries()) same(`state ${at}`, hex, answers[at] ?? "");
  });

  uefi("a boot state with any one bit flipped is refused", () => {
    const good = encodeBootState(statesOf(1)[0] as FirmwareBoots);
    const flipped = [...good.keys()].map((at) => {
      const bytes = good.slice();
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
      return `state ${toHex(bytes)}`;
    });
    for (const answer of ask(flipped)) assert.is(answer, "refused");
  });

  uefi("the golden records decode here and come out of C", () => {
    for (const { name, words, hex } of bootVectors) {
      same(name, hex, ask([words])[0] ?? "");
      const bytes = fromHex(hex);
      const again = words.startsWith("handoff")
        ? encodeHandOff(decodeHandOff(bytes))
        : encodeBootState(decodeBootState(bytes));
      same(name, hex, toHex(again));
    }
  });

  uefi("a hand-off record is the same bytes in C and here", () => {
    const random = new Random(hash32("uefi hand-offs"));
    const cases = Array.from({ length: 300 }, () => handOffCase(random));
    const answers = ask(cases.map(({ line }) => line));
    for (const [at, { record }] of cases.entries()) {
      same(`record ${at}`, toHex(encodeHandOff(record)), answers[at] ?? "");
    }
  });

  addSlotTests();
  addConfigTests();
}

function addSlotTests(): void {
  uefi("opening a boot counts and chooses as machines/bootrecord.ts does", () => {
    const random = new Random(hash32("uefi boots"));
    const lives = Array.from({ length: 100 }, (_, at): Life => {
      const attemptsMax = 1 + (at % 4);
      return { theirs: empty(attemptsMax), ours: record.emptyRecord(false, attemptsMax) };
    });
    for (let boot = 0; boot < 30; boot += 1) {
      const lines = lives.map((life) => endBoot(random, life));
      for (const [at, answer] of ask(lines).entries()) {
        const life = lives[at] as Life;
        life.theirs = fromAnswer(answer);
        agree(life, lines[at] ?? "");
      }
    }
  });

  uefi("a slot that cannot be loaded gives way to the other, then to safe", () => {
    let state = firstBoot(3);
    const chosen: string[] = [];
    for (let tries = 0; tries < 3; tries += 1) {
      state = fromAnswer(ask([`give_up ${toHex(encodeBootState(state))}`])[0]);
      chosen.push(state.current?.slot ?? "none");
    }
    assert.equal(chosen, ["b", "safe", "safe"]);
    assert.equal(state.failures, { a: 3, b: 3 });
  });
}

function handOffCase(random: Random): { line: string; record: HandOff } {
  const state = { ...randomState(random), current: randomEntry(random) };
  const isGuarded = random.int(4) > 0;
  const backend = isGuarded ? pick(random, ["i6300esb", "iTCO"]) : "none";
  const [min, max, granted, remaining, refreshed] = Array.from({ length: 5 }, () =>
    pick(random, sizes),
  ) as [number, number, number, number, number];
  const locked = random.int(2) === 1;
  const cause = pick(random, ["watchdog", "power", "unknown"] as const);
  const marks = [0, 5, 30, 255, 70_000].slice(0, 2 + random.int(4));
  const words = marks.map((ms, at) => `${at < 2 ? "power_on" : "os_load"}:step_${at}:${ms}`);
  const { current, previous, attempts_max } = state;
  const failures = current.slot === "safe" ? attempts_max : state.failures[current.slot];
  const line = [
    ...["handoff", toHex(encodeBootState(state)), backend, min, max, granted, remaining],
    ...[refreshed, locked ? "locked" : "-", cause, ...words],
  ];
  const record: HandOff = {
    version: 1,
    boot: current.boot,
    slot: current.slot,
    failures,
    attempts_max,
    backend,
    ...(isGuarded
      ? {
          countdown: {
            min_ms: min,
            max_ms: max,
            granted_ms: granted,
            remaining_ms: remaining,
            refreshed_ms: refreshed,
            locked,
          },
        }
      : {}),
    hardware_cause: cause,
    ...(previous === undefined ? {} : { previous }),
    counter: { hz: 1000, zero: 0 },
    stages: stagesOf(marks, isGuarded),
  };
  return { line: line.join(" "), record };
}

function stagesOf(marks: readonly number[], isGuarded: boolean): HandOff["stages"] {
  const step = (ms: number, at: number) => ({ name: `step_${at}`, at_ms: ms });
  const all = marks.map(step);
  const loadMs = marks[2];
  const powerOn = { stage: "power_on", start_ms: 0, by: "nobody", steps: all.slice(0, 2) } as const;
  if (loadMs === undefined) return [powerOn];
  const { stage, start_ms, by, steps } = powerOn;
  const keeper = isGuarded ? "firmware" : "nobody";
  return [
    { stage, start_ms, end_ms: loadMs, by, steps },
    { stage: "os_load", start_ms: loadMs, by: keeper, steps: all.slice(2) },
  ];
}

function fromAnswer(answer: string | undefined): FirmwareBoots {
  return decodeBootState(fromHex(answer ?? ""));
}

function empty(attemptsMax: number): FirmwareBoots {
  const failures = { a: 0, b: 0 };
  return { version: 1, boots: 0, active: "a", failures, attempts_max: attemptsMax };
}

function firstBoot(attemptsMax: number): FirmwareBoots {
  const hex = toHex(encodeBootState(empty(attemptsMax)));
  return fromAnswer(ask([`begin ${hex} - - - unknown 0`])[0]);
}

/** One card, as C and as machines/bootrecord.ts have it. */
interface Life {
  theirs: FirmwareBoots;
  ours: record.BootRecord;
}

/** How a boot ended and what Linux left; told to ours at once, to theirs by the line. */
function endBoot(random: Random, life: Life): string {
  const { theirs } = life;
  const attemptsMax = theirs.attempts_max;
  const hardware = pick(random, ["watchdog", "power", "unknown", "unknown"] as const);
  const closing = pick(random, ["commanded", "clean", "panic", "-", "-", "-"] as const);
  const trial = random.int(6) === 0 ? pick(random, ["a", "b"] as const) : "-";
  const confirms = random.int(3) === 0;
  const id = confirms ? (theirs.current?.boot ?? "-") : "0-stale";
  if (confirms) life.ours = record.confirm(life.ours);
  if (closing !== "-") life.ours = record.closing(life.ours, closing, "");
  if (trial !== "-") life.ours = record.startTrial(life.ours, trial);
  const randomId = random.int(0xffffffff).toString(16).padStart(8, "0");
  const begin = { randomId, machine: "", hardware, attemptsMax };
  life.ours = record.beginBoot(life.ours, begin).record;
  const hex = toHex(encodeBootState(theirs));
  return `begin ${hex} ${id} ${closing} ${trial} ${hardware} ${randomId}`;
}

function agree({ theirs, ours }: Life, line: string): void {
  assert.is(theirs.current?.boot, ours.current?.boot, line);
  assert.is(theirs.current?.slot, ours.current?.slot, line);
  assert.equal(theirs.failures, ours.failures, line);
  assert.is(theirs.active, ours.active, line);
  assert.is(theirs.previous?.cause, ours.past.at(-1)?.cause, line);
}

function parsed(text: string): string[] {
  return (ask([`config ${text === "" ? "-" : Buffer.from(text).toString("hex")}`])[0] ?? "").split(
    "|",
  );
}

function addConfigTests(): void {
  uefi("without a configuration the plan of boot/stages.json stands", () => {
    const [timeout, policy, lock, attempts, menu, hold, driver, lab, , , , bad, , kernel] =
      parsed("");
    assert.equal(
      [timeout, policy, lock, attempts, menu, hold, lab, bad],
      ["30000", "prefer", "-", "3", "0", "900000", "-", "0"],
    );
    assert.is(driver, "\\EFI\\kennel\\kennelwdt.efi");
    assert.is(kernel, "\\EFI\\kennel\\a\\vmlinuz");
  });

  uefi("every key is understood, with blanks, comments and either line ending", () => {
    const text = [
      "# comment",
      "",
      "timeout = 0\r",
      "  policy=require",
      "lock\t=\tyes",
      "attempts = 5",
      "menu = 3",
      "hold_max = 60",
      "driver =",
      "lab = yes",
      "lab.hang = verify",
      "lab.hang_at = high",
      "lab.slow_ms = 250",
      "a.kernel = /EFI/debian/vmlinuz",
      "b.options = root=/dev/vda console=ttyS0",
      "safe.initrd =",
    ].join("\n");
    const values = parsed(text);
    const first = ["0", "require", "lock", "5", "3000", "60000", "", "lab", "verify", "high"];
    assert.equal(values.slice(0, 13), [...first, "250", "0", "0"]);
    assert.is(values[13], "\\EFI\\debian\\vmlinuz");
    assert.is(values[18], "root=/dev/vda console=ttyS0");
    assert.is(values[20], "");
  });

  uefi("a line that is not understood is counted, named and leaves the default", () => {
    const bad = ["timeout = soon", "lab.hang = verify", "nonsense", "attempts = 0", "a.kernel ="];
    const values = parsed(["lock = yes", ...bad, "menu = 61"].join("\n"));
    assert.is(values[0], "30000");
    assert.is(values[2], "lock");
    assert.is(values[3], "3");
    assert.equal([values[11], values[12]], ["6", "2"]);
  });
}

uefi.run();
