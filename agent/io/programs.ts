import { answerCharactersMax, type ProgramAnswer, type RunProgram } from "./program.ts";

/** The real thing: a child process in a group of its own, without a shell; status 0 passes. */
export const runProgram: RunProgram = ([path = "", ...args], done) => {
  let end: (() => void) | null = null;
  let isOver = false;
  const answer = (told: ProgramAnswer): void => {
    if (isOver) return;
    isOver = true;
    done({ ok: told.ok, value: told.value.slice(0, answerCharactersMax) });
  };
  // Loaded when it is needed: the module would slow every start.
  import("node:child_process").then(({ spawn }) => {
    if (isOver) return;
    const child = spawn(path, args, { stdio: ["ignore", "pipe", "ignore"], detached: true });
    let said = "";
    end = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It ended by itself just now.
      }
      child.stdout.destroy();
      child.unref();
    };
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (said.length < answerCharactersMax) said += text;
    });
    child.on("error", ({ message }) => answer({ ok: false, value: message }));
    child.on("exit", (status, signal) => {
      const [line = ""] = said.replace(/[^\x20-\x7e\n]/g, "?").split("\n");
      const how = signal === null ? `status ${status}` : `ended by ${signal}`;
      answer({ ok: status === 0, value: line === "" ? how : line });
    });
  });
  return () => {
    isOver = true;
    end?.();
  };
};
