/** The host's entry: signals, streams, exit status. */
import { exitCodes } from "../errors.ts";
import { runConsole } from "./program.ts";
import { terminal } from "./terminal.ts";

const controller = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // Who asks twice does not want to wait for an orderly end.
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    controller.abort(signal);
  });
}

const setting = {
  terminal: terminal(process.stdout, process.stderr, process.env),
  env: process.env,
  stop: controller.signal,
  script: process.argv[1] ?? "",
};

runConsole(process.argv.slice(2), setting).then((exit) => process.exit(exit));
