/** `kennel wdt status|probe|arm|disarm|hold`: the watchdog itself. */
import type { Probe, ResponseOf, WatchdogState } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { count, fields, harmless, type Paint, span, table } from "./show.ts";
import { countdown, protection } from "./status.ts";

export async function wdtStatus({ link, paint }: Context): Promise<Outcome> {
  const state = await link.request("wdt.state", {});
  const { tasks } = await link.request("wdt.tasks", {});
  const text = `${showState(harmless(state), paint)}\n\n${showTasks(harmless(tasks), paint)}`;
  return { data: { ...state, tasks }, text };
}

export async function wdtProbe({ link, paint }: Context): Promise<Outcome> {
  const data = await link.request("wdt.probe", {});
  return { data, text: showProbe(harmless(data), paint) };
}

export async function wdtArm(context: Context, promiseMs: number | undefined): Promise<Outcome> {
  const body = promiseMs === undefined ? {} : { promise_ms: promiseMs };
  return changed(context, await context.link.request("wdt.arm", body));
}

export const disarmEffect = "disarm stops the countdown: from then on no hang is caught";

export async function wdtDisarm(context: Context, by: string): Promise<Outcome> {
  return changed(context, await context.link.request("wdt.disarm", { by }));
}

export function holdEffect(forMs: number): string {
  return `a hold keeps the card alive whatever happens on it, for up to ${span(forMs)}`;
}

export async function wdtHold(context: Context, forMs: number, by: string): Promise<Outcome> {
  return changed(context, await context.link.request("wdt.hold", { for_ms: forMs, by }));
}

function changed({ paint }: Context, data: WatchdogState): Outcome {
  return { data, text: showState(harmless(data), paint) };
}

export function showState(state: WatchdogState, paint: Paint): string {
  const rows: [string, string][] = [
    ["protection", protection(state.protected, state.protection, paint)],
    ["countdown", countdown(state, paint)],
    ["timeout", `promised ${span(state.promise_ms)}, hardware ${span(state.hardware_ms)}`],
    ["refreshes", refreshes(state, paint)],
  ];
  if (state.last_check_in_ms !== undefined) {
    rows.push(["check-in", `${span(state.now_ms - state.last_check_in_ms)} ago`]);
  }
  if (state.slack_min_ms !== undefined) rows.push(["least slack", span(state.slack_min_ms)]);
  if (state.scheduling !== undefined) rows.push(["scheduling", state.scheduling]);
  return fields(paint, rows);
}

function refreshes(state: WatchdogState, paint: Paint): string {
  const failed = state.failures > 0 ? paint.bad(`${state.failures} failed`) : "0 failed";
  const late =
    state.late_max_ms === undefined ? "" : `, at most ${state.late_max_ms.toFixed(1)} ms late`;
  return `${state.refreshes}, ${failed}${late}`;
}

export function showTasks(tasks: ResponseOf<"wdt.tasks">["tasks"], paint: Paint): string {
  const rows = tasks.map((task) => [
    task.name,
    span(task.every_ms),
    task.due_in_ms < 0 ? paint.bad(`${span(-task.due_in_ms)} late`) : span(task.due_in_ms),
    task.late > 0 ? paint.warn(count(task.late, "time")) : "never",
  ]);
  return table(paint, ["task", "checks in every", "due in", "was late"], rows);
}

export function showProbe(probe: Probe, paint: Paint): string {
  const head = fields(paint, [
    ["device", `${probe.path} (${probe.identity})`],
    ["verdict", protection(probe.protected, `${probe.backend}: ${probe.because}`, paint)],
  ]);
  const rows = probe.criteria.map((criterion) => [
    criterion.name,
    criterion.value,
    criterion.required,
    criterion.ok ? paint.good("met") : paint.warn("not met"),
  ]);
  return `${head}\n\n${table(paint, ["criterion", "measured", "required", ""], rows)}`;
}
