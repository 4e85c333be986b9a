/**
 * The protection report: for each stage what guards it and for how long nothing does, whether a
 * bad boot has somewhere to fall back to, how far the TEE can be restarted, and the next step for
 * every weak item. Pure.
 */
import type { ResponseOf } from "../wire/commands.ts";
import type { CoveragePlan } from "../wire/coverageplan.ts";
import type { Slot } from "./bootrecord.ts";
import type { GapCode } from "./countdowns.ts";
import { type Coverage, coverageOf } from "./coverage.ts";
import type { Via } from "./criteria.ts";

export type Protection = ResponseOf<"card.protection">;
type StageRow = Protection["stages"][number];

export interface ProtectionFacts {
  readonly plan: CoveragePlan;
  /** `hardware` alone protects. */
  readonly kind: "hardware" | "software" | "simulated" | "none";
  readonly via: Via;
  /** What the watchdog's status says of the runtime, in words. */
  readonly protection: string;
  readonly isArmed: boolean;
  /** Kept alive on purpose, whatever happens on the card. */
  readonly isHeld: boolean;
  /** The stretch before adoption in which nothing showed that the countdown ran, ms. */
  readonly interruptedMs: number;
  readonly boot: {
    /** Our loader chooses the slot. */
    readonly isChosen: boolean;
    readonly slot: Slot;
    readonly failures: { readonly a: number; readonly b: number };
    readonly attemptsMax: number;
  };
  /** Who may change the card, and how many keys are authorised. */
  readonly access: { readonly policy: "keys" | "open"; readonly keys: number };
  readonly tee: { readonly state: string; readonly simulated: boolean; readonly rungs: string[] };
}

const stages = ["power_on", "os_load", "hand_off", "adopt", "runtime", "reboot"] as const;

/** States of a TEE that restarts no more. */
const teeIsLost = ["unusable", "degraded"];

/** What to do about each reason for a gap. */
const remedies: { readonly [K in GapCode]: string } = {
  unarmed: "install the boot half, so that the watchdog is armed while the OS loads",
  firmware_stops: "boot with Kennel's loader: it leaves its countdown running as it hands off",
  driver_stops:
    "let the loader set the hardware's lock, or open the device in early userspace (boot/linux)",
  open_timeout: "set watchdog.open_timeout above the time to the agent's start (modprobe.d)",
  no_magic_close: "load the driver with nowayout=1, so that no close stops or hands it over",
  stop_on_reboot: "set watchdog.stop_on_reboot=0, so that a reboot that hangs is ended too",
  other_owner: "take the watchdog from its other owner (systemd: RuntimeWatchdogSec=0)",
  kernel_timer: "load the driver of a hardware watchdog: softdog dies with the kernel",
  disarmed: "arm the watchdog: kennel wdt arm",
};

export function protectionOf(facts: ProtectionFacts): Protection {
  const coverage = coverageOf(facts.plan);
  const rows = stages.map((stage) => stageRow(facts, coverage, stage));
  const fallback = fallbackOf(facts);
  const tee = teeOf(facts);
  const access = accessOf(facts);
  const codes = new Set(coverage.gaps.map(({ code }) => code));
  if (facts.interruptedMs > 0) codes.add("driver_stops");
  const isReal = facts.kind === "hardware";
  const steps = [
    ...(facts.kind === "simulated"
      ? ["a simulated watchdog protects nothing: load the hardware's driver"]
      : []),
    ...(facts.kind === "none" ? ["load the driver of the card's watchdog"] : []),
    ...[...codes].map((code) => remedies[code]),
    ...(facts.isHeld ? ["let the hold end: until then nothing that hangs is reset"] : []),
    ...(coverage.wellResetMs === null
      ? []
      : ["raise the timeout that runs out before the next refresh: kennel wdt explain"]),
    "let the host power-cycle a card that does not reach os_load in time: nothing on it can",
    ...(fallback.valid ? [] : ["provide a second slot that boots, chosen by Kennel's loader"]),
    ...(access.weak ? ["let keys alone change the card: access.policy keys, kennel keygen"] : []),
    ...(tee.weak ? ["let the agent restart the TEE, or look why it stays down: kennel tee"] : []),
  ];
  const isWhole = rows.every(({ stage, covered }) => covered || stage === "power_on");
  return {
    protected: isReal && isWhole && facts.isArmed && !facts.isHeld,
    protection: facts.protection,
    stages: rows,
    fallback,
    tee,
    access,
    next: steps,
  };
}

