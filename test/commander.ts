/** Somebody at the host's end of a simulated card's line who signs, well or badly. */

import { sha256 } from "../agent/io/digest.ts";
import type { KeyPair } from "../agent/io/ed25519.ts";
import { signEd25519 } from "../agent/io/ed25519.ts";
import { publicBlob, publicLine } from "../agent/io/sshkey.ts";
import type { SimLine } from "../agent/sim/port.ts";
import type { World } from "../agent/sim/world.ts";
import { type CommandName, commands, type ResponseOf } from "../agent/wire/commands.ts";
import { type Envelope, encodeHeader, encodeSigned, toBeSigned } from "../agent/wire/cose.ts";
import { Deframer, enframe } from "../agent/wire/frame.ts";
import { encodeMessage, parsePacket } from "../agent/wire/smp.ts";
import { fromHex } from "./hex.ts";

/** RFC 8032, 7.1, tests 1 to 3. */
export const pairs: Record<"ops" | "boss" | "stranger", KeyPair> = {
  ops: {
    seed: fromHex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
    publicKey: fromHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
  },
  boss: {
    seed: fromHex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
    publicKey: fromHex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
  },
  stranger: {
    seed: fromHex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"),
    publicKey: fromHex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
  },
};

/** A line of authorized_keys. */
export function authorised(name: keyof typeof pairs, roles: string): string {
  const line = publicLine(publicBlob(pairs[name].publicKey), name);
  return `kennel="${roles}" ${line}\n`;
}

/** Both keys, `ops` preferred; the boss may do everything. */
export const bothKeys = authorised("ops", "operate") + authorised("boss", "operate,danger,rig");

export type Body = Readonly<Record<string, unknown>>;

/** Milliseconds of a line's time within which a card that runs has answered. */
const answerMs = 2000;

/** One end of a line, and the answers that came over it. */
export class HostEnd {
  readonly world: World;
  readonly line: SimLine;
  private readonly answers: Body[] = [];

  constructor(world: World, at = 0) {
    this.world = world;
    this.line = world.lines[at] as SimLine;
    const deframer = new Deframer();
    this.line.host.onData((bytes) => {
      for (const found of deframer.push(bytes)) {
        if (found.kind !== "message") continue;
        for (const item of parsePacket(found.bytes)) {
          if (item.kind === "request") this.answers.push(item.body);
        }
      }
    });
  }

  /** Sends one request and gives what was answered; throws without an answer. */
  ask(name: CommandName, body: Body = {}, version = 1): Body {
    this.send(requestOf(name, body, version));
    return this.next();
  }

  send(request: Uint8Array): void {
    this.line.host.write(enframe(request));
  }

  /** The next answer. */
  next(): Body {
    if (!this.world.until(() => this.answers.length > 0, answerMs)) throw new Error("no answer");
    return this.answers.shift() as Body;
  }
}

export function requestOf(name: CommandName, body: Body, version = 1): Uint8Array {
  const { group, id, op } = commands[name];
  const asks = op === "read" ? "read" : "write";
  return encodeMessage({ version, op: asks, group, seq: 0, command: id, body });
}

/** The COSE_Sign1 alone. */
export function signedBy(pair: KeyPair, envelope: Envelope, payload: Uint8Array): Uint8Array {
  const header = encodeHeader(envelope);
  return encodeSigned(header, payload, signEd25519(pair, toBeSigned(header, payload)));
}

export function kidOf(pair: KeyPair): Uint8Array {
  return sha256(publicBlob(pair.publicKey));
}

export class Commander {
  readonly end: HostEnd;
  readonly seat: string;
  private readonly pair: KeyPair;
  readonly kid: Uint8Array;

  constructor(end: HostEnd, name: keyof typeof pairs, seat: string = name) {
    this.end = end;
    this.seat = seat;
    this.pair = pairs[name];
    this.kid = kidOf(this.pair);
  }

  session(): ResponseOf<"access.session"> {
    const body = { key: this.kid, seat: this.seat };
    return this.end.ask("access.session", body) as ResponseOf<"access.session">;
  }

  /** A frame's content, ready to send; `change`: what is different from what it should be. */
  signed(name: CommandName, body: Body = {}, change: Partial<Envelope> = {}): Uint8Array {
    const { device, boot, nonce, counter, now_ms, lease } = this.session();
    const epoch = lease.state === "held" && lease.mine ? lease.epoch : 0;
    const { kid, seat } = this;
    const right = { kid, device, boot, nonce, counter, epoch, seat, untilMs: now_ms + 5000 };
    return this.wrapped({ ...right, ...change }, requestOf(name, body));
  }

  wrapped(envelope: Envelope, payload: Uint8Array): Uint8Array {
    return requestOf("access.signed", { cose: signedBy(this.pair, envelope, payload) });
  }

  /** Signs, sends, and gives the answer. */
  does(name: CommandName, body: Body = {}, change: Partial<Envelope> = {}): Body {
    this.end.send(this.signed(name, body, change));
    return this.end.next();
  }

  /** Claims the lease and waits until it is settled who has it. */
  takes(body: Body = {}): Body {
    const answer = this.does("access.take", body);
    this.end.world.advance(Number(answer.settles_in_ms ?? 0) + 1);
    return answer;
  }
}

/** The name in front of a refusal's words; "" for what is none. */
export function refusalOf(answer: Body): string {
  return /^access\.([a-z_]+): /.exec(String(answer.rsn ?? ""))?.[1] ?? "";
}
