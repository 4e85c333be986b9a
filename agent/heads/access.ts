/**
 * Who may command this card: what a request needs, who signed it, and who holds the lease. It
 * decides about requests alone: whoever comes, goes or is refused, the watchdog is not touched.
 */
import { type Code, Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Authority } from "../io/authority.ts";
import type { Clock } from "../io/clock.ts";
import type { Sha256 } from "../io/digest.ts";
import type { Disk } from "../io/disk.ts";
import { type Codec, Journal } from "../journal.ts";
import {
  type Commander,
  isSame,
  type LeaseEffect,
  type LeaseEvent,
  type LeaseState,
  leaseDueMs,
  leaseTermMs,
  stepLease,
} from "../machines/access.ts";
import type { AccessConfig } from "../machines/accessconfig.ts";
import { alwaysOpen, withoutLease } from "../wire/access.ts";
import { decodeMap, encodeMap } from "../wire/cbor.ts";
import { type CommandName, commands, type RequestOf, type ResponseOf } from "../wire/commands.ts";
import { envelopeTextMax } from "../wire/cose.ts";
import { check, map, uint } from "../wire/shape.ts";
import type { Line } from "./host.ts";
import { Refusals } from "./refusals.ts";
import { type Actor, Signatures } from "./signatures.ts";

type Lease = ResponseOf<"access.take">;

export interface AccessIo {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly authority: Authority;
  readonly sha256: Sha256;
  readonly emit: (event: AgentEvent) => void;
}

const kept = map({ epoch: uint });
const epochCodec: Codec<{ epoch: number }> = {
  encode: (value) => encodeMap(value),
  decode: (bytes) => check(kept, decodeMap(bytes), "access record"),
  // Late commands of boots before this one are fenced by the boot's id.
  fallback: () => ({ epoch: 0 }),
};

export class AccessHead {
  private readonly io: AccessIo;
  private readonly config: AccessConfig;
  private readonly card: { readonly name: string; readonly device: () => string };
  readonly boot: string;
  private readonly signatures: Signatures;
  private readonly refusals: Refusals;
  private readonly journal: Journal<{ epoch: number }>;
  private lease: LeaseState;
  /** Found out when it is first asked for: a hash takes loading a module. */
  private called: string | null = null;

  /** `device` is asked when it is first needed; `name` stands in where the platform knows none. */
  constructor(
    io: AccessIo,
    config: AccessConfig,
    card: { name: string; boot: string; device: () => string },
  ) {
    this.io = io;
    this.config = config;
    this.boot = card.boot;
    this.card = card;
    const tell = (keys: { keys: number; problem: string }): void => {
      io.emit({ kind: "access:keys", ...keys, problem: keys.problem.slice(0, problemMax) });
    };
    this.signatures = new Signatures(io, this, tell);
    this.refusals = new Refusals(io.emit);
    this.journal = new Journal(io.disk, "access", epochCodec);
    this.lease = { kind: "free", epoch: this.journal.value.epoch };
  }

  /** For the greeting, so that a console knows what to sign. */
  get tags(): string[] {
    const { policy, read } = this.config;
    return [`access.${policy}`, ...(read === "keys" ? ["access.read_keys"] : [])];
  }

  /** What this card is called in what is signed for it. */
  get device(): string {
    this.called ??= deviceName(this.card.device(), this.card.name);
    return this.called;
  }

  /** How many keys are authorised, as of the last look. */
  get keys(): number {
    return this.signatures.keys;
  }

  get isOpen(): boolean {
    return this.config.policy === "open";
  }

  /** An open card is never silent about it; a closed one says which keys count. */
  start(): void {
    if (this.isOpen) this.io.emit({ kind: "access:open" });
    else this.signatures.look();
  }

  get dueMs(): number {
    return Math.min(leaseDueMs(this.lease), this.refusals.dueMs);
  }

  tick(nowMs: number): void {
    this.step({ kind: "tick", atMs: nowMs });
    this.refusals.tick(nowMs);
  }

  /** Opens a signed command that came on `line`. Failure `access.*`, counted and told. */
  open(cose: Uint8Array, line: Line): { actor: Actor; payload: Uint8Array } {
    try {
      return this.signatures.open(cose, line, this.io.clock.now());
    } catch (error) {
      throw this.told(error, "access.signed", line, null);
    }
  }

