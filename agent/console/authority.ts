/**
 * Signs what takes authority on a card: asks it for its session, takes the lease where a command
 * needs one, and lets it go again. A card that is open, or older than this, is asked as ever.
 */
import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import { agentWaitMs } from "../io/sshagent.ts";
import { alwaysOpen, withoutLease } from "../wire/access.ts";
import { type CommandName, commands, type RequestOf, type ResponseOf } from "../wire/commands.ts";
import { encodeHeader, encodeSigned, toBeSigned } from "../wire/cose.ts";
import { encodeMessage } from "../wire/smp.ts";
import { askingForWords, type Body, checked } from "./answer.ts";
import type { Signer } from "./keys.ts";
import type { Link } from "./link.ts";

export interface AuthorityOptions {
  readonly clock: Clock;
  /** What the card's greeting says; null: it was not asked. */
  readonly tags: readonly string[] | null;
  /** Keys to sign with, best first; asked for once something is to be signed. */
  readonly signers: () => Promise<readonly Signer[]>;
  /** Who sits here. */
  readonly seat: string;
  /** The card that is meant; any when undefined. */
  readonly device: string | undefined;
}

type Session = ResponseOf<"access.session">;

interface Chosen {
  readonly signer: Signer;
  readonly roles: readonly string[];
}

/** A lease taken for one command lasts this long beyond what may be waited for its answer, ms. */
const leaseMarginMs = 5000;
/** No signed command is good for longer, ms: the card takes no more. */
const lifeMaxMs = 60_000;
/** Claims in a row where somebody else let go meanwhile. */
const claimsMax = 3;
/** A refusal that says that only the card's session had moved on: nothing was done. */
const signAgain = ["access.replayed", "access.reordered", "access.session", "access.boot"];

export class Authority {
  private readonly link: Link;
  private readonly options: AuthorityOptions;
  private chosen: Promise<Chosen | null> | null = null;
  private isOpen: boolean | null;
  private last: Promise<unknown> = Promise.resolve();

  constructor(link: Link, options: AuthorityOptions) {
    this.link = link;
    this.options = options;
    const { tags } = options;
    this.isOpen = tags === null ? null : !tags.includes("access.keys");
  }

  /** Whether this goes out signed, where there is a key. */
  covers(name: CommandName): boolean {
    if (alwaysOpen.includes(name)) return false;
    if (name === "access.take" || name === "access.release") return true;
    if (commands[name].needs !== null) return this.isOpen !== true;
    return this.options.tags?.includes("access.read_keys") === true;
  }

  /** Nothing can be acknowledged from here: the card wants a key, and there is none that may. */
  async cannotChange(timeoutMs: number): Promise<boolean> {
    if (this.isOpen !== false) return false;
    const chosen = await this.choose(timeoutMs);
    return chosen === null || !chosen.roles.includes("operate");
  }

  /** One after the other: a key's commands are counted. */
  request<N extends CommandName>(
    name: N,
    body: RequestOf<N> & Body,
    timeoutMs: number,
  ): Promise<ResponseOf<N>> {
    const work = this.last.then(() => this.perform(name, body, timeoutMs));
    this.last = work.catch(() => {});
    return work;
  }

  private async perform<N extends CommandName>(
    name: N,
    body: RequestOf<N> & Body,
    timeoutMs: number,
  ): Promise<ResponseOf<N>> {
    const chosen =
      (await this.isCardOpen(timeoutMs)) && commands[name].group !== 69
        ? null
        : await this.choose(timeoutMs);
    if (chosen === null) return this.link.plain(name, body, timeoutMs);
    const { signer } = chosen;
    const needsLease = commands[name].needs !== null && !withoutLease.includes(name);
    const isClaimed = needsLease && (await this.hold(signer, timeoutMs));
    try {
      return await this.sign(signer, name, body, timeoutMs);
    } finally {
      if (isClaimed) await this.letGo(signer, timeoutMs);
    }
  }

  /** A card without this group is asked as ever. */
  private async isCardOpen(timeoutMs: number): Promise<boolean> {
    if (this.isOpen !== null) return this.isOpen;
    try {
      const { policy } = await this.link.plain("access.session", {}, timeoutMs);
      this.isOpen = policy === "open";
    } catch (error) {
      if (!(error instanceof Failure) || error.evidence.rc !== 8) throw error;
      this.isOpen = true;
    }
    return this.isOpen;
  }

