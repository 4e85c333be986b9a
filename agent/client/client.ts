/**
 * The library for programs of the card: dist/kennel-tee-client.cjs, described in declarations.ts.
 * It keeps one connection, makes it anew when it is lost, and asks again for what was under way.
 */
import { randomBytes } from "node:crypto";
import type { Code } from "../errors.ts";
import { callsOfConnection, type TellingOf, withinDefaultMs } from "../wire/teeapi.ts";
import { type Connection, keepConnected } from "./connection.ts";
import type {
  CallOptions,
  CallResult,
  ConnectOptions,
  Outcome,
  Service,
  TeeClient,
} from "./declarations.ts";
import { TeeError } from "./errors.ts";

/** Calls that are not over; one more is refused by name. */
const callsMax = 256;
const connectDefaultMs = 10_000;
/** The agent's word on a call that is late is here before the call's time is up. */
const graceMs = 100;
const pathDefault = "/run/kennel/tee.sock";

interface Call {
  readonly id: string;
  readonly service: string;
  readonly command: number;
  readonly options: CallOptions;
  readonly deadlineMs: number;
  readonly resolve: (result: CallResult) => void;
  readonly reject: (error: TeeError) => void;
  readonly timer: NodeJS.Timeout;
  /** It was sent, on this connection or an earlier one. */
  wasSent: boolean;
  isSent: boolean;
}

interface Question {
  readonly ask: (id: number) => void;
  readonly resolve: (said: TellingOf<"services" | "outcome" | "subscribed">) => void;
  readonly reject: (error: TeeError) => void;
}

type Told = (available: boolean, epoch: number) => void;

interface Subscription {
  available: boolean | null;
  readonly told: Set<Told>;
}

/** Verdicts that are no answer, and by which name a caller sees each. */
const codes: Readonly<Record<string, Code>> = {
  unavailable: "tee.unavailable",
  outcome_unknown: "tee.unknown_outcome",
  quarantined: "tee.quarantined",
  deadline: "tee.deadline",
};

class Client implements TeeClient {
  epoch = 0;
  private readonly connection: Connection;
  /** Unique to this client: its calls' ids begin with it. */
  private readonly prefix = randomBytes(12).toString("hex");
  /** By request id, in the order in which they were made. */
  private readonly calls = new Map<number, Call>();
  private readonly questions = new Map<number, Question>();
  private readonly subscriptions = new Map<string, Subscription>();
  private nextId = 1;
  private end: TeeError | null = null;

  constructor(path: string, name: string, ready: (problem: TeeError | null) => void) {
    this.connection = keepConnected(path, name, {
      up: ({ epoch }) => {
        this.epoch = epoch;
        ready(null);
        this.resume();
      },
      down: () => this.lost(),
      heard: {
        verdict: (said) => this.settled(said),
        notice: ({ service, available, epoch }) => this.tell(service, available, epoch),
        services: (said) => this.answered(said.id, said),
        outcome: (said) => this.answered(said.id, said),
        subscribed: (said) => {
          this.tell(said.service, said.available, said.epoch);
          this.answered(said.id, said);
        },
        refused: ({ id, error, because }) => {
          const question = this.questions.get(id ?? 0);
          this.questions.delete(id ?? 0);
          question?.reject(new TeeError(codeOf(error), because));
        },
      },
      refused: (problem) => {
        ready(problem);
        this.finish(problem);
      },
    });
  }

