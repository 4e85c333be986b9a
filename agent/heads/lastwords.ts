/**
 * The last words of a boot: why it is about to be reset, and the events before, in one sealed file
 * written and synced while the card still runs. The next boot reads it and tells the host.
 */
import { Failure } from "../errors.ts";
import type { AgentEvent, Stamped } from "../events.ts";
import type { Disk } from "../io/disk.ts";
import type { Cause, Stage } from "../machines/bootrecord.ts";
import { stageNames } from "../machines/bootrecord.ts";
import { decodeMap, encodeMap } from "../wire/cbor.ts";
import { seal, unseal } from "../wire/seal.ts";
import { check, type Infer, int, list, map, oneOf, text } from "../wire/shape.ts";

/** First bytes of the file; see wire/seal.ts. */
const magic = "KNLL";
const file = "last";
/** Events kept: what led to it, within one write of a few kB. */
export const eventsMax = 64;
/** Kinds named in the report; all events stay in the file. */
const trailMax = 8;
const dataTextMax = 120;

const shape = map({
  boot: text,
  machine: text,
  cause: oneOf("watchdog", "commanded"),
  culprit: text,
  stage: oneOf(...stageNames),
  /** When it was written, last refreshed and due to be reset: monotonic ms of that boot. */
  atMs: int,
  refreshedMs: int,
  deadlineMs: int,
  events: list(map({ atMs: int, kind: text, data: text }), eventsMax),
});

export interface Words {
  readonly boot: string;
  /** The machine's boot id: words of the present one were not followed by a reset. */
  readonly machine: string;
  readonly cause: Extract<Cause, "watchdog" | "commanded">;
  readonly culprit: string;
  readonly stage: Stage;
  readonly atMs: number;
  readonly refreshedMs: number;
  readonly deadlineMs: number;
}

export class LastWords {
  private readonly disk: Disk;
  /** The file holds something that has been read or taken back. */
  private spent = false;
  /** This boot has spoken. */
  private stored = false;
  /** What the boot before left, where this agent found it; for its crash file. */
  previous: Infer<typeof shape> | null = null;

  constructor(disk: Disk) {
    this.disk = disk;
  }

  /** Stores the words with the latest of `recent`; a disk that refuses them is no obstacle. */
  store(words: Words, recent: readonly Stamped[]): void {
    const events = recent.slice(-eventsMax).map(({ atMs, event: { kind, ...data } }) => ({
      atMs: Math.round(atMs),
      kind,
      data: JSON.stringify(data).slice(0, dataTextMax),
    }));
    const { atMs, refreshedMs, deadlineMs, ...rest } = words;
    const times = {
      atMs: Math.round(atMs),
      refreshedMs: Math.round(refreshedMs),
      deadlineMs: Math.round(deadlineMs),
    };
    this.attempt(() => {
      this.disk.write(file, seal(magic, encodeMap({ ...rest, ...times, events }), 0));
      this.disk.sync(file);
      this.spent = false;
      this.stored = true;
    });
  }

  /**
   * What the boot before left, as a report; null when there is nothing that a reset followed.
   * `previous`: that boot's id where it is known.
   */
  read(machine: string, previous: string | undefined): AgentEvent | null {
    const bytes = this.attempt(() => this.disk.read(file));
    if (bytes === undefined || bytes.length === 0) return null;
    this.spent = true;
    const opened = unseal(magic, bytes);
    if (opened === null || !("data" in opened)) {
      return { kind: "journal:recovered", file, outcome: "defaults" };
    }
    const found = this.attempt(() => check(shape, decodeMap(opened.data), "last words"));
    if (found === undefined || found.machine === machine) return null;
    if (previous !== undefined && found.boot !== previous) return null;
    this.previous = found;
    const { boot, cause, culprit, stage, atMs, refreshedMs, deadlineMs, events } = found;
    return {
      kind: "boot:last_words",
      boot,
      cause,
      culprit,
      stage,
      refreshed_ago_ms: atMs - refreshedMs,
      reset_in_ms: deadlineMs - atMs,
      trail: events
        .slice(-trailMax)
        .map(({ kind }) => kind)
        .join(" "),
    };
  }

  /** The reset is off. */
  takeBack(): void {
    if (!this.stored) return;
    this.stored = false;
    this.spent = true;
    this.clear();
  }

  /**
   * Empties the file once the report of what was read is on disk. It is not removed: a removal
   * may not outlive a power cut, and the words would be believed after all.
   */
  clear(): void {
    if (!this.spent) return;
    this.spent = false;
    this.attempt(() => {
      this.disk.write(file, new Uint8Array());
      this.disk.sync(file);
    });
  }

  private attempt<T>(act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return undefined;
    }
  }
}
