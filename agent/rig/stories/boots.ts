/** Boots through firmware that go wrong in every way, and what the card says of them. */
import type { Report, ResponseOf } from "../../wire/commands.ts";
import type { BootFault, BootRig, BootSettings } from "../bootrig.ts";
import { bootMs, expect, reportsOf, toleranceMs, untilAnswers } from "../rig.ts";
import { type Story, story } from "../story.ts";

type BootStory = Story<BootRig>;

/** When the watchdog expired for the `count`th time. */
function expiry(rig: BootRig, count: number): Promise<number> {
  return rig.until(`expiry ${count} of the watchdog`, () => rig.expiries[count - 1], bootMs);
}

async function said(rig: BootRig, words: RegExp): Promise<string> {
  const find = (): string | undefined => rig.console.find(({ text }) => words.test(text))?.text;
  return await rig.until(`line like ${words.source}`, find, bootMs);
}

async function status(rig: BootRig): Promise<ResponseOf<"card.status">> {
  await untilAnswers(rig);
  return await rig.ask("card.status", {});
}

/** Waits until the boot is confirmed; gives the reports. */
async function confirmed(rig: BootRig): Promise<Report[]> {
  const endMs = rig.now() + bootMs;
  for (;;) {
    const { confirmed: isConfirmed } = await status(rig);
    if (isConfirmed) return await reportsOf(rig);
    expect(rig.now() < endMs, "the boot is not confirmed");
    await rig.wait(lookEveryMs);
  }
}
const lookEveryMs = 500;

/** A boot without any fault: adopted with no gap, confirmed, never reset. */
async function wellBoot(rig: BootRig, settings: BootSettings, uncoveredMs = 0): Promise<void> {
  await rig.boot(settings);
  const reports = await confirmed(rig);
  const adopted = reports.find(({ kind }) => kind === "boot:adopted");
  const isCovered = Number(adopted?.data.uncovered_ms) <= uncoveredMs;
  expect(isCovered, JSON.stringify(adopted ?? reports));
  const { slot, watchdog } = await status(rig);
  expect(slot === "a" && watchdog.armed, `slot ${slot}, ${watchdog.state}`);
  const { present, problem } = await rig.ask("boot.record", {});
  expect(present && problem === undefined, `record: ${present}, ${problem}`);
  await rig.wait(settledMs);
  expect(rig.expiries.length === 0, "the watchdog expired");
  tellTimes(rig);
}

/** What the console shows of a boot, for the documents: seconds from the first arming on. */
function tellTimes(rig: BootRig): void {
  const lines: [string, RegExp][] = [
    ["kernel started", /^kennel: start_kernel/],
    ["Linux", /Linux version/],
    ["initramfs", /^guest: init/],
    ["hook done", /^hook: version/],
    ["agent ready", /^kenneld ready/],
  ];
  const at = (words: RegExp): number => rig.console.find(({ text }) => words.test(text))?.atMs ?? 0;
  const armedMs = at(/^kennel: armed/);
  const handedMs = rig.firmwareRefreshMs(rig.now()) ?? 0;
  const times = lines.map(([name, words]) => `${name} ${seconds(at(words) - armedMs)}`);
  const last = `last refresh ${seconds(handedMs - armedMs)}`;
  process.stdout.write(`  measured boot, s after arming: ${[last, ...times].join(", ")}\n`);
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}
/** The driver's probe stops the 6300ESB, and the hook opens it in the next step. */
const stepMs = 1_000;
/** Longer than what the loader armed with and the hook gives the agent. */
const settledMs = 32_000;

/** How the dead boot of slot a has to be told of by the boot of slot b. */
interface Death {
  readonly stage: string;
  readonly cause?: "watchdog" | "panic";
  /** From the last refresh of the firmware to the reset; the loader's timeout when absent. */
  readonly withinMs?: number;
}

