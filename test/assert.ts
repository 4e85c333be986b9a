/** What uvu/assert lacks. */
import { type Code, Failure } from "../agent/errors.ts";

/** Runs `act`, which must throw a Failure with `code`, and returns it for a closer look. */
export function throwsCode(act: () => unknown, code: Code): Failure {
  try {
    act();
  } catch (problem) {
    return failureWith(problem, code);
  }
  throw new Error(`nothing was thrown where ${code} was due`);
}

/** As throwsCode, for what rejects or throws. */
export async function rejectsCode(act: () => Promise<unknown>, code: Code): Promise<Failure> {
  try {
    await act();
  } catch (problem) {
    return failureWith(problem, code);
  }
  throw new Error(`nothing was thrown where ${code} was due`);
}

function failureWith(problem: unknown, code: Code): Failure {
  if (problem instanceof Failure && problem.code === code) return problem;
  const got = problem instanceof Failure ? `${problem.code}: ${problem.message}` : String(problem);
  throw new Error(`${code} was due, but this was thrown: ${got}`, { cause: problem });
}
