/**
 * The agent's settings: defaults, a JSON file over them, options of the command line over that.
 * Everything else the agent times is derived here, with its reason.
 */
import stages from "../boot/stages.json" with { type: "json" };
import { Failure } from "./errors.ts";
import { type AccessConfig, accessConfig } from "./machines/accessconfig.ts";
import type { BootPlan } from "./machines/boot.ts";
import { intervalRangeS, type NextReset } from "./machines/bootcontrol.ts";
import type { WatchdogPolicy } from "./machines/criteria.ts";
import type { ReadinessPlan } from "./machines/readiness.ts";
import { ownChecks, readinessPlan } from "./machines/readinessconfig.ts";
import { promiseRangeMs, type RuntimeConfig } from "./machines/runtimeconfig.ts";
import { type TeeConfig, teeConfig } from "./machines/teeconfig.ts";
import { policyOf, rehydrateOf, type ServicePolicy } from "./teeservices.ts";
import { teeSettingsShape } from "./teesettings.ts";
import { bool, check, type Infer, list, map, number, oneOf, optional, text } from "./wire/shape.ts";

/** The settings file, and with it what can be set at all. Spans are in seconds. */
const settingsShape = map({
  name: optional(text),
  /** What tells this card from others, in signed commands too; what the board says when absent. */
  device_id: optional(text),
  port: optional(text),
  baud: optional(number),
  state: optional(text),
  lab: optional(bool),
  access: optional(
    map({
      /** Who may change anything: who signs with an authorised key, or everybody. */
      policy: optional(oneOf("keys", "open")),
      read: optional(oneOf("open", "keys")),
      /** The authorised keys; `authorized_keys` in the state folder unless set. */
      keys_file: optional(text),
    }),
  ),
  watchdog: optional(
    map({
      policy: optional(oneOf("require", "prefer", "simulate")),
      device: optional(text),
      promise_s: optional(number),
      hardware_max_s: optional(number),
      hardware_min_gap_s: optional(number),
      allow_disarm: optional(bool),
      hold_max_s: optional(number),
      pre_reset_s: optional(number),
    }),
  ),
  tee: optional(teeSettingsShape),
  tasks: optional(list(map({ name: text, every_s: number }), 16)),
  boot: optional(
    map({
      /** The agent's own checks that must pass before the boot counts as good. */
      checks: optional(list(oneOf(...ownChecks), ownChecks.length)),
      /** Programs that must end with status 0. */
      programs: optional(
        list(
          map({
            name: text,
            command: list(text, 16),
            within_s: optional(number),
            every_s: optional(number),
          }),
          16,
        ),
      ),
      ready_within_s: optional(number),
      /** What a BlueField's watchdog is to do from the next reset on. */
      next_reset: optional(
        map({ mode: oneOf("disabled", "standard", "time_limit"), interval_s: optional(number) }),
      ),
    }),
  ),
});
export type Settings = Infer<typeof settingsShape>;

export interface AgentConfig {
  /** What this card calls itself. */
  readonly name: string;
  /** What tells it from all others; null: what the platform knows. */
  readonly deviceId: string | null;
  readonly version: string;
  /** A lab image answers the rig group: faults can be injected over the line. */
  readonly lab: boolean;
  readonly access: AccessConfig;
  readonly plan: BootPlan;
  readonly watchdogPolicy: WatchdogPolicy;
  readonly hardwareMaxMs: number | null;
  /** The shortest gap between two refreshes that the chip bears; 0 = any. */
  readonly hardwareMinGapMs: number;
  readonly runtime: RuntimeConfig;
  readonly teePolicy: WatchdogPolicy;
  readonly tee: TeeConfig;
  /** Who may use which security service, and how. */
  readonly services: readonly ServicePolicy[];
  /** The socket for programs of the card; null = nothing is served. */
  readonly teeSocket: string | null;
  /** Tasks that must check in, besides the agent's own. */
  readonly tasks: readonly { name: string; everyMs: number }[];
  /** How long everything must have been well after adoption before the boot is confirmed. */
  readonly readyAfterMs: number;
  readonly readiness: ReadinessPlan;
  /** The programs among the readiness checks, by name. */
  readonly programs: ReadonlyMap<string, readonly string[]>;
  readonly nextReset: NextReset;
  /** How often the uptime is noted for the boot history: rarely, to spare the flash. */
  readonly aliveEveryMs: number;
}

