/**
 * Keys as OpenSSH keeps them (PROTOCOL.key in its sources): an unencrypted Ed25519 private key in
 * one file, its public half as one line in another. What is encrypted belongs into ssh-agent.
 */
import { Failure } from "../errors.ts";
import type { KeyPair } from "./ed25519.ts";
import { joined, SshReader, sshString } from "./sshwire.ts";

export const keyType = "ssh-ed25519";
const magic = "openssh-key-v1\0";
const begin = "-----BEGIN OPENSSH PRIVATE KEY-----";
const end = "-----END OPENSSH PRIVATE KEY-----";
/** Columns of base64, as OpenSSH writes it. */
const columns = 70;
/** The private part is padded to blocks of this many bytes where it is not encrypted. */
const blockBytes = 8;

/** What a private key file holds; `pair` is null where a passphrase is in the way. */
export interface PrivateKeyFile {
  readonly blob: Uint8Array;
  readonly pair: KeyPair | null;
  readonly comment: string;
}

/** Type and key, each with its length: what is hashed for a fingerprint. */
export function publicBlob(publicKey: Uint8Array): Uint8Array {
  return joined(sshString(keyType), sshString(publicKey));
}

/** `ssh-ed25519 AAAA... comment` */
export function publicLine(blob: Uint8Array, comment: string): string {
  return `${keyType} ${Buffer.from(blob).toString("base64")} ${comment}`.trim();
}

/** The file's text, as ssh-keygen writes it. `check`: four random bytes. */
export function privateText(pair: KeyPair, comment: string, check: Uint8Array): string {
  const { seed, publicKey } = pair;
  const blob = publicBlob(publicKey);
  const secret = joined(check, check, blob, sshString(joined(seed, publicKey)), sshString(comment));
  const padding = Uint8Array.from(
    { length: (blockBytes - (secret.length % blockBytes)) % blockBytes },
    (_, at) => at + 1,
  );
  const count = Uint8Array.of(0, 0, 0, 1);
  const bytes = joined(
    new TextEncoder().encode(magic),
    ...["none", "none", ""].map(sshString),
    count,
    sshString(blob),
    sshString(joined(secret, padding)),
  );
  const base64 = Buffer.from(bytes).toString("base64");
  const lines = base64.match(new RegExp(`.{1,${columns}}`, "g")) ?? [];
  return [begin, ...lines, end, ""].join("\n");
}

/** Takes a private key file apart. Failure `key.invalid`, naming `path`. */
export function parsePrivate(text: string, path: string): PrivateKeyFile {
  const found = new RegExp(`${begin}([A-Za-z0-9+/=\\s]*)${end}`).exec(text)?.[1];
  if (found === undefined) throw invalid(path, "it is no OpenSSH private key");
  const bytes = new Uint8Array(Buffer.from(found, "base64"));
  if (Buffer.from(bytes.subarray(0, magic.length)).toString("latin1") !== magic) {
    throw invalid(path, "it is damaged");
  }
  const reader = new SshReader(bytes.subarray(magic.length), () => invalid(path, "it is damaged"));
  const cipher = reader.text();
  reader.text();
  reader.string();
  if (reader.uint32() !== 1) throw invalid(path, "it holds more than one key");
  const blob = reader.string();
  const type = new SshReader(blob, () => invalid(path, "it is damaged")).text();
  if (type !== keyType) throw invalid(path, `it is of type ${type}: ${keyType} is taken`);
  const secret = reader.string();
  if (cipher !== "none") return { blob, pair: null, comment: "" };
  return { blob, ...parseSecret(secret, path) };
}

function parseSecret(secret: Uint8Array, path: string): { pair: KeyPair; comment: string } {
  const reader = new SshReader(secret, () => invalid(path, "it is damaged"));
  const checks = [reader.uint32(), reader.uint32()];
  if (checks[0] !== checks[1]) throw invalid(path, "it is damaged");
  reader.text();
  const publicKey = reader.string();
  const both = reader.string();
  if (publicKey.length !== 32 || both.length !== 64) throw invalid(path, "it is damaged");
  return {
    pair: { seed: both.slice(0, 32), publicKey: publicKey.slice() },
    comment: reader.text(),
  };
}

function invalid(path: string, why: string): Failure {
  const message = `${path} is not a key to sign with: ${why}. Make one with kennel keygen.`;
  return new Failure("key.invalid", message, { evidence: { path } });
}
