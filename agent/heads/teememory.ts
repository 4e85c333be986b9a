/**
 * What the TEE's head keeps on disk: its history in a journal of two slots, and the context saved
 * at a crash in one sealed file. The context is worth nothing when it is old, so there is no spare
 * copy of it: what is damaged is refused, and everything is registered anew.
 */
import { Failure } from "../errors.ts";
import type { Disk } from "../io/disk.ts";
import { type Codec, Journal } from "../journal.ts";
import type { TeeConfig } from "../machines/teeconfig.ts";
import {
  attemptsMax,
  emptyHistory,
  fearedHistory,
  quarantinedMax,
  type ReeContext,
  rebased,
  recordsMax,
  type TeeHistory,
  triggersMax,
} from "../machines/teerecord.ts";
import { decodeMap, encodeMap } from "../wire/cbor.ts";
import { seal, unseal } from "../wire/seal.ts";
import { bool, check, int, list, map, oneOf, optional, text, uint } from "../wire/shape.ts";

/** First bytes of a saved context; see wire/seal.ts. */
const magic = "KNLT";
const contextFile = "tee.context";
/** Bumped when the members change: a context of another version is refused. */
const contextVersion = 1;

const rung = oneOf("session", "supplicant", "tee_os", "card_reset");
const callName = { service: text, command: uint };
const historyShape = map({
  epoch: uint,
  crashes: uint,
  attempts: list(map({ atMs: int, rung }), attemptsMax),
  records: list(
    map({
      atMs: int,
      epoch: uint,
      rung,
      code: text,
      trigger: optional(map(callName)),
      tookMs: optional(uint),
    }),
    recordsMax,
  ),
  resetsMs: list(int, attemptsMax),
  triggers: list(map({ ...callName, count: uint }), triggersMax),
  quarantined: list(map(callName), quarantinedMax),
  unrecoverable: optional(text),
});
const storedShape = map({ machine: text, savedMs: int, history: historyShape });
const contextShape = map({
  version: uint,
  epoch: uint,
  services: list(map({ name: text, registered: bool }), 64),
  calls: list(map({ ...callName, class: text }), 64),
});

/** A history with the clock it was written by. */
interface Stored {
  /** The machine's boot id: only within one boot do monotonic times compare. */
  readonly machine: string;
  readonly savedMs: number;
  readonly history: TeeHistory;
  /** There was one, and it cannot be read. */
  readonly lost: boolean;
}

const codec: Codec<Stored> = {
  encode: ({ machine, savedMs, history }) => {
    const { epoch, crashes, triggers, quarantined, unrecoverable } = history;
    return encodeMap({
      machine,
      savedMs: Math.round(savedMs),
      history: {
        epoch,
        crashes,
        attempts: history.attempts.map(({ atMs, rung: at }) => {
          return { atMs: Math.round(atMs), rung: at };
        }),
        records: history.records.map(({ trigger, tookMs, atMs, ...rest }) => ({
          ...rest,
          atMs: Math.round(atMs),
          ...(trigger === null ? {} : { trigger }),
          ...(tookMs === null ? {} : { tookMs }),
        })),
        resetsMs: history.resetsMs.map(Math.round),
        triggers,
        quarantined,
        ...(unrecoverable === null ? {} : { unrecoverable }),
      },
    });
  },
  decode: (bytes) => {
    const { machine, savedMs, history } = check(storedShape, decodeMap(bytes), "TEE history");
    const records = history.records.map((record) => {
      return { ...record, trigger: record.trigger ?? null, tookMs: record.tookMs ?? null };
    });
    const unrecoverable = history.unrecoverable ?? null;
    return { machine, savedMs, history: { ...history, records, unrecoverable }, lost: false };
  },
  fallback: (lost) => ({ machine: "", savedMs: 0, history: emptyHistory, lost }),
};

export class TeeMemory {
  /** As it stands at this start, in this boot's time. */
  readonly history: TeeHistory;
  private readonly disk: Disk;
  private readonly machine: string;
  private readonly journal: Journal<Stored>;

  /** `machine`: the boot id of the machine; `nowMs`: monotonic ms of that boot. */
  constructor(disk: Disk, machine: string, config: TeeConfig, nowMs: number) {
    this.disk = disk;
    this.machine = machine;
    this.journal = new Journal(disk, "tee", codec);
    const { history, savedMs, lost, machine: of } = this.journal.value;
    if (lost) this.history = fearedHistory(config, nowMs);
    else this.history = of === machine ? history : rebased(history, savedMs, nowMs);
  }

  /** Why writes do not reach the disk; null while they do. */
  get degraded(): string | null {
    return this.journal.degraded;
  }

  /** Returns when the history is on stable storage, or `degraded` says why not. */
  keep(history: TeeHistory, nowMs: number): void {
    this.journal.commit({ machine: this.machine, savedMs: nowMs, history, lost: false });
  }

  /** Saves a context. Failure `journal.degraded` when the disk does not take it. */
  saveContext(context: ReeContext): void {
    const data = encodeMap({ version: contextVersion, ...context });
    this.disk.write(contextFile, seal(magic, data, context.epoch));
    this.disk.sync(contextFile);
  }

  /** Reads the context back; null when there is none, Failure `journal.corrupt` when damaged. */
  loadContext(): ReeContext | null {
    const bytes = this.disk.read(contextFile);
    if (bytes === undefined) return null;
    const opened = unseal(magic, bytes);
    if (opened === null || !("data" in opened)) {
      const what = opened === null ? "its header is damaged" : "its data is damaged or cut off";
      throw new Failure("journal.corrupt", `the saved TEE context is refused: ${what}`);
    }
    const found = decodeMap(opened.data);
    if (found.version !== contextVersion) {
      const message = `the saved TEE context is refused: it is of version ${String(found.version)}`;
      throw new Failure("journal.corrupt", message);
    }
    const { version: _version, ...context } = check(contextShape, found, "TEE context");
    return context;
  }
}
