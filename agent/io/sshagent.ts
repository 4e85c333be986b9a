/**
 * ssh-agent over its Unix socket (draft-miller-ssh-agent): which Ed25519 keys it has, and a
 * signature by one of them. One connection per question, bounded in size and time.
 */
import { connect } from "node:net";
import { Failure } from "../errors.ts";
import { keyType } from "./sshkey.ts";
import { joined, SshReader, sshString, sshUint32 } from "./sshwire.ts";

export interface AgentKey {
  readonly blob: Uint8Array;
  readonly comment: string;
}

const message = { identities: 11, identitiesAnswer: 12, sign: 13, signature: 14 } as const;
/** Longest answer taken, and keys looked at. */
const answerBytesMax = 256 * 1024;
const keysMax = 32;
/** An agent that asks its user for consent takes as long as the user does, ms. */
export const agentWaitMs = 30_000;

/** The agent's Ed25519 keys. Failure `key.agent`. */
export async function agentKeys(socket: string): Promise<AgentKey[]> {
  const reader = await ask(socket, Uint8Array.of(message.identities), message.identitiesAnswer);
  const keys: AgentKey[] = [];
  for (let left = reader.uint32(); left > 0; left--) {
    const blob = reader.string();
    const comment = reader.text();
    const type = new SshReader(blob, () => garbled(socket)).text();
    if (type === keyType && keys.length < keysMax) keys.push({ blob, comment });
  }
  return keys;
}

/** A signature of 64 bytes. Failure `key.agent`: it is not there, or does not want to. */
export async function agentSign(
  socket: string,
  blob: Uint8Array,
  data: Uint8Array,
): Promise<Uint8Array> {
  const request = joined(
    Uint8Array.of(message.sign),
    sshString(blob),
    sshString(data),
    sshUint32(0),
  );
  const reader = await ask(socket, request, message.signature);
  const signature = new SshReader(reader.string(), () => garbled(socket));
  if (signature.text() !== keyType) throw garbled(socket);
  return signature.string().slice();
}

function ask(socket: string, request: Uint8Array, wanted: number): Promise<SshReader> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      connection.destroy();
      reject(agentFailure(socket, why));
    };
    const connection = connect(socket);
    connection.setTimeout(agentWaitMs, () => fail(`no answer within ${agentWaitMs / 1000} s`));
    connection.on("error", (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
    connection.on("end", () => fail("it closed the connection"));
    let heard: Uint8Array = new Uint8Array(0);
    connection.on("data", (bytes) => {
      heard = joined(heard, bytes);
      if (heard.length < 4) return;
      const length = new SshReader(heard, () => garbled(socket)).uint32();
      if (length < 1 || length > answerBytesMax) return fail(`an answer of ${length} bytes`);
      if (heard.length < 4 + length) return;
      connection.destroy();
      const reader = new SshReader(heard.subarray(4, 4 + length), () => garbled(socket));
      if (reader.uint8() === wanted) resolve(reader);
      else reject(agentFailure(socket, "it refused"));
    });
    connection.write(joined(sshUint32(request.length), request));
  });
}

function garbled(socket: string): Failure {
  return agentFailure(socket, "its answer makes no sense");
}

function agentFailure(socket: string, why: string): Failure {
  const text = `ssh-agent at ${socket}: ${why}. Is it running, and is the key in it (ssh-add -l)?`;
  return new Failure("key.agent", text, { evidence: { socket, why } });
}