  /** Throws a Failure `access.*` unless whoever asks may have this; null: it is unsigned. */
  allow(name: CommandName, line: Line, actor: Actor | null): void {
    try {
      if (actor === null) this.allowUnsigned(name);
      else this.allowSigned(name, actor);
    } catch (error) {
      throw this.told(error, name, line, actor);
    }
  }

  private allowUnsigned(name: CommandName): void {
    const { policy, read } = this.config;
    if (commands[name].needs === null) {
      if (read === "open" || alwaysOpen.includes(name)) return;
      throw unsigned("not everybody may read this card", this.signatures.look());
    }
    if (policy !== "open") throw unsigned("it changes this card", this.signatures.look());
    this.tick(this.io.clock.now());
    if (this.lease.kind === "held" && !withoutLease.includes(name)) throw this.notOwner();
  }

  private allowSigned(name: CommandName, actor: Actor): void {
    const { needs } = commands[name];
    if (needs === null) return;
    if (!actor.roles.includes(needs)) {
      const has = actor.roles.join(", ") || "reading alone";
      const message = `${name} takes the role ${needs}, and ${actor.by.name} has ${has}`;
      throw new Failure("access.role", message);
    }
    if (withoutLease.includes(name)) return;
    const { by, epoch } = actor;
    this.act({ kind: "command", atMs: this.io.clock.now(), by, epoch });
    this.io.emit({ kind: "access:command", command: name, by: nameOf(by), epoch });
  }

  /** Claims the lease, or takes it from whoever has it. */
  take(request: RequestOf<"access.take">, line: Line, actor: Actor | null): Lease {
    const { for_ms, force = false } = request;
    return this.leaseStep("access.take", line, actor, ({ by, roles }, atMs) => {
      if (force && !roles.includes("danger")) {
        throw new Failure("access.role", "to take the lease by force takes the role danger");
      }
      const forMs = Math.min(for_ms ?? leaseTermMs.usual, leaseTermMs.max);
      return { kind: force ? "take_over" : "claim", atMs, by, forMs };
    });
  }

  release(line: Line, actor: Actor | null): Lease {
    return this.leaseStep("access.release", line, actor, ({ by }, atMs) => {
      return { kind: "release", atMs, by };
    });
  }

  private leaseStep(
    name: CommandName,
    line: Line,
    actor: Actor | null,
    eventOf: (actor: Actor, atMs: number) => LeaseEvent,
  ): Lease {
    try {
      // A lease is somebody's, also where changes are open to everybody.
      if (actor === null) throw unsigned("a lease is somebody's", this.signatures.look());
      this.act(eventOf(actor, this.io.clock.now()));
      return this.leaseSeen(actor.by);
    } catch (error) {
      throw this.told(error, name, line, actor);
    }
  }

  session(
    { key, seat = "" }: RequestOf<"access.session">,
    line: Line,
  ): ResponseOf<"access.session"> {
    const { nonce, counter, key: known } = this.signatures.session(line, key);
    const nowMs = this.io.clock.now();
    this.tick(nowMs);
    const asks = known === null ? null : commander(known.fingerprint, seat);
    return {
      device: this.device,
      boot: this.boot,
      now_ms: Math.floor(nowMs),
      policy: this.config.policy,
      read: this.config.read,
      nonce,
      counter,
      ...(known === null ? {} : { roles: [...known.roles] }),
      lease: this.leaseSeen(asks),
    };
  }

  status(): ResponseOf<"access.status"> {
    this.tick(this.io.clock.now());
    const { policy, read } = this.config;
    const keys = this.signatures.look();
    const { problem } = this.signatures;
    return {
      device: this.device,
      policy,
      read,
      keys,
      ...(problem === "" ? {} : { problem }),
      lease: this.leaseSeen(null),
      refused: Object.fromEntries(this.refusals.totals),
    };
  }

  private leaseSeen(asks: Commander | null): Lease {
    const { lease } = this;
    const nowMs = this.io.clock.now();
    const left = (untilMs: number): number => Math.max(Math.ceil(untilMs - nowMs), 0);
    const { kind: state, epoch } = lease;
    if (lease.kind === "free") return { state, epoch, mine: false };
    const by = lease.kind === "held" ? lease.holder : lease.best.by;
    const who = { owner: nameOf(by), mine: asks !== null && isSame(by, asks) };
    if (lease.kind === "held") return { state, epoch, ...who, ends_in_ms: left(lease.endsMs) };
    return { state, epoch, ...who, settles_in_ms: left(lease.settlesMs) };
  }

