/** `kennel hello`, `echo` and `reset`: is anybody there, does the line carry, start over. */
import { Failure } from "../errors.ts";
import type { Context, Hello, Outcome } from "./context.ts";
import type { Link } from "./link.ts";
import { fields, harmless, harmlessText, type Paint, span } from "./show.ts";

export function hello({ hello: data, paint }: Context): Outcome {
  return { data, text: showHello(harmless(data), paint) };
}

export function showHello(data: Hello, paint: Paint): string {
  const kind = data.simulated ? paint.warn("simulated card") : "card";
  return fields(paint, [
    ["card", `${paint.bold(data.name)} (${kind})`],
    ["agent", `${data.version}, contract ${data.contract}`],
    ["boot", `${data.boot}, up ${span(data.uptime_ms)}`],
    ["can", data.tags.join(" ") || "nothing it tells"],
  ]);
}

/** Any SMP server answers this, also one that is not Kennel's. */
export async function echo(link: Link, text: string): Promise<Outcome> {
  const answer = await link.request("os.echo", { d: text });
  if (answer.r !== text) {
    throw new Failure(
      "link.garbled",
      `sent ${JSON.stringify(text)} and ${JSON.stringify(harmlessText(answer.r))} came back.`,
    );
  }
  return { data: { echo: answer.r }, text: harmlessText(answer.r) };
}

export const resetEffect = "reset restarts the card: everything running on it ends";

/** `force`: although somebody holds the card. */
export async function reset(link: Link, force: true | undefined): Promise<Outcome> {
  await link.request("os.reset", force === true ? { force: 1 } : {});
  return { data: { reset: true }, text: "the card took the reset and restarts" };
}
