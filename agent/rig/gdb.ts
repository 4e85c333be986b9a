/**
 * A processor of QEMU's, looked at and changed from outside: a small client of its gdbstub. Source:
 * the remote serial protocol ("Debugging with GDB", appendix E) as gdbstub.c of QEMU 7.2 speaks it.
 * To open the connection stops the card with its clocks and its watchdog, until `go` or `close`.
 */
import net from "node:net";
import { Failure } from "../errors.ts";

export interface Gdb {
  /** A register by its number in QEMU's description of the processor. */
  register(number: number): Promise<bigint>;
  /** `bytes`: how many the register has. */
  setRegister(number: number, value: bigint, bytes: number): Promise<void>;
  /** Writes to the memory that the processor sees at a virtual address, also where it may not. */
  write(address: bigint, bytes: Uint8Array): Promise<void>;
  /** Lets the card run on. */
  go(): void;
  /** Stops a card that runs, and its clocks. */
  halt(): Promise<void>;
  /** Lets the card run on and lets go of it. */
  close(): Promise<void>;
}

const answerMs = 20_000;
/** QEMU announces packets of 4096 bytes. */
const packetCharactersMax = 16_384;
/** Any byte stops a card that runs; this is the one that is meant to. */
const interrupt = "\u0003";

/** Connects to the stub that listens on the socket at `path`; `rig.fault` when there is none. */
export async function openGdb(path: string): Promise<Gdb> {
  const line = await connect(path);
  const ask = async (packet: string): Promise<string> => {
    line.send(packet);
    return await line.next("answer");
  };
  const mustBeOk = async (packet: string): Promise<void> => {
    const answer = await ask(packet);
    if (answer !== "OK") throw fault(`${packet.slice(0, 40)} was answered with ${answer}`);
  };
  // Single registers are given only to those who have read what there is.
  await ask("qXfer:features:read:target.xml:0,10");
  return {
    register: async (number) => fromHex(await ask(`p${number.toString(16)}`)),
    setRegister: (number, value, bytes) => {
      return mustBeOk(`P${number.toString(16)}=${toHex(value, bytes)}`);
    },
    write: (address, bytes) => {
      const hex = Buffer.from(bytes).toString("hex");
      return mustBeOk(`M${address.toString(16)},${bytes.length.toString(16)}:${hex}`);
    },
    go: () => line.send("c"),
    halt: async () => {
      line.forgetStops();
      line.interrupt();
      await line.next("stop");
    },
    close: async () => {
      await mustBeOk("D");
      line.end();
    },
  };
}

/** What comes of itself, when the card has stopped, begins in a way that no answer does. */
type Kind = "stop" | "answer";

interface Line {
  send(packet: string): void;
  interrupt(): void;
  forgetStops(): void;
  next(kind: Kind): Promise<string>;
  end(): void;
}

function connect(path: string): Promise<Line> {
  const socket = net.connect(path);
  const arrived: Record<Kind, string[]> = { stop: [], answer: [] };
  let ended: string | undefined;
  let changed = (): void => {};
  let text = "";
  socket.setEncoding("latin1").on("data", (more: string) => {
    const { packets, rest } = packetsIn(text + more);
    text = rest.slice(-packetCharactersMax);
    for (const packet of packets) {
      // Until it is acknowledged QEMU hears nothing else; the last "OK" must not stop the card.
      if (packet !== "OK") socket.write("+");
      arrived[/^[TSWX]/.test(packet) ? "stop" : "answer"].push(packet);
    }
    changed();
  });
  const end = (why: string): void => {
    ended ??= why;
    changed();
  };
  socket.on("error", (error) => end(error.message));
  socket.on("close", () => end("it hung up"));
  const line: Line = {
    send: (packet) => void socket.write(framed(packet)),
    interrupt: () => void socket.write(interrupt),
    forgetStops: () => void arrived.stop.splice(0),
    next: (kind) =>
      new Promise((resolve, reject) => {
        const fail = (why: string): void => {
          clearTimeout(timer);
          reject(fault(why));
        };
        const timer = setTimeout(() => fail(`no ${kind} within ${answerMs / 1000} s`), answerMs);
        changed = () => {
          const packet = arrived[kind].shift();
          if (packet === undefined) return ended === undefined ? undefined : fail(ended);
          clearTimeout(timer);
          resolve(packet);
        };
        changed();
      }),
    end: () => socket.destroy(),
  };
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve(line));
    socket.once("error", (error) => reject(fault(error.message)));
  });
}

function fault(why: string): Failure {
  return new Failure("rig.fault", `QEMU's gdbstub: ${why}`);
}

/** `$DATA#CC`, CC the sum of its bytes modulo 256. */
export function framed(data: string): string {
  const sum = Buffer.from(data, "latin1").reduce((all, byte) => all + byte, 0) % 256;
  return `$${data}#${sum.toString(16).padStart(2, "0")}`;
}

/** The whole packets in what came, without acknowledgements, and what is left for later. */
export function packetsIn(text: string): { packets: string[]; rest: string } {
  const packets: string[] = [];
  let rest = text;
  for (;;) {
    const found = /\$([^#]*)#[0-9a-f]{2}/.exec(rest);
    if (found === null) break;
    packets.push(found[1] ?? "");
    rest = rest.slice(found.index + found[0].length);
  }
  const begun = rest.indexOf("$");
  return { packets, rest: begun < 0 ? "" : rest.slice(begun) };
}

/** Registers travel in the processor's own order of bytes, which is least first on ours. */
function fromHex(text: string): bigint {
  if (!/^([0-9a-f]{2}){1,16}$/.test(text)) throw fault(`${text} is no register`);
  return BigInt(`0x${Buffer.from(text, "hex").reverse().toString("hex")}`);
}

function toHex(value: bigint, bytes: number): string {
  return Buffer.from(value.toString(16).padStart(bytes * 2, "0"), "hex")
    .reverse()
    .toString("hex");
}
