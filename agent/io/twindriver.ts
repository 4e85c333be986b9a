/**
 * The simulated TEE's driver, in place of the ioctls: what a helper opens is a file in the twin's
 * folder, and what it calls is the twin's process. Does what Linux's driver was measured to do
 * (reference tables in test/unit/tee.twin.test.ts): a dead TEE OS answers nothing, and one that was
 * restarted refuses everything with COMMUNICATION until the driver is loaded anew.
 *
 *   tee0   the device; it holds the instance of the TEE OS that the driver is registered with
 *   sock   where the secure world listens
 */
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import type { NativeTee, TeeReturn } from "../../native/index.ts";
import { type PipeParam, PipeReader, type PipeRequest, replyOf, toPipe } from "../wire/teepipe.ts";

/** A device that begins so is a twin's; the folder follows. */
export const twinPrefix = "sim:";
/** How often a dead TEE OS is looked for again while somebody waits for it. */
const lookEveryMs = 10;
/** TEEC_ERROR_COMMUNICATION from TEEC_ORIGIN_COMMS. */
const communication: TeeReturn = { errno: null, ret: 0xffff_000e, origin: 2 };
/** TEE_GEN_CAP_REG_MEM: without it old shared memory goes on working after a restart. */
const registeredMemory = 4;

type Done = (came: TeeReturn & { readonly out?: readonly PipeParam[] }) => void;
interface Asked {
  readonly request: Omit<PipeRequest, "id">;
  /** The instance that the caller's driver is registered with. */
  readonly registered: number;
  readonly done: Done;
}

export function devicePath(folder: string): string {
  return join(folder, "tee0");
}

export function socketPath(folder: string): string {
  return join(folder, "sock");
}

/** This process's way into the secure world, shared by all that it has open. */
class TwinLine {
  caps = 1;
  private readonly folder: string;
  private socket: Socket | null = null;
  private instance: number | null = null;
  private reader = new PipeReader();
  private nextId = 1;
  /** Not sent, as nobody is there. */
  private waiting: Asked[] = [];
  /** Sent. What a TEE OS that died had taken in stays until there is another one. */
  private readonly inside = new Map<number, Asked>();

  constructor(folder: string) {
    this.folder = folder;
  }

  ask(asked: Asked): void {
    if (this.instance !== null) return this.send(asked);
    this.waiting.push(asked);
    if (this.socket === null) this.look();
  }

  private look(): void {
    const socket = connect(socketPath(this.folder));
    this.socket = socket;
    this.reader = new PipeReader();
    socket.on("data", (some) => {
      for (const body of this.reader.push(some)) this.heard(body);
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.socket = null;
      this.instance = null;
      if (this.waiting.length + this.inside.size > 0) setTimeout(() => this.again(), lookEveryMs);
    });
  }

  private again(): void {
    if (this.socket === null) this.look();
  }

  private heard(body: Uint8Array): void {
    const reply = replyOf(body);
    if (this.instance === null) return this.greeted(reply.version ?? []);
    const asked = this.inside.get(reply.id);
    this.inside.delete(reply.id);
    const { errno = null, ret, origin, session, params } = reply;
    asked?.done({
      errno,
      ret,
      origin,
      ...(session === undefined ? {} : { session }),
      ...(params === undefined ? {} : { out: params }),
    });
  }

  /** A TEE OS is there: what an earlier one had taken in is refused, what waited goes in. */
  private greeted([, caps = 0, instance = 0]: readonly number[]): void {
    this.caps = caps;
    this.instance = instance;
    const lost = [...this.inside.values()];
    this.inside.clear();
    for (const { done } of lost) done(communication);
    for (const asked of this.waiting.splice(0)) this.send(asked);
  }

  private send(asked: Asked): void {
    const isStale = asked.registered !== this.instance && (this.caps & registeredMemory) !== 0;
    if (isStale) return void setImmediate(() => asked.done(communication));
    const id = this.nextId++;
    this.inside.set(id, asked);
    this.socket?.write(toPipe({ ...asked.request, id }));
  }
}

const lines = new Map<string, TwinLine>();
let contexts = 0;

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

export class TwinDriver implements NativeTee {
  private readonly fd: number;
  private readonly registered: number;
  private readonly context: number;
  private readonly line: TwinLine;
  private readonly sessions = new Set<number>();
  private readonly memory = new Map<number, Buffer>();
  private nextMemory = 1;

  /** System error ENOENT while the driver is not loaded. */
  constructor(device: string) {
    const folder = device.slice(twinPrefix.length);
    const path = devicePath(folder);
    if (!existsSync(path)) throw systemError("ENOENT");
    this.fd = openSync(path, "r");
    this.registered = Number(readFileSync(path, "utf8"));
    contexts += 1;
    this.context = contexts;
    this.line = lines.get(folder) ?? new TwinLine(folder);
    lines.set(folder, this.line);
  }

