/**
 * Mistakes that a simulator can have, planted on purpose: lockstep has to find each of them and to
 * name the first event in which it shows.
 */
import type { SimChip, SimWatchdog } from "../../sim/watchdog.ts";
import type { WatchdogModel } from "../../sim/watchdogmodels.ts";

export interface Bug {
  readonly what: string;
  /** The model with the mistake, where it lies there. */
  model?(right: WatchdogModel): WatchdogModel;
  /** Plants the mistake in a device that is in its starting state. */
  plant(chip: SimChip, watchdog: SimWatchdog): void;
}

const nothing = (): void => undefined;

export const bugs: Readonly<Record<string, Bug>> = {
  pretimeout_cleared: {
    what: "a timeout that becomes shorter clears a longer pretimeout",
    model: (right) => ({ ...right, keepsStalePretimeout: false }),
    plant: nothing,
  },
  settimeout_does_not_refresh: {
    what: "setting a timeout counts from the refresh before it",
    plant: (chip) => {
      const retime = chip.retime.bind(chip);
      chip.retime = (timeoutMs) => {
        chip.faults.deaf = true;
        retime(timeoutMs);
        chip.faults.deaf = false;
      };
    },
  },
  close_does_not_refresh: {
    what: "closing without the magic character leaves the countdown as it is",
    plant: (_chip, watchdog) => {
      watchdog.close = watchdog.halt;
    },
  },
  timeout_forgotten: {
    what: "opening arms with the driver's default instead of the last timeout",
    plant: (chip, watchdog) => {
      const open = watchdog.open.bind(watchdog);
      watchdog.open = () => {
        const isNew = !watchdog.isOpen && !chip.running;
        open();
        if (isNew) watchdog.setTimeout(chip.model.defaultMs);
      };
    },
  },
  clamps: {
    what: "a timeout that is too long is shortened instead of refused",
    plant: (chip) => {
      chip.faults.clamps = true;
    },
  },
  boot_status_lost: {
    what: "an expiry does not set the flag for the next boot",
    plant: (chip) => {
      Object.defineProperty(chip, "fired", { get: () => false, set: nothing });
    },
  },
  counts_once: {
    what: "a chip that counts down twice resets after the first time",
    model: (right) => ({ ...right, rounds: 1 }),
    plant: nothing,
  },
};
