import type { SystemError } from "../../native/index.ts";
import { type Code, Failure } from "../errors.ts";
import type { WatchdogFacts } from "./watchdog.ts";
import { findHolder, type Roots } from "./watchdogfacts.ts";

const codes: Record<string, Code> = {
  ENOENT: "watchdog.missing",
  ENODEV: "watchdog.missing",
  ENXIO: "watchdog.missing",
  // GETSUPPORT is in every watchdog driver, so this is another kind of file.
  ENOTTY: "watchdog.missing",
  EACCES: "watchdog.permission",
  EPERM: "watchdog.permission",
  EBUSY: "watchdog.busy",
  EINVAL: "watchdog.range",
  ERR_OUT_OF_RANGE: "watchdog.range",
};

const advice: Partial<Record<Code, string>> = {
  "watchdog.missing": "Load the driver of this card's watchdog, or name another device.",
  "watchdog.permission": "Run as root, or give this user the device.",
  "watchdog.device": "The kernel's log may say more.",
};

/** What drivers answer to a call they do not have. */
export function isUnsupported(code: string): boolean {
  return code === "EOPNOTSUPP" || code === "ENOTTY" || code === "ENOTSUP";
}

/** The value, or null when the driver does not have the call; other errors pass. */
export function optional<T>(call: () => T): T | null {
  try {
    return call();
  } catch (error) {
    if (isUnsupported((error as SystemError).code)) return null;
    throw error;
  }
}

/** True when the driver did it, false when it does not have the call; other errors pass. */
export function succeeds(call: () => void): boolean {
  const done = optional(() => {
    call();
    return true;
  });
  return done === true;
}

/** The Failure for an error of a native call; `what` completes "Cannot ... /dev/watchdog0". */
export function callFailure(path: string, roots: Roots, what: string, error: unknown): Failure {
  if (error instanceof Failure) return error;
  const { code: name, message, errno, syscall } = error as SystemError;
  const code = codes[name] ?? "watchdog.device";
  const evidence = { path, errno, syscall, name };
  if (code !== "watchdog.busy") {
    const text = [`Cannot ${what} ${path}: ${message}.`, advice[code] ?? ""].join(" ").trim();
    return new Failure(code, text, { cause: error, evidence });
  }
  const holder = findHolder(path, roots);
  const who =
    holder === null
      ? "a process that /proc does not show"
      : `process ${holder.pid} (${holder.name})`;
  return new Failure(
    code,
    `Cannot ${what} ${path}: it is held by ${who}. A watchdog has one owner: stop the other.`,
    { cause: error, evidence: { ...evidence, holder } },
  );
}

/** `fixed`: the driver cannot change its timeout at all. */
export function rangeFailure(
  facts: WatchdogFacts,
  request: { requestedMs: number; grantedMs: number | null; fixed: boolean },
  cause: unknown,
): Failure {
  const { path, minMs, maxMs } = facts;
  const { requestedMs, grantedMs, fixed } = request;
  const low = minMs === null ? "no minimum" : `a minimum of ${minMs / 1000} s`;
  const high = maxMs === null ? "no maximum" : `a maximum of ${maxMs / 1000} s`;
  const limits = fixed ? "its timeout is fixed" : `it states ${low} and ${high}`;
  const stays = grantedMs === null ? "" : ` It stays armed with ${grantedMs / 1000} s.`;
  return new Failure(
    "watchdog.range",
    `${path} refuses a timeout of ${requestedMs / 1000} s: ${limits}.${stays}`,
    { cause, evidence: { path, requestedMs, minMs, maxMs, grantedMs } },
  );
}

/** Refused before anything was touched. */
export function nowayoutFailure(path: string): Failure {
  return new Failure(
    "watchdog.nowayout",
    `${path} cannot be disarmed: its driver is set to "nowayout" and counts until the next ` +
      "reset. Keep refreshing it, or reboot.",
    { evidence: { path, open: true } },
  );
}

/** The magic close was made and the countdown goes on; `open`: the device could be opened again. */
export function stillCountingFailure(path: string, open: boolean): Failure {
  const next = open
    ? "It was opened again: keep refreshing it."
    : "It could not be opened again: expect a reset.";
  return new Failure(
    "watchdog.nowayout",
    `The driver did not stop: ${path} still counts after a magic close. ${next}`,
    { evidence: { path, open } },
  );
}
