/** What a card says of its watchdog and of its past: all that is known, and nothing that is not. */
import type { Cause } from "../../machines/bootrecord.ts";
import { AgentEnded, expect, type Rig, reportsOf, untilAnswers } from "../rig.ts";
import { type Story, story } from "../story.ts";

/** Every criterion of `kennel wdt probe`. */
const criteria = [
  "present",
  "real_hardware",
  "exclusive",
  "timeout_max",
  "timeout_min",
  "set_timeout",
  "refresh",
  "granted",
  "refresh_works",
  "time_left",
  "survives_close",
  "stoppable",
  "reset_cause",
  "open_timeout",
  "driver",
  "boot_countdown",
  "stop_on_reboot",
  "pretimeout",
];

async function probed(rig: Rig): Promise<void> {
  await rig.start({ promiseMs: 10_000 });
  const probe = await rig.ask("wdt.probe", {});
  const listed = new Map(probe.criteria.map((criterion) => [criterion.name, criterion]));
  const missing = criteria.filter((name) => !listed.has(name));
  expect(missing.length === 0, `not listed: ${missing.join(", ")}; ${[...listed.keys()]}`);
  const isWhole = probe.criteria.every(
    ({ value, required, ok }) => value !== "" && required !== "" && typeof ok === "boolean",
  );
  expect(isWhole, JSON.stringify(probe.criteria));
  const backend = rig.name === "sim" ? "simulated" : "direct";
  expect(probe.because !== "" && probe.backend === backend, `${probe.backend}: ${probe.because}`);
}

/** Opening arms with the driver's own 30 s, and nobody refreshes for an agent that simulates. */
async function onlyLookedAt(rig: Rig): Promise<void> {
  await rig.start({ promiseMs: 10_000, policy: "simulate" });
  await rig.ask("wdt.probe", {});
  await rig.wait(driverDefaultMs + 5_000);
  expect(rig.resets.length === 0, "looking at the watchdog has armed it");
}
const driverDefaultMs = 30_000;

async function ofSoftware(rig: Rig): Promise<void> {
  const settings = { promiseMs: 10_000, device: "softdog" } as const;
  await rig.start({ ...settings, policy: "prefer" });
  const { protected: isProtected, protection } = await rig.ask("card.status", {});
  expect(!isProtected, `a software watchdog counts as protection: ${protection}`);
  const probe = await rig.ask("wdt.probe", {});
  const hardware = probe.criteria.find(({ name }) => name === "real_hardware");
  expect(hardware?.ok === false, `real_hardware: ${JSON.stringify(hardware)}`);
  await refused(rig, settings);
}

async function withoutAddon(rig: Rig): Promise<void> {
  const settings = { promiseMs: 10_000, withoutAddon: true };
  await rig.start({ ...settings, policy: "prefer" });
  const { protected: isProtected, backend } = await rig.ask("card.status", {});
  expect(!isProtected && backend === "simulated", `${backend}, protected: ${isProtected}`);
  await refused(rig, settings);
}

/** With the policy `require` the agent does not run. */
async function refused(rig: Rig, settings: Parameters<Rig["start"]>[0]): Promise<void> {
  const said = await rig.start({ ...settings, policy: "require" }).then(
    () => "",
    (error: unknown) => {
      if (error instanceof AgentEnded) return error.message;
      throw error;
    },
  );
  expect(said.includes("watchdog is required"), `the agent was not refused: ${said}`);
}

/** What the boot after it calls the end of the boot that was running. */
async function endOf(rig: Rig, end: () => Promise<void>): Promise<Cause> {
  await rig.start({ promiseMs: 8_000 });
  const { boot } = await rig.ask("card.status", {});
  await end();
  await untilAnswers(rig);
  const { boots } = await rig.ask("boot.history", {});
  const ended = boots.find((entry) => entry.boot === boot);
  return ended?.cause ?? "unknown";
}

async function watchdogIsNamed(rig: Rig): Promise<void> {
  const cause = await endOf(rig, async () => {
    await rig.hang("loop");
    await rig.until("expiry of the watchdog", () => rig.expiries[0], 30_000);
    await rig.until("reset", () => rig.resets[0], 30_000);
  });
  expect(cause === "watchdog", `called ${cause}`);
}

/** The kernel's own record outlives the reset, and the watchdog is not what killed it. */
async function panicIsNamed(rig: Rig): Promise<void> {
  const cause = await endOf(rig, async () => {
    await rig.hang("kernel");
    await rig.until("expiry of the watchdog", () => rig.expiries[0], 30_000);
    await rig.until("reset", () => rig.resets[0], 30_000);
  });
  expect(cause === "panic", `called ${cause}`);
}

async function commandIsNamed(rig: Rig): Promise<void> {
  const cause = await endOf(rig, async () => {
    await rig.ask("os.reset", {});
    await rig.until("reset", () => rig.resets[0], 60_000);
  });
  expect(cause === "commanded", `called ${cause}`);
  const kinds = (await reportsOf(rig)).map(({ kind }) => kind);
  expect(kinds.includes("wdt:pre_reset"), `not announced: ${kinds}`);
  expect(rig.expiries.length === 0, "it took the watchdog to do it");
}

/** Nothing but firmware could tell a power cut: no other cause may be claimed. */
async function powerCut(rig: Rig): Promise<void> {
  const cause = await endOf(rig, async () => {
    await rig.power(false);
    await rig.power(true);
  });
  expect(cause === "power" || cause === "unknown", `called ${cause}`);
}

async function resetButton(rig: Rig): Promise<void> {
  const cause = await endOf(rig, () => rig.reset());
  const isGuessed = cause === "watchdog" || cause === "panic" || cause === "power";
  expect(!isGuessed, `called ${cause}`);
}

export const tells: readonly Story[] = [
  story("a probe lists every criterion and its verdict", { rows: ["A2-01", "A2-02"] }, probed),
  story(
    "looking at a watchdog does not arm it",
    { rows: ["A2-14"], needs: ["drivers"] },
    onlyLookedAt,
  ),
  story(
    "a watchdog of software is no protection",
    { rows: ["A2-16"], needs: ["drivers"] },
    ofSoftware,
  ),
  story(
    "an agent without its native part simulates and says so",
    { rows: ["A2-15"], needs: ["native_addon"] },
    withoutAddon,
  ),
  story("a reset by the watchdog is called that", { rows: ["A2-18"] }, watchdogIsNamed),
  story("a kernel that panicked is told from a watchdog", { rows: ["A2-18"] }, panicIsNamed),
  story(
    "a reset that was commanded is called that, and announced",
    { rows: ["A1-14", "A2-18", "A2-19"] },
    commandIsNamed,
  ),
  story("a power cut is not called anything else", { rows: ["A2-18"] }, powerCut),
  story("a reset from outside is not called what it is not", { rows: ["A2-18"] }, resetButton),
];
