/** What a card's own configuration says of its watchdog, as far as the doctor looks at it. */
import type { WatchdogFacts } from "./watchdog.ts";

/** A configuration file that was found. */
export interface ConfigText {
  readonly path: string;
  readonly text: string;
}

export interface DoctorFacts {
  /** systemd's system.conf and its drop-ins, in the order in which they override one another. */
  readonly systemd: readonly ConfigText[];
  /** PID 1's name, such as `systemd`. */
  readonly init: string;
  /** Units that systemd starts by itself, such as `watchdog.service`. */
  readonly enabledUnits: readonly string[];
  /** /etc/watchdog.conf of the daemon `watchdog` and /etc/watchdogd.conf, where they are. */
  readonly daemons: readonly ConfigText[];
  /** Init scripts and inittabs that start busybox' watchdog. */
  readonly scripts: readonly ConfigText[];
  /** Processes that run, by name, with their number; at most a few that matter. */
  readonly processes: readonly { pid: number; name: string; command: string }[];
  readonly kernelCommandLine: string;
  /** The early userspace hook left a record of this boot. */
  readonly hasHook: boolean;
  readonly watchdog: WatchdogFacts | null;
}