  /** The first key that this card knows; else the first of all, for the card to refuse. */
  private choose(timeoutMs: number): Promise<Chosen | null> {
    this.chosen ??= (async () => {
      const signers = await this.options.signers();
      for (const signer of signers) {
        const { roles } = await this.session(signer, timeoutMs);
        if (roles !== undefined) return { signer, roles };
      }
      const [signer] = signers;
      return signer === undefined ? null : { signer, roles: [] };
    })();
    return this.chosen;
  }

  private async session(signer: Signer, timeoutMs: number): Promise<Session> {
    const { seat, device } = this.options;
    const session = await this.link.plain("access.session", { key: signer.kid, seat }, timeoutMs);
    if (device === undefined || device === session.device) return session;
    const message = `this is card ${session.device}, and ${device} is meant: nothing was signed.`;
    throw new Failure("access.device", message, { evidence: { device: session.device } });
  }

  /** Sees to it that the lease is ours; true: it was taken for this, and is to be let go. */
  private async hold(signer: Signer, timeoutMs: number): Promise<boolean> {
    const { clock } = this.options;
    const { lease } = await this.session(signer, timeoutMs);
    if (lease.state === "held" && lease.mine) return false;
    for (let claims = 0; claims < claimsMax; claims++) {
      const for_ms = timeoutMs + leaseMarginMs;
      const taken = await this.sign(signer, "access.take", { for_ms }, timeoutMs);
      const waitMs = (taken.settles_in_ms ?? 0) + 1;
      await new Promise<void>((resolve) => void clock.at(clock.now() + waitMs, resolve));
      const seen = (await this.session(signer, timeoutMs)).lease;
      if (seen.state !== "held") continue;
      if (seen.mine) return true;
      const message = `another was preferred: epoch ${seen.epoch} is ${seen.owner ?? "another's"}.`;
      throw new Failure("access.not_owner", message, { evidence: { epoch: seen.epoch } });
    }
    throw new Failure("access.unclaimed", "the card's lease could not be had: others take it too.");
  }

  /** Without a lease nothing is lost: it ends by itself. */
  private async letGo(signer: Signer, timeoutMs: number): Promise<void> {
    try {
      await this.sign(signer, "access.release", {}, timeoutMs);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
  }

  private async sign<N extends CommandName>(
    signer: Signer,
    name: N,
    body: RequestOf<N> & Body,
    timeoutMs: number,
  ): Promise<ResponseOf<N>> {
    const first = await this.signOnce(signer, name, body, timeoutMs);
    if (!(first instanceof Failure)) return first;
    if (!signAgain.includes(first.code)) throw first;
    const second = await this.signOnce(signer, name, body, timeoutMs);
    if (second instanceof Failure) throw second;
    return second;
  }

  /** The answer, or the card's refusal. */
  private async signOnce<N extends CommandName>(
    signer: Signer,
    name: N,
    body: RequestOf<N> & Body,
    timeoutMs: number,
  ): Promise<ResponseOf<N> | Failure> {
    const session = await this.session(signer, timeoutMs);
    const { device, boot, nonce, counter, now_ms, lease } = session;
    const lifeMs = Math.min(timeoutMs + (signer.isSlow ? agentWaitMs : 0), lifeMaxMs);
    const header = encodeHeader({
      ...{ kid: signer.kid, device, boot, nonce, counter, seat: this.options.seat },
      untilMs: now_ms + lifeMs,
      epoch: lease.state === "held" && lease.mine ? lease.epoch : 0,
    });
    const { group, id, op } = commands[name];
    const asks = op === "read" ? "read" : "write";
    const asked = { version: 1, op: asks, group, seq: 0, command: id } as const;
    const payload = encodeMessage({ ...asked, body: askingForWords(name, body) });
    const signature = await signer.sign(toBeSigned(header, payload));
    const cose = encodeSigned(header, payload, signature);
    const answer = await this.link.exchange("access.signed", { cose }, timeoutMs);
    try {
      return checked(name, answer) as ResponseOf<N>;
    } catch (error) {
      if (error instanceof Failure && error.code.startsWith("access.")) return error;
      throw error;
    }
  }
}
