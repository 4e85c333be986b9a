/** One connection of a program: frames in and out, each within its bounds and its time. */
import type { Socket } from "node:net";
import { Failure } from "../errors.ts";
import { FrameReader } from "../wire/teeapi.ts";
import {
  type Application,
  type ApplicationNews,
  applicationLimits as limits,
  type Peer,
} from "./applications.ts";
import type { Clock } from "./clock.ts";

/** What one connection may bring in one turn of the loop, bytes; the rest waits in the kernel. */
const turnBytesMax = 65_536;

const never = (): void => undefined;

export class ApplicationLink implements Application {
  readonly id: number;
  readonly peer: Peer;
  private readonly socket: Socket;
  private readonly clock: Clock;
  private readonly add: (news: ApplicationNews) => void;
  private readonly reader = new FrameReader();
  private problem: string | null = null;
  private isOver = false;
  private turnBytes = 0;
  /** Cancel what cuts off a half frame, and a reader that does not read. */
  private cancelFrame: () => void;
  private cancelRead = never;

  constructor(
    id: number,
    peer: Peer,
    socket: Socket,
    clock: Clock,
    add: (news: ApplicationNews) => void,
  ) {
    this.id = id;
    this.peer = peer;
    this.socket = socket;
    this.clock = clock;
    this.add = add;
    this.cancelFrame = this.after(limits.helloMs, `said nothing within ${limits.helloMs} ms`);
    socket.on("data", (some: Buffer) => this.received(some));
  }

  send(frame: Uint8Array): void {
    const { socket } = this;
    if (this.isOver || !socket.writable) return;
    socket.write(frame, () => this.hasRead());
    if (socket.writableLength > limits.queueBytes) {
      return this.cut(`does not read: ${socket.writableLength} bytes wait for it`);
    }
    if (socket.writableLength > 0 && this.cancelRead === never) this.expectRead();
  }

  close(): void {
    this.socket.destroySoon();
  }

  /** The kernel has closed it. */
  ended(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.cancelFrame();
    this.cancelRead();
    this.add({ kind: "left", of: this, problem: this.problem });
  }

  /** What it brought was taken: more may come. */
  resume(): void {
    this.turnBytes = 0;
    if (!this.isOver && this.socket.isPaused()) this.socket.resume();
  }

  private received(some: Buffer): void {
    if (this.problem !== null) return;
    this.turnBytes += some.length;
    try {
      const bodies = this.reader.push(some);
      for (const body of bodies) this.add({ kind: "frame", of: this, body });
      if (bodies.length > 0) {
        this.cancelFrame();
        this.cancelFrame = never;
      }
      if (this.reader.isPartial && this.cancelFrame === never) {
        this.cancelFrame = this.after(limits.frameMs, `sent half a frame in ${limits.frameMs} ms`);
      }
      if (bodies.length > 0 && this.turnBytes > turnBytesMax) this.socket.pause();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.cut(`sent what is no frame: ${error.message}`);
    }
  }

  private expectRead(): void {
    this.cancelRead = this.after(limits.readMs, `read nothing within ${limits.readMs} ms`);
  }

  private hasRead(): void {
    this.cancelRead();
    this.cancelRead = never;
    if (!this.isOver && this.socket.writableLength > 0) this.expectRead();
  }

  private after(ms: number, what: string): () => void {
    return this.clock.at(this.clock.now() + ms, () => this.cut(what));
  }

  private cut(what: string): void {
    if (this.isOver || this.problem !== null) return;
    this.problem = `user ${this.peer.uid} was cut off: it ${what}`;
    this.socket.destroy();
  }
}
