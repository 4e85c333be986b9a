/**
 * The TEE helper: a process of the agent's that makes the calls into the TEE, since a call there
 * can neither be ended nor killed. It decides nothing: requests come in at descriptor 0, replies go
 * out at 1, and it ends with the agent. Argument: the device.
 */
import { writeSync } from "node:fs";
import { type NativeTee, native, type SystemError, type TeeReturn } from "../native/index.ts";
import { Failure } from "./errors.ts";
import { type Marshalled, marshal, unmarshal } from "./io/teeparams.ts";
import { TwinDriver, twinPrefix } from "./io/twindriver.ts";
import {
  PipeReader,
  type PipeReply,
  type PipeRequest,
  readyId,
  requestOf,
  toPipe,
} from "./wire/teepipe.ts";

/** A client context: one open of the device, closed with its last session. */
interface Context {
  readonly tee: NativeTee;
  readonly sessions: Set<number>;
  inside: number;
}

const [device = "/dev/tee0"] = process.argv.slice(2);
const contexts = new Map<number, Context>();
const noClient = new Uint8Array(16);
/** Calls of the canary: the helper it lives in has no others. */
const canaryCancel = 1;

/** The device, or the pretended one of a process that stands for the secure world. */
function openTee(): NativeTee {
  return device.startsWith(twinPrefix) ? new TwinDriver(device) : new (native().Tee)(device);
}

function reply(message: PipeReply): void {
  const bytes = toPipe(message);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

function refuse(id: number, error: unknown): void {
  const { code = "" } = error as Partial<SystemError>;
  // What is no errno is a mistake of ours in the request: nothing was asked of the TEE.
  reply({ id, errno: /^E[A-Z0-9]+$/.test(code) ? code : "EBADMSG", ret: 0, origin: 0 });
}

function plainReply(id: number, { errno, ret, origin }: TeeReturn): PipeReply {
  return { id, ret, origin, ...(errno === null ? {} : { errno }) };
}

function contextOf(number: number): Context {
  const known = contexts.get(number);
  if (known !== undefined) return known;
  const made = { tee: openTee(), sessions: new Set<number>(), inside: 0 };
  contexts.set(number, made);
  return made;
}

/** The context of a session; one that is closed knows none, as the kernel would say. */
function openContext(number: number): Context {
  const found = contexts.get(number);
  if (found !== undefined) return found;
  throw Object.assign(new Error("the context is closed"), { code: "EINVAL" });
}

/** Nobody can come by an old id once its descriptor is closed. */
function left(number: number, context: Context): void {
  context.inside -= 1;
  if (context.inside > 0 || context.sessions.size > 0) return;
  context.tee.close();
  contexts.delete(number);
}

/** Makes a call in a context and keeps that open until the call is over. */
function inside(
  number: number,
  context: Context,
  make: (done: (came: TeeReturn) => void) => void,
  done: (came: TeeReturn) => void,
): void {
  context.inside += 1;
  try {
    make((came) => {
      done(came);
      left(number, context);
    });
  } catch (error) {
    left(number, context);
    throw error;
  }
}

function answered(id: number, tee: NativeTee, sent: Marshalled, came: TeeReturn): void {
  const { session, params } = came;
  const out = params === undefined ? [] : unmarshal(tee, sent, params);
  if (sent.memory !== null) tee.free(sent.memory);
  reply({
    ...plainReply(id, came),
    ...(session === undefined ? {} : { session }),
    ...(came.errno === null ? { params: out } : {}),
  });
}

function open({ id, context: number = 0, uuid, login = 0, cancel = 0, params }: PipeRequest): void {
  const context = contextOf(number);
  const { tee } = context;
  inside(
    number,
    context,
    (done) => {
      const sent = marshal(tee, params ?? []);
      const heard = (came: TeeReturn): void => {
        const { session } = came;
        if (came.errno === null && came.ret === 0 && session !== undefined) {
          context.sessions.add(session);
        }
        answered(id, tee, sent, came);
        done(came);
      };
      tee.openSession(uuid ?? noClient, login, noClient, cancel, sent.numbers, heard);
    },
    () => undefined,
  );
}

function invoke(request: PipeRequest): void {
  const { id, context: number = 0, session = 0, command = 0, cancel = 0, params } = request;
  const context = openContext(number);
  const { tee } = context;
  inside(
    number,
    context,
    (done) => {
      const sent = marshal(tee, params ?? []);
      tee.invoke(session, command, cancel, sent.numbers, (came) => {
        answered(id, tee, sent, came);
        done(came);
      });
    },
    () => undefined,
  );
}

function close({ id, context: number = 0, session = 0 }: PipeRequest): void {
  const context = openContext(number);
  inside(
    number,
    context,
    (done) => {
      context.tee.closeSession(session, (came) => {
        done(came);
        // Told once the descriptor is closed as well, where it was the last session of it.
        reply(plainReply(id, came));
      });
    },
    () => context.sessions.delete(session),
  );
}

/**
 * A context of its own, opened and closed again: nothing of the agent's own calls in between. Its
 * memory is asked for last: a TEE that is dead is to be told by what an opening says.
 */
function canary({ id, uuid, command = 0, params = [] }: PipeRequest): void {
  const tee = openTee();
  const none = new BigUint64Array(0);
  const end = (came: TeeReturn): void => {
    tee.close();
    reply(plainReply(id, came));
  };
  tee.openSession(uuid ?? noClient, 0, noClient, canaryCancel, none, (opened) => {
    const { session } = opened;
    if (opened.errno !== null || opened.ret !== 0 || session === undefined) return end(opened);
    try {
      const { numbers } = marshal(tee, params);
      tee.invoke(session, command, canaryCancel, numbers, (came) => {
        tee.closeSession(session, () => end(came));
      });
    } catch (error) {
      tee.close();
      refuse(id, error);
    }
  });
}

function version({ id }: PipeRequest): void {
  const tee = openTee();
  try {
    const { implementation, implementationCaps, genericCaps } = tee.version();
    const said = [implementation, implementationCaps, genericCaps];
    reply({ id, ret: 0, origin: 0, version: said });
  } finally {
    tee.close();
  }
}

function perform(request: PipeRequest): void {
  const { id, context: number = 0, cancel = 0, session = 0 } = request;
  switch (request.op) {
    case "open":
      return open(request);
    case "invoke":
      return invoke(request);
    case "close":
      return close(request);
    case "canary":
      return canary(request);
    case "version":
      return version(request);
    case "cancel":
      return openContext(number).tee.cancel(cancel, session, (came) => {
        reply(plainReply(id, came));
      });
  }
}

/** At once and for certain: a call that hangs must not keep it. */
function end(): never {
  process.kill(process.pid, "SIGKILL");
  process.exit(1);
}

const reader = new PipeReader();
process.stdin.on("data", (some: Buffer) => {
  try {
    for (const body of reader.push(some)) {
      const request = requestOf(body);
      try {
        perform(request);
      } catch (error) {
        refuse(request.id, error);
      }
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    end();
  }
});
process.stdin.on("end", end);
process.on("uncaughtException", end);
reply({ id: readyId, ret: 0, origin: 0 });
