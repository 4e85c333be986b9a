/**
 * The settings as the settings group of SMP has them: named values over those of the settings file.
 * Written, they wait; a commit puts all of them into effect at once or none; saved, they hold for
 * later starts of the agent too. Values are JSON as UTF-8: `60`, `"nic7"` or plain `nic7`.
 */
import { type AgentConfig, runtimeConfig } from "../config.ts";
import { Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Disk } from "../io/disk.ts";
import { type Codec, Journal } from "../journal.ts";
import { promiseRangeMs } from "../machines/runtimeconfig.ts";
import { decodeMap, encodeMap } from "../wire/cbor.ts";
import { GroupFailure } from "../wire/grouperrors.ts";
import { check, cutText, map, record, textOf } from "../wire/shape.ts";

/** Longest name of a setting, characters: that of every known one and room for a typing error. */
export const nameMax = 64;
/** Longest value, bytes: 16 tasks with their names and spans. */
export const valueBytesMax = 1024;

interface Setting {
  readonly show: (config: AgentConfig) => unknown;
  /** Absent: what it says cannot change while the agent runs. Failure `config.invalid`. */
  readonly set?: (config: AgentConfig, value: unknown) => AgentConfig;
}

/** A setting that only the settings file has a say in. */
function fixed(show: Setting["show"]): Setting {
  return { show };
}

function invalid(name: string, value: unknown, what: string): never {
  const shown = JSON.stringify(value) ?? "nothing";
  throw new Failure("config.invalid", `${name} is ${shown.slice(0, 80)}; it is ${what}`);
}

function secondsOf(name: string, value: unknown, minS: number, maxS: number): number {
  const isGood = typeof value === "number" && value >= minS && value <= maxS;
  return isGood ? value * 1000 : invalid(name, value, `${minS} to ${maxS} seconds`);
}

/** Least of a hold and of a pre-reset announcement, seconds: one tick of anything that counts. */
const leastS = 0.001;
/** A day, as for the promise itself. */
const daySeconds = promiseRangeMs.max / 1000;

function withName(config: AgentConfig, value: unknown): AgentConfig {
  const isGood = typeof value === "string" && /^[\x21-\x7e]{1,32}$/.test(value);
  return isGood ? { ...config, name: value } : invalid("name", value, "1 to 32 visible characters");
}

/** T2 of the next arming; everything that is derived from it follows at the next start. */
function withPromise(config: AgentConfig, value: unknown): AgentConfig {
  const name = "watchdog/promise_s";
  const ms = secondsOf(name, value, promiseRangeMs.min / 1000, daySeconds);
  const { plan, runtime, readiness, hardwareMinGapMs } = config;
  const least = Math.max(hardwareMinGapMs * 2, promiseRangeMs.min) / 1000;
  if (hardwareMinGapMs > ms / 2) return invalid(name, value, `at least ${least} seconds here`);
  const { disarmAllowed: allowDisarm, holdMaxMs, preResetMs } = runtime;
  const settleMs = ms / 2;
  return {
    ...config,
    runtime: runtimeConfig(ms, plan, { allowDisarm, holdMaxMs, preResetMs }),
    readyAfterMs: settleMs,
    readiness: {
      ...readiness,
      settleMs,
      deadlineMs: Math.max(readiness.deadlineMs, settleMs * 4),
    },
  };
}

function withHoldMax(config: AgentConfig, value: unknown): AgentConfig {
  const longestS = config.plan.holdMaxMs / 1000;
  const holdMaxMs = secondsOf("watchdog/hold_max_s", value, leastS, longestS);
  return { ...config, runtime: { ...config.runtime, holdMaxMs } };
}

function withPreReset(config: AgentConfig, value: unknown): AgentConfig {
  const preResetMs = secondsOf("watchdog/pre_reset_s", value, leastS, daySeconds);
  return { ...config, runtime: { ...config.runtime, preResetMs } };
}

