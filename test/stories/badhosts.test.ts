/** Hosts that misbehave, at the real agent on a pty: the next question is answered all the same. */
import { setTimeout as sleep } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Deframer, enframe } from "../../agent/wire/frame.ts";
import { encodeMessage, parsePacket } from "../../agent/wire/smp.ts";
import { type NativePty, native } from "../../native/index.ts";
import { temporaryFolder } from "../children.ts";
import { Program, programMs } from "../programs.ts";

const stories = suite("bad hosts");
const text = new TextEncoder();
/** Between two bytes of somebody slow; the agent gives a half frame up after 3 s of silence. */
const slowMs = 20;
/** More than the pty and the agent's queue hold. */
const unread = 2000;
const askAgainMs = 500;

function echo(word: string): Uint8Array {
  const header = { version: 1, op: "write", group: 0, seq: 1, command: 0 } as const;
  return enframe(encodeMessage({ ...header, body: { d: word } }));
}

class BadHost {
  reading = true;
  private readonly pty: NativePty = new (native().Pty)();
  private readonly deframer = new Deframer();
  private readonly heard = new Set<unknown>();

  constructor() {
    this.pty.onReady(() => this.read());
  }

  get path(): string {
    return this.pty.path;
  }

  write(bytes: Uint8Array): void {
    this.pty.write(bytes);
  }

  read(): void {
    if (!this.reading) return;
    for (let some = this.pty.read(4096); some !== null; some = this.pty.read(4096)) {
      for (const found of this.deframer.push(some)) {
        if (found.kind !== "message") continue;
        for (const item of parsePacket(found.bytes)) {
          if (item.kind === "request") this.heard.add(item.body.r);
        }
      }
    }
  }

  /** Asks until that word has come back. */
  async isAnswered(word: string): Promise<boolean> {
    for (let waitedMs = 0; waitedMs < programMs; waitedMs += askAgainMs) {
      this.write(echo(word));
      for (let at = 0; at < askAgainMs && !this.heard.has(word); at += slowMs) await sleep(slowMs);
      if (this.heard.has(word)) return true;
    }
    return false;
  }

  close(): void {
    this.pty.close();
  }
}

async function withAgent(body: (host: BadHost) => Promise<void>): Promise<void> {
  const host = new BadHost();
  const simulated = ["--watchdog", "simulate", "--tee", "simulate", "--access", "open"];
  const args = ["--port", host.path, "--state", temporaryFolder(), ...simulated];
  const agent = new Program("kenneld", args, 60_000);
  try {
    await agent.says("kenneld ready");
    assert.ok(await host.isAnswered("first"));
    await body(host);
  } finally {
    await agent.kill("SIGKILL");
    host.close();
  }
}

stories("slow loris: a frame that comes byte by byte and never ends keeps nobody out", () =>
  withAgent(async (host) => {
    for (const byte of echo("slow").subarray(0, 20)) {
      host.write(Uint8Array.of(byte));
      await sleep(slowMs);
    }
    assert.ok(await host.isAnswered("after the slow one"));
  }),
);

stories("a host that asks and never reads: the agent lives, and answers once it does", () =>
  withAgent(async (host) => {
    host.reading = false;
    for (let at = 0; at < unread; at++) {
      host.write(echo("x".repeat(200)));
      if (at % 100 === 0) await sleep(slowMs);
    }
    await sleep(askAgainMs);
    host.reading = true;
    host.read();
    assert.ok(await host.isAnswered("after reading"));
  }),
);

stories(
  "a babbling getty and two writers: text between and within lines, questions side by side",
  () =>
    withAgent(async (host) => {
      for (let at = 0; at < 50; at++)
        host.write(text.encode("\r\nnic7 login: Login incorrect\r\n"));
      host.write(text.encode("nic7 login: "));
      host.write(echo("one"));
      host.write(echo("two"));
      assert.ok(await host.isAnswered("one"));
      assert.ok(await host.isAnswered("two"));
    }),
);

stories.run();
