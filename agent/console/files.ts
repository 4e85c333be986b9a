/** `kennel get FILE`: a file of the card, whole, and proven by its checksum. */
import { writeFileSync } from "node:fs";
import { Failure, rcs } from "../errors.ts";
import { crc32 } from "../wire/seal.ts";
import type { Outcome } from "./context.ts";
import type { Link } from "./link.ts";
import { withoutControls } from "./show.ts";

/** A file that does not end is no file: 64 times the largest of ours. */
const fileBytesMax = 67_108_864;

/**
 * Any SMP server with files answers this. `out`: where it goes instead of the screen. Failures:
 * `link.garbled` when its checksum differs, `config.invalid` when `out` cannot be written.
 */
export async function getFile(link: Link, name: string, out: string | undefined): Promise<Outcome> {
  const content = await download(link, name);
  const checked = await isProven(link, name, content);
  const sum = crc32(content).toString(16).padStart(8, "0");
  const data = { file: name, bytes: content.length, crc32: sum, checked };
  if (out === undefined) {
    const text = new TextDecoder().decode(content);
    const lines = text.trimEnd().split("\n").map(withoutControls);
    return { data: { ...data, text }, text: lines.join("\n") };
  }
  write(out, content);
  const proof = checked ? `crc32 ${sum}` : `crc32 ${sum}, which the card could not confirm`;
  return { data: { ...data, out }, text: `${name}: ${content.length} bytes into ${out}, ${proof}` };
}

async function download(link: Link, name: string): Promise<Uint8Array> {
  const { data: first, len = 0 } = await link.request("files.read", { name, off: 0 });
  if (len > fileBytesMax) {
    throw new Failure("wire.too_large", `${name} is said to have ${len} bytes`);
  }
  const content = new Uint8Array(Math.max(len, first.length));
  content.set(first);
  for (let off = first.length; off < len; ) {
    const { data, off: told } = await link.request("files.read", { name, off });
    if (told !== off || data.length === 0 || off + data.length > len) {
      throw new Failure("link.garbled", `${name} has ${len} bytes, and ended at ${off}.`);
    }
    content.set(data, off);
    off += data.length;
  }
  return content;
}

/** False where the card has no checksums of files. */
async function isProven(link: Link, name: string, content: Uint8Array): Promise<boolean> {
  if (content.length === 0) return true;
  try {
    const { output } = await link.request("files.hash", { name, type: "crc32" });
    if (output === crc32(content)) return true;
  } catch (error) {
    if (error instanceof Failure && error.evidence.rc === rcs.unsupported) return false;
    throw error;
  }
  throw new Failure("link.garbled", `${name} arrived damaged, or changed on the way: ask again.`);
}

function write(path: string, content: Uint8Array): void {
  try {
    writeFileSync(path, content);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Failure("config.invalid", `cannot write ${path}: ${code}`, { cause: error });
  }
}
