/** `kennel tee status|crash`: the trusted side. */
import type { ResponseOf, TeeState } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { injectFault } from "./rig.ts";
import { count, fields, harmless, type Paint, span, table } from "./show.ts";
import { teeLine } from "./status.ts";

/** The rig's name of a TEE that dies at once. */
export const teeCrashFault = "tee_crash";

type Crashes = ResponseOf<"tee.crashes">["crashes"];

export async function teeStatus({ link, paint }: Context): Promise<Outcome> {
  const state = await link.request("tee.state", {});
  const { crashes } = await link.request("tee.crashes", {});
  const text = showTee(harmless(state), harmless(crashes), paint);
  return { data: { ...state, crash_records: crashes }, text };
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
  if (crashes.length === 0) return about;
  const lines = crashes.map((crash) => [
    span(crash.at_ms),
    String(crash.epoch),
    crash.code,
    crash.trigger,
    crash.rung,
    span(crash.took_ms),
  ]);
  const head = ["crash at", "epoch", "code", "trigger", "recovered by", "took"];
  return `${about}\n\n${table(paint, head, lines)}`;
}
