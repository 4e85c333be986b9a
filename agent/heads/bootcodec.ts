/** How the boot record is stored: CBOR of a checked shape; see machines/bootrecord.ts. */
import type { Codec } from "../journal.ts";
import {
  agedRecord,
  type BootRecord,
  crashRecordsMax,
  emptyRecord,
  pastMax,
  stagesMax,
} from "../machines/bootrecord.ts";
import { decodeMap, encodeMap } from "../wire/cbor.ts";
import { bool, check, list, map, oneOf, optional, text, uint } from "../wire/shape.ts";

const slot = oneOf("a", "b", "safe");
const cause = oneOf("power", "watchdog", "commanded", "clean", "panic", "agent_restart", "unknown");
const stage = oneOf("power_on", "os_load", "hand_off", "adopt", "runtime");
const by = oneOf("nobody", "firmware", "countdown", "agent");
const entry = map({
  boot: text,
  machine: text,
  slot,
  stage,
  step: text,
  uptimeMs: uint,
  cause,
  culprit: text,
  confirmed: bool,
  stages: optional(list(map({ stage, startMs: uint, by }), stagesMax)),
  arrival: optional(map({ atMs: uint, uncoveredMs: uint })),
});
const shape = map({
  boots: uint,
  told: uint,
  active: slot,
  trial: optional(slot),
  failures: map({ a: uint, b: uint }),
  current: optional(entry),
  closing: optional(map({ cause, culprit: text, checkedInMs: optional(uint) })),
  past: list(entry, pastMax),
  crashRecords: optional(list(text, crashRecordsMax)),
  shortLives: optional(uint),
});

export function bootCodec(attemptsMax: number): Codec<BootRecord> {
  return {
    encode: ({ trial, current, closing, ...rest }) =>
      encodeMap({
        ...rest,
        ...(trial === null ? {} : { trial }),
        ...(current === null ? {} : { current }),
        ...(closing === null ? {} : { closing }),
      }),
    decode: (bytes) => {
      const found = check(shape, decodeMap(bytes), "boot record");
      const { trial = null, current = null, closing = null } = found;
      return { ...found, trial, current, closing };
    },
    fallback: (lost) => emptyRecord(lost, attemptsMax),
    aged: (value) => agedRecord(value, attemptsMax),
  };
}
