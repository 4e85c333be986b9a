/**
 * The console as one function: command line in, exit status out. With `--json` exactly one object
 * goes to stdout, errors included; without it, errors go to stderr as one sentence or a few.
 */
import { CommanderError } from "commander";
import { exitCodes, Failure } from "../errors.ts";
import { Run, type Setting } from "./run.ts";
import { withoutControls } from "./show.ts";
import { plant } from "./tree.ts";

/** `argv` without the interpreter and the script. Never throws; returns the exit status. */
export async function runConsole(argv: readonly string[], setting: Setting): Promise<number> {
  const isJson = asksForJson(argv);
  const run = new Run(setting, isJson);
  const heard: string[] = [];
  const program = plant(run, (text) => heard.push(text));
  try {
    await program.parseAsync([...argv], { from: "user" });
    return run.exit;
  } catch (error) {
    if (isClosedPipe(error)) return exitCodes.ok;
    return await report(run, error, heard.join("")).catch(() => exitCodes.ok);
  }
}

/** Also for command lines that cannot be parsed. */
function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end < 0 ? argv.length : end).includes("--json");
}

async function report(run: Run, error: unknown, heard: string): Promise<number> {
  const isHelp = error instanceof CommanderError && error.exitCode === 0;
  if (isHelp) {
    run.command = "help";
    const text = heard.trimEnd();
    await run.print({ data: { text }, text });
    return exitCodes.ok;
  }
  const failure = named(error);
  const { code, exit, message, evidence: details } = failure;
  if (run.isJson) {
    const body = { ok: false, command: run.command, error: { code, exit, message, details } };
    await run.setting.terminal.out(`${JSON.stringify(body)}\n`);
  } else {
    const isBare = error instanceof CommanderError && error.code === "commander.help";
    const help = isBare ? `\n${heard.trimEnd()}\n` : "";
    // A message may quote what came over the line.
    run.setting.terminal.err(`kennel: ${withoutControls(message)}\n${help}`);
  }
  return exit;
}

/** Everything that can go wrong, as a Failure; what has no name is a defect of the console. */
function named(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof CommanderError) {
    const isBare = error.code === "commander.help";
    const sentence = isBare ? "no command given" : error.message.replace(/^error: /, "");
    const end = sentence.endsWith(".") ? "" : ".";
    return new Failure("usage.invalid", `${sentence}${end} See kennel --help.`);
  }
  const what = error instanceof Error ? error.message : String(error);
  return new Failure(
    "console.defect",
    `a defect of the console itself: ${what}. Please report it.`,
  );
}

function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EPIPE";
}
