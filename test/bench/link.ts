/**
 * What the line costs, on ptys: round trips of the real agent beside a bare echo loop in Node,
 * downloads, how much of a paced line is used, and a host with 200 cards.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Link } from "../../agent/console/link.ts";
import { RealClock } from "../../agent/io/clock.ts";
import { Deframer, enframe, lineBytesMax } from "../../agent/wire/frame.ts";
import { encodeMessage } from "../../agent/wire/smp.ts";
import { manyCards } from "./manycards.ts";
import { type PtyLine, ptyLine } from "./ptyline.ts";
import { type Line, quantile, table, target } from "./rows.ts";

const agentPath = join(__dirname, "../../../dist/kenneld.cjs");
/** Of the text of an echo, bytes. */
const sizes = [16, 1000] as const;
const rounds = 400;
const warmUps = 40;
/** An agent that has its line not open yet is asked again after this. */
const knockMs = 500;
const aboveMaxMs = 0.25;
const downloadMs = 2000;
const timeoutMs = 5000;
const bauds = [115_200, 921_600] as const;
/** How much of what the framing allows has to be used. */
const usedMin = 0.97;
const pacedMs = 3000;
/** Answers asked for ahead, so that the line never waits for a question. */
const ahead = 3;
/** A line of base64 carries so many bytes of the packet. */
const bytesPerLine = 93;
const file = "/log";

/** Takes 35 s, ten of them with 200 cards. */
export async function benchLink(): Promise<Line[]> {
  const load = `load ${loadavg()[0]?.toFixed(1)} on ${availableParallelism()} processors`;
  return [
    `  ${load}`,
    ...(await roundTrips()),
    ...(await downloads()),
    ...(await efficiency()),
    ...(await manyCards()),
  ];
}

/** The real agent on a pty, until `body` is done. */
async function withAgent<T>(baud: number, body: (line: PtyLine) => Promise<T>): Promise<T> {
  const line = ptyLine(baud);
  const state = mkdtempSync(join(tmpdir(), "kennel-bench-"));
  const simulated = ["--watchdog", "simulate", "--tee", "simulate", "--access", "open"];
  const args = [agentPath, "--port", line.path, "--state", state, ...simulated];
  const agent = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await says(agent, "kenneld ready");
    while (!(await Promise.race([answered(line.port, echoOf(1)), sleep(knockMs, false)])));
    return await body(line);
  } finally {
    await ended(agent);
    line.close();
    rmSync(state, { recursive: true, force: true });
  }
}

function says(child: ChildProcess, words: string): Promise<void> {
  let said = "";
  return new Promise((resolve, reject) => {
    child.stdout?.on("data", (some) => {
      said += some;
      if (said.includes(words)) resolve();
    });
    child.on("close", () => reject(new Error(`a child ended: ${said}`)));
  });
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.removeAllListeners("close");
    child.on("close", () => resolve());
    child.kill("SIGKILL");
  });
}

const bareEcho = `
  const fs = require("fs"), tty = require("tty");
  const input = new tty.ReadStream(fs.openSync(process.argv[1], "r+"));
  input.setRawMode(true);
  const output = new tty.WriteStream(fs.openSync(process.argv[1], "r+"));
  input.on("data", (bytes) => output.write(bytes));
  input.on("error", () => process.exit());
  console.log("echoing");
`;

