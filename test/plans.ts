/** Coverage plans: one of a card without a gap, and random ones. */
import type { Random } from "../agent/sim/random.ts";
import type { CoveragePlan } from "../agent/wire/coverageplan.ts";

/** iTCO as QEMU has it, with an open_timeout: nothing is left uncovered. */
export const plainPlan: CoveragePlan = {
  firmware: {
    arms_ms: 800,
    timeout_ms: 30_000,
    refreshes_ms: [1200, 4100, 9300],
    leaves_ms: 9300,
    stops: false,
    locks: false,
  },
  user_ms: 12_000,
  driver: {
    name: "iTCO_wdt",
    probe_ms: 13_500,
    at_probe: "keeps",
    heartbeat_ms: 30_000,
    expiries: 1,
    magic_close: true,
    nowayout: false,
    can_stop: true,
    stop_on_reboot: false,
  },
  core: { handle_boot_enabled: true, open_timeout_ms: 60_000 },
  owner: {
    name: "agent",
    open_ms: 41_200,
    timeout_ms: 30_000,
    promise_ms: 60_000,
    every_ms: 15_000,
    service: true,
  },
  reboot: { at_ms: 200_000, kernel_ms: 206_000, end_ms: 210_000 },
  until_ms: 200_000,
  assumed: [],
};

/** One kind of card in so many: with everything, and everything missing now and then. */
export function randomPlan(random: Random): CoveragePlan {
  // Events come at whole tenths of a second, and no timeout is one: nothing ties.
  let atMs = 0;
  const later = (most: number): number => {
    atMs += random.range(1, most) * 100;
    return atMs;
  };
  const span = (least: number, most: number): number => random.range(least, most) * 1000 + 7;
  const firmware = random.chance(0.85) ? randomFirmware(random, later, span) : undefined;
  const beforeUser = random.chance(0.5) ? later(40) : null;
  const user_ms = later(40);
  const probe_ms = beforeUser ?? later(60);
  const isSoftware = firmware === undefined && random.chance(0.4);
  const plain = random.chance(0.9) ? randomDriver(random, probe_ms, span) : undefined;
  const driver = plain === undefined || !isSoftware ? plain : { ...plain, software: true };
  const isHooked = driver !== undefined && random.chance(0.4);
  const hook = isHooked ? { open_ms: later(80), passes: random.chance(0.5) } : undefined;
  const isOwned = driver !== undefined && random.chance(0.9);
  // Of a device that cannot be stopped the kernel takes over half a timeout after a close: one
  // that is refreshed more seldom than that is sometimes lost to it and sometimes resets.
  const fractions = driver?.can_stop === false ? [0.25, 0.4] : [0.25, 0.5, 0.75, 1.2];
  const owner = isOwned ? randomOwner(random, later(300), span, fractions) : undefined;
  const canDisarm = owner?.name === "agent" && driver?.can_stop === true && !driver.nowayout;
  const isDisarmed = canDisarm && firmware?.locks !== true && random.chance(0.1);
  const disarmed_ms = later(300);
  const until_ms = later(300) + 100_000;
  atMs = until_ms;
  const reboot = { at_ms: later(1), kernel_ms: later(60), end_ms: later(60) };
  const open_timeout_ms = random.chance(0.5) ? 0 : span(1, 60);
  return {
    ...(firmware === undefined ? {} : { firmware }),
    user_ms,
    ...(driver === undefined ? {} : { driver }),
    core: { handle_boot_enabled: random.chance(0.6), open_timeout_ms },
    ...(hook === undefined ? {} : { hook }),
    ...(owner === undefined ? {} : { owner }),
    ...(isDisarmed ? { disarmed_ms } : {}),
    ...(owner !== undefined && random.chance(0.7) ? { reboot } : {}),
    until_ms,
    assumed: [],
  };
}

type Later = (most: number) => number;
type Span = (least: number, most: number) => number;

function randomFirmware(random: Random, later: Later, span: Span): CoveragePlan["firmware"] {
  const arms_ms = later(30);
  const refreshes_ms = Array.from({ length: random.range(0, 4) }, () => later(50));
  const leaves_ms = later(50);
  if (random.chance(0.9)) refreshes_ms.push(leaves_ms);
  const [stops, locks] = [random.chance(0.15), random.chance(0.3)];
  return { arms_ms, timeout_ms: span(8, 90), refreshes_ms, leaves_ms, stops, locks };
}

function randomDriver(random: Random, probe_ms: number, span: Span): CoveragePlan["driver"] {
  return {
    name: "some_wdt",
    probe_ms,
    at_probe: random.pick(["stops", "keeps", "keeps", "ignores"] as const),
    heartbeat_ms: span(5, 60),
    ...(random.chance(0.3) ? { hardware_max_ms: span(3, 20) } : {}),
    expiries: random.chance(0.3) ? 2 : 1,
    magic_close: random.chance(0.7),
    nowayout: random.chance(0.3),
    can_stop: random.chance(0.8),
    stop_on_reboot: random.chance(0.5),
  };
}

function randomOwner(
  random: Random,
  open_ms: number,
  span: Span,
  fractions: readonly number[],
): CoveragePlan["owner"] {
  const name = random.chance(0.85) ? "agent" : "systemd";
  const service = name === "agent" && random.chance(0.5);
  const timeout_ms = span(5, 60);
  const promise_ms = service ? timeout_ms + span(0, 60) : timeout_ms;
  const every_ms = Math.round(promise_ms * random.pick(fractions));
  return { name, open_ms, timeout_ms, promise_ms, every_ms, service };
}
