/**
 * QMP, QEMU's machine protocol (docs/interop/qmp-spec): a greeting, then one JSON object per line:
 * answers to commands by id, and events with QEMU's own time stamp.
 */
import type { Duplex } from "node:stream";
import { Failure } from "../errors.ts";

export interface QmpEvent {
  /** Such as WATCHDOG, RESET or SHUTDOWN. */
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** When QEMU raised it, on this process's monotonic clock (performance.now), milliseconds. */
  readonly atMs: number;
}

export interface Qmp {
  /** Sends a command and gives its `return`; `rig.fault` when QEMU refuses or does not answer. */
  execute(command: string, args?: Record<string, unknown>): Promise<unknown>;
}

const answerMs = 30_000;

interface Message {
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly event?: string;
  readonly data?: Record<string, unknown>;
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number };
}

/** Given the answer, or undefined when QEMU hung up. */
type Answered = (message: Message | undefined) => void;

/** Leaves QMP's negotiation mode; from then on `on.event` gets every event, `on.line` all text. */
export async function openQmp(
  stream: Duplex,
  on: { event(event: QmpEvent): void; line(text: string): void },
): Promise<Qmp> {
  const waiting = new Map<number, Answered>();
  readMessages(stream, (line) => {
    on.line(line);
    const message = JSON.parse(line) as Message;
    if (message.event !== undefined) on.event(eventOf(message));
    else if (message.id !== undefined) waiting.get(message.id)?.(message);
  });
  stream.on("error", () => {}); // what it means is told by `close`
  stream.on("close", () => {
    for (const answered of waiting.values()) answered(undefined);
  });
  let lastId = 0;
  const execute = (command: string, args?: Record<string, unknown>): Promise<unknown> => {
    lastId += 1;
    const id = lastId;
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => reject(new Failure("rig.fault", `${command}: ${why}`));
      const timer = setTimeout(() => {
        waiting.delete(id);
        fail(`QEMU did not answer within ${answerMs / 1000} s`);
      }, answerMs);
      waiting.set(id, (message) => {
        clearTimeout(timer);
        waiting.delete(id);
        if (message === undefined) fail("QEMU hung up");
        else if (message.error !== undefined) fail(`QEMU refused: ${message.error.desc}`);
        else resolve(message.return);
      });
      stream.write(`${JSON.stringify({ execute: command, arguments: args ?? {}, id })}\n`);
    });
  };
  await execute("qmp_capabilities");
  return { execute };
}

function readMessages(stream: Duplex, take: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") take(line);
  });
}

/**
 * QEMU stamps with wall-clock time. The event is seen at once, so a wall clock that was stepped
 * before it, or is stepped later, does not matter: only its age counts.
 */
function eventOf(message: Message): QmpEvent {
  const { seconds, microseconds } = message.timestamp ?? { seconds: 0, microseconds: 0 };
  const wallMs = seconds * 1000 + microseconds / 1000;
  const atMs = performance.now() - (Date.now() - wallMs);
  return { name: String(message.event), data: message.data ?? {}, atMs };
}
