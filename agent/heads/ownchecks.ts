/** The readiness checks that the agent makes itself, as they stand now. */
import type { TeeHead } from "./tee.ts";
import type { WatchdogHead } from "./watchdog.ts";

/** States of the TEE that do not keep a boot from being confirmed. */
const teeIsWell = ["ready", "absent", "unusable"];

export interface Parts {
  readonly watchdog: WatchdogHead;
  readonly tee: TeeHead;
  /** Why writes do not reach the disk; null while they do. */
  readonly degraded: string | null;
}

/** `name`: one of `ownChecks` in machines/readinessconfig.ts. */
export function ownCheck(
  name: string,
  parts: Parts,
  nowMs: number,
): { ok: boolean; value: string } {
  const { state, judgement } = parts.watchdog;
  switch (name) {
    case "watchdog": {
      const isRefreshed = state.kind === "armed" || state.kind === "holding";
      return { ok: judgement.backend === "none" || isRefreshed, value: state.kind };
    }
    case "tee": {
      const { state: value } = parts.tee.status();
      return { ok: teeIsWell.includes(value), value };
    }
    case "tasks": {
      const late = state.tasks.find(({ dueMs }) => dueMs < nowMs);
      return { ok: late === undefined, value: late === undefined ? "on time" : late.name };
    }
    default:
      return { ok: parts.degraded === null, value: parts.degraded ?? "ok" };
  }
}