/** Both in turns, so that what slows the machine down slows both. */
async function roundTrips(): Promise<Line[]> {
  const bare = ptyLine();
  const echo = spawn(process.execPath, ["-e", bareEcho, bare.path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await says(echo, "echoing");
  const lines: Line[] = [];
  await withAgent(Number.POSITIVE_INFINITY, async ({ port }) => {
    const rows: string[][] = [["round trip, ms", "agent p50", "p99", "bare p50", "p99"]];
    for (const size of sizes) {
      const question = echoOf(size);
      const [ours, theirs]: [number[], number[]] = [[], []];
      for (let at = 0; at < rounds + warmUps; at++) {
        const [mine, other] = [await answered(port, question), await cameBack(bare.port, question)];
        if (at < warmUps) continue;
        ours.push(mine);
        theirs.push(other);
      }
      for (const some of [ours, theirs]) some.sort((one, other) => one - other);
      const shown = [ours, theirs].flatMap((some) => [quantile(some, 0.5), quantile(some, 0.99)]);
      rows.push([`echo of ${size} bytes`, ...shown.map((ms) => ms.toFixed(3))]);
      const above = quantile(ours, 0.5) - quantile(theirs, 0.5);
      const what = `echo of ${size} bytes, median at most ${aboveMaxMs} ms above a bare loop`;
      lines.push(target(what, above <= aboveMaxMs, `${above.toFixed(3)} ms above`));
    }
    lines.unshift(...table(rows));
  });
  await ended(echo);
  bare.close();
  return lines;
}

function echoOf(size: number): Uint8Array {
  const header = { version: 1, op: "write", group: 0, seq: 1, command: 0 } as const;
  return enframe(encodeMessage({ ...header, body: { d: "x".repeat(size) } }));
}

/** Milliseconds until a whole message has come. */
function answered(port: PtyLine["port"], question: Uint8Array): Promise<number> {
  const deframer = new Deframer();
  const startMs = performance.now();
  return new Promise((resolve) => {
    port.onData((bytes) => {
      const isWhole = deframer.push(bytes).some(({ kind }) => kind === "message");
      if (isWhole) resolve(performance.now() - startMs);
    });
    port.write(question);
  });
}

/** Milliseconds until as many bytes have come back. */
function cameBack(port: PtyLine["port"], question: Uint8Array): Promise<number> {
  const startMs = performance.now();
  let bytes = 0;
  return new Promise((resolve) => {
    port.onData((some) => {
      bytes += some.length;
      if (bytes >= question.length) resolve(performance.now() - startMs);
    });
    port.write(question);
  });
}

async function downloads(): Promise<Line[]> {
  return withAgent(Number.POSITIVE_INFINITY, async ({ port }) => {
    const link = new Link(port, new RealClock(), { timeoutMs, firstSequence: 0 });
    const startMs = performance.now();
    let [bytes, off, chunks] = [0, 0, 0];
    let [end, nowMs] = [0, startMs];
    for (; nowMs - startMs < downloadMs; nowMs = performance.now()) {
      const { data, len } = await link.request("files.read", { name: file, off });
      end = len ?? end;
      bytes += data.length;
      chunks += 1;
      off = off + data.length >= end ? 0 : off + data.length;
    }
    const perS = ((bytes / (nowMs - startMs)) * 1000) / 1024;
    const note = `${chunks} chunks of ${file}, ${end} bytes, one asked after the other`;
    return [{ name: "download over an unpaced pty", value: `${perS.toFixed(0)} KiB/s`, note }];
  });
}

/** Packets that the agent brings over a paced pty against what base64 lines leave of 8N1. */
async function efficiency(): Promise<Line[]> {
  const lines: Line[] = [];
  for (const baud of bauds) {
    const { frameBytes, packetBytes, ms } = await withAgent(baud, saturated);
    const bytesPerS = baud / 10;
    const allowed = bytesPerS * (bytesPerLine / lineBytesMax);
    const got = (packetBytes / ms) * 1000;
    const wire = (((frameBytes / ms) * 1000) / bytesPerS) * 100;
    const value =
      `${((got / allowed) * 100).toFixed(1)} %: ${got.toFixed(0)} of ${allowed.toFixed(0)} B/s ` +
      `(8N1 carries ${bytesPerS}; ${wire.toFixed(1)} % of it used)`;
    const what = `wire efficiency at ${baud} Bd, at least ${usedMin * 100} % of what base64 allows`;
    lines.push(target(what, got / allowed >= usedMin, value));
  }
  return lines;
}

/** Echoes of 1000 bytes, some always asked for ahead; counted from the second answer on. */
function saturated({ port }: PtyLine) {
  const deframer = new Deframer();
  const question = echoOf(1000);
  const count = { frameBytes: 0, packetBytes: 0, ms: 0 };
  let startMs = 0;
  return new Promise<typeof count>((resolve) => {
    port.onData((bytes) => {
      const nowMs = performance.now();
      for (const found of deframer.push(bytes)) {
        if (found.kind !== "message") continue;
        port.write(question);
        if (startMs === 0) {
          startMs = nowMs;
          continue;
        }
        // Length and checksum belong to the packet.
        count.packetBytes += found.bytes.length + 4;
        count.frameBytes += enframe(found.bytes).length;
        count.ms = nowMs - startMs;
        if (count.ms >= pacedMs) resolve(count);
      }
    });
    for (let at = 0; at < ahead; at++) port.write(question);
  });
}
