/**
 * The twin of the socket for programs of the card: connections without a kernel between them. What
 * is sent in one instant arrives together; frames go through the same bytes as on the real one.
 */
import type { Application, ApplicationNews, ApplicationServer, Peer } from "../io/applications.ts";
import type { Clock } from "../io/clock.ts";
import { crc32 } from "../wire/seal.ts";
import {
  type Ask,
  apiVersion,
  FrameReader,
  type Telling,
  tellingOf,
  toFrame,
} from "../wire/teeapi.ts";
import { simCommand } from "./teemodel.ts";

/** The user of the simulated programs, and how often they call, ms. */
const programPeer: Peer = { pid: 100, uid: 0, gid: 0, groups: [] };
const callEveryMs = 1_000;

/** A program as the world has it. */
export interface SimProgram {
  ask(what: Ask): void;
  /** Frames as they are, or what is none. */
  send(body: Uint8Array): void;
  leave(): void;
}

interface Ears {
  readonly heard: (said: Telling) => void;
  readonly closed?: () => void;
}

export class SimApplications implements ApplicationServer {
  readonly name = "sim";
  readonly ownUid = 0;
  /** A process of an earlier agent is still inside the TEE. */
  isLeftInside = false;
  private readonly clock: Clock;
  private news: ApplicationNews[] = [];
  private tell: (news: readonly ApplicationNews[]) => void = () => undefined;
  private nextId = 1;

  /** `clock` is that of the agent's process: what it planned dies with it. */
  constructor(clock: Clock) {
    this.clock = clock;
  }

  listen(tell: (news: readonly ApplicationNews[]) => void): void {
    this.tell = tell;
  }

  /** Not secret, as nothing here is: the same bytes give the same digest. */
  digest(bytes: Uint8Array): Uint8Array {
    const sum = crc32(bytes);
    return Uint8Array.from({ length: 16 }, (_, at) => (sum >>> (8 * (at % 4))) & 0xff);
  }

  leftInside(): boolean {
    return this.isLeftInside;
  }

  close(): void {
    this.tell = () => undefined;
  }

  /** A program connects. */
  connect(peer: Peer, { heard, closed = () => undefined }: Ears): SimProgram {
    const reader = new FrameReader();
    let isOpen = true;
    const leave = (problem: string | null): void => {
      if (!isOpen) return;
      isOpen = false;
      this.add({ kind: "left", of, problem });
    };
    const of: Application = {
      id: this.nextId++,
      peer,
      send: (frame) => {
        if (!isOpen) return;
        for (const body of reader.push(frame)) {
          const said = tellingOf(body);
          if (said !== null) this.clock.at(this.clock.now(), () => heard(said));
        }
      },
      close: () => {
        leave(null);
        closed();
      },
    };
    this.add({ kind: "joined", of });
    const send = (body: Uint8Array): void => {
      if (isOpen) this.add({ kind: "frame", of, body });
    };
    const lengthBytes = 4;
    return {
      ask: (what) => send(toFrame(what).slice(lengthBytes)),
      send,
      leave: () => leave(null),
    };
  }

  /** A program that subscribes to a service and reads from it now and then. */
  run(service: string, heard: (said: Telling) => void): void {
    const program = this.connect(programPeer, { heard });
    program.ask({ op: "hello", id: 0, version: apiVersion, name: service });
    program.ask({ op: "subscribe", id: 1, service });
    const call = (id: number): void => {
      const what = { service, command: simCommand.read, class: "idempotent" } as const;
      program.ask({ op: "call", id, call: `${service}-${id}`, ...what });
      this.clock.at(this.clock.now() + callEveryMs, () => call(id + 1));
    };
    call(2);
  }

  private add(news: ApplicationNews): void {
    this.news.push(news);
    if (this.news.length > 1) return;
    this.clock.at(this.clock.now(), () => {
      const told = this.news;
      this.news = [];
      this.tell(told);
    });
  }
}
