/** One connection to the agent at a time, made anew with growing pauses when it is lost. */
import { createConnection, type Socket } from "node:net";
import { type Code, Failure } from "../errors.ts";
import {
  type Ask,
  apiVersion,
  FrameReader,
  type TellingName,
  type TellingOf,
  tellingOf,
  toFrame,
} from "../wire/teeapi.ts";
import { TeeError } from "./errors.ts";

/** The pause before the next try, ms: doubled each time, and never longer than the last. */
const pauseMs = { first: 50, last: 2_000 } as const;
/** Part of a pause that chance adds, so that a hundred clients do not come back as one. */
const jitter = 0.5;
/** The request id of hello: others begin above it. */
const helloId = 0;
/** An agent that takes a connection answers hello within this, ms. */
const helloMs = 5_000;

type Heard = { readonly [K in Exclude<TellingName, "hello">]: (said: TellingOf<K>) => void };

export interface Ears {
  /** The agent has answered hello. */
  readonly up: (hello: TellingOf<"hello">) => void;
  readonly down: () => void;
  /** It will not have us: there is no use in trying again. */
  readonly refused: (problem: TeeError) => void;
  readonly heard: Heard;
}

export interface Connection {
  readonly isUp: boolean;
  /** Of no effect while it is down. */
  ask(what: Ask): void;
  close(): void;
}

export function keepConnected(path: string, name: string, ears: Ears): Connection {
  const kept = new Kept(path, name, ears);
  kept.open();
  return kept;
}

class Kept implements Connection {
  isUp = false;
  private readonly path: string;
  private readonly name: string;
  private readonly ears: Ears;
  private socket: Socket | null = null;
  private timer: NodeJS.Timeout | undefined;
  private pause: number = pauseMs.first;
  private isClosed = false;

  constructor(path: string, name: string, ears: Ears) {
    this.path = path;
    this.name = name;
    this.ears = ears;
  }

  open(): void {
    if (this.isClosed) return;
    const reader = new FrameReader();
    const socket = createConnection(this.path);
    this.socket = socket;
    socket.on("connect", () => {
      const hello = { op: "hello", id: helloId, version: apiVersion } as const;
      socket.write(toFrame(this.name === "" ? hello : { ...hello, name: this.name }));
      this.timer = setTimeout(() => socket.destroy(), helloMs);
    });
    socket.on("data", (some: Buffer) => this.received(socket, reader, some));
    socket.on("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "EACCES" || code === "EPERM") {
        this.refuse(new TeeError("tee.denied", `${this.path} is not for this user: ${code}`));
      }
    });
    socket.on("close", () => this.lost());
  }

  ask(what: Ask): void {
    if (this.isUp) this.socket?.write(toFrame(what));
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.socket?.destroySoon();
  }

  private received(socket: Socket, reader: FrameReader, some: Buffer): void {
    try {
      for (const body of reader.push(some)) this.heard(body);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      // Nothing after it can be read; another connection may do better.
      socket.destroy();
    }
  }

  private heard(body: Uint8Array): void {
    const said = tellingOf(body);
    if (said === null || this.isClosed) return;
    if (said.kind === "hello") {
      clearTimeout(this.timer);
      this.isUp = true;
      this.pause = pauseMs.first;
      return this.ears.up(said);
    }
    const isFinal = said.kind === "refused" && (said.id === undefined || said.id === helloId);
    if (said.kind === "refused" && isFinal) {
      const code: Code = said.error === "wire.version" ? "wire.version" : "tee.denied";
      return this.refuse(new TeeError(code, said.because));
    }
    (this.ears.heard[said.kind] as (one: typeof said) => void)(said);
  }

  private refuse(problem: TeeError): void {
    if (this.isClosed) return;
    this.close();
    this.ears.refused(problem);
  }

  private lost(): void {
    clearTimeout(this.timer);
    const wasUp = this.isUp;
    this.isUp = false;
    if (this.isClosed) return;
    if (wasUp) this.ears.down();
    const chance = Math.random() * jitter * this.pause;
    this.timer = setTimeout(() => this.open(), this.pause + chance);
    this.pause = Math.min(this.pause * 2, pauseMs.last);
  }
}
