/**
 * The fifth head: the programs of the card that use security services. It knows who is connected,
 * lets each user to the services that are registered for him, and tells who wants to know when a
 * service goes and comes. Calls are appcalls.ts's affair.
 */
import { CallBook } from "../callbook.ts";
import type { AgentConfig } from "../config.ts";
import { Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Application, ApplicationNews, ApplicationServer, Peer } from "../io/applications.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { Tee } from "../io/tee.ts";
import type { CallClass } from "../machines/teecalls.ts";
import type { ServicePolicy } from "../teeservices.ts";
import { cutText } from "../wire/shape.ts";
import {
  type Ask,
  type AskOf,
  apiVersion,
  askOf,
  callIdPattern,
  idOf,
  type Telling,
  toFrame,
} from "../wire/teeapi.ts";
import { ApplicationCalls } from "./appcalls.ts";
import { Sieve } from "./sieve.ts";
import type { TeeHead } from "./tee.ts";

/** Requests of one connection that were refused; with one more it is cut off. */
const refusalsMax = 64;

const noService = "no service is registered for this user";

export interface ApplicationsIo {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly tee: Pick<Tee, "facts">;
}

/** What is known of a connection. */
interface Client {
  readonly of: Application;
  name: string;
  hasSaidHello: boolean;
  /** No service is for this user: he is told so once he has spoken, as he may not hear before. */
  readonly isDenied: boolean;
  refusals: number;
  readonly subscribed: Set<string>;
}

interface Refusal {
  readonly peer: Peer;
  readonly because: string;
}

export class ApplicationsHead {
  private readonly io: ApplicationsIo;
  private readonly config: Pick<AgentConfig, "services" | "tee">;
  private readonly tee: Pick<TeeHead, "call" | "awayBecause" | "epoch">;
  private readonly boot: string;
  private readonly emit: (event: AgentEvent) => void;
  private readonly clients = new Map<Application, Client>();
  /** Services whose subscribers believe that they can be had. */
  private readonly available = new Set<string>();
  private readonly refused: Sieve<Refusal>;
  private readonly trouble: Sieve<string>;
  private calls: ApplicationCalls | null = null;
  private server: ApplicationServer | null = null;
  /** The user that the agent runs as: he may use every service, as root may. */
  private ownUid = 0;

  /** `boot` names this start of the agent. */
  constructor(
    io: ApplicationsIo,
    config: Pick<AgentConfig, "services" | "tee">,
    tee: Pick<TeeHead, "call" | "awayBecause" | "epoch">,
    boot: string,
    emit: (event: AgentEvent) => void,
  ) {
    this.io = io;
    this.config = config;
    this.tee = tee;
    this.boot = boot;
    this.emit = emit;
    this.refused = new Sieve(({ peer: { uid, pid }, because }, count) => {
      emit({ kind: "tee:refused", uid, pid, because: cutText(because), count });
    });
    this.trouble = new Sieve((problem, count) => {
      emit({ kind: "tee:socket", problem: cutText(problem), count });
    });
  }

  /** Serves programs from now on; `post` takes what comes from outside in its turn. */
  serve(server: ApplicationServer, post: (act: () => void) => void): void {
    const { disk, clock } = this.io;
    const { tee, boot } = this;
    const book = new CallBook(disk, boot, clock.now());
    this.server = server;
    this.ownUid = server.ownUid;
    this.calls = new ApplicationCalls({
      now: () => clock.now(),
      tee,
      book,
      digest: (bytes) => server.digest(bytes),
      leftInside: () => server.leftInside(),
      say: (to, what) => this.say(to, what),
    });
    const count = book.unfinished;
    if (count > 0) this.emit({ kind: "tee:unfinished", count });
    server.listen((news) => post(() => this.heard(news)));
  }

  /** There is no socket to serve: it is reported, and nobody is kept waiting for it. */
  failed(problem: string): void {
    this.tellTrouble(problem);
  }

  /** Services came or went. */
  notify(services: readonly string[], isAvailable: boolean): void {
    const { epoch } = this.tee;
    for (const service of services) {
      if (isAvailable) this.available.add(service);
      else this.available.delete(service);
      for (const { of, subscribed } of this.clients.values()) {
        if (!subscribed.has(service)) continue;
        this.say(of, { kind: "notice", service, available: isAvailable, epoch });
      }
    }
  }

  /** For the console: who is connected and what was turned away. */
  summary(): { socket: string; clients: number; calls: number; refused: number } {
    return {
      socket: this.server?.name ?? "",
      clients: this.clients.size,
      calls: this.calls?.underWay ?? 0,
      refused: this.refused.total,
    };
  }

  get dueMs(): number {
    const callsMs = this.calls?.dueMs ?? Infinity;
    return Math.min(callsMs, this.refused.dueMs, this.trouble.dueMs);
  }

  tick(nowMs: number): void {
    this.calls?.tick(nowMs);
    this.refused.tick(nowMs);
    this.trouble.tick(nowMs);
  }

  stop(): void {
    this.server?.close();
  }

  /** What happened in one turn: all calls of it are written down together. */
  private heard(news: readonly ApplicationNews[]): void {
    for (const one of news) this.take(one);
    this.calls?.commit();
  }

  private take(news: ApplicationNews): void {
    switch (news.kind) {
      case "joined":
        return this.joined(news.of);
      case "frame":
        return this.received(news.of, news.body);
      case "left":
        if (news.problem !== null) this.tellTrouble(news.problem);
        this.clients.delete(news.of);
        return this.calls?.left(news.of);
      case "trouble":
        return this.tellTrouble(news.problem);
    }
  }

