/** A host that speaks plain SMP to a simulated card and looks at each answer as it came. */
import type { SimLine } from "../agent/sim/port.ts";
import type { World } from "../agent/sim/world.ts";
import { type CommandName, commands } from "../agent/wire/commands.ts";
import { Deframer, enframe } from "../agent/wire/frame.ts";
import { encodeMessage, type Message, parsePacket } from "../agent/wire/smp.ts";
import { join } from "./hex.ts";

export type Body = Record<string, unknown>;

/** Time for the longest answer to cross the line, ms. */
const patienceMs = 1500;

export class RawHost {
  readonly heard: Message[] = [];
  readonly line: SimLine;
  private readonly world: World;
  private readonly deframer = new Deframer();
  private sequence = 0;

  constructor(world: World, at = 0) {
    this.world = world;
    this.line = world.lines[at] as SimLine;
    this.line.host.onData((bytes) => {
      for (const found of this.deframer.push(bytes)) {
        if (found.kind !== "message") continue;
        for (const item of parsePacket(found.bytes)) {
          if (item.kind === "request") this.heard.push({ ...item.header, body: item.body });
        }
      }
    });
  }

  /** The request as bytes of a packet; `version` as on the wire: 1 is v2. */
  request(name: CommandName, body: Body = {}, version = 1): Uint8Array {
    const { group, id, op } = commands[name];
    const seq = this.sequence;
    this.sequence = (seq + 1) & 0xff;
    const asks = op === "either" ? "write" : op;
    return encodeMessage({ version, op: asks, group, seq, command: id, body });
  }

  send(...messages: Uint8Array[]): void {
    this.line.host.write(enframe(join(...messages)));
  }

  /** Sends one packet and returns the `count` answers to it; throws where they do not come. */
  answersTo(packet: Uint8Array, count = 1): Message[] {
    const before = this.heard.length;
    this.send(packet);
    this.world.until(() => this.heard.length >= before + count, patienceMs);
    const answers = this.heard.slice(before);
    if (answers.length === count) return answers;
    throw new Error(`${answers.length} answers instead of ${count}`);
  }

  /** The body of the one answer. */
  ask(name: CommandName, body: Body = {}, version = 1): Body {
    return this.answersTo(this.request(name, body, version))[0]?.body ?? {};
  }

  /** A whole file, piece by piece. */
  download(name: string, between: () => void = () => undefined): Uint8Array {
    const parts: Uint8Array[] = [];
    let length = Infinity;
    for (let off = 0; off < length; ) {
      const { data, len, off: told } = this.ask("files.read", { name, off });
      if (off === 0) length = len as number;
      if (told !== off || !(data instanceof Uint8Array) || data.length === 0) {
        throw new Error(`no piece at ${off} of ${length}`);
      }
      parts.push(data);
      off += data.length;
      between();
    }
    return join(...parts);
  }
}
