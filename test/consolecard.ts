/** A card as the console's transcripts show it: every answer written out. */
import type { Report, ResponseOf, TeeState, WatchdogState } from "../agent/wire/commands.ts";
import { type Script, ScriptedCard } from "./consolerig.ts";

const boot = "12-9f3a61c0";

export const hello: ResponseOf<"card.hello"> = {
  name: "nic7",
  version: "0.1.0",
  contract: 1,
  boot,
  uptime_ms: 185_400,
  simulated: false,
  tags: ["wdt.service", "wdt.reset_cause", "report.subscribe", "tee.session", "tee.supplicant"],
};

export const watchdog: WatchdogState = {
  state: "armed",
  backend: "service",
  via: "service",
  protected: true,
  protection: "hardware: i6300ESB timer resets the card",
  armed: true,
  hardware_ms: 60_000,
  promise_ms: 120_000,
  remaining_ms: 117_300,
  last_check_in_ms: 182_700,
  now_ms: 185_400,
  refreshes: 9,
  failures: 0,
  slack_min_ms: 29_800,
  scheduling: "SCHED_FIFO 10",
  late_max_ms: 0.42,
};

export const tee: TeeState = {
  state: "ready",
  simulated: false,
  epoch: 2,
  crashes: 1,
  restarts_in_window: 1,
  in_flight: 0,
  powers: ["session", "supplicant"],
  sessions: [
    { service: "keystore", open: true },
    { service: "attestation", open: true },
  ],
  quarantined: ["keystore#7"],
};

const findings: ResponseOf<"card.doctor">["findings"] = [
  { name: "holder", ok: true, found: "/dev/watchdog0: this agent", next: "" },
  {
    name: "systemd_watchdog",
    ok: false,
    found: "RuntimeWatchdogSec=30 in /etc/systemd/system.conf",
    next: "set RuntimeWatchdogSec=off in /etc/systemd/system.conf.d/kennel.conf and reboot",
  },
  { name: "boot_hook", ok: true, found: "ran in this boot", next: "" },
];

const status: ResponseOf<"card.status"> = {
  version: "0.1.0",
  boot,
  now_ms: 185_400,
  stage: "runtime",
  slot: "a",
  confirmed: true,
  ready: true,
  backend: "service",
  protected: true,
  protection: watchdog.protection,
  access: "keys",
  watchdog,
  tee,
  last_cause: "watchdog",
  failures: 1,
  reports: { last_seq: 31, pending: 2, dropped: 0, subscribed: false },
  journal: "ok",
};

const timeline: ResponseOf<"boot.timeline"> = {
  boot,
  slot: "a",
  stages: [
    stage("power_on", 0, 2100, 10_000, "nobody", ["reset_vector", "api_install"]),
    stage("os_load", 2100, 44_700, 300_000, "firmware", ["load_kernel", "verify"]),
    stage("hand_off", 44_700, 70_200, 30_000, "countdown", ["kernel_entry", "mount_root"]),
    stage("adopt", 70_200, 103_000, 30_000, "countdown", ["agent_start", "take_over"]),
    { stage: "runtime", start_ms: 103_000, budget_ms: 0, refreshed_by: "agent", steps: [] },
  ],
};

function stage(
  name: "power_on" | "os_load" | "hand_off" | "adopt",
  start_ms: number,
  end_ms: number,
  budget_ms: number,
  refreshed_by: string,
  steps: string[],
): ResponseOf<"boot.timeline">["stages"][number] {
  const margin_ms = budget_ms - (end_ms - start_ms);
  const named = steps.map((step, at) => ({ name: step, at_ms: start_ms + at }));
  return { stage: name, start_ms, end_ms, budget_ms, margin_ms, refreshed_by, steps: named };
}

