/** `kennel protect`: what guards which stage, and the next step for all that is weak. */
import { exitCodes } from "../errors.ts";
import type { ResponseOf } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { fields, harmless, type Paint, span, table } from "./show.ts";
import { protection } from "./status.ts";

type Protection = ResponseOf<"card.protection">;

/** Exit status 1 where the card is not protected. */
export async function protect({ link, paint }: Context): Promise<Outcome> {
  const data = await link.request("card.protection", {});
  const exit = data.protected ? exitCodes.ok : exitCodes.verdict;
  return { data, text: showProtection(harmless(data), paint), exit };
}

function showProtection(data: Protection, paint: Paint): string {
  const { fallback, tee, access, next } = data;
  const rows = data.stages.map((stage) => [
    stage.stage,
    stage.by === "hardware" || stage.by === "service" ? paint.good(stage.by) : paint.bad(stage.by),
    uncovered(stage, paint),
    stage.because,
  ]);
  const slot = fallback.valid ? paint.good("valid") : paint.warn("none");
  const policy = access.weak ? paint.warn(access.policy) : access.policy;
  const rung = tee.weak ? paint.warn(tee.state) : tee.state;
  return [
    protection(data.protected, data.protection, paint),
    "",
    table(paint, ["stage", "guarded by", "uncovered", "because"], rows),
    "",
    fields(paint, [
      ["fallback", `${slot}: ${fallback.because}`],
      ["tee", `${rung}: ${tee.because}`],
      ["access", `${policy}: ${access.because}`],
      ...next.map((step, at): [string, string] => [at === 0 ? "next" : "", step]),
    ]),
  ].join("\n");
}

function uncovered({ covered, uncovered_ms }: Protection["stages"][number], paint: Paint): string {
  if (covered) return paint.good("0 s");
  if (uncovered_ms === undefined) return paint.bad("all of it");
  return uncovered_ms === 0 ? paint.bad("not counted") : paint.bad(span(uncovered_ms));
}
