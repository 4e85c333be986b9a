/** `kennel tee status|sessions|crashes|recover|unquarantine|crash`: the trusted side. */
import { Failure } from "../errors.ts";
import type { ResponseOf, TeeState } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { injectFault } from "./rig.ts";
import { count, fields, harmless, type Paint, span, table } from "./show.ts";
import { teeLine } from "./status.ts";

/** The rig's name of a TEE that dies at once. */
export const teeCrashFault = "tee_crash";

type Crashes = ResponseOf<"tee.crashes">["crashes"];
type Sessions = ResponseOf<"tee.sessions">["sessions"];
/** More than any card has: a card that always says `more` does not keep us for ever. */
const sessionsMax = 256;

export async function teeStatus({ link, paint }: Context): Promise<Outcome> {
  const state = await link.request("tee.state", {});
  const { crashes } = await link.request("tee.crashes", {});
  const text = showTee(harmless(state), harmless(crashes), paint);
  return { data: { ...state, crash_records: crashes }, text };
}

export async function teeSessions({ link, paint }: Context): Promise<Outcome> {
  const sessions: Sessions = [];
  for (let more = true; more; ) {
    const answer = await link.request("tee.sessions", { from: sessions.length });
    sessions.push(...answer.sessions);
    more = answer.more && answer.sessions.length > 0 && sessions.length < sessionsMax;
  }
  return { data: { sessions }, text: showSessions(harmless(sessions), paint) };
}

export async function teeCrashes({ link, paint }: Context): Promise<Outcome> {
  const data = await link.request("tee.crashes", {});
  return { data, text: showCrashes(harmless(data.crashes), paint) };
}

export const recoverEffect =
  "recover restarts a TEE that was given up, as strongly as the card can, and forgives its crashes";

export async function teeRecover({ link, paint }: Context): Promise<Outcome> {
  const data = await link.request("tee.recover", {});
  return { data, text: showTee(harmless(data), [], paint) };
}

export function unquarantineEffect(name: string | undefined): string {
  return `${name ?? "every quarantined command"} crashed the TEE repeatedly, and is sent again`;
}

/** `name`: as `tee status` shows it, `keystore#7`; undefined = all. */
export async function teeUnquarantine(
  { link, paint }: Context,
  name: string | undefined,
): Promise<Outcome> {
  const data = await link.request("tee.unquarantine", name === undefined ? {} : parseName(name));
  return { data, text: showTee(harmless(data), [], paint) };
}

function parseName(name: string): { service: string; command: number } {
  const [, service = "", command = ""] = /^(.+)#(\d{1,10})$/.exec(name) ?? [];
  if (service !== "") return { service, command: Number(command) };
  throw new Failure("usage.invalid", `${name} names no command of a service, such as keystore#7`);
}

function showSessions(sessions: Sessions, paint: Paint): string {
  if (sessions.length === 0) return "no security services";
  const lines = sessions.map(({ service, open, epoch, id, in_flight: inFlight, because }) => [
    service,
    open ? paint.good("open") : paint.warn(`closed: ${because}`),
    id === undefined ? "" : String(id),
    epoch === undefined ? "" : String(epoch),
    count(inFlight, "call"),
  ]);
  return table(paint, ["service", "session", "id", "since epoch", "in flight"], lines);
}

export async function teeCrash(context: Context): Promise<Outcome> {
  return injectFault(context, teeCrashFault, undefined);
}

export function showTee(state: TeeState, crashes: Crashes, paint: Paint): string {
  const sessions = state.sessions.map(({ service, open }) =>
    open ? service : `${service} (${paint.warn("closed")})`,
  );
  const rows: [string, string][] = [
    ["tee", teeLine(state, paint)],
    ["restarts", `${count(state.restarts_in_window, "restart")} in the current window`],
    ["in flight", count(state.in_flight, "call")],
    ["can", state.powers.join(", ") || "nothing"],
    ["sessions", sessions.join(", ") || "none"],
  ];
  if (state.quarantined.length > 0) {
    rows.push(["quarantined", paint.warn(state.quarantined.join(", "))]);
  }
  const about = fields(paint, rows);
  return crashes.length === 0 ? about : `${about}\n\n${showCrashes(crashes, paint)}`;
}

function showCrashes(crashes: Crashes, paint: Paint): string {
  if (crashes.length === 0) return "no crashes";
  const lines = crashes.map((crash) => [
    span(crash.at_ms),
    String(crash.epoch),
    crash.code,
    crash.trigger,
    crash.rung,
    span(crash.took_ms),
  ]);
  const head = ["crash at", "epoch", "code", "trigger", "recovered by", "took"];
  return table(paint, head, lines);
}