/** The boot of slot a ends by the watchdog, in time; the next boot, of slot b, tells of it. */
async function deadBoot(rig: BootRig, settings: BootSettings, death: Death): Promise<void> {
  await rig.boot(settings);
  const atMs = await expiry(rig, 1);
  const { withinMs = settings.timeoutMs } = death;
  const refreshedMs = rig.firmwareRefreshMs(atMs);
  expect(refreshedMs !== undefined, "nothing tells when the firmware refreshed last");
  const tookMs = atMs - refreshedMs;
  const toleratedMs = toleranceMs(rig, withinMs);
  const isExact = death.withinMs === undefined;
  const isEarly = isExact && tookMs < withinMs - toleratedMs;
  expect(!isEarly && tookMs <= withinMs + toleratedMs, `reset after ${tookMs} ms, not ${withinMs}`);
  await told(rig, death);
}

/** The panic's record is told from older ones, once an agent has seen those. */
async function panics(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs, lock: true });
  await confirmed(rig);
  await rig.change({ timeoutMs, lock: true, fault: "kernel_panics" });
  await expiry(rig, 1);
  await told(rig, { stage: "hand_off", cause: "panic" });
  const died = (await reportsOf(rig)).findLast(({ kind }) => kind === "boot:died");
  const words = died?.data.culprit;
  expect(words === "sysrq triggered crash", `the kernel's words are told as: ${words}`);
}

async function told(rig: BootRig, { stage, cause = "watchdog" }: Death): Promise<void> {
  const { slot } = await status(rig);
  expect(slot === "b", `slot ${slot} was booted`);
  const reports = await confirmed(rig);
  const died = reports.findLast(({ kind }) => kind === "boot:died");
  expect(died !== undefined, "no report tells of the dead boot");
  expect(died.data.stage === stage && died.data.cause === cause, JSON.stringify(died.data));
}

function dies(name: string, rows: string[], fault: BootFault, death: Death): BootStory {
  const settings = { timeoutMs, fault, lock: true };
  return story(name, { rows }, (rig) => deadBoot(rig, settings, death));
}
const timeoutMs = 20_000;
/** The hook's 20 s from its own start, which may take the kernel so long, ms. */
const kernelMs = 15_000;
const hookMs = 20_000;

async function slowLoad(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs, fault: "load_is_slow", lock: true });
  await confirmed(rig);
  expect(rig.expiries.length === 0, "a load that goes on was reset");
}

async function thirdTime(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs, fault: "kernel_panics", lock: true, attempts: 3 });
  await expiry(rig, 3);
  const reports = await confirmed(rig);
  const { slot } = await status(rig);
  expect(
    slot === "b" && rig.expiries.length === 3,
    `slot ${slot}, ${rig.expiries.length} expiries`,
  );
  const died = reports.find(({ kind }) => kind === "boot:died");
  expect(died?.data.stage === "hand_off", JSON.stringify(died));
  const fallback = reports.find(({ kind }) => kind === "boot:fallback");
  expect(fallback?.data.failures === 3 && fallback.data.from === "a", JSON.stringify(fallback));
}

/** Ten cuts, spread over a boot by a seeded choice; the card comes up every time. */
async function powerCuts(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs: 20_000, lock: true, attempts: 100 });
  for (let cut = 0; cut < cutsCount; cut++) {
    await rig.wait(((cut * 7919) % cutsCount) * cutStepMs + cutStepMs / 2);
    await rig.power(false);
    // The last one is left to come up.
    await rig.power(true, { waits: cut === cutsCount - 1 });
  }
  await confirmed(rig);
}
const cutsCount = 10;
const cutStepMs = 1_500;

async function otherSlot(rig: BootRig, fault: BootFault): Promise<void> {
  await rig.boot({ timeoutMs, fault, lock: true });
  const { slot } = await status(rig);
  expect(
    slot === "b" && rig.expiries.length === 0,
    `slot ${slot}, ${rig.expiries.length} expiries`,
  );
}

async function withDefaults(rig: BootRig, fault: BootFault): Promise<void> {
  await rig.boot({ timeoutMs, fault });
  await said(rig, /booting with the defaults|not understood/);
  await said(rig, /^kennel: armed i6300esb with/);
  // No options, so Linux has no console: the last that can be seen is its stub.
  await said(rig, /^EFI stub: Loaded initrd/);
}

async function damagedRecord(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs, fault: "damaged_record", lock: true });
  const reports = await confirmed(rig);
  const refused = reports.find(({ kind }) => kind === "boot:record_refused");
  expect(refused !== undefined, "a damaged record was believed");
  // The boot is known by the firmware's own store, and so can be confirmed all the same.
  await rig.reset();
  await said(rig, /^kennel: before: boot [^,]*, slot a, confirmed/);
}

