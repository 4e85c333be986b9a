/** A story: what happens to a card, written once, and told on each rig that can show it. */
import type { Need, Rig } from "./rig.ts";

export interface Story {
  /** A sentence; with it the story is asked for. */
  readonly name: string;
  /** Rows of the acceptance table that it shows. */
  readonly rows: readonly string[];
  readonly needs: readonly Need[];
  readonly tell: (rig: Rig) => Promise<void>;
}

export function story(
  name: string,
  { rows, needs = [] }: { rows: readonly string[]; needs?: readonly Need[] },
  tell: (rig: Rig) => Promise<void>,
): Story {
  return { name, rows, needs, tell };
}