/** Services of a simulated TEE for which none are named. */
const simulatedServices = ["keystore", "attestation"];

const socketDefault = "/run/kennel/tee.sock";
/** What fits an address (unix(7)). */
const socketBytesMax = 107;

/** T2 when nobody says otherwise: long enough for a slow disk, short enough for an operator. */
const promiseDefaultS = 60;
/** How long before a promised reset it is announced: a dozen reports at 9600 Bd. */
const preResetDefaultS = 10;
/** Faster check-ins would be a load of their own. */
const taskEveryMinS = 0.1;

/** Checks a settings file's content; a mistake names the member. Failure `config.invalid`. */
export function parseSettings(json: string, path: string): Settings {
  try {
    const raw: unknown = JSON.parse(json);
    const settings = check(settingsShape, raw, path);
    mustBeKnown(raw, settings, path);
    return settings;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("config.invalid", `settings refused: ${why}`, { cause: error });
  }
}

/** A member that nothing reads is a slip of the pen, and what was meant would silently not hold. */
function mustBeKnown(raw: unknown, read: unknown, path: string): void {
  if (typeof raw !== "object" || raw === null) return;
  const known = read as Readonly<Record<string, unknown>>;
  for (const [key, value] of Object.entries(raw)) {
    if (!Object.hasOwn(known, key)) {
      throw new Failure("config.invalid", `${path}.${key} is no setting`);
    }
    mustBeKnown(value, known[key], `${path}.${key}`);
  }
}

/** Spans are positive and tasks have names of their own. */
function checkSpans(settings: Settings): void {
  const refuse = (member: string, why: string): never => {
    throw new Failure("config.invalid", `${member} ${why}`);
  };
  const holdS = settings.watchdog?.hold_max_s;
  if (holdS !== undefined && !(holdS > 0)) {
    refuse("watchdog.hold_max_s", `is ${holdS}; it is more than 0 seconds`);
  }
  const preS = settings.watchdog?.pre_reset_s;
  if (preS !== undefined && !(preS > 0)) {
    refuse("watchdog.pre_reset_s", `is ${preS}; it is more than 0 seconds`);
  }
  const { device_id } = settings;
  if (device_id !== undefined && !/^[\w.-]{1,64}$/.test(device_id)) {
    refuse("device_id", `is "${device_id}"; it is 1 to 64 letters, digits, dots and hyphens`);
  }
  const names = new Set<string>();
  for (const [at, { name, every_s }] of (settings.tasks ?? []).entries()) {
    if (name === "") refuse(`tasks[${at}].name`, "is empty");
    if (names.has(name)) refuse(`tasks[${at}].name`, `is "${name}" a second time`);
    names.add(name);
    if (!(every_s >= taskEveryMinS)) {
      refuse(`tasks[${at}].every_s`, `is ${every_s}; it is at least ${taskEveryMinS} seconds`);
    }
  }
}

