/** A card that talks while it answers, on a pty or behind a broker; consoles as rigs use them. */
import { join } from "node:path";
import { Deframer, enframe } from "../agent/wire/frame.ts";
import { encodeMessage, parsePacket, responseHeader } from "../agent/wire/smp.ts";
import { type NativePty, native } from "../native/index.ts";
import { temporaryFolder } from "./children.ts";
import { Program } from "./programs.ts";

/** Answers echo, and talks on its console before each answer. */
export function talkingCard(send: (bytes: Uint8Array) => void): (bytes: Uint8Array) => void {
  const deframer = new Deframer();
  let count = 0;
  return (bytes) => {
    for (const found of deframer.push(bytes)) {
      if (found.kind === "text") send(Buffer.from(`<${Buffer.from(found.bytes)}>`));
      if (found.kind !== "message") continue;
      for (const item of parsePacket(found.bytes)) {
        if (item.kind !== "request") continue;
        const body = { r: item.body.d };
        send(Buffer.from(`[ ${count++}] console text\n`));
        send(enframe(encodeMessage({ ...responseHeader(item.header), body })));
      }
    }
    const typed = deframer.takePending(false);
    if (typed !== null) send(Buffer.from(`<${Buffer.from(typed)}>`));
  };
}

/** A report that nobody asked for. */
export const pushed = {
  version: 1,
  op: "read_response",
  group: 68,
  seq: 0,
  command: 4,
  body: { boot: "1-00000000", seq: 1 },
} as const;

export function cardOnPty(): NativePty {
  const pty = new (native().Pty)();
  const take = talkingCard((bytes) => void pty.write(bytes));
  pty.onReady(() => {
    for (let part = pty.read(4096); part !== null; part = pty.read(4096)) take(part);
  });
  return pty;
}

/** Runs `kennel` with the card on a pty, shared by a broker. */
export async function shared(
  body: (bench: { pty: NativePty; socket: string; broker: Program }) => Promise<void>,
): Promise<void> {
  const pty = cardOnPty();
  const socket = join(temporaryFolder(), "line.sock");
  const args = ["--port", pty.path, "serve", "--socket", socket];
  const broker = new Program("kennel", args, 60_000);
  try {
    await broker.says("serving ");
    await body({ pty, socket, broker });
  } finally {
    await broker.kill("SIGKILL");
    pty.close();
  }
}

export function stdio(port: string, ...words: string[]): Program {
  return new Program("kennel", ["--port", port, "console", "--stdio", ...words], 30_000, "pipe");
}
