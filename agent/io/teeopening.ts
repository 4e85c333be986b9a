/**
 * An opening that takes long: the first one of an application is loaded by the supplicant, and
 * without one the driver has it wait until one appears (measured). That is no dead TEE.
 */
import { basename, dirname, join } from "node:path";
import type { Clock } from "./clock.ts";
import { sharers } from "./holder.ts";
import type { TeeWait } from "./tee.ts";

/** How often somebody looks, ms: an opening with a supplicant took 312 ms when it was slow. */
const lookEveryMs = 2_000;
/** For how long a look counts, ms. */
const countsMs = 3 * lookEveryMs;

export interface OpeningSetup {
  readonly clock: Clock;
  /** A supplicant is there. */
  readonly isSupplied: () => boolean;
  /** Asks for a proof of life; no answer when nobody can be asked, or the TEE gives none. */
  readonly askAlive: (alive: () => void) => void;
  readonly waits: (on: TeeWait) => void;
}

export interface WatchedOpening {
  /** It waits for a supplicant, in a TEE that was alive moments ago. */
  isHeld(): boolean;
  /** The opening is over. */
  end(): void;
}

/** Looks at an opening until it is over, and tells `waits` each time that it is held. */
export function watchOpening({ clock, isSupplied, askAlive, waits }: OpeningSetup): WatchedOpening {
  let heldUntilMs = -Infinity;
  let isOver = false;
  let stop = (): void => undefined;
  const again = (): void => {
    stop = clock.at(clock.now() + lookEveryMs, look);
  };
  const look = (): void => {
    again();
    if (isSupplied()) return;
    askAlive(() => {
      if (isOver || isSupplied()) return;
      heldUntilMs = clock.now() + countsMs;
      waits("supplicant");
    });
  };
  again();
  return {
    isHeld: () => clock.now() < heldUntilMs,
    end: () => {
      isOver = true;
      stop();
    },
  };
}

/** Whether any process has the supplicant's side of a device open: /dev/teepriv0 of /dev/tee0. */
export function isServed(device: string): boolean {
  const name = /^tee(\d+)$/.exec(basename(device));
  return name !== null && sharers(join(dirname(device), `teepriv${name[1]}`)).length > 0;
}
