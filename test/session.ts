/**
 * A long session of hosts with a simulated card that has everything in it: every command with good
 * and bad arguments in both versions, downloads, subscriptions, noise, console text, crashes and
 * resets. What crossed each line is kept as it came, beside what our decoder made of it.
 */
import { planDay } from "../agent/sim/day.ts";
import type { SimLine } from "../agent/sim/port.ts";
import { Random } from "../agent/sim/random.ts";
import { simConfig, World } from "../agent/sim/world.ts";
import { encodeMap } from "../agent/wire/cbor.ts";
import { type CommandName, commands } from "../agent/wire/commands.ts";
import { Deframer, enframe } from "../agent/wire/frame.ts";
import { encodeMessage, headerBytes, parsePacket } from "../agent/wire/smp.ts";
import { fromHex, join, toHex } from "./hex.ts";

type Body = Record<string, unknown>;

/** Arguments by command; a command that is not here is asked without any. */
const bodies: { readonly [N in CommandName]?: readonly Body[] } = {
  "os.echo": [{ d: "hi" }, { d: "ä€😀".repeat(50) }, { d: "" }, {}],
  "os.info": [{}, { format: "a" }, { format: "zz" }, { format: "os" }],
  "os.bootloader": [{}, { query: "mode" }, { query: "x" }],
  "os.set_datetime": [{ datetime: "2027-01-02T03:04:05Z" }, { datetime: "never" }],
  "os.reset": [{ force: 0 }, { force: true, boot_mode: 0 }, { boot_mode: 7 }],
  "statistics.group": ["link", "agent", "boot", "wdt", "tee", "report", "events", "x"].map(
    (name) => ({ name }),
  ),
  "settings.read": [
    { name: "name" },
    { name: "watchdog/promise_s", max_size: 5000 },
    { name: "tasks", max_size: 3 },
    { name: "nvs/x" },
    { name: "n".repeat(100) },
  ],
  "settings.write": [
    { name: "watchdog/pre_reset_s", val: new TextEncoder().encode("2.5") },
    { name: "name", val: "nic7" },
    { name: "lab", val: "false" },
    { name: "watchdog/promise_s", val: "0" },
  ],
  "settings.delete": [{ name: "name" }, { name: "lab" }],
  "settings.save": [{}, { name: "watchdog" }],
  "files.read": ["/log", "/journal", "/timeline.svg", "/crash/0", "/x"].flatMap((name) =>
    [0, 100, 1999, 4000, 900_000].map((off) => ({ name, off })),
  ),
  "files.write": [{ name: "/log", off: 0, len: 1, data: Uint8Array.of(1) }],
  "files.status": [{ name: "/log" }, { name: "/crash" }, { name: "log" }],
  "files.hash": [
    { name: "/log" },
    { name: "/journal", type: "sha256", off: 10, len: 100 },
    { name: "/log", type: "md5" },
  ],
  "enumeration.one": [{}, { index: 3 }, { index: 10 }, { index: 99 }],
  "enumeration.details": [{}, { groups: [0, 64] }],
  "card.doctor": [{}, { from: 3 }],
  "boot.timelines": [{}, { skip: 2 }],
  "wdt.arm": [{}, { promise_ms: 8000 }, { promise_ms: 1, rsn: true }],
  "wdt.check_in": [{ task: "dataplane" }, { task: "nobody", rsn: true }, { task: 7 }],
  "wdt.hold": [{ for_ms: 2000, by: "bench" }, { for_ms: 0 }],
  "report.subscribe": [{}, { for_ms: 5000 }],
  "report.read": [{}, { since: 3, max: 4 }],
  "report.acknowledge": [{ boot: "1-00000000", seq: 2 ** 40 }],
  "rig.inject": ["tee_crash", "tee_panic", "hang", "power_cycle", "nothing"].map((fault) => {
    return { fault, for_ms: 3000 };
  }),
};

/** What ends the boot is asked for rarely: a card that only boots says little. */
const rare: readonly CommandName[] = ["os.reset", "rig.inject", "wdt.disarm", "tee.recover"];

/** One line of the record: bytes as they came, or what our decoder found in them. */
export type Entry =
  | { readonly at: string; readonly bytes: string }
  | { readonly at: string; readonly packet: string; readonly messages: unknown[] };

/** Lives through `forMs` of the card's time and returns what crossed its lines. */
export function record(seed: number, forMs: number): Entry[] {
  const entries: Entry[] = [];
  const random = new Random(seed).fork("session");
  const world = seed % 3 === 0 ? planDay(seed).world : worldOf(seed);
  world.lines.forEach((line, at) => {
    tap(line.host, `card ${at}`, entries);
    tap(line.card, `host ${at}`, entries);
    if (at === 1) line.faults = { flip: 0.02, lose: 0.02, text: 0.05 };
  });
  world.lines.forEach((line, at) => {
    line.host.onData((bytes) => acknowledge(line, bytes));
    talk(world, line, random.fork(`host ${at}`));
  });
  world.power(true);
  world.advance(forMs);
  return entries;
}