async function fullStore(rig: BootRig): Promise<void> {
  // Each variable that firmware writes into a full store costs it seconds on an emulated flash.
  await rig.boot({ timeoutMs: 60_000, fault: "full_store", lock: true });
  await said(rig, /^guest: store is full/);
  await status(rig);
  await rig.reset();
  const { watchdog } = await status(rig);
  expect(watchdog.armed, watchdog.state);
}

async function revoked(rig: BootRig): Promise<void> {
  await deadBoot(rig, { timeoutMs, fault: "kernel_spins", lock: true }, { stage: "hand_off" });
  const lines = rig.console.filter(({ text }) => /^spin: .*revoked/.test(text));
  const answered = lines.filter(({ text }) => text.includes("not revoked"));
  expect(lines.length === 6 && answered.length === 0, JSON.stringify(lines));
}

async function unguarded(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs, device: "none" });
  await said(rig, /this boot is not guarded/);
  const { protected: isProtected } = await status(rig);
  expect(!isProtected, "protected without a watchdog");
}

async function required(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs, device: "none", policy: "require" });
  await said(rig, /no watchdog was found and the policy requires one/);
  await rig.wait(settledMs / 2);
  const isLoaded = rig.console.some(({ text }) => /Linux version/.test(text));
  expect(!isLoaded, "it boots on");
}

async function heldForAPerson(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs: 6_000, lock: true, menu: { waitMs: 20_000, holdMs: 15_000 } });
  await said(rig, /press a key within/);
  rig.press("x");
  await said(rig, /held for at most 15 s/);
  const heldMs = rig.now();
  await said(rig, /the hold is over/);
  const tookMs = rig.now() - heldMs;
  expect(tookMs >= 14_000 && tookMs < 20_000, `the hold took ${tookMs} ms`);
  expect(rig.expiries.length === 0, "the watchdog expired in the hold");
}

/** What `wdt explain` says of this card is what happens on it. */
async function explained(rig: BootRig, settings: BootSettings): Promise<void> {
  await rig.boot(settings);
  await confirmed(rig);
  const report = await rig.ask("card.protection", {});
  const adopt = report.stages.find(({ stage }) => stage === "adopt");
  const isCovered = settings.withoutHook !== true;
  expect(adopt?.covered === isCovered, JSON.stringify(report.stages));
}

/** Nobody opens the device, no hook bounds it: told as a gap, and there is no reset. */
async function gap(rig: BootRig): Promise<void> {
  await rig.boot({ timeoutMs, device: "iTCO_wdt", withoutHook: true, fault: "no_agent" });
  await said(rig, /^guest: has no agent/);
  await rig.wait(2 * settledMs);
  expect(rig.expiries.length === 0, "the kernel does not refresh for ever after all");
}

/** What a card of any architecture shows, with the 6300ESB. */
export const firstBoots: readonly BootStory[] = [
  story(
    "a boot is adopted without a gap, with the 6300ESB locked",
    { rows: ["A1-03", "A1-10", "A1-15"] },
    (rig) => wellBoot(rig, { timeoutMs: 30_000, lock: true }),
  ),
  story("an agent takes the 6300ESB from the hook that held it", { rows: ["A1-16"] }, (rig) =>
    wellBoot(rig, { timeoutMs: 30_000 }, stepMs),
  ),
  dies("a loader that hangs is reset, and the step is named", ["A1-05"], "load_hangs", {
    stage: "os_load",
  }),
  dies("a loader that hangs at the highest priority is reset", ["A1-05"], "load_hangs_high", {
    stage: "os_load",
  }),
  story(
    "a kernel that spins finds the API dead and is reset",
    { rows: ["A1-04", "A1-05"] },
    revoked,
  ),
  story("a kernel that panics is reset, and told from a watchdog", { rows: ["A1-05"] }, panics),
  dies("a kernel whose driver never loads is reset", ["A1-05", "A1-08"], "no_driver", {
    stage: "hand_off",
  }),
  dies("an initramfs that hangs is reset", ["A1-05"], "initramfs_hangs", { stage: "hand_off" }),
  dies("an agent that never opens the watchdog is not waited for", ["A1-08", "A1-17"], "no_agent", {
    stage: "hand_off",
    withinMs: kernelMs + hookMs,
  }),
  dies("an agent that dies before it adopts is not waited for", ["A1-17"], "agent_dies", {
    stage: "hand_off",
    withinMs: kernelMs + hookMs,
  }),
  story("the 6300ESB without its lock is held by the hook", { rows: ["A1-16", "A1-17"] }, (rig) =>
    deadBoot(
      rig,
      { timeoutMs, fault: "no_agent" },
      { stage: "hand_off", withinMs: kernelMs + hookMs },
    ),
  ),
];

