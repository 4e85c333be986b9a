/** `kennel status`: the whole card on one screen. */
import type { ResponseOf, TeeState, WatchdogState } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { count, fields, harmless, type Paint, span } from "./show.ts";

export type Status = ResponseOf<"card.status">;

export async function status({ link, hello, paint }: Context): Promise<Outcome> {
  const data = await link.request("card.status", {});
  return { data, text: showStatus(harmless(data), harmless(hello.name), paint) };
}

export function showStatus(data: Status, name: string, paint: Paint): string {
  const { reports } = data;
  const confirmed = data.confirmed ? "confirmed" : paint.warn("not confirmed yet");
  const ready = data.ready ? paint.good("ready") : paint.warn("not ready");
  const failures = data.failures > 0 ? `, ${count(data.failures, "failed boot")} before it` : "";
  const dropped = reports.dropped > 0 ? paint.bad(`${reports.dropped} dropped`) : "0 dropped";
  const journal = data.journal === "ok" ? "ok" : paint.bad("degraded: nothing survives a reset");
  return fields(paint, [
    ["card", `${paint.bold(name)}, agent ${data.version}`],
    ["boot", `${data.boot}, slot ${data.slot} (${confirmed})${failures}`],
    ["stage", `${data.stage}, ${ready}`],
    ["protection", protection(data.protected, data.protection, paint)],
    ["watchdog", watchdogLines(data.watchdog, paint)],
    ["tee", teeLine(data.tee, paint)],
    ["access", accessText(data.access, paint)],
    ["last cause", causeText(data.last_cause, paint)],
    ["reports", `${reports.last_seq} made, ${reports.pending} waiting for a host, ${dropped}`],
    ["journal", journal],
  ]);
}

function accessText(policy: Status["access"], paint: Paint): string {
  return policy === "keys" ? "keys" : paint.warn("open: anybody at a line may change the card");
}

/** Simulated protection is none, whatever else is well. */
export function protection(isProtected: boolean, words: string, paint: Paint): string {
  const verdict = isProtected ? paint.good("PROTECTED") : paint.bad("NOT PROTECTED");
  return `${verdict}  ${words}`;
}

export function watchdogLines(state: WatchdogState, paint: Paint): string {
  const failures = state.failures > 0 ? paint.bad(`${state.failures} failed`) : "0 failed";
  const slack = state.slack_min_ms === undefined ? "" : `, least slack ${span(state.slack_min_ms)}`;
  return [
    countdown(state, paint),
    `promised ${span(state.promise_ms)}, hardware ${span(state.hardware_ms)}`,
    `${count(state.refreshes, "refresh", "refreshes")}, ${failures}${slack}`,
  ].join("\n");
}

/** What the countdown does now, in one line. */
export function countdown(state: WatchdogState, paint: Paint): string {
  const how = state.backend === state.via ? state.backend : `${state.backend}, ${state.via}`;
  const label = state.backend === "simulated" ? paint.warn(how) : how;
  const left = state.remaining_ms === undefined ? "" : span(state.remaining_ms);
  if (!state.armed) return `${label}: ${paint.bad("not armed")}`;
  if (state.culprit !== undefined) {
    const why = paint.bad(`refresh withheld because of ${state.culprit}`);
    return `${label}: ${why}, reset in ${left}`;
  }
  if (state.hold_until_ms !== undefined) {
    const holdMs = Math.max(state.hold_until_ms - state.now_ms, 0);
    return `${label}: ${paint.warn(`held on purpose for ${span(holdMs)} more`)}`;
  }
  const silence = left === "" ? "" : `, would reset in ${left} of silence`;
  return `${label}: ${paint.good(state.state)}${silence}`;
}

export function teeLine(state: TeeState, paint: Paint): string {
  const simulated = state.simulated ? ` (${paint.warn("simulated")})` : "";
  const well = state.state === "ready";
  const open = state.sessions.filter((session) => session.open).length;
  const quarantined =
    state.quarantined.length > 0
      ? `, ${paint.warn(`${state.quarantined.length} quarantined`)}`
      : "";
  const name = well ? paint.good(state.state) : paint.warn(state.state);
  const crashes = count(state.crashes, "crash", "crashes");
  const sessions = count(open, "open session");
  return `${name}${simulated}, epoch ${state.epoch}, ${crashes}, ${sessions}${quarantined}`;
}

/** Only an ordinary power-on or an ordered stop is no reason to look closer. */
export function causeText(cause: Status["last_cause"], paint: Paint): string {
  const ordinary = cause === "power" || cause === "clean" || cause === "commanded";
  return ordinary ? cause : paint.warn(cause);
}
