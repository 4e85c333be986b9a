/** `kennel help exit-codes`: every exit status, what it means, and which failures end in it. */
import { type ExitName, exitCodes, policy } from "../errors.ts";
import { type Paint, table } from "./show.ts";

const meanings: { readonly [K in ExitName]: string } = {
  ok: "done, or nothing to do",
  verdict: "it ran, and the answer is bad",
  usage: "the command line or the settings are wrong",
  not_found: "no such port or device",
  busy: "another process has it",
  permission: "not allowed to open it",
  timeout: "no answer in time",
  protocol: "answers came damaged or break the contract",
  refused: "the card said no",
  lost: "the line was lost on the way",
  unsafe: "dangerous: nothing was done, add --yes",
  rig: "the bench failed, not the card",
  interrupted: "stopped by a signal",
};

export interface ExitCode {
  readonly exit: number;
  readonly name: ExitName;
  readonly meaning: string;
  readonly codes: readonly string[];
}

export function listExits(): ExitCode[] {
  const names = Object.keys(exitCodes) as ExitName[];
  return names.map((name) => ({
    exit: exitCodes[name],
    name,
    meaning: meanings[name],
    codes: Object.entries(policy).flatMap(([code, { exit }]) => (exit === name ? [code] : [])),
  }));
}

export function showExits(exits: readonly ExitCode[], paint: Paint): string {
  const rows = exits.map(({ exit, name, meaning }) => [String(exit), name, meaning]);
  const failures = exits.filter(({ codes }) => codes.length > 0);
  const lines = failures.map(({ exit, codes }) => [String(exit), wrapped(codes)]);
  return [
    table(paint, ["exit", "name", "meaning"], rows),
    "",
    table(paint, ["exit", "failures (error.code of --json) that end in it"], lines),
  ].join("\n");
}

/** A screen is 80 columns wide, and the first column takes 6 of them. */
const wrapColumns = 74;

function wrapped(words: readonly string[]): string {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > wrapColumns) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.join("\n");
}
