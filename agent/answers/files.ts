/**
 * The files of the file group: read-only, made when somebody asks for them, and kept for the time
 * of a download, so that its pieces are of one piece.
 */
import type { Clock } from "../io/clock.ts";
import { GroupFailure } from "../wire/grouperrors.ts";

/** Makes a file's content now; null where there is none of that name. */
export type MakeFile = (name: string) => Uint8Array | null;

/** Bytes of content in one answer: with header, keys and the longest numbers 2048 at most. */
export const chunkBytes = 2000;
/** Contents kept at a time, over all lines; the one not used for longest goes first. */
export const keptMax = 4;
/** A download that stands still for so long is over. */
export const keptMs = 60_000;
/** Asked for from its beginning within this time, it is the same content: an answer was lost. */
export const repeatMs = 5000;
/** Content beyond that is cut: 512 reports of at most 500 bytes and the boots fit. */
export const fileBytesMax = 1_048_576;

interface Kept {
  readonly reader: object;
  readonly name: string;
  readonly content: Uint8Array;
  readonly madeMs: number;
  usedMs: number;
}

export class Files {
  private readonly clock: Clock;
  private readonly make: MakeFile;
  private kept: Kept[] = [];
  /** The most contents kept at a time since the agent started. */
  keptPeak = 0;

  constructor(clock: Clock, make: MakeFile) {
    this.clock = clock;
    this.make = make;
  }

  /** Contents that are kept for downloads now. */
  get keptCount(): number {
    this.expire();
    return this.kept.length;
  }

  /** The piece of `name` at `off`. `reader`: whose download it is. */
  read(reader: object, name: string, off: number): { data: Uint8Array; len: number } {
    const content = this.content(reader, name, off === 0);
    if (off > content.length) {
      const message = `${name} has ${content.length} bytes; ${off} was asked for`;
      throw new GroupFailure("files.beyond_end", message);
    }
    return { data: content.slice(off, off + chunkBytes), len: content.length };
  }

  /** All of it, as a download under way has it. */
  whole(reader: object, name: string): Uint8Array {
    return this.content(reader, name, false);
  }

  /** Ends the downloads of this reader. */
  close(reader: object): void {
    this.kept = this.kept.filter((one) => one.reader !== reader);
  }

  private content(reader: object, name: string, anew: boolean): Uint8Array {
    this.expire();
    const nowMs = this.clock.now();
    const found = this.kept.find((one) => one.reader === reader && one.name === name);
    if (found !== undefined && !(anew && nowMs - found.madeMs > repeatMs)) {
      found.usedMs = nowMs;
      return found.content;
    }
    const content = this.made(name).slice(0, fileBytesMax);
    const others = this.kept.filter((one) => one !== found);
    others.sort((left, right) => right.usedMs - left.usedMs);
    const kept = { reader, name, content, madeMs: nowMs, usedMs: nowMs };
    this.kept = [kept, ...others.slice(0, keptMax - 1)];
    this.keptPeak = Math.max(this.keptPeak, this.kept.length);
    return content;
  }

  private made(name: string): Uint8Array {
    if (!name.startsWith("/") || name.includes("\0")) {
      throw new GroupFailure("files.name", "a file name begins with a slash");
    }
    const content = this.make(name);
    if (content === null) throw new GroupFailure("files.not_found", `there is no file ${name}`);
    return content;
  }

  private expire(): void {
    const sinceMs = this.clock.now() - keptMs;
    this.kept = this.kept.filter(({ usedMs }) => usedMs > sinceMs);
  }
}