  /** From memory, as the kernel does: also when the TEE OS is dead. */
  version(): { implementation: number; implementationCaps: number; genericCaps: number } {
    return { implementation: 1, implementationCaps: 1, genericCaps: this.line.caps };
  }

  allocate(size: number): number {
    this.memory.set(this.nextMemory, Buffer.alloc(size));
    return this.nextMemory++;
  }

  write(id: number, offset: number, bytes: Uint8Array): void {
    this.piece(id, offset, bytes.length).set(bytes);
  }

  read(id: number, offset: number, length: number): Buffer {
    return Buffer.from(this.piece(id, offset, length));
  }

  free(id: number): void {
    this.memory.delete(id);
  }

  openSession(
    uuid: Uint8Array,
    login: number,
    _clientUuid: Uint8Array,
    cancel: number,
    params: BigUint64Array,
    done: (came: TeeReturn) => void,
  ): void {
    this.ask({ op: "open", uuid, login, cancel, params: this.outgoing(params) }, (came) => {
      if (came.session !== undefined) this.sessions.add(came.session);
      done(this.incoming(params, came));
    });
  }

  invoke(
    session: number,
    command: number,
    cancel: number,
    params: BigUint64Array,
    done: (came: TeeReturn) => void,
  ): void {
    if (!this.sessions.has(session)) return this.unknown(done);
    const request = { op: "invoke", session, command, cancel, params: this.outgoing(params) };
    this.ask(request as Omit<PipeRequest, "id">, (came) => done(this.incoming(params, came)));
  }

  cancel(cancel: number, session: number, done: (came: TeeReturn) => void): void {
    // Returns at once whatever becomes of the call (0.5 ms measured).
    this.ask({ op: "cancel", cancel, session }, () => undefined);
    setImmediate(() => done({ errno: null, ret: 0, origin: 0 }));
  }

  closeSession(session: number, done: (came: TeeReturn) => void): void {
    if (!this.sessions.delete(session)) return this.unknown(done);
    this.ask({ op: "close", session }, done);
  }

  close(): void {
    for (const session of this.sessions) this.ask({ op: "close", session }, () => undefined);
    this.sessions.clear();
    closeSync(this.fd);
  }

  /** The kernel knows which sessions a descriptor has. */
  private unknown(done: (came: TeeReturn) => void): void {
    setImmediate(() => done({ errno: "EINVAL", ret: 0, origin: 0 }));
  }

  private ask(request: Omit<PipeRequest, "id">, done: Done): void {
    const { registered, context } = this;
    this.line.ask({ request: { ...request, context }, registered, done });
  }

  private piece(id: number, offset: number, length: number): Buffer {
    const memory = this.memory.get(id);
    if (memory === undefined || offset + length > memory.length) throw systemError("EINVAL");
    return memory.subarray(offset, offset + length);
  }

  /** Four numbers per parameter to what goes over the socket. */
  private outgoing(numbers: BigUint64Array): PipeParam[] {
    const params: PipeParam[] = [];
    for (let at = 0; at < numbers.length; at += 4) {
      const [attr = 0, a = 0, b = 0, c = 0] = [...numbers.subarray(at, at + 4)].map(Number);
      if (attr >= 5) {
        const bytes = attr === 6 ? {} : { bytes: this.piece(c, a, b) };
        params.push({ attr, size: b, ...bytes });
      } else params.push({ attr, a: a >>> 0, b: b >>> 0 });
    }
    return params;
  }

  /** What came back, into memory and numbers as the driver leaves them. */
  private incoming(sent: BigUint64Array, { out, ...came }: Parameters<Done>[0]): TeeReturn {
    const numbers = BigUint64Array.from(sent);
    for (let at = 0; at < numbers.length; at += 4) {
      const param = out?.[at / 4];
      const attr = Number(numbers[at] ?? 0n);
      const { bytes = new Uint8Array(0), a = 0, b = 0 } = param ?? {};
      if (attr === 2 || attr === 3) numbers.set([BigInt(a), BigInt(b)], at + 1);
      if (attr !== 6 && attr !== 7) continue;
      const [start, room, id] = [...numbers.subarray(at + 1, at + 4)].map(Number);
      if (bytes.length <= (room ?? 0)) this.piece(id ?? 0, start ?? 0, bytes.length).set(bytes);
      numbers[at + 2] = BigInt(bytes.length);
    }
    return { ...came, params: numbers };
  }
}
