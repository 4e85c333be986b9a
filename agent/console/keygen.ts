/** `kennel keygen`: a new key to command cards with, and the line that authorises it. */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { dirname } from "node:path";
import { Failure } from "../errors.ts";
import { sha256 } from "../io/digest.ts";
import { newKeyPair } from "../io/ed25519.ts";
import { privateText, publicBlob, publicLine } from "../io/sshkey.ts";
import { parseKeys } from "../machines/authorizedkeys.ts";
import type { Outcome } from "./context.ts";
import { defaultKeyFile, writeNew } from "./keys.ts";
import { fields, type Paint } from "./show.ts";

export interface KeygenOptions {
  /** The private half; its public half goes into FILE.pub. */
  readonly file: string | undefined;
  readonly comment: string | undefined;
  /** "operate,danger": for the line that is printed. */
  readonly roles: string;
}

export function keygen(
  { file, comment, roles }: KeygenOptions,
  env: Readonly<Record<string, string | undefined>>,
  paint: Paint,
): Outcome {
  const path = file ?? defaultKeyFile(env);
  if (path === "") throw new Failure("usage.invalid", "name a file: there is no HOME here.");
  const pair = newKeyPair();
  const blob = publicBlob(pair.publicKey);
  const name = comment ?? `${userInfo().username}@${hostname()}`;
  const line = `kennel="${roles}" ${publicLine(blob, name)}`;
  const [problem] = parseKeys(line).problems;
  if (problem !== undefined) throw new Failure("usage.invalid", `${problem.slice(8)}.`);
  if (file === undefined) mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeNew(path, privateText(pair, name, randomBytes(4)), 0o600);
  writeNew(`${path}.pub`, `${publicLine(blob, name)}\n`, 0o644);
  const fingerprint = `SHA256:${Buffer.from(sha256(blob)).toString("base64").replace(/=+$/, "")}`;
  const text = [
    fields(paint, [
      ["key", path],
      ["fingerprint", fingerprint],
    ]),
    "",
    "To authorise it, add this line to /var/lib/kennel/authorized_keys on the card:",
    line,
  ].join("\n");
  return { data: { file: path, fingerprint, line }, text };
}
