/**
 * Is the whole machine being shut down, or was only the agent stopped? systemd knows: its manager
 * is asked for SystemState on its own socket, as `systemctl is-system-running` does, without
 * starting a program on a machine that is going down. D-Bus specification 0.38: authentication,
 * and one message each way.
 */
import { connect } from "node:net";

/** Of process 1, for root; there while other services, the message bus too, are being stopped. */
const managerSocket = "/run/systemd/private";
/** Asked at the end of the agent's life: an answer that takes longer is none. */
const answerMs = 500;
/** A reply is some 100 bytes; more is not one. */
const replyBytesMax = 4096;

/**
 * Tells whether a shutdown is in progress: null where nobody can say, as without systemd. `answer`
 * is called exactly once, at the latest after `answerMs`.
 */
export function askShutdown(
  answer: (isShutdown: boolean | null) => void,
  path = managerSocket,
): void {
  const socket = connect(path);
  let heard = Buffer.alloc(0);
  let isOver = false;
  const finish = (isShutdown: boolean | null): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    socket.destroy();
    answer(isShutdown);
  };
  const timer = setTimeout(() => finish(null), answerMs);
  socket.on("error", () => finish(null));
  socket.on("close", () => finish(null));
  socket.on("data", (bytes) => {
    heard = Buffer.concat([heard, bytes]);
    const state = stateIn(heard);
    if (state !== undefined) finish(state === null ? null : state === "stopping");
    else if (heard.length > replyBytesMax) finish(null);
  });
  socket.write(authentication());
  socket.write(question());
}

/** All at once: nothing in it depends on what the other side says. */
function authentication(): string {
  const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString("hex");
  return `\0AUTH EXTERNAL ${uid}\r\nBEGIN\r\n`;
}

const [methodCall, methodReturn] = [1, 2];

function question(): Buffer {
  const path = field(1, "o", "/org/freedesktop/systemd1");
  const member = field(3, "s", "Get");
  const interfaceName = field(2, "s", "org.freedesktop.DBus.Properties");
  const destination = field(6, "s", "org.freedesktop.systemd1");
  const signature = Buffer.from([8, 1, 0x67, 0, 2, 0x73, 0x73, 0]);
  const fields = joined([path, interfaceName, member, destination, signature], 8);
  const body = joined([text("org.freedesktop.systemd1.Manager"), text("SystemState")], 4);
  const head = Buffer.alloc(16);
  head.write("l");
  head.set([methodCall, 0, 1], 1);
  head.writeUInt32LE(body.length, 4);
  head.writeUInt32LE(1, 8);
  head.writeUInt32LE(fields.length, 12);
  return joined([Buffer.concat([head, fields]), body], 8);
}

/** A header field: its code, its type and its value. */
function field(code: number, type: "o" | "s", value: string): Buffer {
  return Buffer.concat([Buffer.from([code, 1, type.charCodeAt(0), 0]), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.alloc(4 + value.length + 1);
  bytes.writeUInt32LE(value.length);
  bytes.write(value, 4, "latin1");
  return bytes;
}

/** Each part begins at a multiple of `align`. */
function joined(parts: readonly Buffer[], align: number): Buffer {
  return parts.reduce((before, part) => {
    const padding = (align - (before.length % align)) % align;
    return Buffer.concat([before, Buffer.alloc(padding), part]);
  });
}

/** The state in a complete reply, null for another kind of one, undefined while incomplete. */
function stateIn(heard: Buffer): string | null | undefined {
  const lineEnd = heard.indexOf("\r\n");
  if (lineEnd < 0) return undefined;
  if (!heard.toString("latin1", 0, lineEnd).startsWith("OK ")) return null;
  const reply = heard.subarray(lineEnd + 2);
  if (reply.length < 16) return undefined;
  if (reply[0] !== 0x6c || reply[1] !== methodReturn) return null;
  const fieldsEnd = 16 + reply.readUInt32LE(12);
  const bodyAt = Math.ceil(fieldsEnd / 8) * 8;
  const bodyEnd = bodyAt + reply.readUInt32LE(4);
  if (bodyEnd > replyBytesMax) return null;
  if (reply.length < bodyEnd) return undefined;
  // A variant of a string: its signature takes four bytes with padding, its length the next four.
  const isString = reply.toString("latin1", bodyAt, bodyAt + 4) === "\x01s\0\0";
  if (!isString || bodyEnd < bodyAt + 8) return null;
  return reply.toString("latin1", bodyAt + 8, bodyAt + 8 + reply.readUInt32LE(bodyAt + 4));
}
