/**
 * The keys that may command this card, as OpenSSH writes them (sshd(8), AUTHORIZED_KEYS FILE
 * FORMAT): `kennel="operate,danger" ssh-ed25519 AAAA... name`. Without an option a key may
 * operate. The order of lines is the order of preference. A line that is not understood counts
 * for nothing and is named: an option that restricts must never be passed over. Pure.
 */

export const roles = ["operate", "danger", "rig"] as const;
export type Role = (typeof roles)[number];

export interface AuthorizedKey {
  /** The comment, or `key N` without one; at most `nameMax` printable characters. */
  readonly name: string;
  /** What OpenSSH hashes for a fingerprint: type and key, each with its length. */
  readonly blob: Uint8Array;
  /** The 32 bytes of the Ed25519 public key. */
  readonly publicKey: Uint8Array;
  readonly roles: readonly Role[];
  /** 0 is preferred over 1 where two want to command. */
  readonly rank: number;
}

export interface ParsedKeys {
  readonly keys: readonly AuthorizedKey[];
  /** "line 3: ..." */
  readonly problems: readonly string[];
}

/** Keys that count; lines beyond them are refused. */
export const keysMax = 32;
const nameMax = 40;
const keyType = "ssh-ed25519";
/** What a line without options begins with. */
const isKeyType = /^(sk-)?(ssh|ecdsa)-\S+/;
/** Length and type, length and 32 bytes. */
const blobBytes = 4 + keyType.length + 4 + 32;

export function parseKeys(text: string): ParsedKeys {
  const keys: AuthorizedKey[] = [];
  const problems: string[] = [];
  for (const [at, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const key = keys.length < keysMax ? parseLine(line, keys.length) : `over ${keysMax} keys`;
    const isTwice = typeof key !== "string" && keys.some((other) => isSame(other, key));
    if (isTwice) problems.push(`line ${at + 1}: this key is in an earlier line`);
    else if (typeof key === "string") problems.push(`line ${at + 1}: ${key}`);
    else keys.push(key);
  }
  return { keys, problems };
}

/** The key, or what is wrong with the line. */
function parseLine(line: string, rank: number): AuthorizedKey | string {
  const split = isKeyType.test(line) ? null : /^((?:[^\s"]|"[^"]*")+)\s+(.*)$/.exec(line);
  const [, options, rest = line] = split ?? [];
  const [, type, base64 = "", comment = ""] = /^(\S+)\s+(\S+)(?:\s+(.*))?$/.exec(rest) ?? [];
  if (type === undefined || !isKeyType.test(type)) return "no OpenSSH public key";
  if (type !== keyType) return `keys of type ${shown(type)} are not taken: use ${keyType}`;
  const granted = options === undefined ? (["operate"] as const) : parseRoles(options);
  if (typeof granted === "string") return granted;
  const blob = new Uint8Array(Buffer.from(base64, "base64"));
  const head = Buffer.from(`\0\0\0\x0b${keyType}\0\0\0\x20`, "latin1");
  if (blob.length !== blobBytes || !head.every((byte, at) => blob[at] === byte)) {
    return "the key is damaged";
  }
  const name = shown(comment) || `key ${rank + 1}`;
  return { name, blob, publicKey: blob.subarray(-32), roles: granted, rank };
}

function parseRoles(options: string): Role[] | string {
  const list = /^kennel="([a-z, ]*)"$/.exec(options)?.[1];
  if (list === undefined) return `option ${shown(options)} is not known: kennel="ROLE,..." is`;
  const words = list.split(/[, ]+/).filter((word) => word !== "");
  const unknown = words.find((word) => !roles.includes(word as Role));
  if (unknown !== undefined) return `no role ${unknown}: there are ${roles.join(", ")}`;
  return roles.filter((role) => words.includes(role));
}

function isSame(one: AuthorizedKey, other: AuthorizedKey): boolean {
  return one.blob.every((byte, at) => other.blob[at] === byte);
}

/** Of a file that others write: printable, and no longer than a report has room for. */
function shown(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, nameMax);
}