  private tellTrouble(problem: string): void {
    this.trouble.add(problem, problem, this.io.clock.now());
  }

  private joined(of: Application): void {
    const isDenied = !this.config.services.some((service) => this.mayUse(of.peer, service));
    const subscribed = new Set<string>();
    this.clients.set(of, {
      of,
      name: "",
      hasSaidHello: false,
      isDenied,
      refusals: 0,
      subscribed,
    });
    if (isDenied) this.noteRefusal(of.peer, noService);
  }

  private mayUse({ uid, gid, groups }: Peer, { uids, gids }: ServicePolicy): boolean {
    if (uid === 0 || uid === this.ownUid || uids.includes(uid)) return true;
    return gids.includes(gid) || groups.some((group) => gids.includes(group));
  }

  private received(of: Application, body: Uint8Array): void {
    const client = this.clients.get(of);
    if (client === undefined) return;
    if (client.isDenied) {
      this.clients.delete(of);
      this.say(of, { kind: "refused", error: "tee.denied", because: noService });
      return of.close();
    }
    try {
      this.answer(client, askOf(body));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.refuse(client, idOf(body), error.code, error.message);
    }
  }

  private answer(client: Client, ask: Ask): void {
    const { of } = client;
    const { epoch } = this.tee;
    if (ask.op === "hello") return this.greet(client, ask);
    if (!client.hasSaidHello) {
      return this.refuse(client, ask.id, "wire.malformed", "hello comes first");
    }
    switch (ask.op) {
      case "services": {
        const mine = this.config.services.filter((service) => this.mayUse(of.peer, service));
        const services = mine.map(({ name }) => {
          return { service: name, available: this.available.has(name) };
        });
        return this.say(of, { kind: "services", id: ask.id, epoch, services });
      }
      case "subscribe": {
        const { id, service } = ask;
        this.policyFor(client, service);
        client.subscribed.add(service);
        const available = this.available.has(service);
        return this.say(of, { kind: "subscribed", id, service, available, epoch });
      }
      case "call":
        return this.call(client, ask);
      case "outcome":
        return this.calls?.outcome(of, ask.id, ask.call);
    }
  }

  private greet(client: Client, { id, version, name = "" }: AskOf<"hello"> & { id: number }): void {
    const { boot, tee } = this;
    if (version !== apiVersion) {
      const because = `contract ${version} was asked for; this agent speaks ${apiVersion}`;
      return this.refuse(client, id, "wire.version", because);
    }
    client.hasSaidHello = true;
    client.name = name;
    const { epoch } = tee;
    const { simulated } = this.io.tee.facts();
    const { uid } = client.of.peer;
    this.say(client.of, { kind: "hello", id, version, epoch, boot, simulated, uid });
  }

  /** A refused call ends with a verdict as every other does. */
  private call(client: Client, ask: AskOf<"call"> & { id: number }): void {
    try {
      if (!callIdPattern.test(ask.call)) {
        throw new Failure("tee.call", "a call's id is 1 to 64 letters, digits, dots and dashes");
      }
      const policy = this.policyFor(client, ask.service);
      const wanted = { from: client.of, request: ask.id, ask, class: classOf(policy, ask) };
      this.calls?.take(wanted);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const { id, call } = ask;
      const { epoch } = this.tee;
      const said = { kind: "verdict", id, call, verdict: "rejected", epoch, sent: false } as const;
      this.count(client, error);
      this.say(client.of, { ...said, error: error.code, because: cutText(error.message) });
    }
  }

  /** Failure `tee.denied`; a service that is not there looks as one that is not for him. */
  private policyFor(client: Client, name: string): ServicePolicy {
    const policy = this.config.services.find((service) => service.name === name);
    if (policy !== undefined && this.mayUse(client.of.peer, policy)) return policy;
    throw new Failure("tee.denied", `no service ${name} is registered for this user`);
  }

  private refuse(client: Client, id: number | null, error: Failure["code"], why: string): void {
    const because = cutText(why);
    this.count(client, new Failure(error, because));
    const named = id === null ? {} : { id };
    this.say(client.of, { kind: "refused", ...named, error, because });
  }

  private count(client: Client, { code, message }: Failure): void {
    client.refusals += 1;
    const { peer } = client.of;
    if (code === "tee.denied") this.noteRefusal(peer, message);
    else this.tellTrouble(`user ${peer.uid} was refused: ${code}`);
    if (client.refusals <= refusalsMax) return;
    this.tellTrouble(`user ${peer.uid} was cut off after ${refusalsMax} refusals`);
    client.of.close();
  }

  private noteRefusal(peer: Peer, because: string): void {
    this.refused.add(`${peer.uid}`, { peer, because }, this.io.clock.now());
  }

  private say(to: Application, what: Telling): void {
    to.send(toFrame(what));
  }
}

/** Failure `tee.call` where the client would repeat what is registered as not to be repeated so. */
function classOf(policy: ServicePolicy, { command, class: asked }: AskOf<"call">): CallClass {
  const registered = policy.classes.get(command);
  if (registered === undefined) return asked ?? policy.defaultClass;
  // Whoever never wants it sent twice may have that of every command.
  if (asked === undefined || asked === registered || asked === "once") return asked ?? registered;
  const what = `${policy.name}#${command}`;
  throw new Failure("tee.call", `${what} is registered as ${registered}, not as ${asked}`);
}
