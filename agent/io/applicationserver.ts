/**
 * The Unix socket that programs of the card call security services through. What is no frame, comes
 * in halves, or is not read is cut off here; whose connection it is, the kernel says.
 */
import { createHmac, randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { native } from "../../native/index.ts";
import { Failure } from "../errors.ts";
import { ApplicationLink } from "./applicationlink.ts";
import {
  type ApplicationNews,
  type ApplicationServer,
  applicationLimits as limits,
} from "./applications.ts";
import type { Clock } from "./clock.ts";
import { type HelperLives, makeFolder } from "./helperlives.ts";

/** How often a socket that cannot be had is tried again, ms. */
const againMs = 2_000;
const keyBytes = 32;
const digestBytes = 16;

/** Who may connect at all; what he may then ask is decided by who he is. */
export interface SocketAccess {
  readonly mode: 0o600 | 0o660 | 0o666;
  /** The group that the socket is given to; null leaves it alone. */
  readonly gid: number | null;
}

export class UnixServer implements ApplicationServer {
  readonly name: string;
  readonly ownUid = process.getuid?.() ?? 0;
  private readonly access: SocketAccess;
  private readonly clock: Clock;
  private readonly lives: HelperLives | null;
  private readonly links = new Set<ApplicationLink>();
  private readonly key: Buffer;
  private server: Server | null = null;
  private isClosed = false;
  private nextId = 1;
  private news: ApplicationNews[] = [];
  private tell: (news: readonly ApplicationNews[]) => void = () => undefined;
  private told = "";
  private cancelRetry: () => void = () => undefined;

  /** Failure `tee.socket` where there can be none; one that is taken is tried for again. */
  constructor(path: string, access: SocketAccess, clock: Clock, lives: HelperLives | null = null) {
    this.name = path;
    this.lives = lives;
    this.access = access;
    this.clock = clock;
    // Without it nobody's word on who he is could be checked.
    native();
    try {
      makeFolder(dirname(path));
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const message = `the folder ${dirname(path)} cannot be made: ${code}`;
      throw new Failure("tee.socket", message, { cause });
    }
    this.key = keyOf(`${path}.key`, this.ownUid);
  }

  listen(tell: (news: readonly ApplicationNews[]) => void): void {
    this.tell = tell;
    this.open(false);
  }

  digest(bytes: Uint8Array): Uint8Array {
    const whole = createHmac("sha256", this.key).update(bytes).digest();
    return new Uint8Array(whole.subarray(0, digestBytes));
  }

  leftInside(): boolean {
    return this.lives?.isAnyLeft ?? false;
  }

  close(): void {
    this.isClosed = true;
    this.cancelRetry();
    this.server?.close();
    for (const link of [...this.links]) link.close();
  }

  /** `isAgain`: what nobody listened on was removed, once. */
  private open(isAgain: boolean): void {
    if (this.isClosed) return;
    const server = createServer((socket) => this.connected(socket));
    server.on("error", (error: NodeJS.ErrnoException) => {
      server.close();
      if (error.code === "EADDRINUSE" && !isAgain) return this.probe();
      this.retry(`${this.name} cannot be served: ${error.code}`);
    });
    server.on("listening", () => {
      try {
        // Never wider than it is to be, not for a moment: it was made for its owner alone.
        if (this.access.gid !== null) chownSync(this.name, this.ownUid, this.access.gid);
        chmodSync(this.name, this.access.mode);
        this.told = "";
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        this.add({ kind: "trouble", problem: `${this.name} stays its owner's alone: ${code}` });
      }
    });
    this.server = server;
    const mask = process.umask(0o177);
    try {
      server.listen(this.name);
    } finally {
      process.umask(mask);
    }
  }

  /** Somebody listens there already, or it is what a killed agent has left. */
  private probe(): void {
    const probe = createConnection(this.name);
    probe.on("connect", () => {
      probe.destroy();
      this.retry(`${this.name} is served by another process`);
    });
    probe.on("error", ({ code }: NodeJS.ErrnoException) => {
      const isSocket = existsSync(this.name) && lstatSync(this.name).isSocket();
      if (code !== "ECONNREFUSED" || !isSocket) {
        return this.retry(`${this.name} is there and no socket of ours: ${code}`);
      }
      rmSync(this.name, { force: true });
      this.open(true);
    });
  }

  private retry(problem: string): void {
    if (this.isClosed) return;
    if (problem !== this.told) this.add({ kind: "trouble", problem });
    this.told = problem;
    this.cancelRetry = this.clock.at(this.clock.now() + againMs, () => this.open(false));
  }

  private connected(socket: Socket): void {
    // Whoever is turned away may be in the middle of a word.
    socket.on("error", () => undefined);
    try {
      const peer = native().peerCredentials(descriptorOf(socket));
      const problem = this.fullFor(peer.uid);
      if (problem !== null) {
        socket.destroy();
        return this.add({ kind: "trouble", problem });
      }
      const add = (news: ApplicationNews): void => this.add(news);
      const link = new ApplicationLink(this.nextId++, peer, socket, this.clock, add);
      this.links.add(link);
      socket.on("close", () => {
        this.links.delete(link);
        link.ended();
      });
      this.add({ kind: "joined", of: link });
    } catch (error) {
      socket.destroy();
      const why = error instanceof Error ? error.message : String(error);
      this.add({ kind: "trouble", problem: `somebody unknown was turned away: ${why}` });
    }
  }

  private fullFor(uid: number): string | null {
    const ofOne = [...this.links].filter(({ peer }) => peer.uid === uid).length;
    if (ofOne >= limits.connectionsOfOne) {
      return `user ${uid} was turned away: he has ${ofOne} connections`;
    }
    if (this.links.size < limits.connections) return null;
    return `user ${uid} was turned away: there are ${this.links.size} connections`;
  }

  /** What comes in one turn of the loop is told together: so it costs one write, not many. */
  private add(news: ApplicationNews): void {
    this.news.push(news);
    if (this.news.length > 1) return;
    setImmediate(() => {
      const told = this.news;
      this.news = [];
      this.tell(told);
      for (const link of this.links) link.resume();
    });
  }
}

/** The descriptor is the kernel's name for the connection; without it nobody is let in. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle: { fd: number } | null };
  return handle?.fd ?? -1;
}

/**
 * The key of digests: beside the socket, where a reboot of the machine empties it, so that no input
 * can be guessed from what is on the disk. Another agent's is taken on, anybody else's is not.
 */
function keyOf(path: string, ownUid: number): Buffer {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const found = readFileSync(fd);
    const { uid, mode } = fstatSync(fd);
    closeSync(fd);
    if (found.length === keyBytes && uid === ownUid && (mode & 0o077) === 0) return found;
  } catch {
    // There is none, or none that can be believed.
  }
  const key = randomBytes(keyBytes);
  try {
    rmSync(path, { force: true });
    writeFileSync(path, key, { mode: 0o600, flag: "wx" });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Failure("tee.socket", `${path} cannot be written: ${code}`, { cause: error });
  }
  return key;
}
