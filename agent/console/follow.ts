/**
 * Follows a card's reports for as long as wanted: across lost pushes, resets of the card and a
 * line that comes and goes. Every report is delivered once, and acknowledged after delivery.
 */
import { Failure } from "../errors.ts";
import type { Clock } from "../io/clock.ts";
import type { Report, ResponseOf } from "../wire/commands.ts";
import { type Gap, Inbox, type Position } from "./inbox.ts";
import type { Link } from "./link.ts";
import type { Session } from "./session.ts";
import { harmlessText } from "./show.ts";

export interface FollowOptions {
  readonly since: Position | null;
  /** Leave the reports on the card. */
  readonly keep: boolean;
  readonly clock: Clock;
  /** On that clock; Infinity: until stopped. */
  readonly endMs: number;
  readonly stop: AbortSignal;
  /** Opens the line again after a loss; null where there is nothing to come back to. */
  readonly reopen: (() => Promise<Session>) | null;
  /** Shows reports, and what is missing before them; acknowledged when it has resolved. */
  readonly deliver: (reports: readonly Report[], gaps: readonly Gap[]) => Promise<void>;
  /** Done to begin with, for each boot and connection, and after a gap: what deltas start from. */
  readonly attached?: (session: Session) => Promise<void>;
  /** Tells what goes on with the line, one sentence at a time. */
  readonly note: (text: string) => void;
}

/** A subscription ends by itself after this, should the console die. */
const subscribedMs = 30_000;
/**
 * How often it is renewed: the answer also shows lost pushes and a new boot. With each renewal the
 * card pushes again what is not acknowledged, so one that keeps its reports is asked less often.
 */
const renewEveryMs = { acknowledging: 2000, keeping: 10_000 };
/** Waits after a failed exchange and between attempts to reopen the line. */
const retryMs = 250;
/** Requests here are small; a card that is alive answers well within this. */
const answerMs = 1500;
/** A card that was silent is asked this briefly, and often: the answer takes 20 ms of line. */
const knockMs = 500;
/** Pushed reports not yet delivered; more than these are read from the card instead. */
const arrivedMax = 256;
/** Packets read in one go, a bound on a card that always has more. */
const readsMax = 1000;
/**
 * Reports asked for at once: what the card gives at most, or fewer where long answers do not get
 * through. At a bit error rate of 1e-3 one of 200 bytes arrives one time in five, one of 2000 never.
 */
const atOnceMax = 16;
/** What deltas start from is long; where it does not get through it is asked for this often, ms. */
const attachAgainMs = 5000;
/** After a stop, the exchange in progress gets this long to end by itself. */
const graceMs = 500;
/** How long the last taking in may last, once it is over. */
const finishMs = 5000;

export class Follower {
  readonly inbox: Inbox;
  private session: Session | null;
  private readonly options: FollowOptions;
  private readonly arrived: Report[] = [];
  private readonly unacknowledged = new Map<string, number>();
  private boot: string | null = null;
  private device: string | null = null;
  /** What deltas start from is to be taken anew. */
  private detached = true;
  private attachAtMs = 0;
  private atOnce = atOnceMax;
  private gapsTold = 0;
  private renewAtMs = 0;
  private behind = true;
  private silent = false;
  private wake: () => void = () => {};

  constructor(session: Session, options: FollowOptions) {
    this.session = session;
    this.options = options;
    this.inbox = new Inbox(options.since);
    this.listen(session);
  }

  /** The present line, for other requests; null while it is lost. */
  get current(): Session | null {
    return this.session;
  }

  /** Runs until the end, a stop, or the loss of a line that cannot come back (port.lost). */
  async run(): Promise<void> {
    const { stop } = this.options;
    let grace: NodeJS.Timeout | undefined;
    const onStop = (): void => {
      this.wake();
      grace = setTimeout(() => this.session?.link.close(), graceMs);
    };
    stop.addEventListener("abort", onStop, { once: true });
    while (!this.isOver) {
      try {
        await this.round();
      } catch (error) {
        await this.stumble(error);
      }
    }
    stop.removeEventListener("abort", onStop);
    await this.finish();
    clearTimeout(grace);
  }

  private get isOver(): boolean {
    return this.options.stop.aborted || this.nowMs >= this.options.endMs;
  }

  private get nowMs(): number {
    return this.options.clock.now();
  }

  private async round(): Promise<void> {
    const session = this.session ?? (await this.reconnect());
    if (session === null) return;
    if (this.nowMs >= this.renewAtMs) await this.renew(session);
    if (this.detached && this.nowMs >= this.attachAtMs) await this.attach(session);
    if (this.behind) await this.read(session, this.options.endMs);
    await this.deliver();
    await this.acknowledge(session);
    if (this.arrived.length === 0 && !this.behind) await this.sleep(this.renewAtMs);
  }

  private async renew({ link }: Session): Promise<void> {
    const withinMs = this.silent || this.boot === null ? knockMs : answerMs;
    const answer = await link.request("report.subscribe", { for_ms: subscribedMs }, withinMs);
    const { acknowledging, keeping } = renewEveryMs;
    this.renewAtMs = this.nowMs + (this.options.keep ? keeping : acknowledging);
    if (this.silent) this.options.note(`the card answers again, boot ${harmlessText(answer.boot)}`);
    else if (this.boot !== null && this.boot !== answer.boot) {
      this.options.note(`the card has restarted: boot ${harmlessText(answer.boot)}`);
    }
    this.mustBeSame(answer.device);
    this.silent = false;
    this.detached ||= this.boot !== answer.boot;
    this.boot = answer.boot;
    const latest = { boot: answer.boot, seq: answer.last_seq };
    this.behind ||= answer.last_seq > 0 && !this.inbox.isKnown(latest);
  }

