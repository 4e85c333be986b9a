/** `kennel doctor`: who else wants the card's watchdog, and what to do about it. */
import { exitCodes } from "../errors.ts";
import type { ResponseOf } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { harmless, type Paint, table } from "./show.ts";

type Findings = ResponseOf<"card.doctor">["findings"];

/** Answers that are asked for: a card has at most as many findings as this times one. */
const answersMax = 32;

export async function doctor({ link, paint }: Context): Promise<Outcome> {
  const findings: Findings = [];
  for (let asked = 0; asked < answersMax; asked += 1) {
    const answer = await link.request("card.doctor", { from: findings.length });
    findings.push(...answer.findings);
    if (!answer.more || answer.findings.length === 0) break;
  }
  const well = findings.every(({ ok }) => ok);
  const exit = well ? exitCodes.ok : exitCodes.verdict;
  return { data: { well, findings }, text: showFindings(harmless(findings), paint), exit };
}

export function showFindings(findings: Findings, paint: Paint): string {
  const rows = findings.map(({ name, ok, found }) => [
    name,
    ok ? paint.good("well") : paint.bad("wrong"),
    found,
  ]);
  const todo = findings.filter(({ ok }) => !ok).map(({ name, next }) => `${name}: ${next}`);
  const head = table(paint, ["looked at", "", "found"], rows);
  return todo.length === 0 ? head : `${head}\n\nto do\n${todo.join("\n")}`;
}