  call(service: string, command: number, options: CallOptions = {}): Promise<CallResult> {
    const { withinMs = withinDefaultMs } = options;
    const request = this.nextId++;
    const id = options.id ?? `${this.prefix}-${request}`;
    if (this.end !== null) return Promise.reject(named(this.end, id));
    if (this.calls.size >= callsMax) {
      return Promise.reject(
        named(new TeeError("tee.limit", `${callsMax} calls are under way`), id),
      );
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.late(request), withinMs);
      const deadlineMs = performance.now() + withinMs;
      const rest = { resolve, reject, timer, wasSent: false, isSent: false };
      this.calls.set(request, { id, service, command, options, deadlineMs, ...rest });
      this.pump();
    });
  }

  async services(): Promise<readonly Service[]> {
    const said = await this.question((id) => this.connection.ask({ op: "services", id }));
    return "services" in said ? said.services : [];
  }

  async subscribe(service: string, told: Told): Promise<() => void> {
    const known = this.subscriptions.get(service);
    const subscription = known ?? { available: null, told: new Set<Told>() };
    subscription.told.add(told);
    this.subscriptions.set(service, subscription);
    const leave = (): void => {
      subscription.told.delete(told);
    };
    if (known !== undefined && known.available !== null) told(known.available, this.epoch);
    if (known !== undefined) return leave;
    try {
      await this.question((id) => this.connection.ask({ op: "subscribe", id, service }));
    } catch (error) {
      this.subscriptions.delete(service);
      throw error;
    }
    return leave;
  }

  async outcome(call: string): Promise<Outcome> {
    const said = await this.question((id) => this.connection.ask({ op: "outcome", id, call }));
    if (!("state" in said)) throw new TeeError("wire.malformed", "no outcome");
    const { state, verdict, because, sent } = said;
    return {
      id: call,
      state,
      ...(verdict === undefined ? {} : { verdict }),
      ...(because === undefined ? {} : { because }),
      ...(sent === undefined ? {} : { sent }),
    };
  }

  close(): void {
    this.connection.close();
    this.finish(new TeeError("tee.socket", "the client was closed"));
  }

  private finish(problem: TeeError): void {
    this.end ??= problem;
    for (const [request, { id, reject }] of [...this.calls]) {
      this.forget(request);
      reject(named(problem, id));
    }
    for (const { reject } of this.questions.values()) reject(problem);
    this.questions.clear();
  }

  private question(
    ask: (id: number) => void,
  ): Promise<TellingOf<"services" | "outcome" | "subscribed">> {
    if (this.end !== null) return Promise.reject(this.end);
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.questions.set(id, { ask, resolve, reject });
      if (this.connection.isUp) ask(id);
    });
  }

  private answered(id: number, said: TellingOf<"services" | "outcome" | "subscribed">): void {
    const question = this.questions.get(id);
    this.questions.delete(id);
    question?.resolve(said);
  }

  /** A new connection: everything that waits is asked anew, and said to be so. */
  private resume(): void {
    for (const [service] of this.subscriptions) {
      this.connection.ask({ op: "subscribe", id: this.nextId++, service });
    }
    for (const [id, { ask }] of this.questions) ask(id);
    this.pump();
  }

  private lost(): void {
    for (const call of this.calls.values()) call.isSent = false;
    for (const service of this.subscriptions.keys()) this.tell(service, false, this.epoch);
  }

  /** Sends what may be sent: the agent takes only so many of one connection. */
  private pump(): void {
    if (!this.connection.isUp) return;
    let free = callsOfConnection;
    for (const call of this.calls.values()) if (call.isSent) free -= 1;
    for (const [request, call] of this.calls) {
      if (free <= 0) return;
      if (call.isSent) continue;
      this.sendCall(request, call);
      free -= 1;
    }
  }

  private sendCall(request: number, call: Call): void {
    const { id, service, command, options, wasSent } = call;
    const leftMs = call.deadlineMs - performance.now();
    const within_ms = Math.max(Math.floor(leftMs - Math.min(graceMs, leftMs / 10)), 1);
    call.wasSent = true;
    call.isSent = true;
    const { input, waits } = options;
    this.connection.ask({
      op: "call",
      id: request,
      call: id,
      service,
      command,
      within_ms,
      ...(options.class === undefined ? {} : { class: options.class }),
      ...(input === undefined ? {} : { input }),
      ...(waits === undefined ? {} : { waits }),
      ...(wasSent ? { again: true } : {}),
    });
  }

  private late(request: number): void {
    const call = this.calls.get(request);
    if (call === undefined) return;
    this.forget(request);
    const message = `no verdict on ${call.service}#${call.command} in its time`;
    const { id, wasSent: sent } = call;
    call.reject(new TeeError("tee.deadline", message, { evidence: { id, sent } }));
    this.pump();
  }

  private settled(said: TellingOf<"verdict">): void {
    const call = this.calls.get(said.id);
    if (call === undefined) return;
    this.forget(said.id);
    const { verdict, because, epoch, sent, ret = 0, origin = 0, errno, value, output } = said;
    this.epoch = Math.max(this.epoch, epoch);
    const { id } = call;
    if ((verdict === "answered" || verdict === "replayed") && errno === undefined) {
      const result = { id, verdict, ret, origin, lost: said.lost === true, epoch };
      const came = value === undefined ? {} : { value };
      call.resolve({ ...result, ...came, ...(output === undefined ? {} : { output }) });
    } else {
      const code = errno === undefined ? (codes[verdict] ?? codeOf(said.error)) : "tee.unavailable";
      const evidence = { id, verdict, sent, epoch, ...(errno === undefined ? {} : { errno }) };
      const where = `${call.service}#${call.command}`;
      call.reject(new TeeError(code, `${where}: ${verdict}: ${because}`, { evidence }));
    }
    this.pump();
  }

  private forget(request: number): void {
    clearTimeout(this.calls.get(request)?.timer);
    this.calls.delete(request);
  }

  private tell(service: string, available: boolean, epoch: number): void {
    this.epoch = Math.max(this.epoch, epoch);
    const subscription = this.subscriptions.get(service);
    if (subscription === undefined || subscription.available === available) return;
    subscription.available = available;
    for (const told of [...subscription.told]) told(available, this.epoch);
  }
}

const known: readonly string[] = ["tee.denied", "tee.limit", "tee.call", "wire.version"];

function codeOf(name = ""): Code {
  return known.includes(name) ? (name as Code) : "wire.malformed";
}

function named({ code, message }: TeeError, id: string): TeeError {
  return new TeeError(code, message, { evidence: { id, sent: false } });
}

export function connect(path = pathDefault, options: ConnectOptions = {}): Promise<TeeClient> {
  const { name = "", withinMs = connectDefaultMs } = options;
  return new Promise((resolve, reject) => {
    const client: Client = new Client(path, name, (problem) => {
      clearTimeout(timer);
      if (problem === null) resolve(client);
      else reject(problem);
    });
    const timer = setTimeout(() => {
      client.close();
      reject(new TeeError("tee.socket", `nobody serves ${path}: is kenneld running there?`));
    }, withinMs);
  });
}

export { TeeError };
