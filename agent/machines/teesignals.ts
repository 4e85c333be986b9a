/**
 * What an outcome says about the TEE: nothing special, that something died and how much, or
 * something that needs a second look. The table was measured on OP-TEE.
 */
import type { RestartPower, TeeResult } from "../io/tee.ts";

/** TEEC results of the GlobalPlatform TEE Client API that a crash can show as. */
export const teeRet = {
  success: 0,
  generic: 0xffff0000,
  cancelled: 0xffff0002,
  bad_parameters: 0xffff0006,
  item_not_found: 0xffff0008,
  out_of_memory: 0xffff000c,
  communication: 0xffff000e,
  target_dead: 0xffff3024,
} as const;

/** Who made the result (TEEC_ORIGIN_*). */
export const teeOrigin = { api: 1, communication: 2, tee: 3, application: 4 } as const;

export type Reading =
  | { readonly kind: "ok" }
  /** An answer of a living TEE, be it a refusal. */
  | { readonly kind: "answer" }
  /** Could be a dead TEE or a passing trouble: ask the canary. */
  | { readonly kind: "unclear"; readonly code: string }
  /** Bad parameters of the caller, or a session of an earlier TEE OS: ask the session. */
  | { readonly kind: "stale"; readonly code: string }
  | { readonly kind: "dead"; readonly rung: RestartPower; readonly code: string };

/** The driver or its device is gone: not an answer of the TEE, and no proof that it is dead. */
const driverGone: readonly string[] = ["ENOENT", "ENODEV", "ENXIO", "EIO"];

/** Our own process that made the call ended: it says nothing of the TEE, nor of the caller. */
export const ownerDead = "EOWNERDEAD";

/** An outcome in short, for records and reports: `ffff3024/3`, or the errno's name. */
export function codeOf(result: TeeResult): string {
  return result.errno ?? `${result.ret.toString(16).padStart(8, "0")}/${result.origin}`;
}

/** Reads an outcome. */
export function readResult(result: TeeResult): Reading {
  const code = codeOf(result);
  const { errno, ret, origin } = result;
  if (errno !== null) {
    if (driverGone.includes(errno)) return { kind: "unclear", code };
    // The kernel no longer knows the session, or the process that had it open is dead.
    if (errno === "EINVAL" || errno === ownerDead) return { kind: "dead", rung: "session", code };
    return { kind: "answer" };
  }
  if (ret === teeRet.success) return { kind: "ok" };
  if (ret === teeRet.target_dead) return { kind: "dead", rung: "session", code };
  if (ret === teeRet.communication && origin === teeOrigin.communication) {
    return { kind: "unclear", code };
  }
  // After a restart behind our back no session id means what it meant.
  if (ret === teeRet.bad_parameters && origin === teeOrigin.tee) return { kind: "stale", code };
  if (ret === teeRet.out_of_memory && result.supplicantLost === true) {
    return { kind: "dead", rung: "supplicant", code };
  }
  return { kind: "answer" };
}
