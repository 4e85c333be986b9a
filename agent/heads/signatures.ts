/**
 * Signed commands as they come: by which key, for which card, boot and session, in which order and
 * until when. Cheap for the card: one verification each, and few where they fail (README, "Who may
 * command").
 */
import { Failure } from "../errors.ts";
import type { Authority, KeyFile } from "../io/authority.ts";
import type { Sha256 } from "../io/digest.ts";
import type { Commander } from "../machines/access.ts";
import { type AuthorizedKey, parseKeys, type Role } from "../machines/authorizedkeys.ts";
import { decodeSigned, type Envelope, nonceBytes, type Signed, toBeSigned } from "../wire/cose.ts";

/** Whoever signed a command. */
export interface Actor {
  readonly by: Commander;
  readonly roles: readonly Role[];
  /** The lease under which it was sent; 0: none. */
  readonly epoch: number;
}

interface KnownKey extends AuthorizedKey {
  readonly kid: Uint8Array;
  readonly fingerprint: string;
  readonly verify: (message: Uint8Array, signature: Uint8Array) => boolean;
}

/** What there is on one line: a nonce, and how far each key has counted. */
interface Session {
  readonly nonce: Uint8Array;
  readonly counters: Map<string, number>;
  /** Refused verifications that the line still has, as of `filledMs`. */
  tokens: number;
  filledMs: number;
}

/** A session as a key needs to know it; `key` is null where it is not authorised. */
export interface SessionSeen {
  readonly nonce: Uint8Array;
  readonly counter: number;
  readonly key: KnownKey | null;
}

/** No command is good for longer than this, ms: what is later was made for another time. */
export const lifeMaxMs = 60_000;
/** Verifications that may fail on a line at once, and how many more each second. */
export const failures = { burst: 20, perS: 2 };
/** Keys that counted in one session; more than may be authorised at a time. */
const countersMax = 64;

export class Signatures {
  private readonly authority: Authority;
  private readonly sha256: Sha256;
  private readonly card: { readonly device: string; readonly boot: string };
  private readonly sessions = new WeakMap<object, Session>();
  private readonly tell: (keys: { keys: number; problem: string }) => void;
  private file: KeyFile | null = null;
  private known: readonly KnownKey[] = [];
  /** What is wrong with the key file or its lines; empty: nothing. */
  problem = "";

  /** `tell`: the key file was read anew. */
  constructor(
    { authority, sha256 }: { readonly authority: Authority; readonly sha256: Sha256 },
    card: { readonly device: string; readonly boot: string },
    tell: Signatures["tell"],
  ) {
    this.authority = authority;
    this.sha256 = sha256;
    this.card = card;
    this.tell = tell;
  }

  /** How many keys count, as of the last look. */
  get keys(): number {
    return this.known.length;
  }

  /** Looks whether the key file has changed; returns how many keys count. */
  look(): number {
    const file = this.authority.keyFile();
    if (file === this.file) return this.known.length;
    this.file = file;
    const { keys, problems } = parseKeys(file.text);
    this.known = keys.map((key) => this.know(key));
    this.problem = file.problem ?? problems.join("; ");
    this.tell({ keys: keys.length, problem: this.problem });
    return keys.length;
  }

  /** The session on `line`, which begins when it is first asked for. */
  session(line: object, kid: Uint8Array | undefined): SessionSeen {
    this.look();
    const { nonce, counters } = this.sessionOf(line);
    const key = kid === undefined ? undefined : this.find(kid);
    const counter = 1 + (key === undefined ? 0 : (counters.get(key.fingerprint) ?? 0));
    return { nonce, counter, key: key ?? null };
  }

