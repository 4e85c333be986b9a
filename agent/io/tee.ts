/**
 * A trusted execution environment as a client of its Linux driver meets it (linux/tee.h), and
 * whatever on this platform can restart parts of it. Every operation ends by its callback and
 * never by a promise or an exception: it may take long, and it may never end at all, since a call
 * inside a TEE can neither be killed nor cancelled. Deadlines are the caller's.
 */
/**
 * What can be restarted, mildest first: one service's session, the process that serves the TEE's
 * storage (tee-supplicant), the TEE OS itself.
 */
export type RestartPower = "session" | "supplicant" | "tee_os";

export interface TeeFacts {
  /** There is a TEE device, or a twin of one. */
  readonly present: boolean;
  /** Calls can be made on it. A device that is present and not usable is reported, not used. */
  readonly usable: boolean;
  readonly simulated: boolean;
  /** /dev/tee0, or `sim`. */
  readonly name: string;
  /** What this platform can restart: declared by its provider, never implied. */
  readonly powers: readonly RestartPower[];
  /** The platform saves and restores the hardware status of the TEE at a crash. */
  readonly hardwareStatus: boolean;
  /** How the above came to be known, for people. */
  readonly because: string;
}

/**
 * A session: the client context (one open of the device) that opened it, and the TEE's id for it.
 * Ids come again after a restart of the TEE OS; the context is what keeps an old one apart.
 */
export interface SessionRef {
  readonly context: number;
  readonly id: number;
}

/**
 * The hardware status at a crash as firmware keeps it: secure timer, interrupt and firewall
 * registers. The values stay in firmware under `handle`; out come the names of what was saved.
 */
export interface HardwareStatus {
  readonly handle: number;
  readonly names: readonly string[];
}

export type TeeOperation =
  | { readonly kind: "save_hardware" }
  | { readonly kind: "restore_hardware"; readonly handle: number }
  /** Restarts the supplicant or the TEE OS. EBUSY while another restart goes on. */
  | { readonly kind: "restart"; readonly rung: Exclude<RestartPower, "session"> }
  /**
   * Registers the driver anew with a restarted TEE OS: shared memory, supplicant. EAGAIN, without
   * harm, while any session of any context is open. Does not restart the TEE (measured).
   */
  | { readonly kind: "reattach" }
  | { readonly kind: "open"; readonly service: string; readonly context: number }
  | {
      readonly kind: "invoke";
      readonly session: SessionRef;
      readonly command: number;
      /** Names the invocation: for `cancel`, and in messages. */
      readonly call: number;
      /** Under which the service itself remembers that it has done this; null = it does not. */
      readonly key: string | null;
      readonly input: Uint8Array | null;
    }
  /** Asks the service whether it has done what was invoked under `key`; answered by `applied`. */
  | { readonly kind: "query"; readonly session: SessionRef; readonly key: string }
  /** Cooperative: the call may go on to its end all the same. Never a timeout. */
  | { readonly kind: "cancel"; readonly call: number }
  | { readonly kind: "close"; readonly session: SessionRef }
  /** Opens, invokes and closes a small service of its own: the one proof of life. */
  | { readonly kind: "canary" }
  /** TEE_IOC_VERSION: answered by the kernel from memory, also when the TEE is dead. */
  | { readonly kind: "version" };

/** The two error channels, kept apart: a crash never shows as an errno. */
export interface TeeResult {
  /**
   * Name of the errno with which the ioctl failed; null when it returned. `EOWNERDEAD`: the process
   * that made the call ended first, and the kernel has closed all that it had open.
   */
  readonly errno: string | null;
  /** TEEC result, 0 = success; counts only when `errno` is null. */
  readonly ret: number;
  /** Who made `ret`: 1 API, 2 communication, 3 TEE, 4 trusted application; 0 = nobody said. */
  readonly origin: number;
  /** The supplicant died while this operation was under way. */
  readonly supplicantLost?: boolean;
}

export interface TeeOutcome extends TeeResult {
  readonly session?: SessionRef;
  readonly hardware?: HardwareStatus;
  /** Of `query`. */
  readonly applied?: boolean;
  /** Output value of `invoke`. */
  readonly value?: number;
  readonly output?: Uint8Array;
  /** Panic text of the secure world: may quote anything, hence never recorded nor reported. */
  readonly detail?: string;
}

/**
 * What is worth telling besides the outcomes of operations: `helper` of the processes that make the
 * calls, `provider` of what can be restarted and what cannot.
 */
export interface TeeNews {
  readonly about: "helper" | "provider";
  readonly because: string;
}

/**
 * What an operation waits for before it can begin, or go on: the start of the process that is to
 * make the call, or a supplicant that nobody has started yet.
 */
export type TeeWait = "helper" | "supplicant";

export interface Tee {
  facts(): TeeFacts;
  /** Calls are to come: what takes its time beforehand may begin. */
  prepare?(): void;
  /** Sets who is told; it comes in any turn, between operations too. */
  listen?(tell: (news: TeeNews) => void): void;
  /**
   * Starts an operation. `done` is called at most once, never before this returns. `waits` is told
   * again and again while the operation waits, and once more when it need not: its time begins now.
   */
  perform(
    operation: TeeOperation,
    done: (outcome: TeeOutcome) => void,
    waits?: (on: TeeWait) => void,
  ): void;
}
