/** Programs that the agent asks something of, such as whether the dataplane forwards. */

export interface ProgramAnswer {
  readonly ok: boolean;
  /** The first line of what it said, or how it ended; at most 80 characters. */
  readonly value: string;
}

/**
 * Starts `command` and tells `done` once, later, unless the returned function was called: that ends
 * the program, with everything it started. Never throws; a program that is not there did not pass.
 */
export type RunProgram = (
  command: readonly string[],
  done: (answer: ProgramAnswer) => void,
) => () => void;

/** Characters of an answer that are kept. */
export const answerCharactersMax = 80;
