/** The built programs as child processes, and a cable of two pseudo terminals between them. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type NativePty, native } from "../native/index.ts";

const dist = join(__dirname, "..", "..", "..", "dist");
/** Longest wait for a line or an end of a program, ms. */
export const programMs = 15_000;

/** A null-modem cable: what goes in at one end comes out at the other. */
export class Cable {
  readonly card: string;
  readonly host: string;
  private readonly ends: NativePty[];

  constructor() {
    const { Pty } = native();
    const [card, host] = [new Pty(), new Pty()];
    this.ends = [card, host];
    this.card = card.path;
    this.host = host.path;
    carry(card, host);
    carry(host, card);
  }

  close(): void {
    for (const end of this.ends) end.close();
  }
}

function carry(from: NativePty, to: NativePty): void {
  from.onReady((news) => {
    if (news !== "readable") return;
    for (let bytes = from.read(4096); bytes !== null; bytes = from.read(4096)) to.write(bytes);
  });
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program under test; `ended` settles once, also when it had to be killed at its deadline. */
export class Program {
  stdout = "";
  stderr = "";
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;

  constructor(
    name: "kenneld" | "kennel",
    args: readonly string[],
    deadlineMs = programMs,
    stdin: "ignore" | "pipe" = "ignore",
  ) {
    this.child = spawn(process.execPath, [join(dist, `${name}.cjs`), ...args], {
      stdio: [stdin, "pipe", "pipe"],
    });
    this.child.stdout?.on("data", (some) => {
      this.stdout += some;
    });
    this.child.stderr?.on("data", (some) => {
      this.stderr += some;
    });
    const deadline = setTimeout(() => this.child.kill("SIGKILL"), deadlineMs);
    this.ended = new Promise((resolve) => {
      this.child.on("close", (code) => {
        clearTimeout(deadline);
        resolve({ code, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** Waits until standard output holds `text`; throws when the program ends first. */
  async says(text: string): Promise<void> {
    while (!this.stdout.includes(text)) {
      const over = await Promise.race([this.news(), this.ended.then(() => "over")]);
      if (over === "over" && !this.stdout.includes(text)) {
        throw new Error(`ended without "${text}": ${this.stdout}${this.stderr}`);
      }
    }
  }

  kill(signal: NodeJS.Signals): Promise<Ended> {
    this.child.kill(signal);
    return this.ended;
  }

  private news(): Promise<string> {
    return new Promise((resolve) => this.child.stdout?.once("data", () => resolve("news")));
  }
}

/** Runs the console once and returns its single JSON object. */
export async function ask(port: string, ...words: string[]): Promise<Answer> {
  const { code, stdout } = await new Program("kennel", ["--port", port, "--json", ...words]).ended;
  return { code, ...JSON.parse(stdout) };
}

// biome-ignore lint/suspicious/noExplicitAny: the console's output is what is being tested.
export type Answer = { code: number | null; ok: boolean; data?: any; error?: any };

export interface Bench {
  readonly cable: Cable;
  readonly state: string;
  readonly agents: Program[];
  agent(...options: string[]): Promise<Program>;
}

/** A cable, a folder for the agent's state, and the agents started on it. */
export async function bench(body: (bench: Bench) => Promise<void>): Promise<void> {
  const cable = new Cable();
  const state = mkdtempSync(join(tmpdir(), "kennel-state-"));
  const agents: Program[] = [];
  const agent = async (...options: string[]): Promise<Program> => {
    const simulated = ["--watchdog", "simulate", "--tee", "simulate", "--access", "open"];
    const line = ["--port", cable.card, "--state", state];
    const started = new Program("kenneld", [...line, ...simulated, ...options], 60_000);
    agents.push(started);
    await started.says("kenneld ready");
    return started;
  };
  try {
    await body({ cable, state, agents, agent });
  } finally {
    for (const { child } of agents) child.kill("SIGKILL");
    await Promise.all(agents.map(({ ended }) => ended));
    cable.close();
    rmSync(state, { recursive: true, force: true });
  }
}