function withReadyWithin(config: AgentConfig, value: unknown): AgentConfig {
  const leastMs = config.readiness.settleMs + 1;
  const deadlineMs = secondsOf("boot/ready_within_s", value, leastMs / 1000, daySeconds);
  return { ...config, readiness: { ...config.readiness, deadlineMs } };
}

/** In the order in which they are put into effect: the promise before what depends on it. */
const known: ReadonlyMap<string, Setting> = new Map<string, Setting>([
  ["name", { show: ({ name }) => name, set: withName }],
  ["lab", fixed(({ lab }) => lab)],
  ["access/policy", fixed(({ access }) => access.policy)],
  ["access/read", fixed(({ access }) => access.read)],
  ["watchdog/policy", fixed(({ watchdogPolicy }) => watchdogPolicy)],
  ["watchdog/promise_s", { show: ({ runtime }) => runtime.promiseMs / 1000, set: withPromise }],
  ["watchdog/hardware_max_s", fixed(({ hardwareMaxMs: ms }) => (ms === null ? null : ms / 1000))],
  ["watchdog/hardware_min_gap_s", fixed(({ hardwareMinGapMs: ms }) => ms / 1000)],
  ["watchdog/allow_disarm", fixed(({ runtime }) => runtime.disarmAllowed)],
  ["watchdog/hold_max_s", { show: ({ runtime }) => runtime.holdMaxMs / 1000, set: withHoldMax }],
  ["watchdog/pre_reset_s", { show: ({ runtime }) => runtime.preResetMs / 1000, set: withPreReset }],
  ["tee/policy", fixed(({ teePolicy }) => teePolicy)],
  ["tee/services", fixed(({ tee }) => tee.services.map(({ name }) => name))],
  ["tasks", fixed(({ tasks }) => tasks.map((task) => `${task.name}:${task.everyMs / 1000}`))],
  ["boot/checks", fixed(({ readiness }) => readiness.checks.map(({ name }) => name))],
  [
    "boot/ready_within_s",
    { show: ({ readiness }) => readiness.deadlineMs / 1000, set: withReadyWithin },
  ],
]);

export const settingNames: readonly string[] = [...known.keys()];

type Values = ReadonlyMap<string, string>;

const stored = map({ values: record(textOf(valueBytesMax)) });
const codec: Codec<Values> = {
  encode: (values) => encodeMap({ values: Object.fromEntries(values) }),
  decode: (bytes) =>
    new Map(Object.entries(check(stored, decodeMap(bytes), "stored settings").values)),
  // The settings file alone is what the operator of the card wrote.
  fallback: () => new Map(),
};

export class RuntimeSettings {
  /** What is in effect. */
  config: AgentConfig;
  /** As the settings file has it. */
  private readonly given: AgentConfig;
  private readonly journal: Journal<Values>;
  /** Set over the settings file, in effect or waiting for a commit. */
  private set: Map<string, string>;
  private refused: { readonly name: string; readonly problem: string }[] = [];

  /** Puts what was saved into effect, as far as it is in range. */
  constructor(disk: Disk, given: AgentConfig) {
    this.given = given;
    this.journal = new Journal(disk, "settings", codec);
    this.set = this.usable();
    this.config = this.with(this.set);
  }

  /** Why saving does not reach the disk; null while it does. */
  get degraded(): string | null {
    return this.journal.degraded;
  }

  /** Tells once what became of the saved settings. */
  tell(emit: (event: AgentEvent) => void): void {
    const { outcome } = this.journal;
    if (outcome !== "current" && outcome !== "absent") {
      emit({ kind: "journal:recovered", file: "settings", outcome });
    }
    for (const { name, problem } of this.refused) {
      emit({ kind: "card:setting_refused", name, problem });
    }
    this.refused = [];
  }

