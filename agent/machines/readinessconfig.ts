/** The approved readiness checks, from the settings. Pure. */
import { checksMax, type ReadinessPlan } from "./readiness.ts";

/** Checks the agent makes itself. */
export const ownChecks = ["watchdog", "tee", "journal", "tasks"] as const;
export type OwnCheck = (typeof ownChecks)[number];
const approvedByDefault: readonly OwnCheck[] = ["watchdog", "tee", "journal"];

export interface ProgramSettings {
  readonly name: string;
  readonly command: readonly string[];
  readonly within_s?: number;
  readonly every_s?: number;
}

export interface ReadinessSettings {
  readonly checks?: readonly OwnCheck[];
  readonly programs?: readonly ProgramSettings[];
  readonly ready_within_s?: number;
}

/** A program that says nothing for so long hangs, unless it was given more time. */
const withinDefaultS = 10;
/** Often enough to withdraw readiness within a minute, rarely enough to cost nothing. */
const everyDefaultS = 60;
/** A card that is not ready by then is not going to be: ten times what a slow one takes. */
const readyWithinDefaultS = 600;

/** The plan, or the mistake in the settings as a sentence. */
export function readinessPlan(
  settings: ReadinessSettings,
  settleMs: number,
): ReadinessPlan | string {
  const { checks = approvedByDefault, programs = [], ready_within_s } = settings;
  const names = [...checks, ...programs.map(({ name }) => name)];
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) return `boot: there are two checks named "${twice}"`;
  if (names.length > checksMax) return `boot: ${names.length} checks; at most ${checksMax}`;
  for (const { name, command, within_s = withinDefaultS, every_s = everyDefaultS } of programs) {
    if (name === "") return "boot.programs: a check without a name";
    if (command[0]?.startsWith("/") !== true) {
      return `boot.programs: the command of "${name}" begins with the absolute path of a program`;
    }
    if (!(within_s > 0)) return `boot.programs: within_s of "${name}" is more than 0`;
    if (!(every_s >= 1)) return `boot.programs: every_s of "${name}" is at least 1`;
  }
  const deadlineMs =
    ready_within_s === undefined
      ? Math.max(readyWithinDefaultS * 1000, settleMs * 4)
      : ready_within_s * 1000;
  if (!(deadlineMs > settleMs)) {
    return `boot.ready_within_s is ${ready_within_s}; checks settle for ${settleMs / 1000} seconds`;
  }
  const own = { isProgram: false, withinMs: 0, everyMs: 0 } as const;
  return {
    settleMs,
    deadlineMs,
    checks: [
      ...checks.map((name) => ({ name, ...own })),
      ...programs.map(({ name, within_s = withinDefaultS, every_s = everyDefaultS }) => {
        return { name, isProgram: true, withinMs: within_s * 1000, everyMs: every_s * 1000 };
      }),
    ],
  };
}
