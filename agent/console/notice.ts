/** `kennel notice`: the reset that a card has announced; ready for it, or in need of time. */
import type { ResponseOf } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { fields, harmless, type Paint, span } from "./show.ts";

type Coming = ResponseOf<"report.reset">;

export async function noticeShow({ link, paint }: Context): Promise<Outcome> {
  const data = await link.request("report.reset", {});
  return { data, text: showComing(harmless(data), paint) };
}

export const acknowledgeEffect = "an acknowledged reset comes at once: everything on it ends";

export async function noticeAcknowledge({ link, paint }: Context): Promise<Outcome> {
  const data = await link.request("report.reset_acknowledge", {});
  return { data, text: showComing(harmless(data), paint) };
}

export async function noticeHold(
  { link, paint }: Context,
  forMs: number,
  by: string,
): Promise<Outcome> {
  const data = await link.request("report.reset_hold", { for_ms: forMs, by });
  return { data, text: showComing(harmless(data), paint) };
}

function showComing(coming: Coming, paint: Paint): string {
  const { now_ms, cause, culprit = "", deadline_ms = now_ms, latest_ms = now_ms } = coming;
  if (!coming.coming) return "no reset is coming";
  const told = coming.acknowledged === true ? "yes" : "no";
  return fields(paint, [
    ["reset", paint.bad(`in ${span(deadline_ms - now_ms)}: ${cause ?? "unknown"}, ${culprit}`)],
    ["held", `${coming.holds ?? 0} times; ${span(latest_ms - now_ms)} from now at the latest`],
    ["acknowledged", told],
  ]);
}
