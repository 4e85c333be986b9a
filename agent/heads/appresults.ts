/** What of an outcome is a caller's to see, and what of it is kept. */
import type { TellingOf } from "../wire/teeapi.ts";
import type { TeeAnswer } from "./tee.ts";

type Outcome = NonNullable<TeeAnswer["outcome"]>;
export type Result = Pick<
  TellingOf<"verdict">,
  "errno" | "ret" | "origin" | "value" | "output" | "lost"
>;

/** Codes alone: what is written down. */
export function codesOf({ ret, origin }: Outcome): { ret: number; origin: number } {
  return { ret, origin };
}

/** What came out; of a question after a call only that it was done. */
export function resultOf({ errno, ret, origin, value, output, applied }: Outcome): Result {
  if (errno !== null) return { errno };
  if (applied === true) return { ret, origin, lost: true };
  return {
    ret,
    origin,
    ...(value === undefined ? {} : { value }),
    ...(output === undefined ? {} : { output }),
  };
}
