/** What must hold before a boot is confirmed. */
import type { Agent } from "../agent.ts";
import type { ResponseOf } from "../wire/commands.ts";

/** States of the TEE that do not keep a boot from being confirmed. */
const teeIsWell = ["ready", "absent", "unusable"];

type Judged = Pick<Agent, "boot" | "watchdog" | "tee" | "degraded">;

/** Every check by name, with what was found; ready once the boot is confirmed and all pass. */
export function readinessOf(agent: Judged): ResponseOf<"card.readiness"> {
  const { state, judgement } = agent.watchdog;
  const tee = agent.tee.status();
  const unprotected = judgement.backend === "none";
  const degraded = agent.degraded();
  const checks = [
    {
      name: "watchdog",
      ok: unprotected || state.kind === "armed" || state.kind === "holding",
      value: state.kind,
    },
    { name: "tee", ok: teeIsWell.includes(tee.state), value: tee.state },
    { name: "journal", ok: degraded === null, value: degraded ?? "ok" },
  ];
  return { ready: agent.boot.isConfirmed && checks.every(({ ok }) => ok), checks };
}
