/**
 * A running card with a hostile peer on one of its lines: nothing that it sends may end the agent,
 * delay a refresh, make memory grow, or keep a well-behaved peer on the other line from its answer.
 */
import { settingNames } from "../../answers/settings.ts";
import { Random } from "../../sim/random.ts";
import { simConfig, World } from "../../sim/world.ts";
import { Deframer, enframe } from "../../wire/frame.ts";
import { encodeMessage, parsePacket } from "../../wire/smp.ts";
import { hostileInput, targetsOf } from "./hostilebytes.ts";

/**
 * What is obeyed and ends the card, or is a fault on purpose, where everybody may command; all else
 * is sent as well, and where it takes a key all of it.
 */
const spared = ["os.reset", "rig.inject", "wdt.disarm", "wdt.hold", "wdt.arm"];
/** Fast enough for the line to be no bound: an input arrives within a millisecond. */
const baud = 1_000_000_000;
const confirmedWithinMs = 200_000;
/** An answer to the well-behaved peer takes no longer, ms of the card's time. */
const answerMs = 10;
const newline = 0x0a;
/** Some key that is authorised, and that the hostile peer does not have. */
const operatorsKey =
  'roles="operate,danger,rig" ssh-ed25519 ' +
  "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f operator\n";

export interface HostileCard {
  readonly inputs: number;
  /** Answers that the hostile peer got, and how many of them were no refusals. */
  readonly answers: number;
  readonly obeyed: number;
}

export interface HostileOptions {
  /** Who may command: with `keys` the peer has none, and nothing may have changed at the end. */
  readonly policy?: "open" | "keys";
  /** Plants a defect, to show that it would be found. */
  readonly spoil?: (world: World) => void;
  /** Called before each input with its number. */
  readonly before?: (at: number) => void;
}

/** Runs one card with that many inputs; an Error says what did not hold. */
export function hostileCard(
  seed: number,
  inputs: number,
  { policy = "open", spoil = () => undefined, before = () => undefined }: HostileOptions = {},
): HostileCard {
  const random = new Random(seed);
  const config = simConfig({ watchdog: { promise_s: 8 }, access: { policy } });
  const world = new World({ seed, baud, config });
  world.authority.write(operatorsKey);
  world.power(true);
  must(
    world.until(() => world.agent?.boot.isConfirmed === true, confirmedWithinMs),
    "the card did not boot",
  );
  const hostile = world.lines[0]?.host;
  if (hostile === undefined) throw new Error("the card has no line");
  spoil(world);
  const targets = targetsOf(policy === "keys" ? [] : spared);
  const settled = policy === "keys" ? settledParts(world) : "";
  let [answers, obeyed] = [0, 0];
  hostile.onData(
    listener(({ rc, err }) => {
      answers += 1;
      if (rc === undefined && err === undefined) obeyed += 1;
    }),
  );
  for (let at = 0; at < inputs; at++) {
    before(at);
    const input = hostileInput(random, targets);
    // In one piece, or in two with the rest a moment later.
    const cut = random.chance(0.1) ? random.int(input.length + 1) : input.length;
    hostile.write(input.subarray(0, cut));
    if (cut < input.length) {
      world.advance(1);
      hostile.write(input.subarray(cut));
    }
    world.advance(1);
  }
  stillWell(world, seed);
  if (policy === "keys") {
    const now = settledParts(world);
    must(now === settled, `without a key it was changed from ${settled} to ${now}`);
  }
  return { inputs, answers, obeyed };
}

/** What only a command can change: promise, arming, settings, lease and keys. */
function settledParts({ agent, authority }: World): string {
  if (agent === null) return "no agent";
  const { promise_ms, armed } = agent.watchdog.status();
  const { lease, keys } = agent.access.status();
  const settings = settingNames.map((name) => [...agent.settings.read(name)]);
  const file = authority.keyFile();
  return JSON.stringify({ promise_ms, armed, lease, keys, settings, file });
}

function stillWell(world: World, seed: number): void {
  const { agent, resets } = world;
  must(resets.length === 0, `the card was reset by ${resets[0]?.by}`);
  if (agent === null) throw new Error("the agent is gone");
  const defect = agent.ring.totals.get("agent:defect") ?? 0;
  must(defect === 0, `${defect} requests made an exception escape`);
  must(agent.watchdog.isWell && agent.watchdog.isArmed, "the watchdog is not refreshed any more");
  const { slack_min_ms: slackMs = -1 } = agent.watchdog.status();
  must(slackMs >= 0, `a check-in was ${-slackMs} ms late`);
  mustEcho(world, `seed ${seed}`);
}

/** The other line's peer asks something and gets just that. */
function mustEcho(world: World, word: string): void {
  const end = world.lines[1]?.host;
  if (end === undefined) throw new Error("the card has one line only");
  const said: unknown[] = [];
  end.onData(listener((body) => said.push(body)));
  const header = { version: 1, op: "read", group: 0, seq: 7, command: 0 } as const;
  end.write(enframe(encodeMessage({ ...header, body: { d: word } })));
  world.advance(answerMs);
  must(JSON.stringify(said) === JSON.stringify([{ r: word }]), `echo gave ${JSON.stringify(said)}`);
}

/** Whatever the card sends has to be a whole message; it may begin a line of its own with it. */
function listener(take: (body: Record<string, unknown>) => void): (bytes: Uint8Array) => void {
  const deframer = new Deframer();
  return (bytes) => {
    for (const found of deframer.push(bytes)) {
      if (found.kind === "text" && found.bytes.length === 1 && found.bytes[0] === newline) continue;
      must(found.kind === "message", `the card sent what is no frame: ${found.kind}`);
      if (found.kind !== "message") continue;
      for (const item of parsePacket(found.bytes)) {
        if (item.kind === "bad") throw new Error(`the card sent no message: ${item.reason}`);
        take(item.body);
      }
    }
  };
}

function must(holds: boolean, problem: string): void {
  if (!holds) throw new Error(problem);
}
