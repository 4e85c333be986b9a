/** kenneld under the small service manager of test/fixtures/fdstore.c. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { temporaryFolder } from "./children.ts";

const kenneld = join(__dirname, "..", "..", "..", "dist", "kenneld.cjs");
/** Longer than any wait here; the manager is killed then, and the wait fails. */
const deadlineMs = 20_000;

let program: string | undefined;

function built(): string {
  if (program !== undefined) return program;
  const path = join(temporaryFolder(), "fdstore");
  const source = join(__dirname, "../../../test/fixtures/fdstore.c");
  const flags = ["-Wall", "-Wextra", "-Werror", "-o", path, source];
  const { status, stderr } = spawnSync("cc", flags, { encoding: "utf8" });
  if (status !== 0) throw new Error(`cc failed: ${stderr}`);
  program = path;
  return path;
}

export class FdStore {
  readonly lines: string[] = [];
  stderr = "";
  private readonly manager: ChildProcess;
  private readonly ended: Promise<void>;
  private wake: () => void = () => undefined;
  private over = false;

  /** `env`: of the twin and for the agent; LD_PRELOAD reaches the agent alone. */
  constructor(socket: string, env: Record<string, string>, args: readonly string[]) {
    const { LD_PRELOAD = "", ...rest } = env;
    this.manager = spawn(
      built(),
      [socket, process.execPath, kenneld, "--access", "open", ...args],
      {
        env: { ...process.env, ...rest, FDSTORE_PRELOAD: LD_PRELOAD },
        stdio: ["pipe", "pipe", "pipe"],
      },
    );
    let part = "";
    this.manager.stdout?.on("data", (bytes) => {
      const pieces = `${part}${bytes}`.split("\n");
      part = pieces.pop() ?? "";
      this.lines.push(...pieces);
      this.wake();
    });
    this.manager.stderr?.on("data", (bytes) => {
      this.stderr += bytes;
    });
    const timer = setTimeout(() => this.manager.kill("SIGKILL"), deadlineMs);
    this.ended = new Promise((resolve) => {
      this.manager.on("close", () => {
        clearTimeout(timer);
        this.over = true;
        this.wake();
        resolve();
      });
    });
  }

  /** Gives orders, a letter each, and waits for `count` lines that begin with `line`. */
  async after(orders: string, line: string, count = 1): Promise<void> {
    const wanted = this.count(line) + count;
    this.manager.stdin?.write(orders);
    while (this.count(line) < wanted) {
      if (this.over) throw new Error(`no ${line}: ${this.lines.join("; ")} ${this.stderr}`);
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** A manager that stands still: what it is told waits, until there is no more room. */
  stall(isStalled: boolean): void {
    this.manager.kill(isStalled ? "SIGSTOP" : "SIGCONT");
  }

  count(line: string): number {
    return this.lines.filter((each) => each.startsWith(line)).length;
  }

  quit(): Promise<void> {
    this.manager.stdin?.write("q");
    return this.ended;
  }
}
