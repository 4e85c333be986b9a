/** Options and commands that are about the line itself: how it is opened, shared and looked at. */
import { type Command, InvalidArgumentError } from "commander";
import { Failure } from "../errors.ts";
import { forms } from "../io/transports/address.ts";
import type { Outcome } from "./context.ts";
import { milliseconds, seconds } from "./numbers.ts";
import type { GlobalOptions, Run } from "./run.ts";
import { openTarget, type Target } from "./session.ts";
import { type Paint, table } from "./show.ts";

type Globals = () => GlobalOptions;

/** The options of the program that say how a port is opened. */
export function portOptions(program: Command): Command {
  return program
    .option(
      "--port <port>",
      "where the card is: a path, or see `kennel help ports`; or KENNEL_PORT",
    )
    .option("--wait-lock [seconds]", "wait for a port that is busy", seconds)
    .option("--evict", "end the kennel of yours that has the port; never another program")
    .option("--dtr <on|off>", "set this line once open; else it is left alone", onOff)
    .option("--rts <on|off>", "as --dtr", onOff)
    .option("--record <file>", "write down what goes over the line, behind what is there");
}

function onOff(text: string): boolean {
  if (text !== "on" && text !== "off") throw new InvalidArgumentError("Give on or off.");
  return text === "on";
}

export function plantLines(program: Command, run: Run, globals: Globals): void {
  program
    .command("serve")
    .description("own the line and share it with many clients over a Unix socket")
    .option("--socket <path>", "where (default: kennel/PORT.sock in /run or XDG_RUNTIME_DIR)")
    .option("--for <seconds>", "end by itself", seconds)
    .action(async ({ socket, ...options }: { socket?: string; for?: number }) => {
      const { serve, socketFor } = await import("./serve.ts");
      const line = lineOf(run, globals(), "serve");
      const { env, stop, terminal } = run.setting;
      const isRoot = process.getuid?.() === 0;
      const path = socket ?? socketFor(line.port, env, isRoot);
      const forMs = milliseconds(options.for) ?? Infinity;
      const { isJson: json } = run;
      await run.print(await serve({ ...line, socket: path, forMs, stop, terminal, json }));
    });
  program
    .command("console")
    .description("the card's console; ~. at the start of a line ends it")
    .option("--stdio", "every byte of the line on stdin and stdout, for rigs")
    .option("--for <seconds>", "end by itself, and not before", seconds)
    .action(async (options: { stdio?: true; for?: number }) => {
      if (run.isJson) throw new Failure("usage.invalid", "console has no --json: it is raw bytes.");
      const { cardConsole } = await import("./console.ts");
      const line = lineOf(run, globals(), "console");
      const forMs = milliseconds(options.for) ?? Infinity;
      const { stop } = run.setting;
      await run.print(await cardConsole({ ...line, raw: options.stdio === true, forMs, stop }));
    });
}

/** A line without a link on it: opened by name, again and again. */
function lineOf(run: Run, options: GlobalOptions, command: string) {
  const target = run.target(options);
  if (target.kind === "sim") {
    const message = `${command} wants a line: start kennel card and give --port its name.`;
    throw new Failure("usage.invalid", message);
  }
  const note = (text: string): void => run.note(text);
  // Whoever was asked to make way once is not asked again for every loss of the line.
  let next: Target & { kind: "port" } = target;
  const open = () => {
    const now = next;
    next = { ...now, settings: { ...now.settings, evict: false } };
    return openTarget(now, note);
  };
  return { port: target.path, open, comesBack: !target.path.startsWith("file:"), note };
}

/** `kennel help ports` */
export function portsHelp(paint: Paint): Outcome {
  const rows = forms.map(({ form, meaning }) => [form, meaning]);
  const data = { ports: forms.map(({ form, meaning }) => ({ form, meaning })) };
  return { data, text: table(paint, ["--port", "where the card is"], rows) };
}
