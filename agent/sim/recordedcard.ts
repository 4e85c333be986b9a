/**
 * A card out of a recording: what is asked again is answered as it was then, and what the card said
 * unasked it says again at its time. A `Port`: the host's end of the line.
 */
import type { Clock } from "../io/clock.ts";
import type { Port } from "../io/port.ts";
import { Deframer, enframe } from "../wire/frame.ts";
import type { Take } from "../wire/recording.ts";
import { encodeMessage, type Op, parsePacket, type Request } from "../wire/smp.ts";

export interface RecordedCardOptions {
  readonly clock: Clock;
  readonly takes: readonly Take[];
  readonly name: string;
  /** Seconds of the recording per second of the clock. */
  readonly speed: number;
  /** Close the line after the last byte, unless something was asked by then. */
  readonly closesAtEnd: boolean;
}

interface Exchange {
  readonly key: string;
  readonly body: Request["body"];
}

/** SMP result for what was never asked while it was recorded: no such entry. */
const notRecorded = { rc: 5, rsn: "not in the recording" } as const;

export class RecordedCard implements Port {
  readonly name: string;
  readonly waitingBytes = 0;
  private readonly options: RecordedCardOptions;
  /** Per question its answers, in their order. */
  private readonly answers = new Map<string, Request["body"][]>();
  /** Per question: how many of its answers were given. */
  private readonly given = new Map<string, number>();
  private readonly deframer = new Deframer();
  private isAsked = false;
  private isClosed = false;
  private cancel: () => void = () => undefined;
  private listen: (bytes: Uint8Array) => void = () => undefined;
  private tellClose: (cause: string) => void = () => undefined;

  constructor(options: RecordedCardOptions) {
    this.options = options;
    this.name = options.name;
    const digests = options.takes.map(digest);
    for (const { key, body } of digests.flatMap(({ exchanges }) => exchanges)) {
      const known = this.answers.get(key);
      if (known === undefined) this.answers.set(key, [body]);
      else known.push(body);
    }
    this.play(oneAfterAnother(options.takes, digests), 0, options.clock.now());
  }

  write(bytes: Uint8Array): boolean {
    if (this.isClosed) return false;
    for (const found of this.deframer.push(bytes)) {
      if (found.kind !== "message") continue;
      for (const item of parsePacket(found.bytes)) {
        if (item.kind === "request" && /^(read|write)$/.test(item.header.op)) this.answer(item);
      }
    }
    return true;
  }

  onData(listen: (bytes: Uint8Array) => void): void {
    this.listen = listen;
  }

  onClose(listen: (cause: string) => void): void {
    this.tellClose = listen;
  }

  close(): void {
    this.isClosed = true;
    this.cancel();
  }

  /** Answers come on the next turn of the clock, as from any other end of a line. */
  private answer({ header, body }: Request): void {
    this.isAsked = true;
    const key = keyOf(header, body);
    const answers = this.answers.get(key) ?? [];
    const count = this.given.get(key) ?? 0;
    this.given.set(key, count + 1);
    // Asked more often than then: the card's last word stands.
    const answer = answers[Math.min(count, answers.length - 1)] ?? notRecorded;
    const op: Op = header.op === "read" ? "read_response" : "write_response";
    const bytes = enframe(encodeMessage({ ...header, op, body: answer }));
    const { clock } = this.options;
    clock.at(clock.now(), () => {
      if (!this.isClosed) this.listen(bytes);
    });
  }

  private play(pieces: readonly Unasked[], at: number, startMs: number): void {
    const { clock, speed, closesAtEnd } = this.options;
    const next = pieces[at];
    const dueMs = startMs + (next?.atMs ?? pieces.at(-1)?.atMs ?? 0) / speed;
    this.cancel = clock.at(dueMs, () => {
      if (this.isClosed) return;
      if (next !== undefined) {
        this.listen(next.bytes);
        return this.play(pieces, at + 1, startMs);
      }
      if (!closesAtEnd || this.isAsked) return;
      this.isClosed = true;
      this.tellClose("the recording is over");
    });
  }
}

interface Unasked {
  readonly atMs: number;
  readonly bytes: Uint8Array;
}

interface Digest {
  readonly exchanges: readonly Exchange[];
  readonly unasked: readonly Unasked[];
}

/** Times count from the head of each take: here from the first one's, without pauses between. */
function oneAfterAnother(takes: readonly Take[], digests: readonly Digest[]): Unasked[] {
  let offsetMs = 0;
  return digests.flatMap(({ unasked }, index) => {
    const fromMs = offsetMs;
    offsetMs += takes[index]?.pieces.at(-1)?.atMs ?? 0;
    return unasked.map(({ atMs, bytes }) => ({ atMs: fromMs + atMs, bytes }));
  });
}

/** Same question: the version and the sequence number may differ. */
function keyOf(header: Request["header"], body: Request["body"]): string {
  const { op, group, command } = header;
  const names = Object.keys(body).sort();
  const members = names.map((name) => [name, plain(body[name])]);
  return JSON.stringify([op, group, command, members]);
}

function plain(value: unknown): unknown {
  return value instanceof Uint8Array ? [...value] : typeof value === "bigint" ? `${value}` : value;
}

/** What one take holds, in one pass: answers by question, and what nobody had asked for. */
function digest({ pieces }: Take): Digest {
  const toCard = new Deframer();
  const fromCard = new Deframer();
  /** The last question that an answer with this mark would fit. */
  const open = new Map<string, Request>();
  const exchanges: Exchange[] = [];
  const unasked: Unasked[] = [];
  for (const { direction, atMs, bytes } of pieces) {
    for (const item of (direction === ">" ? toCard : fromCard).push(bytes)) {
      if (item.kind === "bad") continue;
      if (direction === ">") {
        for (const request of messagesIn(item)) open.set(markOf(request), request);
        continue;
      }
      const pairs = messagesIn(item).flatMap((answer) => {
        const question = open.get(markOf(answer));
        return question === undefined ? [] : [exchangeOf(question, answer)];
      });
      exchanges.push(...pairs);
      const part = item.kind === "text" ? item.bytes : enframe(item.bytes);
      if (pairs.length === 0) unasked.push({ atMs, bytes: part });
    }
    const prompt = direction === "<" ? fromCard.takePending(false) : null;
    if (prompt !== null) unasked.push({ atMs, bytes: prompt });
  }
  return { exchanges, unasked };
}

function messagesIn(item: { kind: "text" | "message"; bytes: Uint8Array }): Request[] {
  if (item.kind === "text") return [];
  return parsePacket(item.bytes).flatMap((found) => (found.kind === "request" ? [found] : []));
}

/** Equal for a question and its answer. */
function markOf({ header: { op, group, command, seq } }: Request): string {
  return `${op.replace("_response", "")} ${group} ${command} ${seq}`;
}

function exchangeOf(question: Request, answer: Request): Exchange {
  return { key: keyOf(question.header, question.body), body: answer.body };
}
