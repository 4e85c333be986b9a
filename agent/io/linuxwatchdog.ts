import { closeSync, existsSync, fstatSync, statSync } from "node:fs";
import { basename } from "node:path";
import {
  type NativeRuntimeService,
  type NativeWatchdog,
  native,
  type SystemError,
} from "../../native/index.ts";
import { Failure } from "../errors.ts";
import { isBootHolder, takeFrom } from "./bootholder.ts";
import type { Keeper } from "./supervisor.ts";
import type {
  RefreshBy,
  RefreshService,
  ServicePlan,
  Watchdog,
  WatchdogFacts,
} from "./watchdog.ts";
import {
  findHolder,
  findPaths,
  isSameDevice,
  kindOf,
  printable,
  type Roots,
  readFacts,
  realRoots,
} from "./watchdogfacts.ts";
import {
  callFailure,
  isUnsupported,
  nowayoutFailure,
  optional,
  rangeFailure,
  stillCountingFailure,
  succeeds,
} from "./watchdogfailures.ts";

/** Every watchdog of this machine, hardware before software; none is opened. */
export function findWatchdogs(
  sysRoot = realRoots.sys,
  devRoot = realRoots.dev,
  procRoot = realRoots.proc,
  keeper: Keeper | null = null,
): LinuxWatchdog[] {
  const roots = { sys: sysRoot, dev: devRoot, proc: procRoot };
  return findPaths(roots).map((path) => new LinuxWatchdog(path, roots, keeper));
}

/**
 * A watchdog that was handed over comes before better ones that were found since: left alone, it
 * would reset the card. `fds`: what was handed over.
 */
export function handedOverFirst(
  found: readonly LinuxWatchdog[],
  fds: readonly number[],
): LinuxWatchdog[] {
  const isHanded = (one: LinuxWatchdog): boolean => fds.some((fd) => one.isBehind(fd));
  return [...found.filter(isHanded), ...found.filter((one) => !isHanded(one))];
}

/** Without the magic character; a number that is no open file is closed already. */
function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // EBADF.
  }
}

function isCharacterDevice(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice();
  } catch {
    return false;
  }
}

/** WDIOS_DISABLECARD of <linux/watchdog.h>. */
const disableCard = 1;

/** The real watchdog: facts from sysfs, everything else through the native addon. */
export class LinuxWatchdog implements Watchdog {
  readonly path: string;
  refreshBy: RefreshBy = "keepalive";
  /** The process that holds the device for us until we open it; null = nobody does. */
  bootHolder: number | null = null;
  readonly #roots: Roots;
  readonly #keeper: Keeper | null;
  /** The keeper holds the device open as well. */
  #kept = false;
  #device: NativeWatchdog | undefined;
  #service: NativeRuntimeService | undefined;
  /** Asked of the driver once it is open, for kernels that do not show it in sysfs. */
  #told: Partial<Pick<WatchdogFacts, "identity" | "options" | "bootStatus">> = {};

  /** `keeper`: holds the device open for the next agent. */
  constructor(path: string, roots: Roots = realRoots, keeper: Keeper | null = null) {
    this.path = path;
    this.#keeper = keeper;
    this.#roots = roots;
  }