  private async attach(session: Session): Promise<void> {
    try {
      await this.options.attached?.(session);
      this.detached = false;
    } catch (error) {
      // Reports are short and do not wait for it: they may get through where this does not.
      if (!isLoss(error)) throw error;
      this.attachAtMs = this.nowMs + attachAgainMs;
    }
  }

  /** A cable may have been moved: what is kept of one card must not become another's. */
  private mustBeSame(device: string | undefined): void {
    const known = this.device;
    this.device = device ?? null;
    if (known === null || known === this.device) return;
    const other = harmlessText(device ?? "one that does not say which it is");
    throw new Failure("card.other", `another card is on this line now: ${other}, not ${known}.`);
  }

  /** Reads everything after the last report taken, until `endMs` at the latest. */
  private async read({ link }: Session, endMs: number): Promise<void> {
    this.behind = false;
    for (let reads = 0; reads < readsMax; reads++) {
      const { reports, more } = await this.ask(link);
      const fresh = reports.filter((report) => this.inbox.take(report));
      this.arrived.push(...fresh);
      await this.deliver();
      if (!more || fresh.length === 0 || this.nowMs >= endMs) return;
    }
  }

  /** What the card has after the last report taken, as many as get through. */
  private async ask(link: Link): Promise<ResponseOf<"report.read">> {
    const { atOnce } = this;
    const { position } = this.inbox;
    const since = position === null ? {} : { boot: position.boot, since: position.seq };
    const body = atOnce === atOnceMax ? since : { ...since, max: atOnce };
    try {
      const answer = await link.request("report.read", body, answerMs);
      this.atOnce = Math.min(atOnce * 2, atOnceMax);
      return answer;
    } catch (error) {
      if (isLoss(error)) this.atOnce = Math.max(atOnce >> 1, 1);
      throw error;
    }
  }

  private async deliver(): Promise<void> {
    const batch = this.arrived.splice(0);
    if (batch.length === 0) return;
    const { gapCount, gaps } = this.inbox;
    const fresh = gapCount - this.gapsTold;
    this.gapsTold = gapCount;
    await this.options.deliver(batch, fresh === 0 ? [] : gaps.slice(-fresh));
    if (fresh > 0) this.detached = true;
    for (const { boot, seq } of batch) this.unacknowledged.set(boot, seq);
  }

  private async acknowledge({ link }: Session): Promise<void> {
    if (this.options.keep) return;
    for (const [boot, seq] of [...this.unacknowledged]) {
      await link.request("report.acknowledge", { boot, seq }, answerMs);
      if (this.unacknowledged.get(boot) === seq) this.unacknowledged.delete(boot);
    }
  }

  private listen(session: Session): void {
    session.link.onReport((report) => {
      if (this.inbox.isNext(report) && this.arrived.length < arrivedMax) {
        this.inbox.take(report);
        this.arrived.push(report);
      } else if (!this.inbox.isKnown(report)) {
        this.behind = true;
      }
      this.wake();
    });
    session.link.onLost(() => {
      this.renewAtMs = 0;
      this.wake();
    });
  }

  /** A card that does not answer may be booting; a lost line may come back. */
  private async stumble(error: unknown): Promise<void> {
    if (!(error instanceof Failure)) throw error;
    if (this.isOver) return;
    this.renewAtMs = 0;
    this.behind = true;
    if (error.code === "port.lost") {
      if (this.options.reopen === null) throw error;
      this.session?.close();
      this.session = null;
      this.options.note(`${error.message} Waiting for it to come back.`);
      return;
    }
    if (!isLoss(error)) throw error;
    const { line = error.message } = error.evidence;
    if (!this.silent) this.options.note(`the card does not answer: ${line}; asking again`);
    this.silent = true;
    await this.sleep(this.nowMs + retryMs);
  }

  /** One attempt; null when the line is not back yet. */
  private async reconnect(): Promise<Session | null> {
    const { reopen } = this.options;
    if (reopen === null) throw new Failure("port.lost", "the line was lost.");
    try {
      const session = await reopen();
      this.session = session;
      this.detached = true;
      this.listen(session);
      this.options.note(`the line is back: ${session.link.port.name}`);
      return session;
    } catch (error) {
      // A line that was open before may come back, also from another's hands.
      if (!(error instanceof Failure) || !error.code.startsWith("port.")) throw error;
      await this.sleep(this.nowMs + retryMs);
      return null;
    }
  }

  /** Until `deadlineMs`, a report, a stop or the loss of the line, whatever is first. */
  private sleep(deadlineMs: number): Promise<void> {
    if (this.options.stop.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.options.clock.at(Math.min(deadlineMs, this.options.endMs), resolve);
      this.wake = () => {
        cancel();
        resolve();
      };
    });
  }

  /** Takes in and acknowledges everything that is there, until `endMs` at the latest. */
  async catchUp(endMs: number): Promise<void> {
    const { session } = this;
    if (session === null) return;
    await this.read(session, endMs);
    await this.acknowledge(session);
  }

  /** The last of it, and goodbye; a card that does not answer now is let go. */
  private async finish(): Promise<void> {
    try {
      await this.catchUp(this.nowMs + finishMs);
      await this.session?.link.request("report.unsubscribe", {}, answerMs);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
  }
}

/** What was asked or answered did not get through, or nobody is there. */
function isLoss(error: unknown): error is Failure {
  return error instanceof Failure && ["link.timeout", "link.garbled"].includes(error.code);
}
