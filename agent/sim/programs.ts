/** Programs of a simulated card that the agent asks; what goes wrong with them has names. */
import type { Clock } from "../io/clock.ts";
import type { RunProgram } from "../io/program.ts";

/** How a program is that the agent asks. */
export type ProgramFault = "fails" | "hangs";

/** Milliseconds that a program takes when nothing is wrong. */
const answerMs = 40;

/** `faults`: by the path of the program; read anew with every start. */
export function simPrograms(clock: Clock, faults: ReadonlyMap<string, ProgramFault>): RunProgram {
  return ([path = ""], done) => {
    const fault = faults.get(path);
    if (fault === "hangs") return () => undefined;
    const ok = fault === undefined;
    return clock.at(clock.now() + answerMs, () => done({ ok, value: ok ? "ok" : "status 1" }));
  };
}
