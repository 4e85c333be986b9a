/** For tests of ports: what arrives at either end, and servers and ptys to be at the other one. */
import { mkdirSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Port } from "../agent/io/port.ts";
import type { RealAddress } from "../agent/io/transports/open.ts";
import { openAddress } from "../agent/io/transports/open.ts";
import { type NativePty, native } from "../native/index.ts";
import { temporaryFolder } from "./children.ts";

export const every = Uint8Array.from({ length: 256 }, (_, value) => value);

export function open(address: RealAddress, tell: (text: string) => void = () => {}): Promise<Port> {
  return openAddress(address, { baud: 115_200, note: tell });
}

/** Resolves with what has arrived once it is `bytes` long or contains the text. */
export function heard(port: Port, until: number | string): Promise<Buffer> {
  let all = Buffer.alloc(0);
  return new Promise((resolve) => {
    port.onData((bytes) => {
      all = Buffer.concat([all, bytes]);
      if (typeof until === "number" ? all.length >= until : all.includes(until)) resolve(all);
    });
  });
}

export function closed(port: Port): Promise<string> {
  return new Promise((resolve) => port.onClose(resolve));
}

/** A server that does `serve` with every connection; `where` is its path or its TCP port. */
export async function served<T>(
  kind: "unix" | "tcp",
  serve: (client: Socket) => void,
  body: (where: string, server: Server) => Promise<T>,
): Promise<T> {
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on("error", () => {});
    serve(client);
  });
  const folder = temporaryFolder();
  mkdirSync(folder, { recursive: true });
  const path = join(folder, "s.sock");
  await new Promise<void>((resolve) => {
    if (kind === "unix") server.listen(path, resolve);
    else server.listen(0, "127.0.0.1", resolve);
  });
  const where = kind === "unix" ? path : String((server.address() as AddressInfo).port);
  try {
    return await body(where, server);
  } finally {
    for (const client of clients) client.destroy();
    server.close();
  }
}

export const echo = (client: Socket): void =>
  void client.on("data", (bytes) => client.write(bytes));

/** A pty that sends back what it gets. */
export function echoPty(): NativePty {
  const pty = new (native().Pty)();
  pty.onReady(() => {
    for (let part = pty.read(4096); part !== null; part = pty.read(4096)) pty.write(part);
  });
  return pty;
}

/** Waits for what is under way elsewhere; gives up loudly. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const giveUpMs = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > giveUpMs) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
