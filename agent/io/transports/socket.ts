/** Lines over sockets: TCP and Unix. */
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { Failure } from "../../errors.ts";
import type { Port } from "../port.ts";
import { StreamPort } from "./streamport.ts";

/** A host that is there answers within a second, also around the world. */
export const connectMs = 10_000;
/** A peer that lost its power says nothing: the system asks for it after this silence. */
const keepAliveMs = 10_000;

/** Rejects with port.refused, port.unreachable, port.lost. `name` is for messages. */
export async function openTcp(host: string, port: number, name: string): Promise<Port> {
  return socketPort(name, await connectTcp(host, port, name));
}

/** The bare connection, for protocols on top of it. */
export function connectTcp(host: string, port: number, name: string): Promise<Socket> {
  const alive = { noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs };
  return connected({ host, port, ...alive }, (code, cause) => tcpFailure(code, name, host, cause));
}

/** Rejects with port.missing, port.refused, port.permission, port.lost. */
export async function openUnix(path: string): Promise<Port> {
  const socket = await connected({ path }, (code, cause) => unixFailure(code, path, cause));
  return socketPort(`unix:${path}`, socket);
}

/** A connected socket as a port; closing it lets what was written go out first. */
export function socketPort(name: string, socket: Socket, queueBytes?: number): StreamPort {
  const release = (): void => void socket.destroySoon();
  const bound = queueBytes === undefined ? {} : { queueBytes };
  return new StreamPort({ name, input: socket, output: socket, release, ...bound });
}

type NameFailure = (code: string, cause: Error) => Failure;

function connected(options: NetConnectOpts, nameFailure: NameFailure): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(options);
    const timer = setTimeout(() => {
      socket.destroy(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" }));
    }, connectMs);
    socket.once("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(nameFailure(error.code ?? "", error));
    });
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}

function tcpFailure(code: string, name: string, host: string, cause: Error): Failure {
  const options = { cause, evidence: { port: name, problem: code } };
  if (code === "ECONNREFUSED") {
    const message = `${name}: nobody listens there. Is the server running, and the port right?`;
    return new Failure("port.refused", message, options);
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return new Failure("port.unreachable", `${name}: no host ${host} is known here.`, options);
  }
  if (["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN"].includes(code)) {
    const message = `${name}: ${host} cannot be reached (${code}). Check the network.`;
    return new Failure("port.unreachable", message, options);
  }
  return new Failure("port.lost", `${name} could not be opened: ${cause.message}.`, options);
}

function unixFailure(code: string, path: string, cause: Error): Failure {
  const options = { cause, evidence: { port: `unix:${path}`, problem: code } };
  if (code === "ENOENT" || code === "ENOTDIR") {
    const message = `there is no socket ${path}. Is kennel serve running?`;
    return new Failure("port.missing", message, options);
  }
  if (code === "ECONNREFUSED") {
    const message = `nobody serves ${path} any more. Start kennel serve again.`;
    return new Failure("port.refused", message, options);
  }
  if (code === "EACCES" || code === "EPERM") {
    const message = `no permission for the socket ${path}: it belongs to another user.`;
    return new Failure("port.permission", message, options);
  }
  return new Failure("port.lost", `unix:${path} could not be opened: ${cause.message}.`, options);
}
