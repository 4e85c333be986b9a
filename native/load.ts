/**
 * Where native files are found at run time: beside the bundle, in a folder named after platform,
 * architecture and C library. Nothing is searched for and no environment variable has a say, so
 * that nobody can slip another file in front of the one that was installed.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { Failure } from "../agent/errors.ts";

/** Elf64_Ehdr of elf(5). */
const headerBytes = 64;
/** PT_INTERP of elf(5). */
const programInterpreter = 3;
/** PATH_MAX of Linux. */
const pathBytesMax = 4096;

const loaded = new Map<string, unknown>();
let target: string | undefined;

/**
 * Loads `<name>.node`, once per process. Throws a Failure `native.missing` that names the file and
 * the linker's complaint.
 */
export function loadNative(name: string): unknown {
  if (!loaded.has(name)) loaded.set(name, open(name));
  return loaded.get(name);
}

/**
 * As loadNative, but nothing is loaded before a member is called or constructed: programs that
 * open no serial port start without its native part. Every member looks like a function.
 */
export function lazyNative(name: string): object {
  const members = new Map<PropertyKey, unknown>();
  const memberOf = (key: PropertyKey): unknown => {
    const real = (): Callable =>
      (loadNative(name) as Record<PropertyKey, Callable>)[key] as Callable;
    return function lazily(...args: unknown[]): unknown {
      return new.target ? Reflect.construct(real(), args) : real()(...args);
    };
  };
  return new Proxy(
    {},
    {
      get: (_, key) => {
        if (!members.has(key)) members.set(key, memberOf(key));
        return members.get(key);
      },
    },
  );
}

type Callable = (...args: unknown[]) => unknown;

/** Such as `linux-arm64-glibc`: the folder under native/ that fits the running node. */
export function nativeTarget(): string {
  target ??= [process.platform, process.arch, ...libcOf(process.platform)].join("-");
  return target;
}

function open(name: string): unknown {
  const path = join(__dirname, __NATIVE_DIR__, nativeTarget(), `${name}.node`);
  const module = { exports: {} };
  try {
    // RTLD_NOW: a symbol that the C library lacks fails here, not at the first call of it.
    process.dlopen(module, path, constants.dlopen.RTLD_NOW);
  } catch (cause) {
    const evidence = cause instanceof Error ? cause.message : String(cause);
    throw new Failure(
      "native.missing",
      `The native part "${name}" cannot be loaded for ${nativeTarget()}: ${evidence}. ` +
        "Build Kennel where a C++ compiler and the headers of Node are installed " +
        "(`node build.mjs`), and install its dist folder as a whole, the native folder included.",
      { cause, evidence: { name, path, target: nativeTarget() } },
    );
  }
  return module.exports;
}

function libcOf(platform: string): string[] {
  if (platform !== "linux") return [];
  return [interpreterOf(process.execPath).includes("musl") ? "musl" : "glibc"];
}

/**
 * The dynamic linker that an ELF file asks for (PT_INTERP), such as /lib/ld-musl-x86_64.so.1; an
 * empty string when it asks for none or cannot be read. process.report would take 10 to 100 ms.
 */
export function interpreterOf(path: string): string {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    return interpreterIn(file);
  } catch {
    return "";
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Throws a RangeError where a table is cut short. */
function interpreterIn(file: number): string {
  const header = bytesOf(file, 0, headerBytes);
  // 64-bit, little-endian: so are all the systems that Node supports among ours.
  if (header.toString("latin1", 0, 6) !== "\x7fELF\x02\x01") return "";
  const tableAt = Number(header.readBigUInt64LE(32));
  const entryBytes = header.readUInt16LE(54);
  const entries = header.readUInt16LE(56);
  const table = bytesOf(file, tableAt, entryBytes * entries);
  for (let entry = 0; entry < entries; entry++) {
    const at = entry * entryBytes;
    if (table.readUInt32LE(at) !== programInterpreter) continue;
    const from = Number(table.readBigUInt64LE(at + 8));
    const length = Math.min(Number(table.readBigUInt64LE(at + 32)), pathBytesMax);
    return bytesOf(file, from, length).toString("latin1").split("\0")[0] ?? "";
  }
  return "";
}

function bytesOf(file: number, from: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(file, buffer, 0, length, from));
}
