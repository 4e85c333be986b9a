/**
 * The one typed door to the native addon. Loading is lazy: a card without a working addon must be
 * able to say so. Errors are shaped like Node's (`code`, `errno`, `syscall`, `path`); wrong
 * arguments are RangeErrors with code `ERR_OUT_OF_RANGE` or `ERR_INVALID_ARG_TYPE`.
 */
import { loadNative } from "./load.ts";

/** What native calls throw when the system refuses. */
export interface SystemError extends Error {
  readonly code: string;
  /** Negative, as Node has it. */
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;
}

/**
 * An open watchdog: the calls of include/uapi/linux/watchdog.h, without policy. Timeouts are whole
 * seconds. After `close` every call fails `EBADF`; closing again does nothing.
 */
export interface NativeWatchdog {
  /** -1 once closed. */
  readonly fd: number;
  getSupport(): { options: number; firmwareVersion: number; identity: string };
  /** WDIOF_* bits; reading clears the keep-alive bit. */
  getStatus(): number;
  getBootStatus(): number;
  /** Degrees Fahrenheit, where a driver still has it; most answer `ENOTTY`. */
  getTemp(): number;
  /** WDIOS_* bits: 1 stops the device, 2 starts it. */
  setOptions(options: number): void;
  keepAlive(): void;
  /** Returns what the driver wrote back; `EINVAL` when out of range. Refreshes as well. */
  setTimeout(seconds: number): number;
  getTimeout(): number;
  /** Seconds before the timeout, 0 = off. Returns the value read back. */
  setPretimeout(seconds: number): number;
  getPretimeout(): number;
  getTimeLeft(): number;
  /** Refreshes by writing one byte, 0 unless given; refuses 'V'. */
  write(byte?: number): void;
  /** Writes 'V' and closes: the driver may stop the countdown. */
  magicClose(): void;
  /** Closes without 'V': the countdown goes on, given WDIOF_MAGICCLOSE. */
  close(): void;
}

export interface RuntimeOptions {
  /** Duplicated: the service works on a descriptor of its own. */
  readonly fd: number;
  /** `pipe`: a refresh writes its CLOCK_MONOTONIC time, 8 little-endian bytes of nanoseconds. */
  readonly kind: "watchdog" | "pipe";
  /** T1, at least 1. */
  readonly hardwareMs: number;
  /** T2, at least T1. */
  readonly promiseMs: number;
  /** At most T1 / 2. */
  readonly minGapMs: number;
  /** Refresh by WDIOC_SETTIMEOUT of so many whole seconds; 0 or absent = by WDIOC_KEEPALIVE. */
  readonly timeoutS?: number;
}

export interface RuntimeStats {
  readonly refreshes: number;
  readonly failures: number;
  /** How often the thread woke; idle it is at most twice in T1 / 2. */
  readonly wakeups: number;
  /** Lateness of a refresh against the time it was due. */
  readonly lateMinNs: number;
  readonly lateMaxNs: number;
  readonly lockedBytes: number;
  /** CLOCK_MONOTONIC. */
  readonly lastRefreshNs: bigint;
  readonly deadlineNs: bigint;
  /** The last error of the device as text, or "". */
  readonly lastError: string;
  /** `SCHED_FIFO`, or `SCHED_OTHER` and why. */
  readonly scheduling: string;
  /** Why memory could not be locked, or "". */
  readonly lockError: string;
  readonly running: boolean;
}

/** The refresh thread; native/refresher.h has the rule by which it places refreshes. */
export interface NativeRuntimeService {
  /** The promised deadline becomes now + T2. Lock-free; does nothing once stopped. */
  checkIn(): void;
  stats(): RuntimeStats;
  /** Lateness in nanoseconds of the last refreshes, at most 4096, oldest first. */
  samples(): Float64Array;
  /** Ends the thread; false when a stuck driver kept it for more than a second. */
  stop(): boolean;
}

/** What a listener of a Pty is told. `lost` is the last word: the master failed. */
export type PtyNews = "readable" | "writable" | "lost";

/** A pseudo terminal in raw mode; its slave is held open, so that nobody there means silence. */
export interface NativePty {
  /** -1 once closed. */
  readonly masterFd: number;
  /** What the other side opens: /dev/pts/N. */
  readonly path: string;
  /** Returns how many bytes the line took, 0 when it is full; never blocks. */
  write(bytes: Uint8Array): number;
  /** Up to `max` bytes (1 to 65536) that have arrived, or null when there are none. */
  read(max: number): Buffer | null;
  /**
   * Sets the listener. `readable` repeats until `read` has returned null; `writable` comes once
   * after a `write` that took less than it was given. Keeps the process alive unless `unref`.
   */
  onReady(listen: (news: PtyNews) => void): void;
  ref(): void;
  unref(): void;
  /** Cuts off everybody who has the slave open, as unplugging does. Needs CAP_SYS_ADMIN. */
  hangUp(): void;
  close(): void;
}