const earlier: ResponseOf<"boot.timelines">["boots"] = [
  {
    boot: "11-5c7712de",
    slot: "a",
    ended_in: "hand_off",
    step: "kernel_init",
    uptime_ms: 61_000,
    cause: "watchdog",
    culprit: "dataplane",
    confirmed: false,
    stages: [
      began("power_on", 0, 2_200, 10_000, "nobody"),
      began("os_load", 2_200, 31_000, 300_000, "firmware"),
      began("hand_off", 31_000, 61_000, 30_000, "countdown"),
    ],
  },
  {
    boot: "10-00aa11bb",
    slot: "a",
    ended_in: "runtime",
    step: "ready",
    uptime_ms: 86_400_000,
    cause: "clean",
    culprit: "",
    confirmed: true,
    stages: [
      began("power_on", 0, 2_100, 10_000, "nobody"),
      began("os_load", 2_100, 44_000, 300_000, "firmware"),
      began("hand_off", 44_000, 70_000, 30_000, "countdown"),
      began("adopt", 70_000, 72_500, 30_000, "countdown"),
      began("runtime", 72_500, 86_400_000, 0, "agent"),
    ],
  },
];

function began(
  name: "power_on" | "os_load" | "hand_off" | "adopt" | "runtime",
  start_ms: number,
  end_ms: number,
  budget_ms: number,
  refreshed_by: string,
): ResponseOf<"boot.timelines">["boots"][number]["stages"][number] {
  const margin = budget_ms === 0 ? {} : { margin_ms: budget_ms - (end_ms - start_ms) };
  return { stage: name, start_ms, end_ms, budget_ms, ...margin, refreshed_by };
}

const history: ResponseOf<"boot.history"> = {
  boots: [
    past("10-00aa11bb", "runtime", "ready", 86_400_000, "clean", "", true),
    past("11-5c7712de", "hand_off", "kernel_init", 61_000, "watchdog", "dataplane", false),
    past(boot, "runtime", "ready", 185_400, "unknown", "", true),
  ],
};

function past(
  id: string,
  stageName: "runtime" | "hand_off",
  step: string,
  uptime_ms: number,
  cause: "clean" | "watchdog" | "unknown",
  culprit: string,
  confirmed: boolean,
): ResponseOf<"boot.history">["boots"][number] {
  return { boot: id, slot: "a", stage: stageName, step, uptime_ms, cause, culprit, confirmed };
}

const protection: ResponseOf<"card.protection"> = {
  protected: false,
  protection: "hardware: i6300ESB timer",
  stages: [
    guarded("power_on", "none", 2400, "the watchdog is armed when the OS load begins"),
    guarded("os_load", "hardware", 0, "firmware refreshes on completed steps"),
    guarded("hand_off", "hardware", 0, "the firmware's countdown runs"),
    guarded("adopt", "none", 31_500, "i6300esb stops the running countdown when it is loaded"),
    guarded("runtime", "service", 0, "hardware: i6300ESB timer"),
    guarded("reboot", "hardware", 0, "it counts on until the reset"),
  ],
  fallback: { valid: true, slot: "b", because: "slot b is taken after 3 failed boots" },
  tee: {
    state: "ready",
    reachable: ["session", "card_reset"],
    weak: false,
    because: "up to card_reset",
  },
  access: { policy: "keys", weak: false, because: "2 keys authorised" },
  next: [
    "let the loader set the hardware's lock, or open the device in early userspace (boot/linux)",
  ],
};

function guarded(
  stageName: string,
  by: "hardware" | "service" | "none",
  uncovered_ms: number,
  because: string,
): ResponseOf<"card.protection">["stages"][number] {
  return { stage: stageName, by, covered: uncovered_ms === 0, uncovered_ms, because };
}

/** i6300esb as it comes: its driver stops what the firmware armed. */
const coverage: ResponseOf<"wdt.plan"> = {
  firmware: {
    arms_ms: 2_400,
    timeout_ms: 30_000,
    refreshes_ms: [13_100, 29_800, 44_700],
    leaves_ms: 44_700,
    stops: false,
    locks: false,
  },
  user_ms: 70_200,
  driver: {
    name: "i6300esb",
    probe_ms: 71_500,
    at_probe: "stops",
    heartbeat_ms: 30_000,
    expiries: 1,
    magic_close: true,
    nowayout: false,
    can_stop: true,
    stop_on_reboot: true,
  },
  core: { handle_boot_enabled: true, open_timeout_ms: 0 },
  owner: {
    name: "agent",
    open_ms: 103_000,
    timeout_ms: 60_000,
    promise_ms: 120_000,
    every_ms: 30_000,
    service: true,
  },
  reboot: { at_ms: 1_303_000, kernel_ms: 1_313_000, end_ms: 1_323_000 },
  until_ms: 1_303_000,
  assumed: ["the driver was loaded as soon as the kernel ran: nothing tells when"],
};