  /**
   * Who signed this, and the request that is in it. Failure `access.*` for what is not to be
   * obeyed; what a failure says of sender, order and time was signed, unless it is `malformed`,
   * `unknown_key`, `forged` or `limited`.
   */
  open(cose: Uint8Array, line: object, nowMs: number): { actor: Actor; payload: Uint8Array } {
    const signed = decodeSigned(cose);
    this.look();
    const { envelope } = signed;
    const key = this.find(envelope.kid);
    if (key === undefined) {
      const print = fingerprintOf(envelope.kid);
      throw new Failure("access.unknown_key", `no key ${print} among the card's authorized_keys`);
    }
    const session = this.sessionOf(line);
    refill(session, nowMs);
    if (session.tokens < 1) {
      const message = "too many signed commands were refused on this line: wait a few seconds";
      throw new Failure("access.limited", message);
    }
    try {
      this.check(signed, key, session, nowMs);
    } catch (error) {
      session.tokens -= 1;
      throw error;
    }
    session.counters.set(key.fingerprint, envelope.counter);
    const { fingerprint, name, rank, roles } = key;
    const by = { key: fingerprint, name, rank, seat: envelope.seat };
    return { actor: { by, roles, epoch: envelope.epoch }, payload: signed.payload };
  }

  private check(signed: Signed, key: KnownKey, session: Session, nowMs: number): void {
    const { envelope, header, payload, signature } = signed;
    if (!key.verify(toBeSigned(header, payload), signature)) {
      throw new Failure(
        "access.forged",
        `the signature is not by ${key.name} (${key.fingerprint})`,
      );
    }
    const { device, boot, untilMs } = envelope;
    if (device !== this.card.device) {
      throw new Failure(
        "access.device",
        `it was signed for card ${device}; this is ${this.card.device}`,
      );
    }
    if (boot !== this.card.boot) {
      throw new Failure("access.boot", `it was signed for boot ${boot}; this is ${this.card.boot}`);
    }
    if (!isEqual(envelope.nonce, session.nonce)) {
      throw new Failure("access.session", "it was signed for another session on another line");
    }
    if (nowMs >= untilMs || untilMs > nowMs + lifeMaxMs) {
      const late = Math.round(nowMs - untilMs);
      const what = late >= 0 ? `${late} ms ago` : `in ${-late} ms, and ${lifeMaxMs} is the most`;
      throw new Failure("access.expired", `it ends ${what}: sign it anew`);
    }
    this.mustBeNext(envelope, key, session);
  }

  private mustBeNext({ counter }: Envelope, key: KnownKey, { counters }: Session): void {
    const next = 1 + (counters.get(key.fingerprint) ?? 0);
    if (counter < next) {
      throw new Failure("access.replayed", `command ${counter} of ${key.name} was here before`);
    }
    if (counter > next) {
      const message = `command ${counter} of ${key.name} came where ${next} was expected`;
      throw new Failure("access.reordered", message);
    }
  }

  private sessionOf(line: object): Session {
    const found = this.sessions.get(line);
    if (found !== undefined && found.counters.size < countersMax) return found;
    // A new nonce makes everything signed before worthless: nothing of it needs to be remembered.
    const nonce = this.authority.random(nonceBytes);
    const { tokens, filledMs } = found ?? { tokens: failures.burst, filledMs: 0 };
    const session = { nonce, counters: new Map(), tokens, filledMs };
    this.sessions.set(line, session);
    return session;
  }

  private find(kid: Uint8Array): KnownKey | undefined {
    return this.known.find((key) => isEqual(key.kid, kid));
  }

  /** Hash and key object are made when they are first needed: crypto is slow to load. */
  private know(key: AuthorizedKey): KnownKey {
    const { authority, sha256 } = this;
    let kid: Uint8Array | null = null;
    const hash = (): Uint8Array => {
      kid ??= sha256(key.blob);
      return kid;
    };
    return {
      ...key,
      verify: authority.verifier(key.publicKey),
      get kid() {
        return hash();
      },
      get fingerprint() {
        return fingerprintOf(hash());
      },
    };
  }
}

/** As OpenSSH shows it. */
export function fingerprintOf(kid: Uint8Array): string {
  return `SHA256:${Buffer.from(kid).toString("base64").replace(/=+$/, "")}`;
}

function refill(session: Session, nowMs: number): void {
  const gained = ((nowMs - session.filledMs) / 1000) * failures.perS;
  session.tokens = Math.min(session.tokens + gained, failures.burst);
  session.filledMs = nowMs;
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => other[at] === byte);
}
