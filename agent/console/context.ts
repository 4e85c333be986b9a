/** What every command of the console gets, and what it gives back. */

import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type { ResponseOf } from "../wire/commands.ts";
import type { Link } from "./link.ts";
import type { Paint } from "./show.ts";

export interface Context {
  readonly link: Link;
  /** Times waits on the line: real, or the virtual one of a private simulated card. */
  readonly clock: Clock;
  readonly paint: Paint;
  /** The card's greeting; its contract is known to be ours. */
  readonly hello: Hello;
}

export type Hello = ResponseOf<"card.hello">;

export interface Outcome {
  /** For `--json`. */
  readonly data: unknown;
  /** For people, without a newline at the end. */
  readonly text: string;
  /** Exit status; 0 unless given. */
  readonly exit?: number;
  /** The object of `--json` was printed already. */
  readonly printed?: boolean;
  /** Done once the output has been taken by whoever reads it. */
  readonly afterwards?: () => Promise<void>;
}

/**
 * Dangerous commands say what they do and want `--yes`. Failure `safety.unconfirmed` without it.
 * `effect` is a sentence without its full stop.
 */
export function mustConfirm(yes: true | undefined, effect: string): void {
  if (yes) return;
  throw new Failure("safety.unconfirmed", `${effect}. Nothing was sent; add --yes to do it.`, {
    evidence: { effect },
  });
}
