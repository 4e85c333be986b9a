/** What an answer amounts to: the value that the contract promises, or a refusal in words. */
import { type Code, Failure, policy, type RcName, rcs } from "../errors.ts";
import { type CommandName, commands } from "../wire/commands.ts";
import { groupErrorMeaning } from "../wire/grouperrors.ts";
import { check } from "../wire/shape.ts";
import { ownGroups } from "../wire/smp.ts";
import { harmlessText } from "./show.ts";

export type Body = Readonly<Record<string, unknown>>;

/** Throws link.refused or access.* for the card's no, wire.malformed for a broken contract. */
export function checked(name: CommandName, answer: Body): unknown {
  const { rc, err, ...rest } = answer;
  if (typeof err === "object" && err !== null) throw refusal(name, err, answer.rsn);
  if (rc !== undefined && rc !== 0) throw refusal(name, { rc }, answer.rsn);
  // Some servers add `rc: 0` to every success.
  return check(commands[name].response, rc === 0 ? rest : answer, `the answer to ${name}`);
}

function refusal(name: CommandName, error: object, rsn: unknown): Failure {
  const { rc, group } = error as { rc?: unknown; group?: unknown };
  const names = Object.entries(rcs) as [RcName, number][];
  const rcName = names.find(([, value]) => value === rc)?.[0] ?? "unknown";
  const said = typeof rsn === "string" ? /^(access\.[a-z_]+): (.+)$/s.exec(rsn) : null;
  if (said !== null && Object.hasOwn(policy, said[1] as string)) {
    const message = `the card refused ${name}: ${harmlessText(said[2] as string)}.`;
    return new Failure(said[1] as Code, message, { evidence: { request: name, rc } });
  }
  const told = groupErrorMeaning(group, rc) ?? meaning(rcName);
  const reason = typeof rsn === "string" && rsn !== "" ? harmlessText(rsn) : told;
  return new Failure("link.refused", `the card refused ${name}: ${reason} (rc ${rc}).`, {
    evidence: { request: name, rc, rc_name: rcName, ...(group === undefined ? {} : { group }) },
  });
}

/** For cards that give no reason. */
function meaning(rc: RcName): string {
  const words: Partial<Record<RcName, string>> = {
    no_memory: "it is out of memory",
    invalid: "a value is out of its range",
    no_entry: "there is no such thing on it",
    bad_state: "not possible in its present state",
    too_large: "the request or the answer is too large",
    unsupported: "it does not know this command",
    busy: "it is busy",
    denied: "it is not allowed",
    too_old: "it speaks an older protocol",
    too_new: "it speaks a newer protocol",
  };
  return words[rc] ?? rc.replaceAll("_", " ");
}

/** As it is sent: of our own groups a refusal comes with words where they are asked for. */
export function askingForWords(name: CommandName, body: Body): Body {
  return commands[name].group < ownGroups ? body : { ...body, rsn: true };
}
