/** How boots are told over the wire: this one's stages and those before it. Pure. */
import type { AgentEvent } from "../events.ts";
import { type BootPlan, budgetMs } from "../machines/boot.ts";
import type { BootEntry, BootRecord } from "../machines/bootrecord.ts";
import type { StageLog } from "../machines/stagelog.ts";
import type { ResponseOf } from "../wire/commands.ts";
import type { HandOff } from "../wire/handoff.ts";

type Stages = ResponseOf<"boot.timeline">["stages"];

/** Boots in one answer: with five stages each one takes up to 500 bytes of 2048. */
export const bootsPerAnswer = 3;

/** The stages of the present boot; times are ms since the first one began. */
export function stagesOf(log: readonly StageLog[], plan: BootPlan, nowMs: number): Stages {
  const zeroMs = log[0]?.startMs ?? 0;
  const at = (ms: number): number => Math.round(ms - zeroMs);
  return log.map(({ stage, startMs, endMs, by, steps }) => ({
    stage,
    start_ms: at(startMs),
    ...(endMs === null ? {} : { end_ms: at(endMs) }),
    ...budget(plan, stage, (endMs ?? nowMs) - startMs),
    refreshed_by: by,
    steps: steps.map(({ name, atMs }) => ({ name, at_ms: at(atMs) })),
  }));
}

/** Ended boots, newest first. A stage ends where the next begins, the last one with the boot. */
export function timelinesOf(
  past: readonly BootEntry[],
  plan: BootPlan,
  skip: number,
): ResponseOf<"boot.timelines"> {
  const newest = past.toReversed().slice(skip);
  const boots = newest.slice(0, bootsPerAnswer).map((entry) => {
    const { stages = [], stage, uptimeMs, machine: _machine, arrival: _arrival, ...told } = entry;
    const spans = stages.map(({ stage, startMs, by }, at) => {
      const end_ms = Math.max(stages[at + 1]?.startMs ?? uptimeMs, startMs);
      const spent = budget(plan, stage, end_ms - startMs);
      return { stage, start_ms: startMs, end_ms, ...spent, refreshed_by: by };
    });
    return { ...told, ended_in: stage, uptime_ms: uptimeMs, stages: spans };
  });
  return { boots, more: newest.length > boots.length };
}

/** The hand-off record, flat; or `problem`, why it is not believed. */
export function handOffTold(
  handOff: HandOff | null,
  problem: string | null,
): ResponseOf<"boot.record"> {
  if (problem !== null) return { present: true, problem };
  if (handOff === null) return { present: false };
  const { stages: _stages, counter: _counter, countdown, previous, ...rest } = handOff;
  const before = Object.entries(previous ?? {}).map(([key, value]) => [`previous_${key}`, value]);
  const record = { ...rest, ...(countdown ?? {}), ...Object.fromEntries(before) };
  return { present: true, record };
}

/** What the host has yet to be told of boots that ended, oldest first. */
export function deathsOf({ past, told }: BootRecord): AgentEvent[] {
  const isNew = ({ boot, cause }: BootEntry): boolean =>
    cause !== "agent_restart" && Number.parseInt(boot, 10) >= told;
  return past.filter(isNew).map(({ boot, slot, stage, step, uptimeMs, cause, culprit }) => {
    return { kind: "boot:died", boot, slot, stage, step, uptime_ms: uptimeMs, cause, culprit };
  });
}

/** How the remembered boots ended, oldest first. */
export function historyOf(boots: readonly BootEntry[]): ResponseOf<"boot.history"> {
  return {
    boots: boots.map(
      ({ machine: _machine, stages: _stages, arrival: _arrival, uptimeMs, ...entry }) => ({
        ...entry,
        uptime_ms: uptimeMs,
      }),
    ),
  };
}

/** Whose agent starts, and on which slot, as the record has it. */
export function begunWith(
  { current, failures }: BootRecord,
  { version, name }: { version: string; name: string },
) {
  const slot = current?.slot ?? "a";
  const confirmed = current?.confirmed === true;
  return { version, name, slot, confirmed, failures: slot === "safe" ? 0 : failures[slot] };
}

/** Which slot boots, and how often each one failed. */
export function countersOf(
  { active, trial, failures }: BootRecord,
  { attemptsMax }: BootPlan,
): ResponseOf<"boot.counters"> {
  return {
    active,
    ...(trial === null ? {} : { trial }),
    failures: { ...failures },
    attempts_max: attemptsMax,
  };
}

function budget(
  plan: BootPlan,
  stage: BootEntry["stage"],
  spentMs: number,
): { budget_ms: number; margin_ms?: number } {
  const budget_ms = budgetMs(plan, stage);
  if (!Number.isFinite(budget_ms)) return { budget_ms: 0 };
  return { budget_ms, margin_ms: Math.round(budget_ms - spentMs) };
}
