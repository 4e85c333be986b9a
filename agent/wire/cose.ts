/**
 * A signed command: COSE_Sign1 (RFC 9052, untagged) with EdDSA, whose payload is one SMP request.
 * What it is good for stands in the protected header, under the private label "kennel", which
 * `crit` makes nobody overlook:
 *
 *     { 1: -8, 2: ["kennel"], 4: kid,
 *       "kennel": [device, boot, nonce, counter, until, epoch, seat] }
 *
 * Only the deterministic encoding is taken (RFC 8949, 4.2.1): one command has one form. Written by
 * hand, since there is but this one form, and cbor.ts takes neither lists nor numbers as keys.
 */
import { Failure } from "../errors.ts";

/** What a signature is good for. */
export interface Envelope {
  /** Which key signed: SHA-256 of its OpenSSH blob, as `ssh-keygen -l` shows it; 32 bytes. */
  readonly kid: Uint8Array;
  /** The one card it is for, and the one boot of that card's agent. */
  readonly device: string;
  readonly boot: string;
  /** From `access.session`: the one session on one line; 16 bytes. */
  readonly nonce: Uint8Array;
  /** From 1, one more with each command of this key in the session. */
  readonly counter: number;
  /** Not obeyed from then on; ms on the card's monotonic clock. */
  readonly untilMs: number;
  /** The lease under which it is sent; 0: none. */
  readonly epoch: number;
  /** Who sits there, to tell two users of one key apart. */
  readonly seat: string;
}

export interface Signed {
  readonly envelope: Envelope;
  /** The protected header as it came: what was signed. */
  readonly header: Uint8Array;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

export const kidBytes = 32;
export const nonceBytes = 16;
export const signatureBytes = 64;
/** Of the texts in the envelope, UTF-8 bytes. */
export const envelopeTextMax = 64;

const label = "kennel";
const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** CBOR's major types, as far as they are used. */
const major = { uint: 0, negative: 1, bytes: 2, text: 3, list: 4, map: 5 } as const;
type Major = (typeof major)[keyof typeof major];

/** The protected header of a command. */
export function encodeHeader(envelope: Envelope): Uint8Array {
  const { kid, device, boot, nonce, counter, untilMs, epoch, seat } = envelope;
  return joined(
    head(major.map, 4),
    head(major.uint, 1),
    head(major.negative, 7), // alg: -8, EdDSA
    head(major.uint, 2),
    head(major.list, 1),
    text(label),
    head(major.uint, 4),
    bytes(kid),
    text(label),
    head(major.list, 7),
    text(device),
    text(boot),
    bytes(nonce),
    head(major.uint, counter),
    head(major.uint, untilMs),
    head(major.uint, epoch),
    text(seat),
  );
}

/** The bytes that are signed: Sig_structure of RFC 9052, 4.4, without external data. */
export function toBeSigned(header: Uint8Array, payload: Uint8Array): Uint8Array {
  const none = new Uint8Array(0);
  return joined(
    head(major.list, 4),
    text("Signature1"),
    bytes(header),
    bytes(none),
    bytes(payload),
  );
}

export function encodeSigned(
  header: Uint8Array,
  payload: Uint8Array,
  signature: Uint8Array,
): Uint8Array {
  const unprotected = head(major.map, 0);
  return joined(head(major.list, 4), bytes(header), unprotected, bytes(payload), bytes(signature));
}

/** Takes a signed command apart; nothing is verified yet. Failure `access.malformed`. */
export function decodeSigned(from: Uint8Array): Signed {
  const reader = new Reader(from);
  reader.expect(major.list, 4);
  const header = reader.bytes();
  reader.expect(major.map, 0);
  const payload = reader.bytes();
  const signature = reader.bytes(signatureBytes);
  reader.end();
  return { envelope: decodeHeader(header), header, payload, signature };
}

function decodeHeader(from: Uint8Array): Envelope {
  const reader = new Reader(from);
  reader.expect(major.map, 4);
  reader.expect(major.uint, 1);
  reader.expect(major.negative, 7);
  reader.expect(major.uint, 2);
  reader.expect(major.list, 1);
  reader.label();
  reader.expect(major.uint, 4);
  const kid = reader.bytes(kidBytes);
  reader.label();
  reader.expect(major.list, 7);
  const device = reader.text();
  const boot = reader.text();
  const nonce = reader.bytes(nonceBytes);
  const counter = reader.head(major.uint);
  const untilMs = reader.head(major.uint);
  const epoch = reader.head(major.uint);
  const seat = reader.text();
  reader.end();
  return { kid, device, boot, nonce, counter, untilMs, epoch, seat };
}

/** Reads the one form, byte after byte. */
class Reader {
  private at = 0;
  private readonly from: Uint8Array;

  constructor(from: Uint8Array) {
    this.from = from;
  }

  /** The number in a head of this type, which must be in its shortest form. */
  head(type: Major): number {
    const first = this.take(1)[0] as number;
    const low = first & 0x1f;
    if (first >> 5 !== type || low > 27) this.refuse();
    if (low < 24) return low;
    let value = 0;
    for (const byte of this.take(1 << (low - 24))) value = value * 256 + byte;
    const isShortest = low === 24 ? value >= 24 : value >= 2 ** (8 << (low - 25));
    if (!isShortest || !Number.isSafeInteger(value)) this.refuse();
    return value;
  }

  expect(type: Major, value: number): void {
    if (this.head(type) !== value) this.refuse();
  }

  bytes(length?: number): Uint8Array {
    const size = this.head(major.bytes);
    if (length !== undefined && size !== length) this.refuse();
    return this.take(size);
  }

  text(): string {
    const size = this.head(major.text);
    if (size > envelopeTextMax) this.refuse();
    try {
      return strict.decode(this.take(size));
    } catch (error) {
      if (error instanceof Failure) throw error;
      return this.refuse();
    }
  }

  label(): void {
    if (this.text() !== label) this.refuse();
  }

  end(): void {
    if (this.at !== this.from.length) this.refuse();
  }

  private take(count: number): Uint8Array {
    if (count > this.from.length - this.at) this.refuse();
    this.at += count;
    return this.from.subarray(this.at - count, this.at);
  }

  private refuse(): never {
    const message = `not a signed command: byte ${this.at} of its COSE_Sign1 is not as it must be`;
    throw new Failure("access.malformed", message);
  }
}

function head(type: Major, value: number): Uint8Array {
  if (value < 24) return Uint8Array.of((type << 5) | value);
  const size = value < 2 ** 8 ? 0 : value < 2 ** 16 ? 1 : value < 2 ** 32 ? 2 : 3;
  const out = new Uint8Array(1 + (1 << size));
  out[0] = (type << 5) | (24 + size);
  for (let at = out.length - 1, rest = value; at > 0; at--) {
    out[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return out;
}

function bytes(value: Uint8Array): Uint8Array {
  return joined(head(major.bytes, value.length), value);
}

function text(value: string): Uint8Array {
  const encoded = utf8.encode(value);
  return joined(head(major.text, encoded.length), encoded);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