/** The agent's configuration from settings; Failure `config.invalid` for values out of range. */
export function configure(settings: Settings, version: string): AgentConfig {
  checkSpans(settings);
  const watchdog = settings.watchdog ?? {};
  const promiseS = watchdog.promise_s ?? promiseDefaultS;
  const [min, max] = [promiseRangeMs.min / 1000, promiseRangeMs.max / 1000];
  if (!(promiseS >= min && promiseS <= max)) {
    throw new Failure(
      "config.invalid",
      `watchdog.promise_s is ${promiseS}; it can be ${min} to ${max} seconds`,
    );
  }
  const promiseMs = promiseS * 1000;
  const hardwareMaxS = watchdog.hardware_max_s;
  if (hardwareMaxS !== undefined && !(hardwareMaxS >= 1)) {
    throw new Failure("config.invalid", `watchdog.hardware_max_s is ${hardwareMaxS}; at least 1`);
  }
  const minGapS = watchdog.hardware_min_gap_s ?? 0;
  if (!(minGapS >= 0 && minGapS <= promiseS / 2)) {
    throw new Failure(
      "config.invalid",
      `watchdog.hardware_min_gap_s is ${minGapS}; it can be 0 to half of promise_s`,
    );
  }
  const plan: BootPlan = stages;
  const teePolicy = settings.tee?.policy ?? "prefer";
  const services = settings.tee?.services ?? (teePolicy === "simulate" ? simulatedServices : []);
  const entry = (name: string) =>
    settings.tee?.applications?.find(({ service }) => service === name);
  return {
    name: settings.name ?? "card",
    deviceId: settings.device_id ?? null,
    version,
    lab: settings.lab ?? false,
    access: accessConfig(settings.access),
    plan,
    watchdogPolicy: watchdog.policy ?? "prefer",
    hardwareMaxMs: hardwareMaxS === undefined ? null : hardwareMaxS * 1000,
    hardwareMinGapMs: minGapS * 1000,
    runtime: runtimeConfig(promiseMs, plan, {
      allowDisarm: watchdog.allow_disarm ?? false,
      holdMaxMs: (watchdog.hold_max_s ?? plan.holdMaxMs / 1000) * 1000,
      preResetMs: (watchdog.pre_reset_s ?? preResetDefaultS) * 1000,
    }),
    teePolicy,
    tee: teeConfig(services.map((name) => ({ name, rehydrate: rehydrateOf(name, entry(name)) }))),
    services: services.map((name) => policyOf(name, entry(name))),
    teeSocket: socketOf(settings.tee),
    tasks: (settings.tasks ?? []).map(({ name, every_s }) => ({ name, everyMs: every_s * 1000 })),
    readyAfterMs: promiseMs / 2,
    ...readinessOf(settings, promiseMs / 2),
    nextReset: nextResetOf(settings),
    aliveEveryMs: 600_000,
  };
}

/** Nobody is served for nothing: without services that somebody named there is no socket. */
function socketOf(tee: Settings["tee"]): string | null {
  const isWanted = (tee?.services ?? []).length > 0;
  const path = tee?.socket ?? (isWanted ? socketDefault : "none");
  if (path === "none") return null;
  if (path.startsWith("/") && new TextEncoder().encode(path).length <= socketBytesMax) return path;
  const limits = `an absolute path of at most ${socketBytesMax} bytes, or none`;
  throw new Failure("config.invalid", `tee.socket is ${path}; it is ${limits}`);
}

function readinessOf(
  settings: Settings,
  settleMs: number,
): Pick<AgentConfig, "readiness" | "programs"> {
  const { boot = {} } = settings;
  const readiness = readinessPlan(boot, settleMs);
  if (typeof readiness === "string") throw new Failure("config.invalid", readiness);
  const programs = new Map((boot.programs ?? []).map(({ name, command }) => [name, command]));
  return { readiness, programs };
}

function nextResetOf(settings: Settings): NextReset {
  const { mode, interval_s } = settings.boot?.next_reset ?? { mode: "disabled" };
  if (mode === "disabled") return { mode, intervalS: 0 };
  const { min, max } = intervalRangeS;
  const intervalS = interval_s ?? intervalDefaultS;
  if (Number.isInteger(intervalS) && intervalS >= min && intervalS <= max) {
    return { mode, intervalS };
  }
  const range = `a whole number of seconds from ${min} to ${max}`;
  const message = `boot.next_reset.interval_s is ${intervalS}; it is ${range}`;
  throw new Failure("config.invalid", message);
}

/** The firmware's own default. Source: mlxbf-bootctl(8). */
const intervalDefaultS = 180;

/** Timing of the runtime watchdog, derived from T2. */
export function runtimeConfig(
  promiseMs: number,
  plan: BootPlan,
  allow: { allowDisarm: boolean; holdMaxMs: number; preResetMs: number },
): RuntimeConfig {
  return {
    promiseMs,
    refreshFraction: 0.25,
    slackWarnFraction: 0.25,
    // A window of ten promised timeouts: one warning per window, not one per late refresh.
    slackWindowMs: promiseMs * 10,
    holdMaxMs: Math.min(allow.holdMaxMs, plan.holdMaxMs),
    preResetMs: allow.preResetMs,
    disarmAllowed: allow.allowDisarm,
    tasksMax: 16,
  };
}
