/**
 * Watchdogs by what sets them apart: the chip's way to count and the driver's way to answer. The
 * two real ones are kept equal to QEMU's chips under Linux's drivers by `npm run rig -- lockstep`.
 */

export interface WatchdogModel {
  readonly identity: string;
  /** The driver's module, where its name matters. */
  readonly driver: string | null;
  /** What the driver accepts; it need not say so, see `statesRange`. */
  readonly minMs: number;
  readonly maxMs: number;
  /** Resets the card when refreshed twice within this time; 0 = never. */
  readonly minGapMs: number;
  /** The driver's own timeout, with which opening arms until another one is set. */
  readonly defaultMs: number;
  /** WDIOF_* bits shown. */
  readonly options: number;
  /** GETTIMELEFT is answered. */
  readonly timeLeft: boolean;
  /** A stopped chip still answers it, with what was loaded or read last. */
  readonly leftWhenStopped: boolean;
  /** After a reset by the chip the driver's boot status says so. */
  readonly tellsReset: boolean;
  /** The driver says what range it accepts. iTCO does not: sysfs shows 0 and 0. */
  readonly statesRange: boolean;
  /** Timeouts are rounded up to multiples of it, pretimeouts down. Linux: 1 s. */
  readonly stepMs: number;
  /** A pretimeout outlives a shorter timeout: so in drivers with a set_timeout of their own. */
  readonly keepsStalePretimeout: boolean;
  /** The chip resets when it has counted down so many times. */
  readonly rounds: number;
  /** One round counts whole ticks of `tickMs`, so many per second of the timeout, rounded down. */
  readonly ticksPerS: number;
  readonly tickMs: number;
}

/** How long one round of the countdown really takes, ms. */
export function roundMs(model: WatchdogModel, timeoutMs: number): number {
  // 0.6 s and the like have no exact binary form: less than a millionth of a tick is none.
  return Math.floor((timeoutMs / 1000) * model.ticksPerS + 1e-6) * model.tickMs;
}

/** A watchdog without quirks, and with a time-left register exact to the millisecond. */
export const plainModel: WatchdogModel = {
  identity: "simulated i6300ESB",
  driver: null,
  minMs: 1000,
  maxMs: 2_046_000,
  minGapMs: 0,
  defaultMs: 30_000,
  options: 0x8180,
  timeLeft: true,
  leftWhenStopped: false,
  tellsReset: true,
  statesRange: true,
  stepMs: 1,
  keepsStalePretimeout: false,
  rounds: 1,
  ticksPerS: 1000,
  tickMs: 1,
};

/**
 * QEMU's i6300esb under i6300esb.ko: two rounds of 512 ticks per second each, the tick being 2^15
 * clocks of 30 ns, so that a second lasts 1.007 s. (hw/watchdog/wdt_i6300esb.c)
 */
export const i6300esbModel: WatchdogModel = {
  ...plainModel,
  driver: "i6300esb",
  timeLeft: false,
  stepMs: 1000,
  keepsStalePretimeout: true,
  rounds: 2,
  ticksPerS: 512,
  tickMs: 0.983_04,
};

/**
 * The TCO timer of QEMU's ICH9 under iTCO_wdt.ko: ticks of 0.6 s, 4 to 1023 of them, and a reset
 * only when it has counted down twice, which the driver does not know. (hw/acpi/ich9_tco.c)
 */
export const itcoModel: WatchdogModel = {
  ...plainModel,
  identity: "simulated iTCO_wdt",
  driver: "iTCO_wdt",
  minMs: 3000,
  maxMs: 614_000,
  leftWhenStopped: true,
  tellsReset: false,
  statesRange: false,
  stepMs: 1000,
  keepsStalePretimeout: true,
  rounds: 2,
  ticksPerS: 10 / 6,
  tickMs: 600,
};
