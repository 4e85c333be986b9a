/** The keys that a console can sign with: a file, or what is in ssh-agent. */
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../errors.ts";
import { sha256 } from "../io/digest.ts";
import { signEd25519 } from "../io/ed25519.ts";
import { agentKeys, agentSign } from "../io/sshagent.ts";
import { parsePrivate } from "../io/sshkey.ts";

export interface Signer {
  /** SHA-256 of the public key's blob. */
  readonly kid: Uint8Array;
  /** Where it is, for messages. */
  readonly where: string;
  /** It may have to ask a person first. */
  readonly isSlow: boolean;
  sign(data: Uint8Array): Promise<Uint8Array>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** A private key is some hundred bytes. */
const keyFileBytesMax = 16_384;
const othersBits = 0o077;

/** `~/.config/kennel/id_ed25519`; empty where there is no home. */
export function defaultKeyFile(env: Environment): string {
  const config = env.XDG_CONFIG_HOME || (env.HOME ? join(env.HOME, ".config") : "");
  return config === "" ? "" : join(config, "kennel", "id_ed25519");
}

/**
 * What there is to sign with, best first: the named file alone, or else the usual one and the keys
 * in ssh-agent. Failure `key.*` where the named file is of no use.
 */
export async function findSigners(named: string | undefined, env: Environment): Promise<Signer[]> {
  const socket = env.SSH_AUTH_SOCK ?? "";
  if (named !== undefined) return [await fileSigner(named, socket)];
  const usual = defaultKeyFile(env);
  const found: Signer[] = [];
  if (usual !== "" && existsSync(usual)) found.push(await fileSigner(usual, socket));
  if (socket === "") return found;
  // An agent that is gone is no reason to do without the file.
  const held = await agentKeys(socket).catch((error: unknown) => {
    if (found.length > 0) return [];
    throw error;
  });
  for (const { blob, comment } of held) found.push(agentSigner(socket, blob, comment));
  return found;
}

function agentSigner(socket: string, blob: Uint8Array, comment: string): Signer {
  const sign = (data: Uint8Array): Promise<Uint8Array> => agentSign(socket, blob, data);
  return { kid: sha256(blob), where: `ssh-agent (${comment})`, isSlow: true, sign };
}

/** An encrypted file, or a public one, stands for the key in ssh-agent. */
async function fileSigner(path: string, socket: string): Promise<Signer> {
  const text = readKey(path);
  const line = /^ssh-ed25519 ([A-Za-z0-9+/=]+)/.exec(text)?.[1];
  if (line !== undefined) {
    const blob = new Uint8Array(Buffer.from(line, "base64"));
    return inAgent(path, blob, socket, `${path} is a public key`);
  }
  mustBePrivate(path);
  const { blob, pair } = parsePrivate(text, path);
  if (pair === null) return inAgent(path, blob, socket, `${path} is encrypted`);
  const sign = (data: Uint8Array): Promise<Uint8Array> => Promise.resolve(signEd25519(pair, data));
  return { kid: sha256(blob), where: path, isSlow: false, sign };
}

async function inAgent(
  path: string,
  blob: Uint8Array,
  socket: string,
  why: string,
): Promise<Signer> {
  const held = socket === "" ? [] : await agentKeys(socket);
  const found = held.find((key) => Buffer.from(key.blob).equals(blob));
  if (found !== undefined) return agentSigner(socket, blob, found.comment);
  const where = socket === "" ? "no ssh-agent runs here (SSH_AUTH_SOCK)" : "ssh-agent has it not";
  const file = path.replace(/\.pub$/, "");
  throw new Failure("key.encrypted", `${why}, and ${where}: load it there with ssh-add ${file}.`, {
    evidence: { path },
  });
}

function readKey(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > keyFileBytesMax) {
      throw new Failure("key.invalid", `${path} is no key: it has ${size} bytes.`);
    }
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Failure) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const name = code === "ENOENT" ? "key.missing" : "key.refused";
    const next = code === "ENOENT" ? " Make one with kennel keygen." : "";
    throw new Failure(name, `the key ${path} cannot be read: ${code}.${next}`, { cause: error });
  }
}

/** As ssh does: a key that others can read is nobody's. */
function mustBePrivate(path: string): void {
  const { mode } = statSync(path);
  if ((mode & othersBits) === 0) return;
  const shown = (mode & 0o777).toString(8);
  const message = `${path} can be read by others (mode ${shown}): chmod 600 ${path}`;
  throw new Failure("key.refused", message, { evidence: { path, mode: shown } });
}

/** Writes a new file; one that is there is never written over. */
export function writeNew(path: string, text: string, mode: number): void {
  try {
    writeFileSync(path, text, { flag: "wx", mode });
    chmodSync(path, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "EEXIST" ? "it is there already, and stays as it is" : code;
    throw new Failure("key.refused", `${path} was not written: ${why}.`, { cause: error });
  }
}