/** A character device that is no terminal, such as /dev/rshim0/console, as a line. */
export interface NativeLine {
  /** As of NativePty. */
  write(bytes: Uint8Array): number;
  /** As of NativePty; `ENODEV` once the device was hung up. */
  read(max: number): Buffer | null;
  /** As of NativePty. Throws `EPERM` for what cannot be waited on, such as a plain file. */
  onReady(listen: (news: PtyNews) => void): void;
  close(): void;
}

/** What came of a call into the TEE: `ret` and `origin` count only when `errno` is null. */
export interface TeeReturn {
  /** Name of the errno with which the ioctl failed; null when it returned. */
  readonly errno: string | null;
  /** TEEC result, and who made it (TEEC_ORIGIN_*). */
  readonly ret: number;
  readonly origin: number;
  /** Of `openSession`. */
  readonly session?: number;
  /** Of `openSession` and `invoke`: the parameters as they came back. */
  readonly params?: BigUint64Array;
}

/**
 * An open TEE device: the client's calls of include/uapi/linux/tee.h, without policy. What goes
 * into the secure world runs on a thread of its own, calls `done` once, later, and may never come
 * back. Parameters are four numbers each: attr, a, b, c. A memory reference is to memory of this
 * object, within its bounds.
 */
export interface NativeTee {
  /** Answered by the kernel from what it knew when the driver was loaded: no sign of life. */
  version(): { implementation: number; implementationCaps: number; genericCaps: number };
  /** Shared memory of at least `size` bytes, zeroed by the driver; returns its identifier. */
  allocate(size: number): number;
  write(id: number, offset: number, bytes: Uint8Array): void;
  read(id: number, offset: number, length: number): Buffer;
  /** A call that uses the memory keeps it until it returns. */
  free(id: number): void;
  /** `uuid` and `clientUuid` are 16 bytes, big-endian; `login` is TEE_IOCTL_LOGIN_*. */
  openSession(
    uuid: Uint8Array,
    login: number,
    clientUuid: Uint8Array,
    cancelId: number,
    params: BigUint64Array,
    done: (came: TeeReturn) => void,
  ): void;
  invoke(
    session: number,
    command: number,
    cancelId: number,
    params: BigUint64Array,
    done: (came: TeeReturn) => void,
  ): void;
  /** `session` 0 while it is being opened. A request, which the TEE may ignore. */
  cancel(cancelId: number, session: number, done: (came: TeeReturn) => void): void;
  closeSession(session: number, done: (came: TeeReturn) => void): void;
  /** Closes the device, once no call is inside any more: the kernel then closes its sessions. */
  close(): void;
}

/** Who is at the other end of a Unix socket, as the kernel noted it at connect(2). */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups; empty when there are more than 256, or the kernel does not say. */
  readonly groups: readonly number[];
}

export interface Native {
  /** Opens, and thereby arms, the device at `path`; or takes over `fd`, which is open already. */
  readonly Watchdog: new (
    path: string,
    fd?: number,
  ) => NativeWatchdog;
  /** Starts the thread. Main thread only: in a worker it throws `ERR_MAIN_THREAD_ONLY`. */
  readonly RuntimeService: {
    new (options: RuntimeOptions): NativeRuntimeService;
    /** The placement rule itself, for tests; null = no further refresh for this promise. */
    nextRefreshNs(
      last: bigint,
      checkIn: bigint,
      deadline: bigint,
      hardware: bigint,
      minGap: bigint,
    ): bigint | null;
  };
  readonly Pty: new () => NativePty;
  /** Opens the device at `path` for reading and writing; asks and sets nothing else. */
  readonly Line: new (
    path: string,
  ) => NativeLine;
  /** Opens the TEE device at `path` as a client of its own. */
  readonly Tee: new (
    path: string,
  ) => NativeTee;
  /** CLOCK_MONOTONIC in nanoseconds. */
  monotonicNs(): bigint;
  /**
   * Sends one datagram to the Unix socket `path` (`@NAME`: abstract), with a copy of `fd` if given.
   * Never waits: `EAGAIN` when the receiver is full.
   */
  notify(path: string, text: string, fd?: number): void;
  /**
   * SO_PEERCRED of a connected Unix socket. `ENOTSOCK` and `EBADF` for what is none, `ENOTCONN` for
   * one without a peer.
   */
  peerCredentials(fd: number): PeerCredentials;
  /** Sets the date (CLOCK_REALTIME) to whole milliseconds since 1970. */
  setDate(ms: number): void;
  /**
   * Bars others from opening the terminal `fd` (TIOCEXCL), or no longer does; root can still open
   * it. On a pty it outlives who asked for it, while the pty is there.
   */
  exclusive(fd: number, on?: boolean): void;
  /** Sets or clears one modem line of the terminal `fd`; `ENOTTY` on a pty, which has none. */
  controlLine(fd: number, line: "dtr" | "rts", on: boolean): void;
}

let loaded: Native | undefined;

/** The addon. Throws a Failure `native.missing` when it cannot be loaded. */
export function native(): Native {
  loaded ??= loadNative("kennel") as Native;
  return loaded;
}