function worldOf(seed: number): World {
  const watchdog = { promise_s: 6, hardware_max_s: 3 };
  return new World({ seed, config: simConfig({ watchdog, tasks: [{ name: "net", every_s: 2 }] }) });
}

interface End {
  onData(listen: (bytes: Uint8Array) => void): void;
}

/** Keeps what arrives at this end; the listener may change, as with every start of the agent. */
function tap(end: End, at: string, entries: Entry[]): void {
  const deframer = new Deframer({ text: "count" });
  const listen = end.onData.bind(end);
  end.onData = (next) =>
    listen((bytes) => {
      entries.push({ at, bytes: toHex(bytes) });
      for (const found of deframer.push(bytes)) {
        if (found.kind !== "message") continue;
        const messages = parsePacket(found.bytes).map((item) => {
          return item.kind === "bad" ? null : { ...item.header, body: plain(item.body) };
        });
        entries.push({ at, packet: toHex(found.bytes), messages });
      }
      next(bytes);
    });
}

/** JSON has no bytes and no integers beyond 2^53. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return { $int: String(value) };
  if (value instanceof Uint8Array) return { $bytes: toHex(value) };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

/** A subscriber acknowledges most of what it is sent. */
const deframers = new WeakMap<SimLine, Deframer>();
function acknowledge(line: SimLine, bytes: Uint8Array): void {
  const deframer = deframers.get(line) ?? new Deframer({ text: "count" });
  deframers.set(line, deframer);
  for (const found of deframer.push(bytes)) {
    if (found.kind !== "message") continue;
    for (const item of parsePacket(found.bytes)) {
      if (item.kind === "bad" || item.header.group !== 68 || item.header.command !== 4) continue;
      const { boot, seq } = item.body;
      const { group, id } = commands["report.acknowledge"];
      const header = { version: 1, op: "write", group, seq: 200, command: id } as const;
      line.host.write(enframe(encodeMessage({ ...header, body: { boot, seq } })));
    }
  }
}

/** Between two requests, ms: an answer crosses the line in it nearly always. */
const pauseMs = { min: 40, max: 400 };

function talk(world: World, line: SimLine, random: Random): void {
  let sequence = random.int(256);
  const next = (): void => {
    const count = random.chance(0.1) ? random.range(2, 4) : 1;
    const parts = Array.from({ length: count }, () => {
      sequence = (sequence + 1) & 0xff;
      return request(random, sequence);
    });
    line.host.write(framed(random, join(...parts)));
    if (random.chance(0.05)) line.host.write(new TextEncoder().encode("root\r\n"));
    world.clock.at(world.clock.now() + random.range(pauseMs.min, pauseMs.max), next);
  };
  world.clock.at(world.clock.now(), next);
}

function request(random: Random, seq: number): Uint8Array {
  const names = Object.keys(commands) as CommandName[];
  let name = random.pick(names);
  while (rare.includes(name) && !random.chance(0.03)) name = random.pick(names);
  const { group, id, op } = commands[name];
  const asks = op === "either" ? random.pick(["read", "write"] as const) : op;
  const body = random.pick(bodies[name] ?? [{}]);
  const header = {
    version: random.chance(0.3) ? 0 : 1,
    op: asks,
    group,
    seq,
    command: id,
  } as const;
  const own = encodeMessage({ ...header, body });
  if (random.chance(0.8)) return own;
  // As other clients write it: no body at all, a map without a length, numbers longer than needed.
  const foreign = Object.keys(body).length === 0 ? new Uint8Array() : indefinite(body);
  const bytes = join(own.slice(0, headerBytes), foreign);
  new DataView(bytes.buffer).setUint16(2, foreign.length);
  return bytes;
}

/** The map without its length: every member as it stands in a map of one. */
function indefinite(body: Body): Uint8Array {
  const members = Object.entries(body).map(([key, value]) => encodeMap({ [key]: value }).slice(1));
  return join(fromHex("bf"), ...members, fromHex("ff"));
}

/** Lines as others end them; cut into two writes now and then, which noise may hit apart. */
function framed(random: Random, packet: Uint8Array): Uint8Array {
  const bytes = enframe(packet);
  if (random.chance(0.9)) return bytes;
  const parts = [...bytes].flatMap((byte) => (byte === 0x0a ? [0x0d, 0x0a] : [byte]));
  return Uint8Array.from(parts);
}
