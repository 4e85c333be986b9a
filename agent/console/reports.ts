/** `kennel reports`: what the card has to tell, shown, and then acknowledged. */
import { Failure } from "../errors.ts";
import type { Report } from "../wire/commands.ts";
import type { Archive } from "./archive.ts";
import type { Context, Outcome } from "./context.ts";
import { Follower } from "./follow.ts";
import { Inbox, type Position, showGap } from "./inbox.ts";
import type { Session } from "./session.ts";
import { count, harmless, type Paint, span, table } from "./show.ts";
import type { Terminal } from "./terminal.ts";

export interface ReportsOptions {
  /** Only what came after this; null: everything the card still keeps. */
  readonly since: Position | null;
  readonly keep: boolean;
  /** Stored there before they are acknowledged; null: only shown. */
  readonly archive: Archive | null;
}

/** Packets read in one go: a card keeps some hundred reports, a packet holds several. */
const readsMax = 1000;
/** One question about what may be acknowledged, ms. */
const answerMs = 3000;
/** Reports kept for `--follow --json`, which prints them when it ends. */
const followedMax = 10_000;

/** `7`: after report 7 of the present boot; `BOOT:7`: of that boot. Failure `usage.invalid`. */
export function parseSince(text: string, boot: string): Position {
  const colon = text.lastIndexOf(":");
  const digits = text.slice(colon + 1);
  if (!/^\d{1,15}$/.test(digits) || colon === 0) {
    throw new Failure("usage.invalid", `--since ${text}: give SEQ or BOOT:SEQ, such as 41.`);
  }
  return { boot: colon < 0 ? boot : text.slice(0, colon), seq: Number(digits) };
}

export async function reports({ link, paint }: Context, options: ReportsOptions): Promise<Outcome> {
  const { archive } = options;
  const keep = options.keep || (await link.authority?.cannotChange(answerMs)) === true;
  await archive?.attach(link, keep);
  const inbox = new Inbox(options.since ?? archive?.store.position ?? null);
  const found: Report[] = [];
  for (let reads = 0; reads < readsMax; reads++) {
    const { position } = inbox;
    const body = position === null ? {} : { boot: position.boot, since: position.seq };
    const answer = await link.request("report.read", body);
    const fresh = answer.reports.filter((report) => inbox.take(report));
    found.push(...fresh);
    if (!answer.more || fresh.length === 0) break;
  }
  archive?.keep(found, inbox.gaps);
  if (inbox.gaps.length > 0) await archive?.attach(link, keep);
  const acknowledge = async (): Promise<void> => {
    for (const [boot, seq] of newest(found)) {
      await link.request("report.acknowledge", { boot, seq });
    }
  };
  return {
    data: { reports: found, gaps: inbox.gaps, acknowledged: !keep && found.length > 0 },
    text: showReports(harmless(found), inbox, keep, paint),
    ...(keep ? {} : { afterwards: acknowledge }),
  };
}

function newest(found: readonly Report[]): Map<string, number> {
  return new Map(found.map(({ boot, seq }) => [boot, seq]));
}

export function showReports(
  found: readonly Report[],
  inbox: Inbox,
  keep: boolean,
  paint: Paint,
): string {
  if (found.length === 0) return "no new reports";
  const rows = found.map((report) => cells(report, paint));
  const lines = [table(paint, ["boot:seq", "at", "", "report", ""], rows)];
  for (const gap of inbox.gaps) lines.push(paint.bad(showGap(harmless(gap))));
  const fate = keep ? "kept on the card" : "acknowledged";
  lines.push(paint.dim(`${count(found.length, "report")}, ${fate}`));
  return lines.join("\n");
}

function cells(report: Report, paint: Paint): string[] {
  const { boot, seq, at_ms, kind, data } = report;
  const isSafety = report.class === "safety";
  return [
    `${boot}:${seq}`,
    `+${span(at_ms)}`,
    isSafety ? paint.warn("safety") : "state",
    isSafety ? paint.bold(kind) : kind,
    dataText(data),
  ];
}

/** "stage=adopt budget_ms=30000" */
export function dataText(data: Report["data"]): string {
  return Object.entries(data)
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
}

/** One report as one line, columns aligned as well as lines that stand alone can be. */
export function reportLine(report: Report, paint: Paint): string {
  const { boot, seq, at_ms, kind, data, class: worth } = harmless(report);
  const id = `${boot}:${seq}`.padEnd(22);
  const padded = kind.padEnd(20);
  const name = worth === "safety" ? paint.bold(padded) : padded;
  const label = worth === "safety" ? paint.warn("safety") : "state ";
  return `${id}  ${`+${span(at_ms)}`.padStart(13)}  ${label}  ${name}  ${dataText(data)}`.trimEnd();
}

export interface FollowArguments extends ReportsOptions {
  readonly session: Session;
  readonly reopen: (() => Promise<Session>) | null;
  /** Ends by itself after this; Infinity: when stopped. */
  readonly forMs: number;
  readonly stop: AbortSignal;
  readonly terminal: Terminal;
  readonly paint: Paint;
  /** Print nothing before the end. */
  readonly quiet: boolean;
}

export async function followReports(options: FollowArguments): Promise<Outcome> {
  const { session, terminal, paint, quiet, archive } = options;
  const kept: Report[] = [];
  const cannot = !options.keep && (await session.link.authority?.cannotChange(answerMs)) === true;
  if (cannot) terminal.err("kennel: no key to acknowledge with: the card keeps its reports\n");
  const follower = new Follower(session, {
    since: options.since ?? archive?.store.position ?? null,
    keep: options.keep || cannot,
    clock: session.clock,
    endMs: session.clock.now() + options.forMs,
    stop: options.stop,
    reopen: options.reopen,
    note: (text) => terminal.err(`kennel: ${text}\n`),
    attached: async ({ link }) => archive?.attach(link, options.keep || cannot),
    deliver: async (batch, gaps) => {
      archive?.keep(batch, gaps);
      if (quiet) kept.push(...batch.slice(0, Math.max(followedMax - kept.length, 0)));
      else await terminal.out(`${batch.map((report) => reportLine(report, paint)).join("\n")}\n`);
    },
  });
  await follower.run();
  follower.current?.close();
  const { inbox } = follower;
  const lines = inbox.gaps.map((gap) => paint.bad(showGap(harmless(gap))));
  const boots = count(inbox.perBoot.size, "boot");
  lines.push(paint.dim(`${count(inbox.received, "report")} of ${boots}`));
  const data = { reports: kept, received: inbox.received, gaps: inbox.gaps };
  return { data, text: lines.join("\n") };
}
