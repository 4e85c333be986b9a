/**
 * What went over a line, in both directions, as lines of text (SPEC.md, section 9):
 *
 *     # kennel recording 1 WALL-TIME PORT
 *     MILLISECONDS DIRECTION "BYTES"
 *
 * `>` is to the card, `<` from it. The bytes are a JSON string with one character per byte, U+0000
 * to U+00FF. Other lines that begin with `#` are notes. A file only grows; every opening of the
 * line adds a head, and times count from it.
 */
import { Failure } from "../errors.ts";

export const recordingVersion = 1;
export type Direction = ">" | "<";

export interface Piece {
  /** Since the head before it, one decimal. */
  readonly atMs: number;
  readonly direction: Direction;
  readonly bytes: Uint8Array;
}

/** What came with one opening of the line. */
export interface Take {
  /** As in the head: when, and on which port. */
  readonly began: string;
  readonly port: string;
  readonly pieces: readonly Piece[];
}

/** A file beyond these is no recording of a line: an hour at 12 MBd is less. */
export const recordingBytesMax = 256 * 1024 * 1024;

export function headLine(wallTime: string, port: string): string {
  return `# kennel recording ${recordingVersion} ${wallTime} ${oneLine(port)}\n`;
}

export function noteLine(text: string): string {
  return `# ${oneLine(text)}\n`;
}

export function pieceLine({ atMs, direction, bytes }: Piece): string {
  return `${atMs.toFixed(1)} ${direction} ${JSON.stringify(latin1(bytes))}\n`;
}

/**
 * Reads a recording. A last line without its end was cut off and is left out; pieces without a head
 * make a take of their own. Failure `port.recording` names the first line that is wrong.
 */
export function parseRecording(text: string, name: string): Take[] {
  const lines = text.split("\n");
  // Behind the last newline: nothing, or what a power cut left of a line.
  lines.pop();
  const takes: { began: string; port: string; pieces: Piece[] }[] = [];
  for (const [index, line] of lines.entries()) {
    const head = /^# kennel recording (\d+) (\S+) (.*)$/.exec(line);
    if (head !== null) {
      const [, version, began = "", port = ""] = head;
      if (Number(version) !== recordingVersion) {
        throw wrong(name, index, `version ${version}, not ${recordingVersion}`);
      }
      takes.push({ began, port, pieces: [] });
    } else if (line !== "" && !line.startsWith("#")) {
      if (takes.length === 0) takes.push({ began: "", port: "", pieces: [] });
      takes.at(-1)?.pieces.push(pieceOf(line, name, index));
    }
  }
  return takes;
}

function pieceOf(line: string, name: string, index: number): Piece {
  const found = /^(\d+(?:\.\d+)?) ([<>]) (".*")$/.exec(line);
  if (found === null) throw wrong(name, index, 'expected MILLISECONDS < or > "BYTES"');
  const [, at, direction, quoted = ""] = found;
  return {
    atMs: Number(at),
    direction: direction as Direction,
    bytes: bytesOf(quoted, name, index),
  };
}

function bytesOf(quoted: string, name: string, index: number): Uint8Array {
  let text: unknown;
  try {
    text = JSON.parse(quoted);
  } catch (cause) {
    throw wrong(name, index, "the bytes are no JSON string", cause);
  }
  const codes = Array.from(text as string, (character) => character.codePointAt(0) ?? 0);
  if (codes.some((code) => code > 0xff)) throw wrong(name, index, "a character above U+00FF");
  return Uint8Array.from(codes);
}

function wrong(name: string, index: number, problem: string, cause?: unknown): Failure {
  const line = index + 1;
  const options = { evidence: { file: name, line, problem } };
  const message = `${name} is no recording: line ${line}: ${problem}.`;
  return new Failure(
    "port.recording",
    message,
    cause === undefined ? options : { ...options, cause },
  );
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const value of bytes) text += String.fromCharCode(value);
  return text;
}

function oneLine(text: string): string {
  return text.replaceAll(/[\r\n]+/g, " ");
}
