/** Tells stories on a rig, one after the other, and keeps count. */
import { Failure } from "../errors.ts";
import { CardFailed, type Rig } from "./rig.ts";
import { resets } from "./stories/resets.ts";
import { survives } from "./stories/survives.ts";
import type { Story } from "./story.ts";

export const stories: readonly Story[] = [...survives, ...resets];

/** `fault`: the rig failed, and nothing is known of the card. */
export interface Told {
  readonly outcome: "passed" | "failed" | "skipped" | "fault";
  /** Empty when passed. */
  readonly why: string;
}

export async function tell({ needs, tell }: Story, rig: Rig): Promise<Told> {
  const lack = needs.map((need) => rig.lacks[need]).find((reason) => reason !== undefined);
  if (lack !== undefined) return { outcome: "skipped", why: lack };
  try {
    await tell(rig);
    return { outcome: "passed", why: "" };
  } catch (error) {
    if (error instanceof CardFailed) return { outcome: "failed", why: error.message };
    if (!(error instanceof Failure)) throw error;
    // What the card answered, or did not, is the card's; what the bench did is the rig's.
    const isRig = error.code.startsWith("rig.");
    return { outcome: isRig ? "fault" : "failed", why: `${error.code}: ${error.message}` };
  }
}
