/**
 * Hostile bytes, many of them: on the line of a running card, and through the parts that read them
 * alone, which is faster. `npm run rig -- campaign hostile --seed 1 --runs 500`.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Failure } from "../../errors.ts";
import { Random } from "../../sim/random.ts";
import type { World } from "../../sim/world.ts";
import { decodeMap } from "../../wire/cbor.ts";
import { Deframer } from "../../wire/frame.ts";
import { parsePacket } from "../../wire/smp.ts";
import { type Campaign, Violation } from "./campaign.ts";
import { type HostileCard, hostileCard } from "./hostile.ts";
import { hostileBody, hostileInput, targetsOf } from "./hostilebytes.ts";

/** Inputs of one run: on a card, whose agent answers, and to deframer, SMP header and CBOR alone. */
export const inputsPerRun = { card: 2000, parsers: 18_000 } as const;
/** So many inputs are made, each is read whole, then cut, then damaged. */
const inputsMade = 600;
/** A collection takes longer than the inputs of a card: memory is measured in every so many-th. */
const measuredEvery = 20;
/** The heap may be so much larger at the end of a card's inputs than after the first tenth, bytes. */
const growthMax = 4 * 1024 * 1024;
/** A deframer holds one packet and one line at the most, bytes. */
const pendingMax = 16_384;
const policies = ["keys", "open"] as const;

/** Planted: every input stays in memory; nobody is asked for a key. */
export const hostileBugs = ["leak", "unguarded"] as const;

export class HostileCampaign implements Campaign {
  readonly bugs = hostileBugs;
  private runs = 0;
  private readonly totals = { card: 0, parsers: 0, messages: 0 };
  private readonly peers: Record<string, { answers: number; obeyed: number }> = {};
  private readonly heap: number[] = [];
  private growthMost = -Infinity;
  private collect: (() => void) | null = null;

  run(seed: number, bug: string | null): void {
    const policy = policies[seed % 2] as (typeof policies)[number];
    const isMeasured = this.runs % measuredEvery === 0 || bug === "leak";
    this.runs += 1;
    this.count(policy, this.card(seed, policy, isMeasured, bug));
    this.parsers(new Random(seed, 9));
  }

  private card(
    seed: number,
    policy: (typeof policies)[number],
    isMeasured: boolean,
    bug: string | null,
  ): HostileCard {
    const inputs = inputsPerRun.card;
    const hoard: Uint8Array[] = [];
    let tenth = 0;
    const before = (at: number): void => {
      if (bug === "leak") hoard.push(new Uint8Array(0x1000).fill(at), new Uint8Array(0));
      if (isMeasured && at === inputs / 10) tenth = this.heapBytes();
      if (isMeasured && at === inputs - 1) this.compare(tenth, this.heapBytes());
    };
    // As if no key were asked for where it is.
    const spoil = bug === "unguarded" ? allowAll : undefined;
    try {
      return hostileCard(seed, inputs, { policy, before, ...(spoil ? { spoil } : {}) });
    } catch (error) {
      if (error instanceof Violation || error instanceof TypeError) throw error;
      throw new Violation(`policy ${policy}`, (error as Error).message);
    }
  }

  private count(policy: string, { inputs, answers, obeyed }: HostileCard): void {
    const before = this.peers[policy] ?? { answers: 0, obeyed: 0 };
    const all = { answers: before.answers + answers, obeyed: before.obeyed + obeyed };
    this.peers[policy] = all;
    this.totals.card += inputs;
  }

  /** Whatever they are given, they give values and Failures, and keep no more than their bounds. */
  private parsers(random: Random): void {
    const targets = targetsOf([]);
    const deframer = new Deframer();
    const made = Array.from({ length: inputsMade }, () => hostileInput(random, targets));
    const bodies = Array.from({ length: inputsMade }, () => hostileBody(random, targets));
    for (let at = 0; at < inputsPerRun.parsers; at++) {
      if (at % 3 === 0) this.decode(damaged(random, random.pick(bodies)));
      else this.deframe(deframer, damaged(random, random.pick(made)));
      if (deframer.pendingBytes > pendingMax) {
        throw new Violation("bounded", `a deframer holds ${deframer.pendingBytes} bytes`);
      }
    }
    this.totals.parsers += inputsPerRun.parsers;
  }

  private deframe(deframer: Deframer, bytes: Uint8Array): void {
    for (const found of deframer.push(bytes)) {
      if (found.kind !== "message") continue;
      this.totals.messages += parsePacket(found.bytes).length;
    }
  }

  private decode(bytes: Uint8Array): void {
    try {
      decodeMap(bytes);
      this.totals.messages += 1;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
  }

  private heapBytes(): number {
    if (this.collect === null) {
      setFlagsFromString("--expose-gc");
      this.collect = runInNewContext("gc") as () => void;
    }
    this.collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  }

  private compare(tenth: number, end: number): void {
    this.heap.push(end);
    this.growthMost = Math.max(this.growthMost, end - tenth);
    if (end - tenth <= growthMax) return;
    throw new Violation("bounded", `the heap grew from ${tenth} to ${end} bytes`);
  }

  summary(): string[] {
    const { card, parsers, messages } = this.totals;
    const mega = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);
    const peers = Object.entries(this.peers).map(([policy, { answers, obeyed }]) => {
      return `with access ${policy}: ${answers} answers, ${obeyed} of them no refusals`;
    });
    const [first = Number.NaN, ...rest] = this.heap;
    return [
      `${card} inputs with the agent live, ${parsers} through deframer, SMP and CBOR alone`,
      ...peers,
      `${messages} messages and bodies came through the parsers whole`,
      `heap after collection: at most ${mega(this.growthMost)} MiB above that after the first ` +
        `tenth of a card's inputs; ${mega(first)} MiB on the first card, ` +
        `${mega(rest.at(-1) ?? first)} MiB on the last measured`,
    ];
  }
}

function allowAll({ agent }: World): void {
  if (agent !== null) agent.access.allow = () => undefined;
}

/** As it is, or with bytes turned, taken out or put in. */
function damaged(random: Random, bytes: Uint8Array): Uint8Array {
  const roll = random.int(4);
  if (roll === 0 || bytes.length === 0) return bytes;
  if (roll === 1) return bytes.subarray(0, random.int(bytes.length));
  const copy = bytes.slice();
  for (let hits = random.range(1, 3); hits > 0; hits--) {
    const at = random.int(copy.length);
    if (roll === 2) copy[at] = random.int(256);
    else copy.copyWithin(at, random.int(copy.length));
  }
  return copy;
}
