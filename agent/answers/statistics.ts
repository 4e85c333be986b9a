/** The agent's own counters, by group, as the statistics group of SMP has them. */
import type { Agent } from "../agent.ts";
import type { Line } from "../heads/host.ts";
import { crashes } from "./filetree.ts";

type Fields = Record<string, number>;

/** Each group by its name; `line` is the one that is asked on. */
const groups: { readonly [name: string]: (agent: Agent, line: Line) => Fields } = {
  link: (_agent, line) => line.counters(),
  agent: (agent) => ({
    uptime_ms: agent.io.clock.now(),
    queue_peak: agent.peaks.queue,
    events: sum([...agent.ring.totals.values()]),
    journal_degraded: agent.degraded() === null ? 0 : 1,
  }),
  boot: (agent) => {
    const { boots, failures, past } = agent.boot.journal.value;
    return {
      boots,
      confirmed: agent.boot.isConfirmed ? 1 : 0,
      failures_a: failures.a,
      failures_b: failures.b,
      remembered: past.length,
      crash_files: crashes(agent).length,
      uncovered_ms: agent.boot.uncoveredMs,
    };
  },
  wdt: (agent) => {
    const status = agent.watchdog.status();
    const { tasks } = agent.watchdog.tasks();
    return {
      armed: status.armed ? 1 : 0,
      protected: status.protected ? 1 : 0,
      refreshes: status.refreshes,
      failures: status.failures,
      hardware_ms: status.hardware_ms,
      promise_ms: status.promise_ms,
      remaining_ms: status.remaining_ms ?? 0,
      slack_min_ms: status.slack_min_ms ?? 0,
      tasks: tasks.length,
      tasks_late: sum(tasks.map(({ late }) => late)),
    };
  },
  tee: (agent) => {
    const { epoch, crashes: crashed, restarts_in_window, in_flight } = agent.tee.status();
    const { sessions, quarantined } = agent.tee.status();
    return {
      epoch,
      crashes: crashed,
      restarts_in_window,
      in_flight,
      sessions_open: sessions.filter(({ open }) => open).length,
      quarantined: quarantined.length,
    };
  },
  report: (agent) => {
    const boots = agent.ledger.boots();
    const own = boots.find(({ boot }) => boot === agent.boot.id);
    return {
      last_seq: own?.lastSeq ?? 0,
      acknowledged: own?.acknowledged ?? 0,
      pending: agent.ledger.pending.length,
      pending_peak: agent.ledger.pendingPeak,
      dropped: sum(boots.map(({ dropped }) => dropped)),
      boots: boots.length,
    };
  },
  /** How often each kind of event came since the agent started. */
  events: (agent) => Object.fromEntries(agent.ring.totals),
};

export const statisticsNames: readonly string[] = Object.keys(groups);

/** The counters of one group, whole numbers from 0 on; null where there is no such group. */
export function statistics(agent: Agent, line: Line, name: string): Fields | null {
  const found = Object.hasOwn(groups, name) ? groups[name]?.(agent, line) : undefined;
  if (found === undefined) return null;
  const whole = ([key, value]: [string, number]) => [key, Math.max(Math.round(value), 0)];
  return Object.fromEntries(Object.entries(found).map((entry) => whole(entry)));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