/** All of them, on a PC. */
export const boots: readonly BootStory[] = [
  ...firstBoots,
  story(
    "a boot is adopted without a gap, with the chipset's watchdog",
    { rows: ["A1-03", "A1-16"] },
    (rig) => wellBoot(rig, { timeoutMs: 30_000, device: "iTCO_wdt" }),
  ),
  story("a loader that hangs is reset by the chipset's watchdog", { rows: ["A1-05"] }, (rig) =>
    deadBoot(rig, { timeoutMs, fault: "load_hangs", device: "iTCO_wdt" }, { stage: "os_load" }),
  ),
  story(
    "an agent that never opens the chipset's watchdog is not waited for",
    { rows: ["A1-17"] },
    (rig) =>
      deadBoot(
        rig,
        { timeoutMs, fault: "no_agent", device: "iTCO_wdt" },
        { stage: "hand_off", withinMs: kernelMs + 3 * hookMs },
      ),
  ),
  story("a kernel that spins is reset by the chipset's watchdog", { rows: ["A1-05"] }, (rig) =>
    deadBoot(rig, { timeoutMs, fault: "kernel_spins", device: "iTCO_wdt" }, { stage: "hand_off" }),
  ),
  story("an initramfs that hangs is reset by the chipset's watchdog", { rows: ["A1-05"] }, (rig) =>
    deadBoot(
      rig,
      { timeoutMs, fault: "initramfs_hangs", device: "iTCO_wdt" },
      { stage: "hand_off" },
    ),
  ),
  story("a load that is slow and goes on is not reset", { rows: ["A1-07"] }, slowLoad),
  story("three failed boots, then the other slot, which says why", { rows: ["A1-13"] }, thirdTime),
  story(
    "the power is cut ten times while booting, and the card comes up",
    { rows: ["A1-13"] },
    powerCuts,
  ),
  story(
    "a store of variables without room keeps no card from booting",
    { rows: ["A1-13"] },
    fullStore,
  ),
  story("without its configuration the loader boots with the defaults", { rows: [] }, (rig) =>
    withDefaults(rig, "no_configuration"),
  ),
  story("with a damaged configuration the loader boots with the defaults", { rows: [] }, (rig) =>
    withDefaults(rig, "damaged_configuration"),
  ),
  story("a kernel that is missing gives way to the other slot", { rows: ["A1-13"] }, (rig) =>
    otherSlot(rig, "no_kernel"),
  ),
  story("a kernel that is damaged gives way to the other slot", { rows: ["A1-13"] }, (rig) =>
    otherSlot(rig, "damaged_kernel"),
  ),
  story("a damaged hand-off record is refused and told", { rows: ["A1-10"] }, damagedRecord),
  story("a card without a watchdog boots and says so", { rows: ["A1-09"] }, unguarded),
  story("a card that requires a watchdog stops without one", { rows: ["A1-09"] }, required),
  story("a person holds the boot, for so long and no longer", { rows: ["A1-12"] }, heldForAPerson),
  story(
    "what explain calls covered has no gap, with the hook",
    { rows: ["A1-16", "B10-01"] },
    (rig) => explained(rig, { timeoutMs: 30_000, device: "iTCO_wdt" }),
  ),
  story("what explain calls a gap is one, without the hook", { rows: ["A1-16", "B10-02"] }, (rig) =>
    explained(rig, { timeoutMs: 30_000, device: "iTCO_wdt", withoutHook: true }),
  ),
  story(
    "without the hook the kernel refreshes for an agent that never comes",
    { rows: ["A1-16"] },
    gap,
  ),
];