const probe: ResponseOf<"wdt.probe"> = {
  backend: "service",
  via: "service",
  because: "the hardware holds at most 60 s of the promised 120 s",
  protected: true,
  identity: "i6300ESB timer",
  path: "/dev/watchdog0",
  criteria: [
    { name: "present", value: "/dev/watchdog0", required: "a watchdog device", ok: true },
    { name: "timeout_max", value: "60 s", required: ">= 120 s", ok: false },
    { name: "survives_close", value: "yes", required: "keeps counting", ok: true },
  ],
};

export const reports: Report[] = [
  report("11-5c7712de", 8, 58_200, "wdt:withheld", "safety", {
    culprit: "dataplane",
    reset_in_ms: 2800,
  }),
  report(boot, 1, 103_000, "agent:started", "state", { cause: "watchdog", restart: false }),
  report(boot, 2, 103_050, "boot:adopted", "safety", { remaining_ms: 27_200, uncovered_ms: 0 }),
];

function report(
  id: string,
  seq: number,
  at_ms: number,
  kind: string,
  worth: "safety" | "state",
  data: Report["data"],
): Report {
  return { boot: id, seq, at_ms, kind, class: worth, data };
}

/** Answers as nic7 does; `changes` replace single answers. */
export function nic7(changes: Script = {}): ScriptedCard {
  return new ScriptedCard({
    "card.hello": () => hello,
    "card.status": () => status,
    "card.protection": () => protection,
    "card.doctor": (request) => {
      const from = Number(request.from ?? 0);
      return { findings: findings.slice(from, from + 2), more: from + 2 < findings.length };
    },
    "boot.timeline": () => timeline,
    "boot.timelines": ({ skip }) => ({
      boots: skip === 0 ? earlier.slice(0, 1) : earlier.slice(Number(skip)),
      more: skip === 0,
    }),
    "boot.history": () => history,
    "wdt.state": () => watchdog,
    "wdt.tasks": () => ({
      tasks: [
        { name: "agent", every_ms: 30_000, due_in_ms: 27_300, late: 0 },
        { name: "dataplane", every_ms: 10_000, due_in_ms: -400, late: 2 },
      ],
    }),
    "wdt.probe": () => probe,
    "wdt.plan": () => coverage,
    "wdt.arm": () => watchdog,
    "wdt.hold": ({ for_ms }) => ({ ...watchdog, hold_until_ms: 185_400 + Number(for_ms) }),
    "wdt.disarm": () => ({ rc: 11, rsn: "disarming is not allowed by this card's settings" }),
    "tee.state": () => tee,
    "tee.sessions": () => ({
      sessions: [
        { service: "keystore", open: true, epoch: 2, id: 1, in_flight: 1, because: "" },
        { service: "attestation", open: false, in_flight: 0, because: "ffff3024/3" },
      ],
      more: false,
    }),
    "tee.recover": () => tee,
    "tee.unquarantine": () => ({ ...tee, quarantined: [] }),
    "tee.crashes": () => ({
      crashes: [
        {
          at_ms: 150_000,
          epoch: 2,
          rung: "supplicant",
          code: "TEE_ERROR_TARGET_DEAD",
          trigger: "keystore#7",
          took_ms: 840,
        },
      ],
    }),
    "report.read": ({ boot: from, since }) => {
      const at = reports.findIndex(({ boot: id, seq }) => id === from && seq === since);
      return { reports: reports.slice(at + 1), more: false };
    },
    "report.acknowledge": () => ({ pending: 0 }),
    "os.echo": ({ d }) => ({ r: d }),
    "os.reset": () => ({}),
    "rig.faults": () => ({ faults: ["hang", "tee_crash"] }),
    "rig.inject": () => ({}),
    ...changes,
  });
}
