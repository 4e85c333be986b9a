/** What the simulated TEE is and what it does to its users: times, services, faults by name. */
import type { RestartPower, TeeOperation } from "../io/tee.ts";

export interface SimService {
  readonly name: string;
  /** All sessions share one instance, and die with it. */
  readonly singleInstance: boolean;
  /** Part of the TEE OS itself: opens at once, and without the supplicant. */
  readonly builtIn?: boolean;
}

/** What the simulated services understand. Any other command reads the counter. */
export const simCommand = {
  /** Adds one to a counter in RAM. */
  count: 1,
  /** Reads that counter. */
  read: 2,
  /** Adds one to a counter in secure storage: needs the supplicant. */
  store: 3,
  /** Never returns, and no cancelling makes it. */
  spin: 4,
  /** As `count`, but takes a while. */
  slow: 5,
  /** Its parameters are not what the TEE accepts: it never reaches the service. */
  malformed: 6,
  /** Whether a key was used, for those who ask by an invocation: `query_command`. */
  query: 7,
} as const;

/** Milliseconds; see each for where it was measured. */
export interface TeeTimes {
  /** Answers of the kernel alone. */
  readonly kernelMs: number;
  readonly invokeMs: number;
  readonly openMs: number;
  /** Opening a service that is not loaded yet. */
  readonly loadMs: number;
  readonly closeMs: number;
  readonly canaryMs: number;
  /** A call into firmware. */
  readonly firmwareMs: number;
  readonly restartMs: number;
  readonly reattachMs: number;
  readonly supplicantMs: number;
  readonly slowMs: number;
  /** After a restart, until a stale secure timer interrupt kills the new TEE OS. */
  readonly staleTimerMs: number;
}

/** OP-TEE on an emulated machine, quiet. */
export const measuredTimes: TeeTimes = {
  kernelMs: 0.15,
  invokeMs: 0.4,
  openMs: 40,
  loadMs: 130,
  closeMs: 0.5,
  canaryMs: 1.5,
  firmwareMs: 0.1,
  restartMs: 300,
  reattachMs: 120,
  supplicantMs: 1_160,
  slowMs: 2_000,
  staleTimerMs: 50,
};

export interface TeeModel {
  readonly services: readonly SimService[];
  readonly powers: readonly RestartPower[];
  readonly hardwareStatus: boolean;
  /** Calls inside at once (CFG_NUM_THREADS). */
  readonly threads: number;
  readonly times: TeeTimes;
}

/** A TEE with these services and every restart power. */
export function teeModel(services: readonly string[], change: Partial<TeeModel> = {}): TeeModel {
  return {
    services: services.map((name) => ({ name, singleInstance: true })),
    powers: ["session", "supplicant", "tee_os"],
    hardwareStatus: true,
    threads: 2,
    times: measuredTimes,
    ...change,
  };
}

/** What happens at one moment. */
export type Injected =
  /** A service's instances panic: TARGET_DEAD to every session of them. */
  | "panic"
  /** The TEE OS panics: nothing inside ever returns. */
  | "core_panic"
  /** The TEE OS stops answering, without a word. */
  | "hang"
  /** Somebody restarts the TEE OS under the driver, without a word. */
  | "silent_restart"
  /** The supplicant is killed and stays away. */
  | "supplicant_death"
  /** The process that makes the calls is killed: it ends when its calls do. */
  | "helper_death"
  /** Somebody unbinds the driver through sysfs: with a session open that never returns. */
  | "unbind"
  /** Somebody unloads the driver: refused while a session is open, else the device is gone. */
  | "unload";

/**
 * What the real thing does. The agent survives each of these: with restored services where a
 * restart can help, with a reported degradation or a card reset where none can. It cannot survive
 * `haltsCores`, which is the hardware watchdog's part.
 */
export interface TeeFaults {
  /** The restart of the TEE OS never ends. */
  readonly restartHangs?: boolean;
  /** That many restarts end with an error. */
  readonly restartFails?: number;
  /** At a panic a secure timer is armed: the restarted OS dies of it unless it is put right. */
  readonly timerArmed?: boolean;
  /** After a restart old registrations still work, so that stale session ids can alias. */
  readonly staticSharedMemory?: boolean;
  /** Everything inside takes this many times as long. */
  readonly slowness?: number;
  /** Another process has the device open: re-registration is refused. */
  readonly heldByOthers?: boolean;
  /** This service is not loaded again after a panic: each opening reports it dead. */
  readonly keepsCrashed?: string;
  /** Commands that kill their service, or the whole TEE OS. */
  readonly poison?: readonly {
    readonly service: string;
    readonly command: number;
    readonly kills: "service" | "tee_os";
  }[];
  /** The next operation of this kind meets a panic of the TEE OS. */
  readonly crashesAt?: TeeOperation["kind"] | undefined;
  /** A panic of the TEE OS stops every CPU of the card. */
  readonly haltsCores?: boolean;
  /** What the secure world printed last: it comes with every outcome. */
  readonly panicText?: string;
}
