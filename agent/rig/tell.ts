/** Tells stories on a rig, one after the other, and keeps count. */
import { Failure } from "../errors.ts";
import { CardFailed, type Rig } from "./rig.ts";
import { explains } from "./stories/explains.ts";
import { resets } from "./stories/resets.ts";
import { survives } from "./stories/survives.ts";
import { tells } from "./stories/tells.ts";
import type { Story } from "./story.ts";

export const stories: readonly Story[] = [...tells, ...explains, ...resets, ...survives];

/** `fault`: the rig failed, and nothing is known of the card. */
export interface Told {
  readonly outcome: "passed" | "failed" | "skipped" | "fault";
  /** Empty when passed. */
  readonly why: string;
}

/** Why the rig cannot show a story; empty when it can. */
export function lackOf({ needs }: Pick<Story, "needs">, rig: Rig): string {
  return needs.map((need) => rig.lacks[need]).find((reason) => reason !== undefined) ?? "";
}

export async function tell<R extends Rig>(story: Story<R>, rig: R): Promise<Told> {
  const lack = lackOf(story, rig);
  if (lack !== "") return { outcome: "skipped", why: lack };
  try {
    await story.tell(rig);
    return { outcome: "passed", why: "" };
  } catch (error) {
    if (error instanceof CardFailed) return { outcome: "failed", why: error.message };
    if (!(error instanceof Failure)) throw error;
    // What the card answered, or did not, is the card's; what the bench did is the rig's.
    const isRig = error.code.startsWith("rig.");
    return { outcome: isRig ? "fault" : "failed", why: `${error.code}: ${error.message}` };
  }
}
