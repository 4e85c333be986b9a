// Asking systemd whether the machine is going down: a manager that answers in all the ways it can.
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { askShutdown } from "../../agent/io/shutdown.ts";
import { temporaryFolder } from "../children.ts";

const shutdown = suite("shutdown");

/** METHOD_RETURN of `busctl get-property org.freedesktop.systemd1 ... SystemState`, serial 1. */
function reply(state: string): Buffer {
  const body = Buffer.concat([
    Buffer.from([1, 0x73, 0, 0, state.length, 0, 0, 0]),
    Buffer.from(`${state}\0`),
  ]);
  const head = Buffer.from(
    ["6c020101", "00000000", "07000000", "0f000000", "0501750001000000", "08016700017600"].join(""),
    "hex",
  );
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, Buffer.alloc((8 - (head.length % 8)) % 8), body]);
}

/** Asks a manager that sends these pieces, one by one; returns the answer and what was asked. */
async function asked(pieces: (Buffer | string)[], ends = false): Promise<[boolean | null, Buffer]> {
  const path = join(temporaryFolder(), "private");
  let heard = Buffer.alloc(0);
  let server: Server | undefined;
  await new Promise<void>((resolve) => {
    server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (bytes) => {
        heard = Buffer.concat([heard, bytes]);
        const piece = pieces.shift();
        const next = (rest: Buffer | string | undefined): void => {
          if (rest !== undefined) socket.write(rest, () => setImmediate(next, pieces.shift()));
          else if (ends) socket.end();
        };
        next(piece);
      });
    }).listen(path, resolve);
  });
  const answer = await new Promise<boolean | null>((resolve) => askShutdown(resolve, path));
  await new Promise((resolve) => server?.close(resolve));
  return [answer, heard];
}

shutdown(
  "the manager's state decides: stopping is a shutdown, everything else is none",
  async () => {
    for (const state of ["initializing", "starting", "running", "degraded", "maintenance"]) {
      assert.is((await asked(["OK 0123\r\n", reply(state)]))[0], false, state);
    }
    const [answer, heard] = await asked(["OK 0123\r\n", reply("stopping")]);
    assert.is(answer, true);
    const auth = Buffer.from(String(process.getuid?.())).toString("hex");
    const question = heard.toString("latin1");
    assert.ok(question.startsWith(`\0AUTH EXTERNAL ${auth}\r\nBEGIN\r\nl\x01\0\x01`));
    assert.match(question, "org.freedesktop.systemd1.Manager\0");
  },
);

shutdown("the answer may come in any pieces", async () => {
  const whole = Buffer.concat([Buffer.from("OK 0123\r\n"), reply("stopping")]);
  for (let cut = 1; cut < whole.length; cut += 3) {
    const [answer] = await asked([whole.subarray(0, cut), whole.subarray(cut)]);
    assert.is(answer, true, `cut at ${cut}`);
  }
});

shutdown("who refuses, breaks off, talks nonsense or says nothing has not answered", async () => {
  assert.is((await asked(["REJECTED EXTERNAL\r\n"]))[0], null);
  assert.is((await asked(["OK 0123\r\n"], true))[0], null);
  assert.is((await asked(["OK 0123\r\n", Buffer.alloc(64, 0x41)]))[0], null);
  assert.is((await asked([Buffer.alloc(8192, 0x41)]))[0], null);
  const error = reply("stopping");
  error[1] = 3;
  assert.is((await asked(["OK 0123\r\n", error]))[0], null);
  assert.is((await asked([]))[0], null, "silent");
  const none = new Promise((resolve) => askShutdown(resolve, "/nonexistent/private"));
  assert.is(await none, null, "no systemd");
});

shutdown.run();
