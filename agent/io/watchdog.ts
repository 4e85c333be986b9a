/**
 * A hardware watchdog as its Linux driver shows it, and the refresh service on top of it.
 * Times are milliseconds here; the ioctls count whole seconds (include/uapi/linux/watchdog.h).
 */

/** What can be learned without opening the device: opening arms it. Source: sysfs and /proc. */
export interface WatchdogFacts {
  /** /dev/watchdog0, or `sim`. */
  readonly path: string;
  /** watchdog_info.identity, printable, at most 32 characters. */
  readonly identity: string;
  /** `software`: a kernel timer (softdog), dies with the kernel. */
  readonly kind: "hardware" | "software" | "simulated";
  /** WDIOF_* bits, or null where the kernel does not show them. */
  readonly options: number | null;
  /** As sysfs says: of user space only, it does not know of a watchdog armed by firmware. */
  readonly state: "active" | "inactive" | "unknown";
  /** Limits the driver states; null where it states none (0 in sysfs). */
  readonly minMs: number | null;
  readonly maxMs: number | null;
  readonly timeoutMs: number | null;
  readonly timeLeftMs: number | null;
  /** WDIOC_GETBOOTSTATUS bits, read before opening; 0 means "no information". */
  readonly bootStatus: number | null;
  /** True when the driver refuses to stop once armed. */
  readonly nowayout: boolean | null;
  /** The process that has the device open, when it can be found. */
  readonly holder: { readonly pid: number; readonly name: string } | null;
  /** watchdog.open_timeout in seconds; 0 = the kernel refreshes for ever until someone opens. */
  readonly openTimeoutS: number | null;
  /** watchdog.handle_boot_enabled: the kernel refreshes what firmware armed until it is opened. */
  readonly handleBootEnabled: boolean | null;
  /** watchdog.stop_on_reboot: the countdown is stopped for a reboot. `driver`: as that has it. */
  readonly stopOnReboot: "yes" | "no" | "driver" | null;
  /** The early warning before the timeout that is set, ms; 0 = none. May be stale. */
  readonly pretimeoutMs: number | null;
  /** What the kernel does at the pretimeout (`panic`, `noop`), and what it could do. */
  readonly governor: string | null;
  readonly governors: readonly string[];
  /** The driver's module, such as `iTCO_wdt`, and its parameters as text; at most 16. */
  readonly driver: string | null;
  readonly driverSettings: Readonly<Record<string, string>>;
  /** The shortest gap between refreshes the chip bears, ms, where that is known; Linux hides it. */
  readonly minGapMs: number | null;
}

/** How the device is refreshed: WDIOC_KEEPALIVE, or WDIOC_SETTIMEOUT where that one is dead. */
export type RefreshBy = "keepalive" | "settimeout";

/** What a refresh service is to hold: hardware timeout T1 and promised timeout T2, T2 >= T1. */
export interface ServicePlan {
  readonly hardwareMs: number;
  readonly promiseMs: number;
  /** Some chips reset when refreshed too fast (min_hw_heartbeat_ms); 0 = no limit. */
  readonly minGapMs: number;
}

export interface ServiceStats {
  /** Hardware refreshes done, and those the device refused. */
  readonly refreshes: number;
  readonly failures: number;
  /** What the device said to the latest one that it refused; empty while it refused none. */
  readonly problem: string;
  /** Lateness of refreshes against their absolute deadline, milliseconds. */
  readonly lateMinMs: number;
  readonly lateMaxMs: number;
  /** `SCHED_FIFO` or `SCHED_OTHER`, and why when it is not FIFO. */
  readonly scheduling: string;
  /** Bytes of the thread's own memory that are locked; 0 = could not lock. */
  readonly lockedBytes: number;
}

/** Refreshes the hardware on the OS's behalf until the OS's own deadline passes. */
export interface RefreshService {
  /** The OS refreshed: the promised deadline becomes now + T2. Never blocks, never fails. */
  checkIn(): void;
  stats(): ServiceStats;
  /** Ends the thread; the device stays open and armed. */
  stop(): void;
}

/**
 * The device. Every operation may throw a Failure with a `watchdog.*` code.
 * Closing never disarms: the magic character is written by `disarm` alone.
 */
export interface Watchdog {
  facts(): WatchdogFacts;
  /** Opens, and thereby arms, the device. `watchdog.busy` names the holder. */
  open(): void;
  readonly isOpen: boolean;
  /** Asks for a timeout and returns the granted one (readback), in ms. Refreshes as well. */
  setTimeout(timeoutMs: number): number;
  /**
   * Asks for an early warning this long before the timeout (0 = none) and returns what was read
   * back. To be repeated after every change of the timeout: drivers keep or drop a stale value.
   */
  setPretimeout(pretimeoutMs: number): number;
  /** The early warning that is set, ms; 0 = none. May be stale, and longer than the timeout. */
  pretimeout(): number;
  /** How `refresh` and the next `serve` refresh; `keepalive` unless changed. */
  refreshBy: RefreshBy;
  /** Milliseconds the hardware has left, or null where the driver cannot say. */
  timeLeft(): number | null;
  refresh(): void;
  /** Starts the refresh service on the open device. */
  serve(plan: ServicePlan): RefreshService;
  /** Stops the countdown and closes. `watchdog.nowayout` when the device will not stop. */
  disarm(): void;
  /** Closes without the magic character: the countdown keeps running. */
  close(): void;
}