  /** The value as it is set, in effect or not. */
  read(name: string): Uint8Array {
    const { show } = settingOf(name);
    const shown = this.set.get(name) ?? JSON.stringify(show(this.with(this.set)) ?? null);
    return new TextEncoder().encode(shown).slice(0, valueBytesMax);
  }

  /** Sets a value that is in its range; it waits for `commit`. */
  write(name: string, value: Uint8Array | string): void {
    const setting = settingOf(name);
    if (setting.set === undefined) {
      throw new GroupFailure("settings.read_only", `${name} is set in the card's settings file`);
    }
    const text = typeof value === "string" ? value : new TextDecoder().decode(value);
    const next = new Map(this.set).set(name, normal(name, text));
    this.with(next);
    this.set = next;
  }

  /** The settings file's value comes back with the next `commit`. */
  delete(name: string): void {
    if (settingOf(name).set === undefined) {
      throw new GroupFailure("settings.no_delete", `${name} is set in the card's settings file`);
    }
    const next = new Map(this.set);
    next.delete(name);
    this.with(next);
    this.set = next;
  }

  /** Puts all that is set into effect; tells what changed. */
  commit(emit: (event: AgentEvent) => void): void {
    const before = this.config;
    this.config = this.with(this.set);
    for (const [name, { show }] of known) {
      const [was, value] = [before, this.config].map((config) => JSON.stringify(show(config)));
      if (was === undefined || value === undefined || was === value) continue;
      emit({ kind: "card:setting", name, value: cutText(value), before: cutText(was) });
    }
  }

  /** Forgets what is set and not saved, and puts what is saved into effect. */
  load(emit: (event: AgentEvent) => void): void {
    this.set = this.usable();
    this.commit(emit);
    this.tell(emit);
  }

  /** Keeps what is set, or the part of it below `name`, over restarts. */
  save(name = ""): void {
    const isMeant = (one: string): boolean =>
      name === "" || one === name || one.startsWith(`${name}/`);
    if (name !== "" && ![...known.keys()].some(isMeant)) settingOf(name);
    const others = [...this.journal.value].filter(([one]) => !isMeant(one));
    const meant = [...this.set].filter(([one]) => isMeant(one));
    this.journal.commit(new Map([...others, ...meant]));
    if (this.journal.degraded !== null) {
      throw new Failure("journal.degraded", `not saved: ${this.journal.degraded}`);
    }
  }

  private with(values: Values): AgentConfig {
    let config = this.given;
    for (const [name, { set }] of known) {
      const text = values.get(name);
      if (text !== undefined && set !== undefined) config = set(config, JSON.parse(text));
    }
    return config;
  }

  /** What is stored may be of a newer agent, or out of range by now. */
  private usable(): Map<string, string> {
    const usable = new Map<string, string>();
    for (const [name, text] of this.journal.value) {
      try {
        if (known.get(name)?.set === undefined) throw new Failure("config.invalid", "unknown");
        const next = new Map(usable).set(name, normal(name, text));
        this.with(next);
        usable.set(name, next.get(name) as string);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        this.refused.push({ name: cutText(name), problem: cutText(error.message) });
      }
    }
    return usable;
  }
}

/** As JSON; what is none is taken for text. */
function normal(name: string, text: string): string {
  if (text.length > valueBytesMax) return invalid(name, `${text.length} characters`, "shorter");
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return JSON.stringify(text);
  }
}

/** Throws the group's own failures for names that are none. */
function settingOf(name: string): Setting {
  if (name === "") throw new Failure("usage.invalid", "a setting has a name");
  if (name.length > nameMax) {
    throw new GroupFailure("settings.too_long", `a name of ${name.length} characters`);
  }
  const found = known.get(name);
  if (found !== undefined) return found;
  const [root] = name.split("/");
  const hasRoot = [...known.keys()].some((one) => one.split("/")[0] === root);
  throw new GroupFailure(hasRoot ? "settings.not_found" : "settings.no_root", `no setting ${name}`);
}