function stageRow(
  facts: ProtectionFacts,
  coverage: Coverage,
  stage: (typeof stages)[number],
): StageRow {
  const { plan, kind, via, isArmed } = facts;
  const parts = coverage.intervals.filter((interval) => interval.stage === stage);
  if (stage === "hand_off" && parts.length === 0 && plan.firmware !== undefined) {
    const by = kind === "hardware" || kind === "simulated" ? kind : "none";
    const because = "counted as adopt: nothing tells when the driver was loaded";
    return { stage, by, covered: kind === "hardware", uncovered_ms: 0, because };
  }
  const open = parts.flatMap(({ fromMs, toMs, fates }) => {
    const found = Object.values(fates).find((fate) => fate.kind === "never");
    return found === undefined
      ? []
      : [{ ms: toMs - fromMs, isLast: toMs === plan.until_ms, found }];
  });
  const counts = parts.some(({ fates }) => fates.machine?.kind === "reset");
  const isServed = stage === "runtime" && via === "service";
  const real = kind === "hardware" ? (isServed ? "service" : "hardware") : "none";
  const by = !counts ? "none" : kind === "simulated" ? "simulated" : real;
  const isHeld = facts.isHeld && stage === "runtime";
  const isMissed = stage === "runtime" && !isArmed;
  const isClosed = parts.length > 0 && open.length === 0;
  const measuredMs = stage === "adopt" ? facts.interruptedMs : 0;
  const covered = isClosed && !isHeld && !isMissed && measuredMs === 0 && real !== "none";
  const sumMs = open.reduce((sum, { ms }) => sum + ms, 0);
  const isEndless = isHeld || isMissed || open.some(({ isLast }) => isLast);
  const isEarly = stage === "power_on" && plan.firmware !== undefined;
  const told = isEarly ? undefined : open[0]?.found.why;
  const because = told ?? words(facts, stage, parts.length > 0);
  const why = measuredMs > 0 ? `nothing shows that it counted: ${because}` : because;
  return {
    stage,
    by,
    covered,
    ...(isEndless || parts.length === 0 ? {} : { uncovered_ms: Math.max(sumMs, measuredMs) }),
    because: kind !== "simulated" || why.startsWith(kind) ? why : `simulated: ${why}`,
  };
}

/** Of a stage without a gap, or without a moment of its own. */
function words(facts: ProtectionFacts, stage: (typeof stages)[number], exists: boolean): string {
  if (facts.isHeld && stage === "runtime") return "a hold keeps it alive whatever hangs";
  if (!exists) return stage === "reboot" ? "nobody has it open" : "no hand-off record";
  switch (stage) {
    case "power_on":
      return "the watchdog is armed when the OS load begins";
    case "os_load":
      return "firmware refreshes on completed steps";
    case "hand_off":
      return "the firmware's countdown runs";
    case "adopt":
      return "the countdown never stopped";
    case "reboot":
      return "it counts on until the reset";
    default:
      return facts.protection;
  }
}

function fallbackOf({ boot }: ProtectionFacts): Protection["fallback"] {
  const { slot, failures, attemptsMax } = boot;
  if (!boot.isChosen) return { valid: false, because: "no loader of ours chooses the slot" };
  if (slot === "safe") return { valid: false, because: "the safe image runs: it is the last one" };
  const other = slot === "a" ? "b" : "a";
  if (failures[other] < attemptsMax) {
    return {
      valid: true,
      slot: other,
      because: `slot ${other} is taken after ${attemptsMax} failed boots`,
    };
  }
  const because = `slot ${other} has failed ${failures[other]} times: only the safe image is left`;
  return { valid: false, slot: "safe", because };
}

function teeOf({ tee, kind, isArmed }: ProtectionFacts): Protection["tee"] {
  const { state, simulated, rungs } = tee;
  if (state === "absent") return { state, reachable: [], weak: false, because: "no TEE" };
  const canReset = kind === "hardware" && isArmed;
  const reachable = [...rungs, ...(canReset ? ["card_reset"] : [])];
  const weak = simulated || rungs.length === 0 || teeIsLost.includes(state);
  const up = reachable.length === 0 ? "nothing restarts it" : `up to ${reachable.at(-1)}`;
  return { state, reachable, weak, because: simulated ? `simulated: ${up}` : up };
}

function accessOf({ access: { policy, keys } }: ProtectionFacts): Protection["access"] {
  if (policy === "open") return { policy, weak: true, because: "anybody at a line may change it" };
  const because =
    keys === 0 ? "nobody may change it: no key is authorised" : `${keys} keys authorised`;
  return { policy, weak: false, because };
}

/** What must differ for a change to be worth an event. */
export function protectionKey({
  protected: isProtected,
  stages,
  fallback,
  tee,
}: Protection): string {
  const rows = stages.map(({ stage, by, covered }) => `${stage}:${by}:${covered}`);
  return [isProtected, ...rows, fallback.valid, tee.weak, ...tee.reachable].join(" ");
}

/** Names of what is weak, such as `adopt reboot fallback`. */
export function weakOf({ stages, fallback, tee, access }: Protection): string {
  const weak = stages.filter(({ covered }) => !covered).map(({ stage }): string => stage);
  if (!fallback.valid) weak.push("fallback");
  if (tee.weak) weak.push("tee");
  if (access.weak) weak.push("access");
  return weak.join(" ");
}
