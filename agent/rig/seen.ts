/** What a guest has shown so far: console lines and events of QEMU; and waiting for more of it. */
import type { Readable } from "node:stream";
import { Failure } from "../errors.ts";
import type { QmpEvent } from "./qmp.ts";

/** A line that the guest printed on its console. */
export interface ConsoleLine {
  /** When its first character arrived, on this process's monotonic clock, milliseconds. */
  readonly atMs: number;
  readonly text: string;
}

export const consoleLinesMax = 20_000;
export const eventsMax = 1_000;
export const lineCharactersMax = 4_096;
/** How much of what was seen goes into the message of a wait that failed. */
const tailLines = 12;
const tailEvents = 6;

/** What a guest has shown so far, and who waits for more of it. */
export interface Seen {
  readonly console: ConsoleLine[];
  readonly events: QmpEvent[];
  readonly watchers: Set<() => void>;
  /** How QEMU ended, once it has. */
  ended: string | undefined;
  complaints: string;
}

export function readConsole(
  stream: Readable,
  seen: Seen,
  changed: () => void,
  log: (text: string) => void,
): void {
  let open = "";
  let openedMs = 0;
  stream.setEncoding("utf8").on("data", (text: string) => {
    log(text);
    if (open === "") openedMs = performance.now();
    const lines = (open + text).split("\n");
    open = (lines.pop() ?? "").slice(-lineCharactersMax);
    for (const line of lines) {
      keep(seen.console, { atMs: openedMs, text: line.replaceAll("\r", "") }, consoleLinesMax);
      openedMs = performance.now();
    }
    changed();
  });
}

export function keep<T>(list: T[], item: T, max: number): void {
  list.push(item);
  if (list.length > max) list.shift();
}

export function until<T>(
  seen: Seen,
  what: string,
  find: () => T | undefined,
  withinMs: number,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      seen.watchers.delete(look);
      settle();
    };
    const fail = (why: string): void =>
      finish(() => reject(new Failure("rig.fault", `${why}\n${summary(seen)}`)));
    const look = (): void => {
      const found = find();
      if (found !== undefined) finish(() => resolve(found));
      else if (seen.ended !== undefined) fail(`QEMU ${seen.ended} before ${what}`);
    };
    const timer = setTimeout(() => fail(`no ${what} within ${withinMs / 1000} s`), withinMs);
    seen.watchers.add(look);
    look();
  });
}

function summary(seen: Seen): string {
  const events = seen.events.slice(-tailEvents).map((event) => event.name);
  const lines = seen.console.slice(-tailLines).map((line) => `  | ${line.text}`);
  const complaint = seen.complaints.trim() === "" ? [] : [`QEMU: ${seen.complaints.trim()}`];
  const head = `QMP events: ${events.length === 0 ? "none" : events.join(", ")}; console:`;
  return [head, ...(lines.length === 0 ? ["  (nothing)"] : lines), ...complaint].join("\n");
}
