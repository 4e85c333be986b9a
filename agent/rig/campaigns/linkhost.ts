/**
 * A host on the virtual clock: the console's own follower, link and store, on a line that several
 * may share and a disk that loses power. It can be killed at any moment and started again.
 */
import { attachStore, keepIn } from "../../console/archive.ts";
import { Follower } from "../../console/follow.ts";
import type { Gap } from "../../console/inbox.ts";
import { Link } from "../../console/link.ts";
import type { Session } from "../../console/session.ts";
import { Store } from "../../console/store.ts";
import { Failure } from "../../errors.ts";
import type { Clock } from "../../io/clock.ts";
import type { Port } from "../../io/port.ts";
import { PowerCut, SimDisk } from "../../sim/disk.ts";
import { LifeClock } from "../../sim/life.ts";
import type { SimLine } from "../../sim/port.ts";
import type { Random } from "../../sim/random.ts";
import type { Report } from "../../wire/commands.ts";
import type { LinkBug } from "./link.ts";

const timeoutMs = 3000;

/** A line's far end, with everybody who has it open: all read, and each may write. */
export class Socket {
  plugged = true;
  readonly line: SimLine;
  private readonly ports = new Set<SocketPort>();

  constructor(line: SimLine) {
    this.line = line;
    this.listen();
  }

  /** Failure `port.lost` while nothing is plugged in. */
  open(): Port {
    if (!this.plugged) throw new Failure("port.lost", "nothing is plugged in");
    const port = new SocketPort(this.line.host, () => this.ports.delete(port));
    this.ports.add(port);
    return port;
  }

  unplug(): void {
    if (!this.plugged) return;
    this.plugged = false;
    this.line.unblock();
    this.line.card.unplug();
    this.line.host.close();
    for (const port of [...this.ports]) port.lose("unplugged");
  }

  replug(): void {
    this.plugged = true;
    // An agent that has started meanwhile has the line open already.
    this.line.card.unplug();
    this.listen();
  }

  private listen(): void {
    this.line.host.onData((bytes) => {
      for (const port of [...this.ports]) port.hear(bytes.slice());
    });
  }
}

class SocketPort implements Port {
  readonly name = "sim:socket";
  private readonly end: Port;
  private readonly leave: () => void;
  private listener: (bytes: Uint8Array) => void = () => undefined;
  private lost: (cause: string) => void = () => undefined;
  private isOpen = true;

  constructor(end: Port, leave: () => void) {
    this.end = end;
    this.leave = leave;
  }

  get waitingBytes(): number {
    return this.end.waitingBytes;
  }

  write(bytes: Uint8Array): boolean {
    return this.isOpen && this.end.write(bytes);
  }

  onData(listen: (bytes: Uint8Array) => void): void {
    this.listener = listen;
  }

  onClose(listen: (cause: string) => void): void {
    this.lost = listen;
  }

  hear(bytes: Uint8Array): void {
    this.listener(bytes);
  }

  lose(cause: string): void {
    const { lost } = this;
    this.close();
    lost(cause);
  }

  close(): void {
    this.isOpen = false;
    this.leave();
  }
}

export interface HostIo {
  readonly clock: Clock;
  readonly socket: Socket;
  readonly random: Random;
  readonly bug: LinkBug | null;
  /** Something of it has run: its promises are to be let run. */
  readonly touched: () => void;
}

export class Host {
  readonly disk: SimDisk;
  /** It dies after it has stored the next reports, before it acknowledges them. */
  diesBetween = false;
  /** Why it ended without having been killed. */
  problem: unknown = null;
  readonly deaths = { between: 0, disk: 0, killed: 0 };
  private readonly io: HostIo;
  private life: LifeClock | null = null;

  constructor(io: HostIo) {
    this.io = io;
    this.disk = new SimDisk(io.random.fork("store"));
  }

  get isAlive(): boolean {
    return this.life !== null;
  }

  start(): void {
    if (this.isAlive) return;
    const life = new LifeClock(this.io.clock);
    this.life = life;
    try {
      this.run(life);
    } catch (error) {
      this.ended(life, error);
    }
  }

  /** kill -9; `power`: its machine lost power, and with it what was not synced. */
  kill(power: boolean): void {
    if (this.life === null) return;
    this.deaths.killed += 1;
    this.end();
    if (power) this.disk.powerLoss();
  }

  private end(): void {
    this.life?.kill();
    this.life = null;
  }

  private run(life: LifeClock): void {
    const { clock, bug } = this.io;
    const store = new Store(this.disk, () => Math.round(clock.wallMs()));
    if (bug === "twice" || bug === "reordered") store.isKnown = () => false;
    const follower = new Follower(this.session(life), {
      since: bug === "twice" ? null : store.position,
      keep: false,
      clock: this.touchingClock(life),
      endMs: Infinity,
      stop: new AbortController().signal,
      reopen: async () => this.session(life),
      note: () => undefined,
      attached: ({ link }) => attachStore(store, link, false),
      deliver: (reports, gaps) => this.deliver(store, reports, gaps),
    });
    follower.run().then(
      () => this.ended(life, new Error("the follower has ended")),
      (error) => this.ended(life, error),
    );
    this.io.touched();
  }

  private session(life: LifeClock): Session {
    const port = life.port(this.io.socket.open());
    const touched = { ...port, onData: this.touching(port), waitingBytes: 0 };
    const firstSequence = this.io.random.int(256);
    const link = new Link(touched, this.touchingClock(life), { timeoutMs, firstSequence });
    return { link, clock: life, close: () => link.close() };
  }

  private touching(port: Port): Port["onData"] {
    return (listen) =>
      port.onData((bytes) => {
        this.io.touched();
        listen(bytes);
      });
  }

  private touchingClock(life: LifeClock): Clock {
    return {
      now: () => life.now(),
      wallMs: () => life.wallMs(),
      at: (deadlineMs, fire) =>
        life.at(deadlineMs, () => {
          this.io.touched();
          fire();
        }),
    };
  }

  private async deliver(
    store: Store,
    reports: readonly Report[],
    gaps: readonly Gap[],
  ): Promise<void> {
    const { bug } = this.io;
    if (bug === "early_ack") store.reports(reports);
    else if (bug === "silent_gap") keepIn(store, reports, []);
    else if (bug === "reordered") keepIn(store, [...reports].reverse(), gaps);
    else if (bug === "invented") keepIn(store, reports.map(altered), gaps);
    else keepIn(store, reports, gaps);
    if (!this.diesBetween) return;
    this.diesBetween = false;
    this.deaths.between += 1;
    this.end();
    await new Promise(() => undefined);
  }

  private ended(life: LifeClock, error: unknown): void {
    if (this.life !== life) return;
    this.end();
    if (error instanceof PowerCut) {
      this.deaths.disk += 1;
      this.disk.powerLoss();
    } else if (!(error instanceof Failure && error.code === "port.lost")) this.problem = error;
  }
}

function altered(report: Report): Report {
  return report.seq % 5 === 0 ? { ...report, at_ms: report.at_ms + 1 } : report;
}
