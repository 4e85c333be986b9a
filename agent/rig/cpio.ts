/**
 * Writes a cpio archive in the "newc" format, which is what Linux unpacks as its initrd
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Owner is root, time is 0, inode
 * numbers count up: the same entries give the same bytes.
 */
import fs from "node:fs";
import { assert } from "../errors.ts";

/** What goes into the archive; `name` is relative, without a leading slash. */
export type Entry =
  | { readonly kind: "folder"; readonly name: string }
  | {
      readonly kind: "file";
      readonly name: string;
      readonly bytes: Uint8Array;
      readonly mode: number;
    }
  | { readonly kind: "link"; readonly name: string; readonly target: string };

/** An entry with the content that `source`, a path on this machine, has now. */
export function fileEntry(name: string, source: string, mode: number): Entry {
  return { kind: "file", name, bytes: fs.readFileSync(source), mode };
}

/** Any archive must end with an entry of this name; the reader stops there. */
const trailer = "TRAILER!!!";
const magic = "070701";
const alignment = 4;
/** File type bits of st_mode, inode(7). */
const types = { folder: 0o040000, file: 0o100000, link: 0o120000 } as const;

/**
 * The archive of `entries`, as pieces to be written one after another. Folders that entries lie
 * in are added where they are missing. Archives may follow each other in one initrd: later
 * entries replace earlier ones of the same name.
 */
export function cpio(entries: readonly Entry[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (const [index, entry] of withFolders(entries).entries()) {
    const body = bodyOf(entry);
    const permission = entry.kind === "file" ? entry.mode & 0o777 : 0o755;
    const mode = types[entry.kind] | permission;
    const head = header({ name: entry.name, inode: index + 1, mode, bodyBytes: body.length });
    pieces.push(head, body, padding(body.length));
  }
  pieces.push(header({ name: trailer, inode: 0, mode: 0, bodyBytes: 0 }));
  return pieces;
}

function withFolders(entries: readonly Entry[]): Entry[] {
  const known = new Set<string>();
  const complete: Entry[] = [];
  for (const entry of entries) {
    assert(!entry.name.startsWith("/"), `a name in an archive is relative: ${entry.name}`);
    for (const name of foldersOf(entry.name)) {
      if (!known.has(name)) complete.push({ kind: "folder", name });
      known.add(name);
    }
    if (entry.kind === "folder" && known.has(entry.name)) continue;
    known.add(entry.name);
    complete.push(entry);
  }
  return complete;
}

/** The folders that `name` lies in, outermost first: `a/b/c` gives `a`, `a/b`. */
function foldersOf(name: string): string[] {
  const parts = name.split("/").slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}

function bodyOf(entry: Entry): Uint8Array {
  if (entry.kind === "file") return entry.bytes;
  return entry.kind === "link" ? Buffer.from(entry.target) : new Uint8Array();
}

/** Thirteen numbers of eight hex digits each, then the name, padded to a multiple of four. */
function header(of: { name: string; inode: number; mode: number; bodyBytes: number }): Uint8Array {
  const name = Buffer.from(`${of.name}\0`);
  const owner = 0;
  const links = 1;
  const time = 0;
  const device = 0;
  const checksum = 0;
  const fields = [of.inode, of.mode, owner, owner, links, time, of.bodyBytes];
  fields.push(device, device, device, device, name.length, checksum);
  const digits = fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  const head = Buffer.concat([Buffer.from(magic + digits), name]);
  return Buffer.concat([head, padding(head.length)]);
}

function padding(length: number): Uint8Array {
  return new Uint8Array((alignment - (length % alignment)) % alignment);
}
