/** The readiness head as an agent has it: bound to its other heads. */
import type { Agent } from "./agent.ts";
import type { AgentConfig } from "./config.ts";
import { ownCheck } from "./heads/ownchecks.ts";
import { ReadinessHead } from "./heads/readiness.ts";

/** `withhold`: a check chose a reset. */
export function readinessHead(
  agent: Agent,
  config: AgentConfig,
  withhold: (culprit: string) => void,
): ReadinessHead {
  const { io } = agent;
  return new ReadinessHead(
    {
      clock: io.clock,
      runProgram: io.runProgram,
      commands: config.programs,
      look: (name) => {
        const parts = { watchdog: agent.watchdog, tee: agent.tee, degraded: agent.degraded() };
        return ownCheck(name, parts, io.clock.now());
      },
      post: (act) => agent.call(act),
      emit: (event) => agent.emit(event),
      clearPlatform: () => {
        return agent.controls.confirm({ boot: agent.boot.firmwareId, nextReset: config.nextReset });
      },
      confirm: () => agent.boot.ready(),
      withhold,
    },
    config.readiness,
    agent.boot.isConfirmed,
  );
}
