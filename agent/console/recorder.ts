/** `--record FILE`, and the log of a rig: a port whose bytes are also written down. */
import { closeSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { Failure } from "../errors.ts";
import type { Port } from "../io/port.ts";
import {
  type Direction,
  headLine,
  noteLine,
  parseRecording,
  pieceLine,
  recordingBytesMax,
  type Take,
} from "../wire/recording.ts";

/** `log` gets every line of the recording; `now` is monotonic milliseconds. */
export function recordedPort(
  port: Port,
  now: () => number,
  wallTime: string,
  log: (line: string) => void,
): Port {
  const startMs = now();
  const add = (direction: Direction, bytes: Uint8Array): void =>
    log(pieceLine({ atMs: now() - startMs, direction, bytes }));
  log(headLine(wallTime, port.name));
  return {
    name: port.name,
    write: (bytes) => {
      const isTaken = port.write(bytes);
      // What the line did not take never was on it.
      if (isTaken) add(">", bytes);
      return isTaken;
    },
    onData: (listen) =>
      port.onData((bytes) => {
        add("<", bytes);
        listen(bytes);
      }),
    onClose: (listen) =>
      port.onClose((cause) => {
        log(noteLine(`the line ended: ${cause}`));
        listen(cause);
      }),
    get waitingBytes() {
      return port.waitingBytes;
    },
    close: () => port.close(),
  };
}

/**
 * Records `port` into `file`, behind what is there. Written at once and by this thread: a piece is
 * small, and serialport's threads stay free. A disk that is full costs the recording, not the line.
 * Throws port.recording when the file cannot be opened.
 */
export function recordTo(file: string, port: Port, note: (text: string) => void): Port {
  let fd: number | null = openForRecord(file, port.name);
  const stop = (): void => {
    if (fd !== null) closeSync(fd);
    fd = null;
  };
  const log = (line: string): void => {
    if (fd === null) return;
    try {
      writeSync(fd, line);
    } catch (error) {
      note(`${file}: the recording ends here: ${(error as Error).message}`);
      stop();
    }
  };
  const recorded = recordedPort(port, () => performance.now(), new Date().toISOString(), log);
  return {
    ...recorded,
    get waitingBytes() {
      return port.waitingBytes;
    },
    close: () => {
      port.close();
      log(noteLine("closed"));
      stop();
    },
  };
}

function openForRecord(file: string, name: string): number {
  try {
    return openSync(file, "a", 0o600);
  } catch (cause) {
    const message = `--record ${file}: ${(cause as Error).message}.`;
    throw new Failure("port.recording", message, { cause, evidence: { file, port: name } });
  }
}

/** Reads a recording. Failure port.missing, port.recording. */
export function readRecording(file: string): Take[] {
  let text: string;
  try {
    const { size } = statSync(file);
    if (size > recordingBytesMax) throw new Error(`${size} bytes are more than a line brings`);
    text = readFileSync(file, "utf8");
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const message = `no recording ${file}: ${(cause as Error).message}.`;
    const evidence = { port: `file:${file}` };
    throw new Failure(isMissing ? "port.missing" : "port.recording", message, { cause, evidence });
  }
  return parseRecording(text, file);
}
