/**
 * Who keeps the watchdog of a card going and when, from power-on to the end of a reboot: what
 * `kennel wdt explain` computes from. A card answers it (group 66, command 7); written as JSON it
 * is the file of `--plan`. Points in time are ms since power-on, of a boot in which all goes well.
 */
import { bool, type Infer, list, map, oneOf, optional, text, uint } from "./shape.ts";

export const coveragePlan = map({
  /** The boot loading environment; absent where nothing arms a watchdog before Linux. */
  firmware: optional(
    map({
      arms_ms: uint,
      /** From a refresh to the reset, all expiries included. */
      timeout_ms: uint,
      /** On completed steps; the last one at hand-off included. */
      refreshes_ms: list(uint, 32),
      /** The kernel is entered. */
      leaves_ms: uint,
      /** It stops the countdown when it leaves, as EDK2's own watchdog does. */
      stops: bool,
      /** It sets the hardware's lock: nothing stops the countdown before the next reset. */
      locks: bool,
    }),
  ),
  /** The first program runs; a driver loaded later is loaded by a program. */
  user_ms: uint,
  /** The Linux driver; absent where none is loaded. */
  driver: optional(
    map({
      name: text,
      probe_ms: uint,
      /**
       * What loading it does to a running countdown. `stops`: ends it and programs its own timeout
       * (i6300esb). `keeps`: sees it, the kernel may refresh it (WDOG_HW_RUNNING: iTCO_wdt,
       * sbsa_gwdt). `ignores`: leaves it alone and does not know of it.
       */
      at_probe: oneOf("stops", "keeps", "ignores"),
      /** Its own timeout (`heartbeat=`), until somebody sets another one. */
      heartbeat_ms: uint,
      /** max_hw_heartbeat_ms: beyond it the kernel refreshes on the owner's behalf. */
      hardware_max_ms: optional(uint),
      /** Times the countdown reaches zero before the reset: 2 for iTCO version 2. */
      expiries: uint,
      /** A kernel timer (softdog): it dies with the kernel. Then no firmware has armed it. */
      software: optional(bool),
      /** WDIOF_MAGICCLOSE: a descriptor that is merely closed does not stop it. */
      magic_close: bool,
      nowayout: bool,
      can_stop: bool,
      stop_on_reboot: bool,
    }),
  ),
  /** The kernel's watchdog core; an open_timeout of 0 is none. */
  core: map({ handle_boot_enabled: bool, open_timeout_ms: uint }),
  /** Early user space opens the device and refreshes it once; absent where it does not. */
  hook: optional(
    map({
      open_ms: uint,
      /** The descriptor stays open for the owner; else it is closed at once, without magic. */
      passes: bool,
    }),
  ),
  /** Who opens it for good; absent where nobody does. */
  owner: optional(
    map({
      /** `agent`, or the program that refreshes whatever becomes of the agent. */
      name: text,
      open_ms: uint,
      /** T1, as granted. */
      timeout_ms: uint,
      /** T2: the reset comes so long after the last check-in. Equal to T1 without a service. */
      promise_ms: uint,
      /** How often the loop refreshes, or checks in with the service. */
      every_ms: uint,
      /** A thread refreshes for it until T2 has passed. */
      service: bool,
    }),
  ),
  /** The agent was told to disarm it; absent where it was not. */
  disarmed_ms: optional(uint),
  /** From the first program that is told to stop, over the kernel's reboot notifiers, to reset. */
  reboot: optional(map({ at_ms: uint, kernel_ms: uint, end_ms: uint })),
  /** How far is looked; not beyond reboot.at_ms. */
  until_ms: uint,
  /** What is not known of this card and was assumed for the worse, as sentences. */
  assumed: list(text, 8),
});

export type CoveragePlan = Infer<typeof coveragePlan>;
