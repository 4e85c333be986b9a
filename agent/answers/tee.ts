/** What the agent answers to the commands of group 67, from the head of the TEE. */
import { Failure } from "../errors.ts";
import type { Handlers } from "../heads/host.ts";
import type { TeeHead } from "../heads/tee.ts";
import type { ResponseOf } from "../wire/commands.ts";

/** Sessions in one answer: 8 of at most 220 bytes fit a packet of 2048. */
const sessionsPerAnswerMax = 8;

export function teeAnswers(tee: TeeHead): Handlers {
  return {
    "tee.state": () => tee.status(),
    "tee.crashes": () => tee.crashes(),
    "tee.sessions": ({ from = 0 }) => sessions(tee, from),
    "tee.recover": () => {
      tee.recover();
      return tee.status();
    },
    "tee.unquarantine": ({ service, command }) => {
      tee.unquarantine(named(tee, service, command));
      return tee.status();
    },
  };
}

function sessions(tee: TeeHead, from: number): ResponseOf<"tee.sessions"> {
  const { state } = tee;
  const { services, calls } = state.core;
  const some = services.slice(from, from + sessionsPerAnswerMax);
  return {
    sessions: some.map(({ name, session, closing, down }) => ({
      service: name,
      open: session !== null && !closing,
      ...(session === null ? {} : { epoch: session.context, id: session.id }),
      in_flight: calls.filter((call) => call.service === name).length,
      because: closing ? "being closed" : session === null ? (down ?? state.kind) : "",
    })),
    more: from + some.length < services.length,
  };
}

/** Null = all of them. Failure `usage.invalid` for one that is not quarantined. */
function named(
  tee: TeeHead,
  service: string | undefined,
  command: number | undefined,
): { service: string; command: number } | null {
  if (service === undefined && command === undefined) return null;
  const { quarantined } = tee.status();
  const name = `${service ?? "?"}#${command ?? "?"}`;
  if (service !== undefined && command !== undefined && quarantined.includes(name)) {
    return { service, command };
  }
  const known = quarantined.length === 0 ? "nothing is" : `there is ${quarantined.join(", ")}`;
  throw new Failure("usage.invalid", `${name} is not quarantined; ${known}`);
}