  /** A step that may be refused: then it is a Failure. */
  private act(event: LeaseEvent): void {
    this.tick(event.atMs);
    const refusal = this.step(event);
    if (refusal === "not_owner") throw this.notOwner();
    if (refusal === "unclaimed") {
      const message = "nobody holds the lease of this card: take it first (kennel access take)";
      throw new Failure("access.unclaimed", message, { evidence: { epoch: this.lease.epoch } });
    }
    if (refusal !== "fenced") return;
    const message = `the lease it was sent under has ended: ${this.owned()}`;
    throw new Failure("access.fenced", message, { evidence: { epoch: this.lease.epoch } });
  }

  private step(event: LeaseEvent): (LeaseEffect & { kind: "refuse" })["why"] | null {
    const { state, effects } = stepLease(this.lease, event);
    this.lease = state;
    for (const effect of effects) {
      if (effect.kind === "refuse") return effect.why;
      this.perform(effect);
    }
    return null;
  }

  private perform(effect: Exclude<LeaseEffect, { kind: "refuse" }>): void {
    const { epoch } = effect;
    const by = nameOf(effect.by);
    // Before anybody is told of it: an epoch is never given twice.
    if (effect.kind !== "ended") this.journal.commit({ epoch });
    if (effect.kind === "granted") this.io.emit({ kind: "access:granted", by, epoch });
    else if (effect.kind === "ended") {
      this.io.emit({ kind: "access:ended", by, epoch, why: effect.why });
    } else {
      const from = effect.from === null ? "" : nameOf(effect.from);
      this.io.emit({ kind: "access:taken_over", by, from, epoch });
    }
  }

  private notOwner(): Failure {
    const message = `another commands this card: ${this.owned()}`;
    return new Failure("access.not_owner", message, { evidence: { epoch: this.lease.epoch } });
  }

  /** "epoch 7 is ops@bench (SHA256:...) for 8 s more" */
  private owned(): string {
    const { owner = "nobody's", epoch, ends_in_ms } = this.leaseSeen(null);
    const left = ends_in_ms === undefined ? "" : ` for ${Math.ceil(ends_in_ms / 1000)} s more`;
    return `epoch ${epoch} is ${owner}${left}`;
  }

  /** Counts and tells a refusal, and gives it back with its name in front of its words. */
  private told(error: unknown, command: string, line: Line, actor: Actor | null): unknown {
    if (!(error instanceof Failure) || !error.code.startsWith("access.")) return error;
    const why: Code = error.code;
    const by = actor === null ? "" : nameOf(actor.by);
    this.refusals.add({ why, command, port: line.port.name, by }, this.io.clock.now());
    return new Failure(why, `${why}: ${error.message}`, { evidence: error.evidence });
  }
}

/** Of what is wrong with a key file, characters of a report. */
const problemMax = 200;

function unsigned(what: string, keys: number): Failure {
  const next =
    keys > 0
      ? "sign it with one of them (kennel --key FILE, or ssh-agent)"
      : "make a key with kennel keygen and put its public half into authorized_keys on the card";
  const there = keys === 1 ? "1 key is" : `${keys} keys are`;
  return new Failure(
    "access.unsigned",
    `${what}, and was not signed; ${there} authorised: ${next}`,
  );
}

function commander(key: string, seat: string): Commander {
  return { key, name: "", seat, rank: 0 };
}

/** "ops@bench (SHA256:...)" */
function nameOf({ name, seat, key }: Commander): string {
  return `${name}@${seat} (${key})`;
}

/** What a platform answers that tells its card from no other. */
const noDevice = "unknown";

/** Printable, and no longer than an envelope takes. */
function deviceName(found: string, otherwise: string): string {
  const printable = (found === noDevice ? "" : found)
    .replace(/[^\x21-\x7e]/g, "")
    .slice(0, envelopeTextMax);
  if (printable !== "") return printable;
  return otherwise.replace(/[^\x21-\x7e]/g, "").slice(0, envelopeTextMax) || "card";
}
