/** The tags of a card's greeting: each is something that can be tried, each absent one refuses. */
import type { Agent } from "../agent.ts";

export function tagsOf(agent: Agent): string[] {
  const { watchdog, tee, config, io, boot } = agent;
  const { backend } = watchdog.judgement;
  const has = (there: boolean, ...tags: string[]): string[] => (there ? tags : []);
  return [
    `wdt.${backend}`,
    ...has(watchdog.bootStatus !== null, "wdt.reset_cause"),
    ...has((watchdog.found?.pretimeoutMs ?? 0) > 0, "wdt.pretimeout"),
    ...has(config.runtime.disarmAllowed, "wdt.disarm"),
    ...has(boot.handOffReport().present, "boot.record"),
    "report.subscribe",
    "report.state",
    "report.crash",
    "reset.notice",
    ...agent.access.tags,
    ...tee.status().powers.map((power) => `tee.${power}`),
    ...has(Object.keys(io.faults).length > 0, "rig"),
  ];
}
