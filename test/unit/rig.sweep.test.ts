// A sweep of hangs: where a boot is stopped, what follows from what was caught, and the protocol
// with which a processor is stopped, spoken to a stub that this test plays.
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { framed, openGdb, packetsIn } from "../../agent/rig/gdb.ts";
import { type StoppedPart, stopProcessor } from "../../agent/rig/processor.ts";
import { instantsOf, uncovered } from "../../agent/rig/sweep/plan.ts";

const sweep = suite("rig.sweep");

const phases = [
  { name: "loading", fromMs: 0, toMs: 200 },
  { name: "kernel", fromMs: 200, toMs: 4200 },
  { name: "agent", fromMs: 4200, toMs: 6200 },
];

sweep("each phase of a boot is hung, the long ones more often", () => {
  const names = (count: number): string[] => instantsOf(phases, count).map(({ phase }) => phase);
  assert.equal(names(1), ["kernel"]);
  assert.equal(names(3), ["loading", "kernel", "agent"]);
  assert.equal(names(5), ["loading", "kernel", "kernel", "kernel", "agent"]);
  assert.equal(
    instantsOf(phases, 4).map(({ planMs, afterMs }) => [planMs, afterMs]),
    [
      [100, 100],
      [1200, 1000],
      [3200, 3000],
      [5200, 1000],
    ],
  );
  assert.equal(instantsOf([], 4), []);
});

sweep("the longest time without coverage lies between two bounds", () => {
  const hangs = (ends: string) =>
    [...ends].map((end, at) => ({ planMs: at * 1000, ends: end === "+" }));
  assert.equal(uncovered(hangs("++++")), { atLeastMs: 0, atMostMs: 0 });
  assert.equal(uncovered(hangs("+-++")), { atLeastMs: 0, atMostMs: 2000 });
  assert.equal(uncovered(hangs("+-+---+")), { atLeastMs: 2000, atMostMs: 4000 });
  assert.equal(uncovered(hangs("--+")), { atLeastMs: 1000, atMostMs: 2000 });
  assert.equal(uncovered(hangs("+--")), { atLeastMs: 1000, atMostMs: 2000 });
});

sweep("packets of the gdbstub are framed and found", () => {
  assert.is(framed("OK"), "$OK#9a");
  assert.equal(packetsIn("+$OK#9a+$T02thread:01;#04$m<?x"), {
    packets: ["OK", "T02thread:01;"],
    rest: "$m<?x",
  });
  assert.equal(packetsIn("++"), { packets: [], rest: "" });
});

/** Answers as QEMU does, with these registers; gives what it was asked. */
async function withStub(
  registers: Readonly<Record<string, string>>,
  talk: (socketPath: string) => Promise<void>,
): Promise<string[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "kennel-gdb-"));
  const socketPath = path.join(folder, "gdb");
  const asked: string[] = [];
  const server = net.createServer((socket) => {
    const stopped = framed("T02thread:01;");
    socket.write(stopped);
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      const text = data.toString("latin1");
      if (text.includes("\u0003")) socket.write(stopped);
      for (const packet of packetsIn(text).packets) {
        asked.push(packet);
        if (packet === "c") continue;
        const known = packet.startsWith("p") ? registers[packet.slice(1)] : undefined;
        const answer = packet.startsWith("q") ? "m<?xml" : (known ?? "OK");
        socket.write(`+${framed(answer)}`);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  try {
    await talk(socketPath);
  } finally {
    server.close();
    fs.rmSync(folder, { recursive: true });
  }
  return asked;
}

/** What is written to the processor, and where it is said to have been. */
async function stop(
  arch: "x64" | "arm64",
  part: StoppedPart,
  registers: Readonly<Record<string, string>>,
): Promise<{ place: string | undefined; written: string[] }> {
  let place: string | undefined;
  const asked = await withStub(registers, async (socketPath) => {
    place = (await stopProcessor(await openGdb(socketPath), arch, part))?.place;
  });
  assert.is(asked.at(-1), "D", "the card is let go of");
  return { place, written: asked.filter((packet) => /^[PM]/.test(packet)) };
}

sweep("a processor stands still with its interrupts off, wherever it is", async () => {
  // Least byte first; eflags has IF, bit 9.
  const kernel = { "10": "78563412ffffffff", "11": "46020000", "12": "10000000" };
  assert.equal(await stop("x64", "machine", kernel), {
    place: "kernel",
    written: ["Mffffffff12345678,3:f4ebfd", "P11=46000000"],
  });
  const program = { "10": "0010400000000000", "11": "46020000", "12": "33000000" };
  assert.equal(await stop("x64", "machine", program), {
    place: "program",
    written: ["M401000,2:ebfe", "P11=46000000"],
  });
  const firmware = { "20": "0000004000000000", "21": "05000060" };
  assert.equal(await stop("arm64", "machine", firmware), {
    place: "firmware",
    written: ["M40000000,8:7f2003d5ffffff17", "P21=c5030060"],
  });
});

sweep("a gdbstub that is not there is the rig's fault", async () => {
  try {
    await openGdb("/nonexistent/gdb");
    assert.unreachable();
  } catch (error) {
    assert.match(String(error), "gdbstub");
  }
});

sweep.run();
