/** Programs of the host machine, run to their end. Nothing is waited for without a deadline. */
import { execFile } from "node:child_process";
import { Failure } from "../errors.ts";

export interface Outcome {
  /** Exit status; 128 + signal number is not used: a killed program is a Failure. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly deadlineMs: number;
  readonly cwd?: string;
  /** The Debian package to name when the program is not there. */
  readonly from?: string;
}

/** Largest output kept of one program; more of it ends the program with `rig.fault`. */
const outputBytesMax = 64 * 1024 * 1024;
/** How much of a program's complaint goes into a message. */
const tailCharacters = 600;
/** System programs that an ordinary user's PATH leaves out. */
const systemPath = "/usr/local/sbin:/usr/sbin:/sbin";

/**
 * Runs `program` and gives its output whatever its exit status. `rig.missing` when there is no
 * such program, `rig.fault` when it is not done within `deadlineMs` (it is killed) or died.
 */
export function run(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<Outcome> {
  const { deadlineMs: timeout, cwd } = options;
  const env = { ...process.env, LC_ALL: "C", PATH: `${process.env.PATH ?? ""}:${systemPath}` };
  const settings = { timeout, env, killSignal: "SIGKILL", maxBuffer: outputBytesMax } as const;
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, stdout: string, stderr: string): void => {
      const code = (error as { code?: number | string } | null)?.code ?? 0;
      if (error === null || (typeof code === "number" && code > 0)) {
        resolve({ status: Number(code), stdout, stderr });
      } else {
        reject(failureOf(program, args, options, { error, stdout, stderr }));
      }
    };
    execFile(program, args, cwd === undefined ? settings : { ...settings, cwd }, done);
  });
}

/** As `run`, and a status other than 0 is a `rig.fault` that quotes the program. */
export async function runOrFail(
  program: string,
  args: readonly string[],
  options: RunOptions & { readonly advice?: string },
): Promise<string> {
  const { status, stdout, stderr } = await run(program, args, options);
  if (status === 0) return stdout;
  const said = `${stderr}${stdout}`.trim().slice(-tailCharacters);
  const call = [program, ...args].join(" ");
  const message = `\`${call}\` ended with status ${status}: ${said || "it said nothing"}`;
  throw new Failure("rig.fault", options.advice ? `${message}\n${options.advice}` : message);
}

function failureOf(
  program: string,
  args: readonly string[],
  options: RunOptions,
  seen: { error: Error; stdout: string; stderr: string },
): Failure {
  const { error, stdout, stderr } = seen;
  const { code, killed } = error as { code?: string; killed?: boolean };
  if (code === "ENOENT") return missing(program, options.from);
  const call = [program, ...args].join(" ");
  const said = `${stderr}${stdout}`.trim().slice(-tailCharacters);
  const why = killed === true ? `was not done after ${options.deadlineMs / 1000} s` : "died";
  return new Failure("rig.fault", `\`${call}\` ${why}: ${said || error.message}`, { cause: error });
}

/** The Failure for a program that is not installed. */
export function missing(program: string, from?: string): Failure {
  const how = from === undefined ? "install it" : `install it: apt-get install ${from}`;
  return new Failure("rig.missing", `the rig needs ${program}, which is not here; ${how}`);
}