  facts(): WatchdogFacts {
    const facts = readFacts(this.path, this.#roots);
    const identity = facts.identity === "unknown" ? this.#told.identity : facts.identity;
    return {
      ...facts,
      identity: identity ?? "unknown",
      kind: kindOf(identity ?? "unknown"),
      holder: this.#holder(facts.state),
      options: facts.options ?? this.#told.options ?? null,
      bootStatus: facts.bootStatus ?? this.#told.bootStatus ?? null,
    };
  }

  /** Looking through /proc takes milliseconds, so only where somebody may be found. */
  #holder(state: WatchdogFacts["state"]): WatchdogFacts["holder"] {
    if (this.isOpen) return { pid: process.pid, name: basename(process.argv[1] ?? "", ".cjs") };
    if (state === "inactive") return null;
    const holder = findHolder(this.path, this.#roots);
    return holder !== null && holder.pid === this.bootHolder ? null : holder;
  }

  get isOpen(): boolean {
    return this.#device !== undefined;
  }

  /** Does nothing when this object has it open already. */
  open(): void {
    if (this.#device !== undefined) return;
    this.#take(this.#attempt("open", () => this.#openNode()));
    this.#keeper?.keep(this.#opened().fd);
    this.#kept = this.#keeper !== null;
  }

  /**
   * Takes over `fd`, which an earlier agent opened and armed: nothing is closed in between. A
   * Failure when it is another file or another device; it is closed then, without the magic
   * character, and whatever it was counts on.
   */
  adopt(fd: number): void {
    // Where there is no node to compare with, what it answers must do.
    if (!this.isBehind(fd) && !(isCharacterDevice(fd) && !existsSync(this.path))) {
      closeQuietly(fd);
      const more = "a watchdog that it may be counts on, and nobody refreshes it";
      throw new Failure("watchdog.missing", `it is not ${this.path}; ${more}`);
    }
    this.#take(
      this.#attempt("take over", () => {
        try {
          return new (native().Watchdog)(this.path, fd);
        } catch (error) {
          closeQuietly(fd);
          throw error;
        }
      }),
    );
    this.#kept = this.#keeper !== null;
  }

  /** Asks the keeper once more, which may have let go of everything of that name. */
  keepAgain(): void {
    this.#keeper?.keep(this.#opened().fd);
  }

  /** Whether `fd` is this watchdog, opened by this or by another of its names. */
  isBehind(fd: number): boolean {
    try {
      const expected = statSync(this.path).rdev;
      return isCharacterDevice(fd) && isSameDevice(expected, fstatSync(fd).rdev, this.path);
    } catch {
      return false;
    }
  }

  /** Keeps what answers as a watchdog; a Failure for anything else, which is closed. */
  #take(device: NativeWatchdog): void {
    try {
      const { identity, options } = device.getSupport();
      const bootStatus = optional(() => device.getBootStatus());
      this.#told = {
        identity: printable(identity),
        options,
        ...(bootStatus === null ? {} : { bootStatus }),
      };
    } catch (error) {
      // Every watchdog answers WDIOC_GETSUPPORT: this is something else, or broken.
      device.close();
      throw callFailure(this.path, this.#roots, "use as a watchdog", error);
    }
    this.#device = device;
  }

  #openNode(): NativeWatchdog {
    const open = (): NativeWatchdog => new (native().Watchdog)(this.path);
    const { bootHolder } = this;
    if (bootHolder === null || !isBootHolder(this.path, this.#roots, bootHolder)) return open();
    this.bootHolder = null;
    return takeFrom(bootHolder, open);
  }

  /**
   * Whole seconds, rounded down but to no less than one: a timeout longer than was asked for would
   * reset the card later than promised, and the service makes up what a shorter one lacks.
   * A refused value is a Failure `watchdog.range` whose evidence hold `grantedMs`, the timeout the
   * device runs with: it stays armed.
   */
  setTimeout(timeoutMs: number): number {
    const device = this.#opened();
    this.#notServing("change the timeout");
    const seconds = Math.max(Math.floor(timeoutMs / 1000), 1);
    try {
      const written = device.setTimeout(seconds);
      return (optional(() => device.getTimeout()) ?? written) * 1000;
    } catch (error) {
      const { code } = error as SystemError;
      if (code !== "EINVAL" && !isUnsupported(code) && code !== "ERR_OUT_OF_RANGE") {
        throw callFailure(this.path, this.#roots, "set the timeout of", error);
      }
      const current = optional(() => device.getTimeout());
      const grantedMs = current === null ? null : current * 1000;
      const fixed = isUnsupported(code);
      throw rangeFailure(this.facts(), { requestedMs: seconds * 1000, grantedMs, fixed }, error);
    }
  }

  setPretimeout(pretimeoutMs: number): number {
    const device = this.#opened();
    const seconds = Math.floor(pretimeoutMs / 1000);
    const set = (): number => device.setPretimeout(seconds);
    return this.#attempt("set the pretimeout of", set) * 1000;
  }

  pretimeout(): number {
    const device = this.#opened();
    const seconds = this.#attempt("ask the pretimeout of", () =>
      optional(() => device.getPretimeout()),
    );
    return (seconds ?? 0) * 1000;
  }

  timeLeft(): number | null {
    const device = this.#opened();
    const seconds = this.#attempt("ask the time left of", () =>
      optional(() => device.getTimeLeft()),
    );
    return seconds === null ? null : seconds * 1000;
  }

  /**
   * By WDIOC_KEEPALIVE; without it by writing, which needs no capability of the driver; or, as
   * `refreshBy` has it, by setting the timeout that the device has, which refreshes as well.
   */
  refresh(): void {
    const device = this.#opened();
    this.#attempt("refresh", () => {
      const isAsked = this.refreshBy === "settimeout";
      if (isAsked && succeeds(() => device.setTimeout(device.getTimeout()))) return;
      if (succeeds(() => device.keepAlive()) || succeeds(() => device.write())) return;
      device.setTimeout(device.getTimeout());
    });
  }

  serve(plan: ServicePlan): RefreshService {
    const device = this.#opened();
    this.#notServing("start a second refresh service");
    const service = this.#attempt("start the refresh service on", () => {
      const timeoutS = this.refreshBy === "settimeout" ? device.getTimeout() : 0;
      const options = { ...plan, fd: device.fd, kind: "watchdog", timeoutS } as const;
      return new (native().RuntimeService)(options);
    });
    this.#service = service;
    return {
      checkIn: () => service.checkIn(),
      stats: () => {
        const { lateMinNs, lateMaxNs, lastRefreshNs, ...rest } = service.stats();
        const { refreshes, failures, lastError, scheduling, lockedBytes } = rest;
        return {
          refreshes,
          failures,
          problem: lastError,
          refreshedMs: Number(lastRefreshNs) / 1e6,
          lateMinMs: lateMinNs / 1e6,
          lateMaxMs: lateMaxNs / 1e6,
          scheduling,
          lockedBytes,
        };
      },
      stop: () => this.#endService(service),
    };
  }

  /**
   * On failure the device is still held and counting: refused before anything was touched, or
   * opened again after the driver did not stop; the evidence' `open` is false when that failed.
   * Where nowayout was not known beforehand a refresh service has ended by then.
   */
  disarm(): void {
    const device = this.#opened();
    if (readFacts(this.path, this.#roots).nowayout === true) throw nowayoutFailure(this.path);
    // The service holds the device open as well, and only the last close disarms.
    if (this.#service !== undefined) this.#endService(this.#service);
    if (this.#kept) this.#releaseKept(device);
    this.#attempt("disarm", () => device.magicClose());
    this.#device = undefined;
    if (readFacts(this.path, this.#roots).state !== "active") return;
    try {
      this.open();
    } catch {
      // Said by `isOpen` below: the countdown runs and nobody can refresh it.
    }
    throw stillCountingFailure(this.path, this.isOpen);
  }

  /** Our close is not the last one: the countdown is stopped by a call, where there is one. */
  #releaseKept(device: NativeWatchdog): void {
    try {
      optional(() => device.setOptions(disableCard));
    } catch (error) {
      if ((error as SystemError).code === "EBUSY") throw nowayoutFailure(this.path);
      throw callFailure(this.path, this.#roots, "disarm", error);
    }
    this.#keeper?.forget();
    this.#kept = false;
  }

  close(): void {
    this.#service?.stop();
    this.#service = undefined;
    this.#device?.close();
    this.#device = undefined;
  }

  #opened(): NativeWatchdog {
    if (this.#device !== undefined) return this.#device;
    throw new Failure("watchdog.closed", `${this.path} is not open. Arm it first.`);
  }

  #notServing(what: string): void {
    if (this.#service === undefined) return;
    throw new Failure(
      "watchdog.state",
      `Cannot ${what}: the refresh service of ${this.path} is running. Stop it first.`,
    );
  }

  #endService(service: NativeRuntimeService): void {
    if (this.#service === service) this.#service = undefined;
    if (service.stop()) return;
    throw new Failure(
      "watchdog.device",
      `The driver of ${this.path} has not returned from a refresh for a second. It stays armed; ` +
        "expect a reset.",
    );
  }

  /** Runs a native call; what it throws becomes a Failure that says what was tried. */
  #attempt<T>(what: string, call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw callFailure(this.path, this.#roots, what, error);
    }
  }
}
