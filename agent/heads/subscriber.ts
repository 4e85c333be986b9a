/**
 * One host's subscription on one line: reports are pushed in order, a window at a time, and sent
 * again until they are acknowledged. It is a lease: a host that vanishes is not talked at for
 * ever, since an unasked frame would disturb the next client on that line.
 */
import type { Ledger } from "../ledger.ts";
import { packetBytesMax } from "../wire/command.ts";
import type { Report } from "../wire/commands.ts";

/** Lease when the host names none, and the longest it can ask for, ms. */
export const leaseMs = { usual: 15_000, max: 600_000 };
/** Reports sent and not acknowledged: 16 of ~150 bytes are 0.3 s of line at 115200 Bd. */
export const windowMax = 16;
/** Unacknowledged reports are sent again after this time, doubling up to the second bound. */
export const resendMs = { first: 2_000, max: 30_000 };

/**
 * While so much waits for the line nothing is pushed, and after this time it is looked at again:
 * else two hosts on one line, whose every question has the window sent anew, fill it with
 * repetitions until no answer comes in time. Bytes: one packet; ms.
 */
export const pushBacklogMax = packetBytesMax;
const crowdedMs = 100;

/** A report's identity on its card. */
export type Position = Pick<Report, "boot" | "seq">;

export class Subscriber {
  /** When the lease ends. */
  endsMs: number;
  private readonly ledger: Ledger;
  private sent: Report[] = [];
  private resendAtMs = Infinity;
  private resendAfterMs = resendMs.first;
  private crowdedUntilMs = Infinity;
  private readonly after: Position | null;

  /** `after`: what the host has already, without having acknowledged it; null for nothing. */
  constructor(ledger: Ledger, nowMs: number, forMs: number, after: Position | null = null) {
    this.ledger = ledger;
    this.endsMs = nowMs + forMs;
    this.after = after;
  }

  /** When something is to be done without any event: a repetition or the end of the lease. */
  get dueMs(): number {
    return Math.min(this.endsMs, this.resendAtMs, this.crowdedUntilMs);
  }

  renew(nowMs: number, forMs: number): void {
    this.endsMs = Math.max(this.endsMs, nowMs + forMs);
  }

  /** The host acknowledged: it lives, and the window moves on. */
  acknowledged(nowMs: number): void {
    this.renew(nowMs, leaseMs.usual);
    this.forgetAcknowledged();
    this.resendAfterMs = resendMs.first;
    this.resendAtMs = this.sent.length === 0 ? Infinity : nowMs + this.resendAfterMs;
  }

  private forgetAcknowledged(): void {
    this.sent = this.sent.filter((report) => this.ledger.pending.includes(report));
  }

  /** Pushes what may be sent now; `push` returns false when the line takes no more. */
  pump(nowMs: number, push: (report: Report) => boolean): void {
    if (nowMs >= this.resendAtMs) {
      this.sent = [];
      this.resendAfterMs = Math.min(this.resendAfterMs * 2, resendMs.max);
      this.resendAtMs = Infinity;
    }
    // What another host has acknowledged meanwhile is in nobody's way.
    if (this.sent.length >= windowMax) this.forgetAcknowledged();
    const { after } = this;
    const last = this.sent.at(-1) ?? after;
    const wanted = last === null ? this.ledger.pending : this.ledger.after(last.boot, last.seq);
    this.crowdedUntilMs = Infinity;
    for (const report of wanted.slice(0, windowMax - this.sent.length)) {
      if (!push(report)) {
        this.crowdedUntilMs = nowMs + crowdedMs;
        break;
      }
      this.sent.push(report);
    }
    if (this.sent.length > 0 && this.resendAtMs === Infinity) {
      this.resendAtMs = nowMs + this.resendAfterMs;
    }
  }
}
