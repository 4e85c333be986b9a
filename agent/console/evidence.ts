/**
 * What was seen on the line while nobody answered, and what it means: a person with a cable in
 * the hand needs to know whether to look for power, for the speed, or for another program.
 */
import { Failure } from "../errors.ts";
import type { BadFrame } from "../wire/frame.ts";
import { harmlessText, span } from "./show.ts";

/** Counted from the first sending of a request. */
export interface Evidence {
  bytes: number;
  /** Bytes of lines that are no frames; the last of them, or a prompt without a line end. */
  textBytes: number;
  textSample: string;
  /** Frames with wrong checksum, length or coding, and how the last was wrong. */
  bad: number;
  badReason: string;
  /** Sound frames that answered something else: late ones, or another host's. */
  others: number;
  /** Bytes of a frame that began and did not end. */
  partialBytes: number;
}

/** Text shown in a message. */
const sampleMax = 60;

/** What is no UTF-8 shows as U+FFFD, which tells of a wrong speed. */
const decoder = new TextDecoder();

export function noEvidence(): Evidence {
  return {
    bytes: 0,
    textBytes: 0,
    textSample: "",
    bad: 0,
    badReason: "",
    others: 0,
    partialBytes: 0,
  };
}

export function seeText(seen: Evidence, bytes: Uint8Array): void {
  seen.textBytes += bytes.length;
  const line = decoder.decode(bytes).trim();
  if (line !== "") seen.textSample = line.slice(0, sampleMax);
}

/** Text that has no end yet. */
export function seePrompt(seen: Evidence, bytes: Uint8Array): void {
  const text = decoder.decode(bytes).trim();
  if (text !== "") seen.textSample = text.slice(-sampleMax);
}

export function seeBad(seen: Evidence, reason: string): void {
  seen.bad += 1;
  seen.badReason = reason;
}

export interface Unanswered {
  readonly port: string;
  readonly request: string;
  readonly waitedMs: number;
  readonly attempts: number;
  /** A write: whether the card acted on it is not known. */
  readonly acts: boolean;
  /** What the port itself adds, such as programs that also read it; "" when nothing. */
  readonly note: string;
}

/**
 * link.garbled where frames came but none was whole, else link.timeout. `evidence.line` says in a
 * few words what the line brought.
 */
export function unanswered(request: Unanswered, seen: Evidence): Failure {
  const { port, waitedMs, attempts } = request;
  const tries = attempts > 1 ? ` (asked ${attempts} times)` : "";
  const what = `no answer to ${request.request} on ${port} within ${span(waitedMs)}${tries}`;
  const doubt = request.acts
    ? " Whether the card acted on it is not known: look before asking again."
    : "";
  const note = request.note === "" ? "" : ` ${request.note}`;
  const damaged = seen.bad > 0 || seen.partialBytes > 0;
  const code = damaged && seen.others === 0 ? "link.garbled" : "link.timeout";
  const line = summary(seen);
  return new Failure(code, `${what}: ${line}. ${advice(seen)}${note}${doubt}`, {
    evidence: {
      port,
      request: request.request,
      waited_ms: waitedMs,
      attempts,
      line,
      seen: { ...seen },
    },
  });
}

function summary(seen: Evidence): string {
  if (seen.bytes === 0) return "nothing at all arrived";
  const parts: string[] = [];
  if (seen.others > 0) parts.push(`${frames(seen.others)} that answered something else`);
  if (seen.bad > 0) parts.push(`${frames(seen.bad)} damaged (${damage(seen.badReason)})`);
  if (seen.partialBytes > 0) parts.push(`half a frame (${seen.partialBytes} bytes, then silence)`);
  if (seen.textBytes > 0 || parts.length === 0) parts.push(textPart(seen));
  return `the line brought ${parts.join(", ")}`;
}

/** The deframer's words, for people. */
function damage(reason: string): string {
  const words: Partial<Record<string, string>> = {
    crc: "wrong checksum",
    base64: "not base64",
    length: "wrong length",
    too_long: "too long",
    cut: "cut off by the next one",
    stray_continuation: "without its beginning",
  } satisfies Record<BadFrame, string>;
  return words[reason] ?? harmlessText(reason);
}

function textPart(seen: Evidence): string {
  const bytes = seen.textBytes > 0 ? seen.textBytes : seen.bytes;
  return `${bytes} bytes of text, last "${harmlessText(seen.textSample)}"`;
}

function advice(seen: Evidence): string {
  if (seen.bytes === 0) return "Check the card's power, the cable, and that kenneld runs.";
  if (seen.others > 0) return "Another host may be asking, or the card answers too slowly.";
  if (seen.bad > 0 || seen.partialBytes > 0) {
    return "Check the speed (--baud), the cable, and that no other program reads this line.";
  }
  if (isGibberish(seen.textSample)) return "It is not readable: try another speed (--baud).";
  return "A console or a login owns this line, or the card is still booting.";
}

/** A line at the wrong speed shows as characters that no console prints. */
function isGibberish(sample: string): boolean {
  const strange = [...sample].filter((character) => !/[\t\x20-\x7e]/.test(character));
  return sample.length > 0 && strange.length * 4 > sample.length;
}

function frames(number: number): string {
  return number === 1 ? "1 frame" : `${number} frames`;
}
