/**
 * Opens a service's session and performs its recipe: calls that make whole what a restart of the
 * TEE has emptied. Only when all of them succeeded is the session of use; what came of the one that
 * did not is then what came of the opening, and the session is closed again.
 */
import type { Tee, TeeOperation, TeeOutcome, TeeWait } from "../io/tee.ts";
import type { RehydrateStep } from "../machines/teeconfig.ts";

type Opening = Extract<TeeOperation, { kind: "open" }>;

/** `done` is called at most once, as that of `perform`; `waits` is that of the opening. */
export function openWhole(
  tee: Tee,
  opening: Opening,
  recipe: readonly RehydrateStep[],
  done: (outcome: TeeOutcome, problem: string) => void,
  waits?: (on: TeeWait) => void,
): void {
  tee.perform(
    opening,
    (opened) => {
      const { session } = opened;
      const next = (at: number): void => {
        const step = recipe[at];
        if (session === undefined || step === undefined) return done(opened, "");
        const { command, input } = step;
        const call = { kind: "invoke", session, command, call: 0, key: null, input } as const;
        tee.perform(call, (outcome) => {
          if (outcome.errno === null && outcome.ret === 0) return next(at + 1);
          const problem = `rehydrate ${opening.service}#${command}`;
          tee.perform({ kind: "close", session }, () => done(outcome, problem));
        });
      };
      next(0);
    },
    waits,
  );
}
