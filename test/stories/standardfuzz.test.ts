// deadline: 120 s
// Whatever stands in a request of the standard groups: an answer, no defect, and bounded memory.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Random } from "../../agent/sim/random.ts";
import { type CommandName, commands } from "../../agent/wire/commands.ts";
import { encodeMessage } from "../../agent/wire/smp.ts";
import { fuzz } from "../fuzz.ts";
import { type Body, RawHost } from "../rawhost.ts";
import { runningCard } from "../worlds.ts";

const fuzzed = suite("standard groups under fire");
const names = (Object.keys(commands) as CommandName[]).filter((name) => {
  return commands[name].group < 64 && name !== "os.reset";
});
/** Keys of the standard's requests, and some that mean something to JavaScript. */
const keys = ["d", "name", "off", "len", "val", "data", "type", "format", "query", "datetime"];
const oddKeys = ["index", "groups", "max_size", "rsn", "constructor", "toString", "length", ""];
const texts = ["/log", "/journal", "/crash/0", "/", "", "name", "watchdog/promise_s", "60", "a"];
const oddTexts = [
  "\0",
  "../../etc/passwd",
  "/crash/-1",
  "/crash/1e1",
  "__proto__",
  "😀".repeat(90),
];
const numbers = [0, 1, -1, 255, 256, 1999, 2 ** 31, 2 ** 32, 2 ** 53 - 1, -(2 ** 53) + 1, 0.5];

function anyValue(random: Random, depth = 0): unknown {
  const kind = random.int(depth > 2 ? 5 : 7);
  if (kind === 0) return random.pick(numbers);
  if (kind === 1) return random.pick(texts);
  if (kind === 2) return random.pick(oddTexts);
  if (kind === 3) return random.bytes(random.int(40));
  if (kind === 4) return random.pick([true, false, null]);
  const items = Array.from({ length: random.int(4) }, () => anyValue(random, depth + 1));
  return kind === 5 ? items : Object.fromEntries(items.map((item, at) => [`k${at}`, item]));
}

function bodyOf(random: Random): Body {
  const entries = Array.from({ length: random.int(5) }, () => {
    return [random.pick(random.chance(0.8) ? keys : oddKeys), anyValue(random)] as const;
  });
  return Object.fromEntries(entries);
}

fuzzed("every request is answered, none is a defect, and what is kept stays within bounds", () => {
  fuzz(4, (random) => {
    const world = runningCard({ seed: random.int(1000), baud: 1_000_000 });
    const host = new RawHost(world);
    for (let requests = 0; requests < 1500; requests += 1) {
      const { group, id, op } = commands[random.pick(names)];
      const asks = op === "either" ? random.pick(["read", "write"] as const) : op;
      const header = { version: random.int(2), op: asks, group, seq: requests & 255, command: id };
      const body = bodyOf(random);
      const [answer] = host.answersTo(encodeMessage({ ...header, body }));
      assert.is(answer?.seq, header.seq, JSON.stringify(body));
      host.heard.length = 0;
      if (random.chance(0.1)) world.advance(random.int(8000));
    }
    const { agent } = world;
    assert.is(agent?.ring.totals.get("agent:defect"), undefined);
    assert.ok((agent?.files.keptCount ?? 99) <= 4);
    assert.is(agent?.watchdog.state.kind, "armed");
  });
});

fuzzed.run();
