/**
 * `kennel serve`: owns a line and shares it over a Unix socket that carries the same bytes as the
 * line itself, so that every program for serial lines works on it, through socat if need be.
 */
import { randomInt } from "node:crypto";
import { chmodSync, mkdirSync, unlinkSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { basename, dirname, join } from "node:path";
import { native } from "../../native/index.ts";
import { Failure } from "../errors.ts";
import { RealClock } from "../io/clock.ts";
import { nameHolder, processOf } from "../io/holder.ts";
import type { Port } from "../io/port.ts";
import { openUnix, socketPort } from "../io/transports/socket.ts";
import { Broker, clientsMax } from "./broker.ts";
import type { Outcome } from "./context.ts";
import { KeptLine } from "./keptline.ts";
import type { Terminal } from "./terminal.ts";

export interface ServeOptions {
  /** As `--port` has it. */
  readonly port: string;
  readonly open: () => Promise<Port>;
  /** False for lines that cannot come back, such as recordings. */
  readonly comesBack: boolean;
  readonly socket: string;
  readonly forMs: number;
  readonly stop: AbortSignal;
  readonly terminal: Terminal;
  readonly json: boolean;
  readonly note: (text: string) => void;
}

/** Waiting for a client that does not read; beyond that it is cut off. 20 s at 115200 Bd. */
export const clientQueueBytesMax = 262_144;

/**
 * Where the socket is unless said otherwise: a folder that only this user can write. Failure
 * `usage.invalid` where there is none.
 */
export function socketFor(
  port: string,
  env: Readonly<Record<string, string | undefined>>,
  isRoot: boolean,
): string {
  const folder = isRoot ? "/run" : env.XDG_RUNTIME_DIR;
  if (folder === undefined || folder === "") {
    const message = "where shall the socket be? Give --socket PATH (XDG_RUNTIME_DIR is not set).";
    throw new Failure("usage.invalid", message);
  }
  const name = basename(port)
    .replaceAll(/[^\w.-]+/g, "-")
    .slice(0, 60);
  return join(folder, "kennel", `${name}.sock`);
}

/** Serves until stopped, the end of its time, or the end of a line that cannot come back. */
export async function serve(options: ServeOptions): Promise<Outcome> {
  const { note, port, socket, terminal, json } = options;
  let endAll: (failure: Failure | null) => void = () => {};
  const over = new Promise<Failure | null>((resolve) => {
    endAll = resolve;
  });
  const line: KeptLine = new KeptLine({
    open: options.open,
    clock: new RealClock(),
    comesBack: options.comesBack,
    onData: (bytes) => broker.fromLine(bytes),
    onDown: (cause) => {
      broker.down(cause);
      note(`${cause}. Waiting for it to come back.`);
    },
    onUp: (name) => {
      broker.up(name);
      note(`the line is back: ${name}`);
    },
    onGone: endAll,
  });
  const broker = new Broker({
    clock: new RealClock(),
    write: (bytes) => line.write(bytes),
    note,
    firstSequence: randomInt(256),
  });
  // The socket first: who finds it taken has not disturbed the line.
  const server = await listen(socket, (client) => {
    broker.attach(socketPort("client", client, clientQueueBytesMax), nameOf(client));
  });
  const timer = options.forMs === Infinity ? undefined : setTimeout(endAll, options.forMs, null);
  options.stop.addEventListener("abort", () => endAll(null), { once: true });
  try {
    await line.start();
    const data = { port, socket, clients_max: clientsMax };
    const told = json
      ? JSON.stringify({ ok: true, command: "serve", data })
      : `serving ${port} to up to ${clientsMax} clients: kennel --port unix:${socket} ...`;
    await terminal.out(`${told}\n`);
    if (options.stop.aborted) endAll(null);
    const failure = await over;
    if (failure !== null) throw failure;
    const counts = broker.counts;
    const text =
      `served ${counts.requests} requests, ${counts.answers} answers; ` +
      `${counts.strays} strays, ${counts.cutOff} clients cut off`;
    return { data: { ...data, ...counts }, text, printed: json };
  } finally {
    clearTimeout(timer);
    server.close();
    broker.close();
    line.close();
  }
}

/** "client pid 4127 (kennel, user lab3, running for 3 s)" */
function nameOf(socket: Socket): string {
  try {
    // Node has no public name for the descriptor of a socket.
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    const { pid } = native().peerCredentials(fd);
    const holder = processOf(pid);
    return holder === null ? `client pid ${pid}` : `client ${nameHolder(holder)}`;
  } catch {
    return "another client";
  }
}

/** Listens for this user alone. Failure port.busy when the socket is served already. */
async function listen(path: string, accept: (client: Socket) => void): Promise<Server> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    return await bind(path, accept);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "EADDRINUSE") {
      const message = `--socket ${path}: ${(cause as Error).message}.`;
      throw new Failure("usage.invalid", message, { cause, evidence: { socket: path } });
    }
  }
  await removeStale(path);
  return bind(path, accept);
}

/** A broker that was killed leaves its socket behind; one that lives keeps it. */
async function removeStale(path: string): Promise<void> {
  let other: Port;
  try {
    other = await openUnix(path);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "port.refused") throw error;
    return unlinkSync(path);
  }
  other.close();
  const message = `${path} is served already. Attach to it: kennel --port unix:${path}.`;
  throw new Failure("port.busy", message, { evidence: { port: `unix:${path}`, holders: [] } });
}

function bind(path: string, accept: (client: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(accept);
    server.once("error", reject);
    // The socket is made inside of listen, and nobody else may ever connect to it.
    const mask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.removeListener("error", reject);
        server.on("error", () => {});
        resolve(server);
      });
    } finally {
      process.umask(mask);
    }
    chmodQuietly(path);
  });
}

/** For systems whose sockets ignore the mask. */
function chmodQuietly(path: string): void {
  try {
    chmodSync(path, 0o600);
  } catch {
    // It could not be made at all: the server tells.
  }
}
