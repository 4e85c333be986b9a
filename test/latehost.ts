/** A host that comes late: takes the card's state, then keeps it up to date by what is pushed. */
import { fold } from "../agent/machines/cardstate.ts";
import type { SimLine } from "../agent/sim/port.ts";
import type { World } from "../agent/sim/world.ts";
import { type CardState, cardState } from "../agent/wire/cardstate.ts";
import { decodeMap } from "../agent/wire/cbor.ts";
import { type CommandName, commands, type Report } from "../agent/wire/commands.ts";
import { Deframer, enframe } from "../agent/wire/frame.ts";
import { check } from "../agent/wire/shape.ts";
import { encodeMessage, parsePacket } from "../agent/wire/smp.ts";

type Body = Record<string, unknown>;

export class LateHost {
  /** What it knows; null before it has the whole state. */
  state: CardState | null = null;
  /** Pushes that were not the next report: repetitions, and ones behind a hole. */
  repeated = 0;
  holes = 0;
  /** Every answer and push, with its time of arrival. */
  readonly heard: { atMs: number; group: number; command: number; body: Body }[] = [];
  /** Pushes to lose before one is taken. */
  losing = 0;
  /** Which reports are acknowledged; all unless told otherwise. */
  acknowledges = true;
  private readonly world: World;
  private readonly line: SimLine;
  private readonly deframer = new Deframer();
  private readonly blocks: Uint8Array[] = [];

  constructor(world: World, at = 0) {
    this.world = world;
    this.line = world.lines[at] as SimLine;
    this.line.host.onData((bytes) => this.received(bytes));
  }

  attach(): void {
    this.blocks.length = 0;
    this.state = null;
    this.send("report.state", {});
  }

  send(name: CommandName, body: Body): void {
    this.line.host.write(enframe(this.message(name, body)));
  }

  /** A read of any group and command, known or not. */
  raw(group: number, command: number): void {
    const header = { version: 1, op: "read", group, seq: 1, command } as const;
    this.line.host.write(enframe(encodeMessage({ ...header, body: {} })));
  }

  /** Several requests in one packet. */
  sendAll(requests: readonly (readonly [CommandName, Body])[]): void {
    const messages = requests.map(([name, body]) => this.message(name, body));
    this.line.host.write(enframe(Buffer.concat(messages)));
  }

  /** Answers to one command, oldest first. */
  answers(name: CommandName): Body[] {
    const { group, id } = commands[name];
    return this.heard
      .filter((one) => one.group === group && one.command === id)
      .map(({ body }) => body);
  }

  private message(name: CommandName, body: Body): Uint8Array {
    const { group, id, op } = commands[name];
    const asks = op === "write" ? "write" : "read";
    return encodeMessage({ version: 1, op: asks, group, seq: 1, command: id, body });
  }

  private received(bytes: Uint8Array): void {
    for (const found of this.deframer.push(bytes)) {
      if (found.kind !== "message") continue;
      for (const item of parsePacket(found.bytes)) {
        if (item.kind !== "request") continue;
        const { group, command } = item.header;
        this.heard.push({ atMs: this.world.clock.now(), group, command, body: item.body });
        if (group === 68 && command === 4) this.pushed(item.body as unknown as Report);
        if (group === 68 && command === 6 && "data" in item.body) this.block(item.body);
      }
    }
  }

  private block({ seq, off, total, data, boot }: Body): void {
    if (Number(off) === 0) this.blocks.length = 0;
    this.blocks.push(data as Uint8Array);
    const had = Buffer.concat(this.blocks);
    if (had.length < Number(total)) return this.send("report.state", { off: had.length, seq });
    this.state = check(cardState, decodeMap(had), "state");
    this.send("report.subscribe", { for_ms: 600_000, boot, since: seq });
  }

  private pushed(report: Report): void {
    if (this.losing > 0) {
      this.losing -= 1;
      return;
    }
    const { state } = this;
    if (state === null) return;
    if (report.boot === state.boot && report.seq <= state.seq) this.repeated += 1;
    else if (report.boot === state.boot && report.seq !== state.seq + 1) this.holes += 1;
    else this.state = fold(state, report);
    const { boot, seq } = this.state ?? state;
    if (this.acknowledges) this.send("report.acknowledge", { boot, seq });
  }
}
