/**
 * A load: the agent answers a pty in the very process of the refresh threads while a child floods
 * it with noise and requests as fast as the pty takes them, and reads answers now and then.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { hostileInput, targetsOf } from "../../agent/rig/campaigns/hostilebytes.ts";
import { Random } from "../../agent/sim/random.ts";
import { World } from "../../agent/sim/world.ts";
import { ptyLine } from "./ptyline.ts";

const inputs = 4000;
const bootMs = 5000;
/** What ends the card, or blocks it on purpose, where everybody may command. */
const spared = ["os.reset", "rig.inject", "wdt.disarm", "wdt.hold", "wdt.arm"];

/** Ends with its parent's end of the pty. */
const flood = `
  const fs = require("fs"), tty = require("tty");
  const [path, file] = process.argv.slice(1);
  const input = new tty.ReadStream(fs.openSync(path, "r+"));
  input.setRawMode(true);
  input.on("data", () => {});
  input.on("error", () => process.exit());
  const output = new tty.WriteStream(fs.openSync(path, "r+"));
  output.on("error", () => process.exit());
  const bytes = fs.readFileSync(file);
  let at = 0;
  const parent = process.ppid;
  const more = () => {
    if (process.ppid !== parent) process.exit();
    const piece = bytes.subarray(at, at + 4096);
    at = (at + 4096) % bytes.length;
    output.write(piece, more);
  };
  more();
`;

/** Until `endMs` of performance.now(). */
export async function serveHostileLine(endMs: number): Promise<void> {
  const random = new Random(1);
  const targets = targetsOf(spared);
  const folder = mkdtempSync(join(tmpdir(), "kennel-bench-"));
  const file = join(folder, "bytes");
  const some = Array.from({ length: inputs }, () => hostileInput(random, targets));
  writeFileSync(file, Buffer.concat(some));
  const world = new World({ seed: 1, stepMs: 1 });
  world.power(true);
  world.advance(bootMs);
  const line = ptyLine();
  world.agent?.attach(line.port);
  const child = spawn(process.execPath, ["-e", flood, line.path, file], { stdio: "ignore" });
  let lastMs = performance.now();
  while (lastMs < endMs) {
    await turn();
    const nowMs = performance.now();
    world.advance(nowMs - lastMs);
    lastMs = nowMs;
  }
  child.kill("SIGKILL");
  line.close();
  rmSync(folder, { recursive: true });
}
