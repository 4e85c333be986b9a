/**
 * What the wire costs: deframing in bytes per second, and strict CBOR as a multiple of what cbor-x
 * alone takes for the same message in the same run.
 */
import { Decoder, Encoder } from "cbor-x";
import { Random } from "../../agent/sim/random.ts";
import { decodeMap, encodeMap } from "../../agent/wire/cbor.ts";
import { Deframer, enframe } from "../../agent/wire/frame.ts";
import { encodeMessage } from "../../agent/wire/smp.ts";
import type { Row } from "./rows.ts";

/** Each side of a ratio is timed in turns, and the median of the turns counts. */
const turns = 9;
const turnMs = 60;
/** Between two looks at the clock. */
const batch = 64;
/** A console line carries text as well: this part of the stream is kernel lines. */
const textEvery = 4;

const settings = { useRecords: false, variableMapSize: true, tagUint8Array: false } as const;
const bareEncoder = new Encoder(settings);
const bareDecoder = new Decoder(settings);

/** A refresh of state, about 45 bytes, and a list of reports, about 1.5 kB. */
const small = { seq: 4711, at_ms: 1_234_567, kind: "wdt:slack", ok: true, n: 3 };
const large = {
  more: false,
  reports: Array.from({ length: 15 }, (_, at) => ({
    boot: "17-9f3c2a",
    seq: 1000 + at,
    at_ms: 3_600_000 + at * 250,
    kind: "wdt:armed",
    class: "safety",
    data: { backend: "direct", hardware_ms: 30_000, promise_ms: 60_000 },
  })),
};

/** Rows for deframing, decoding and encoding; takes 6 s. */
export function benchWire(): Row[] {
  return [deframing(), ...codec("small message", small), ...codec("large message", large)];
}

function deframing(): Row {
  const random = new Random(1);
  const printk = Buffer.from("[   12.345678] eth0: link is up\n");
  const parts = Array.from({ length: 400 }, (_, at) => {
    if (at % textEvery === 0) return printk;
    const body = random.chance(0.5) ? small : large;
    return enframe(encodeMessage({ ...header, body }));
  });
  const stream = new Uint8Array(Buffer.concat(parts));
  const perStreamUs = median(rounds(() => new Deframer().push(stream), 1));
  const value = `${(stream.length / perStreamUs).toFixed(0)} MB/s`;
  return { name: "deframer", value, note: `${stream.length} bytes, a quarter of lines is text` };
}

const header = { version: 1, op: "read_response", group: 68, seq: 1, command: 3 } as const;

function codec(name: string, value: Record<string, unknown>): Row[] {
  const bytes = encodeMap(value);
  return [
    ratio(
      `scan and decode, ${name}`,
      bytes,
      () => decodeMap(bytes),
      () => bareDecoder.decode(bytes),
    ),
    ratio(
      `encode, ${name}`,
      bytes,
      () => encodeMap(value),
      () => bareEncoder.encode(value),
    ),
  ];
}

/** Both sides in alternating turns: what slows the machine down slows both. */
function ratio(name: string, bytes: Uint8Array, ours: () => unknown, bare: () => unknown): Row {
  const oursUs: number[] = [];
  const bareUs: number[] = [];
  turn(ours);
  turn(bare);
  for (let at = 0; at < turns; at += 1) {
    oursUs.push(turn(ours));
    bareUs.push(turn(bare));
  }
  const [mine, theirs] = [median(oursUs), median(bareUs)];
  return {
    name,
    value: `${(mine / theirs).toFixed(2)} x cbor-x alone`,
    note: `${mine.toFixed(2)} and ${theirs.toFixed(2)} us, ${bytes.length} bytes`,
  };
}

function rounds(act: () => unknown, per: number): number[] {
  return Array.from({ length: turns }, () => turn(act, per));
}

/** Microseconds per call over one turn. */
function turn(act: () => unknown, per = batch): number {
  const start = performance.now();
  let calls = 0;
  let now = start;
  while (now - start < turnMs) {
    for (let at = 0; at < per; at += 1) act();
    calls += per;
    now = performance.now();
  }
  return ((now - start) * 1000) / calls;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
