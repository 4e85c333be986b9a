/** Programs at the agent's socket, frame by frame, and a card whose TEE is a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Ask,
  FrameReader,
  type Telling,
  type TellingOf,
  tellingOf,
  toFrame,
} from "../agent/wire/teeapi.ts";
import { Program } from "./programs.ts";

export const dist = join(__dirname, "..", "..", "..", "dist");
/** Longest that anything here takes, ms. */
export const patienceMs = 60_000;

export async function until(what: string, holds: () => boolean): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** One connection without a library: every frame that came is kept. */
export class RawClient {
  readonly said: Telling[] = [];
  isClosed = false;
  /** Told of each frame as it comes. */
  heard: (said: Telling) => void = () => undefined;
  private readonly socket: Socket;

  constructor(path: string) {
    const reader = new FrameReader();
    this.socket = connect(path);
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => {
      this.isClosed = true;
    });
    this.socket.on("data", (some: Buffer) => {
      for (const body of reader.push(some)) {
        const one = tellingOf(body);
        if (one === null) continue;
        this.said.push(one);
        this.heard(one);
      }
    });
    this.ask({ op: "hello", id: 0, version: 1 });
  }

  ask(what: Ask): void {
    this.socket.write(toFrame(what));
  }

  verdicts(): TellingOf<"verdict">[] {
    return this.said.flatMap((one) => (one.kind === "verdict" ? [one] : []));
  }

  close(): void {
    this.socket.destroy();
  }
}

/** A state folder, a TEE OS, and agents that come and go. */
export class ApiCard {
  readonly folder = mkdtempSync(join(tmpdir(), "kennel-api-"));
  readonly socket = join(this.folder, "tee.sock");
  readonly teeFolder = join(this.folder, "tee");
  readonly agents: Program[] = [];
  private readonly twins: ChildProcess[] = [];

  /** `entry`: what is registered of each service. */
  constructor(entry: object = {}) {
    const services = ["keystore", "unlock"];
    const uuid = "aaaaaaaa-0000-0000-0000-000000000000";
    const applications = services.map((service) => ({ service, uuid, ...entry }));
    const tee = { services, applications, socket: this.socket };
    writeFileSync(join(this.folder, "config.json"), JSON.stringify({ tee }));
  }

  /** Starts the TEE OS apart from any agent, so that it outlives them. */
  async startTee(): Promise<void> {
    const program = join(dist, "kennel-teetwin.cjs");
    rmSync(this.teeFolder, { recursive: true, force: true });
    mkdirSync(this.teeFolder);
    const child = spawn(process.execPath, [program, this.teeFolder, "keystore,unlock"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    this.twins.push(child);
    await new Promise((resolve) => child.stdout.once("data", resolve));
  }

  /** Starts an agent and waits until its services are there. */
  async startAgent(...more: string[]): Promise<Program> {
    const place = ["--state", join(this.folder, "state"), "--config", this.path("config.json")];
    const device = ["--watchdog", "simulate", "--tee-device", `sim:${this.teeFolder}`];
    const agent = new Program("kenneld", [...place, ...device, ...more], 2 * patienceMs);
    this.agents.push(agent);
    await agent.says("kenneld ready");
    return agent;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** kill -9 of the TEE OS, whoever started it. */
  killTee(): void {
    process.kill(Number(readFileSync(join(this.teeFolder, "pid"), "utf8")), "SIGKILL");
  }

  /** Every invocation that the TEE executed: service, command, call, key. */
  witness(): string[] {
    const file = join(this.teeFolder, "witness");
    return existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
  }

  /** All bytes that were kept anywhere in the card's folder, by file. */
  files(): Map<string, Buffer> {
    const found = new Map<string, Buffer>();
    for (const one of readdirSync(this.folder, { recursive: true, withFileTypes: true })) {
      if (!one.isFile()) continue;
      const path = join(one.parentPath, one.name);
      found.set(path, readFileSync(path));
    }
    return found;
  }

  async close(): Promise<void> {
    for (const agent of this.agents) await agent.kill("SIGKILL");
    for (const twin of this.twins) twin.kill("SIGKILL");
    const left = join(this.teeFolder, "pid");
    // One that an agent started ends with it, a moment later.
    if (existsSync(left)) await until("the TEE ends", () => !isAlive(readFileSync(left, "utf8")));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function isAlive(pid: string): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}
