/** `exec:COMMAND`: the stdin and stdout of a shell command as a line. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { Failure } from "../../errors.ts";
import type { Port } from "../port.ts";
import { StreamPort } from "./streamport.ts";

/** Of what the command says on stderr, for the message about its end. */
const complaintMax = 300;
/** A command that does not end when asked is killed. */
const endMs = 1000;

/**
 * Starts `command` in a process group of its own, which ends with the port. Rejects with port.lost
 * when it cannot be started; a command that ends later is a lost line that says why.
 */
export function openChild(command: string): Promise<Port> {
  const name = `exec:${command}`;
  return new Promise((resolve, reject) => {
    const child = spawn("/bin/sh", ["-c", command], { stdio: "pipe", detached: true });
    child.once("error", (cause) => {
      const message = `${name} could not be started: ${cause.message}.`;
      reject(new Failure("port.lost", message, { cause, evidence: { port: name } }));
    });
    child.once("spawn", () => resolve(childPort(name, child)));
  });
}

function childPort(name: string, child: ChildProcessWithoutNullStreams): Port {
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-complaintMax);
  });
  const { stdin, stdout } = child;
  const release = (): void => endGroup(child);
  // The streams end before the status is known, and the status says more.
  const streams = { input: stdout, output: stdin, release, isEndedByOwner: true } as const;
  const port = new StreamPort({ name, ...streams });
  child.once("close", (status, signal) => {
    const how = signal === null ? `ended with status ${status}` : `was ended by ${signal}`;
    const why = complaint.trim() === "" ? "" : `: ${complaint.trim().split("\n").join(" | ")}`;
    port.end(`${name} ${how}${why}`);
  });
  return port;
}

/** Everything that the command started goes with it. */
function endGroup(child: ChildProcessWithoutNullStreams): void {
  const { pid } = child;
  child.stdin.end();
  if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  signalGroup(pid, "SIGTERM");
  const timer = setTimeout(() => signalGroup(pid, "SIGKILL"), endMs);
  timer.unref();
  child.once("close", () => clearTimeout(timer));
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended by itself.
  }
}
