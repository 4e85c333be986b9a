import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Failure } from "../../agent/errors.ts";
import type { Port } from "../../agent/io/port.ts";
import type { SerialOptions } from "../../agent/io/serial.ts";
import { openRfc2217 } from "../../agent/io/transports/rfc2217.ts";
import { escaped, subBytesMax, TelnetParser } from "../../agent/io/transports/telnet.ts";
import { rejectsCode } from "../assert.ts";
import { nativeObstacle, temporaryFolder, unless } from "../children.ts";
import { closed, echoPty, every, heard, served, until } from "../portends.ts";
import { Rfc2217Server, type ServerFaults } from "../rfc2217server.ts";

const test = suite("rfc2217");

function connect(where: string, options: Partial<SerialOptions> = {}): Promise<Port> {
  const name = `rfc2217://127.0.0.1:${where}`;
  return openRfc2217("127.0.0.1", Number(where), name, { baud: 115_200, ...options });
}

async function against(
  faults: ServerFaults,
  body: (where: string, server: Rfc2217Server) => Promise<unknown>,
): Promise<void> {
  const server = new Rfc2217Server(faults);
  await served("tcp", server.serve, (where) => body(where, server));
}

for (const faults of [{}, { slowly: true }, { talkative: true }] as ServerFaults[]) {
  test(`speed set, control lines left alone, all bytes pass ${JSON.stringify(faults)}`, () =>
    against(faults, async (where, server) => {
      const port = await connect(where);
      const back = heard(port, 512);
      port.write(every);
      port.write(every);
      assert.equal(await back, Buffer.concat([every, every]));
      assert.equal(server.asked, ["2: 8", "3: 1", "4: 1", "5: 1", "1: 115200"]);
      port.close();
    }));
}

test("offers that nobody needs are refused once each, agreed ones not repeated", () =>
  against({ talkative: true }, async (where, server) => {
    const port = await connect(where);
    port.close();
    const [dont, wont] = [254, 252];
    for (const name of [1, 31]) {
      assert.is(server.answered.filter((one) => one === `${dont}/${name}`).length, 1);
      assert.is(server.answered.filter((one) => one === `${wont}/${name}`).length, 1);
    }
    assert.is(server.answered.filter((one) => one === "251/0").length, 1, "binary: said once");
  }));

test("DTR and RTS are set when asked for", () =>
  against({}, async (where, server) => {
    const port = await connect(where, { dtr: false, rts: true });
    port.close();
    assert.equal(
      server.asked.filter((one) => one.startsWith("5")),
      ["5: 1", "5: 9", "5: 11"],
    );
  }));

test("a server without the option, with another speed, that hangs up: each by name", async () => {
  await against({ refuses: true }, async (where) => {
    const failure = await rejectsCode(() => connect(where), "port.refused");
    assert.match(failure.message, /refuses the option: .* Try tcp:\/\/ for raw bytes\.$/);
  });
  await against({ grants: 9600 }, async (where) => {
    const failure = await rejectsCode(() => connect(where), "port.refused");
    assert.match(failure.message, /it grants 9600 Bd, not 115200: choose --baud/);
  });
  await against({ hangsUp: true }, async (where) => {
    await rejectsCode(() => connect(where), "port.lost");
  });
});

test("a server that goes away is a lost line", () =>
  served("tcp", new Rfc2217Server().serve, async (where) => {
    const port = await connect(where);
    const loss = closed(port);
    port.write(every);
    await heard(port, 1);
    port.close();
    assert.is(await loss, "closed");
    assert.is(port.write(every), false);
  }));

test("telnet: any bytes in any pieces come out as they went in, and a sub has its bound", () => {
  for (const size of [1, 2, 3, 256]) {
    const parser = new TelnetParser();
    const sent = escaped(every);
    const got: number[] = [];
    for (let at = 0; at < sent.length; at += size) {
      for (const item of parser.push(sent.subarray(at, at + size))) {
        if (item.kind === "data") got.push(...item.bytes);
      }
    }
    assert.equal(got, [...every]);
  }
  const parser = new TelnetParser();
  parser.push(Uint8Array.of(255, 250, 44));
  parser.push(new Uint8Array(100_000));
  const [item] = parser.push(Uint8Array.of(255, 240));
  assert.is(item?.kind === "sub" && item.bytes.length, subBytesMax - 1);
  assert.equal(parser.push(Uint8Array.of(255, 250, 255, 240)), [], "an empty one says nothing");
});

// An independent server ------------------------------------------------------------------------

const ser2net = ["/usr/sbin/ser2net", "/usr/bin/ser2net"].find((path) => {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** The server needs a moment to listen. */
async function patiently(where: string, child: ChildProcess): Promise<Port> {
  for (;;) {
    try {
      return await connect(where);
    } catch (error) {
      const isEarly = error instanceof Failure && error.code === "port.refused";
      if (!isEarly || child.exitCode !== null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const lack = ser2net === undefined ? "needs ser2net (Debian: apt-get install ser2net)" : "";
unless(nativeObstacle() || lack, test)("Debian's ser2net: all bytes, both ways", async () => {
  const pty = echoPty();
  const port = await freePort();
  const config = join(temporaryFolder(), "ser2net.yaml");
  writeFileSync(
    config,
    `connection: &one\n  accepter: telnet(rfc2217),tcp,127.0.0.1,${port}\n` +
      `  connector: serialdev,${pty.path},9600n81,local\n`,
  );
  const child = spawn(ser2net ?? "", ["-n", "-d", "-c", config], { stdio: "ignore" });
  try {
    const line = await patiently(String(port), child);
    const back = heard(line, 1024);
    for (let count = 0; count < 4; count++) line.write(every);
    assert.equal(await back, Buffer.concat(Array(4).fill(every)));
    line.close();
  } finally {
    child.kill("SIGTERM");
    await until(() => child.exitCode !== null || child.signalCode !== null, "ser2net's end");
    pty.close();
  }
});

test.run();
