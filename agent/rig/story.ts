/** A story: what happens to a card, written once, and told on each rig that can show it. */
import type { Need, Rig } from "./rig.ts";

export interface Story<R extends Rig = Rig> {
  /** A sentence; with it the story is asked for. */
  readonly name: string;
  /** Rows of the acceptance table that it shows. */
  readonly rows: readonly string[];
  readonly needs: readonly Need[];
  /** Takes minutes: where several cards share the stories it is begun first. */
  readonly isLong: boolean;
  readonly tell: (rig: R) => Promise<void>;
}

export function story<R extends Rig = Rig>(
  name: string,
  { rows, needs = [], isLong = false }: Pick<Story<R>, "rows"> & Partial<Story<R>>,
  tell: (rig: R) => Promise<void>,
): Story<R> {
  return { name, rows, needs, isLong, tell };
}
