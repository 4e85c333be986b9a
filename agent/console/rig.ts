/** `kennel rig faults` and `kennel rig FAULT`: break a lab card, or a simulated one, on purpose. */
import { Failure } from "../errors.ts";
import type { Context, Outcome } from "./context.ts";
import { harmlessText, span } from "./show.ts";

export async function rigFaults({ link }: Context): Promise<Outcome> {
  const data = await orNotALab(link.request("rig.faults", {}));
  return { data, text: data.faults.map(harmlessText).join("\n") || "no faults to inject" };
}

/** Asks the card to break in the named way; `forMs` bounds faults that last. */
export async function injectFault(
  { link }: Context,
  fault: string,
  forMs: number | undefined,
): Promise<Outcome> {
  const body = forMs === undefined ? { fault } : { fault, for_ms: forMs };
  await orNotALab(link.request("rig.inject", body));
  const limit = forMs === undefined ? "" : ` for ${span(forMs)}`;
  return { data: body, text: `injected ${fault}${limit}` };
}

/** A card that is neither simulated nor a lab image has no such group. */
async function orNotALab<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Failure && error.evidence.rc === 8) {
      throw new Failure(
        "link.refused",
        "the card has no rig group: only a simulated card or a lab image injects faults. " +
          "Try it with --sim, or with `kennel card`.",
        { cause: error, evidence: error.evidence },
      );
    }
    throw error;
  }
}
