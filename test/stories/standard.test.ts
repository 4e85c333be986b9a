// The standard groups of SMP on a whole card, as a client finds them: every answer to the letter.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { answerWithinMs } from "../../agent/heads/host.ts";
import { type CommandName, commands } from "../../agent/wire/commands.ts";
import { check } from "../../agent/wire/shape.ts";
import { encodeMessage } from "../../agent/wire/smp.ts";
import { join } from "../hex.ts";
import { type Body, RawHost } from "../rawhost.ts";
import { card, confirmed, reportsOf, resetTime, runningCard } from "../worlds.ts";

const standard = suite("standard groups");
const tasks = [{ name: "dataplane", every_s: 5 }];

function running(options: Parameters<typeof runningCard>[0] = {}) {
  const world = runningCard({ tasks, ...options });
  return { world, host: new RawHost(world) };
}

/** The keys that the standard gives each success map; another one and strict clients give up. */
const keys: readonly (readonly [CommandName, Body, readonly string[]])[] = [
  ["os.echo", { d: "hi" }, ["r"]],
  ["os.taskstat", {}, ["tasks"]],
  ["os.mpstat", {}, ["mpools"]],
  ["os.datetime", {}, ["datetime"]],
  ["os.set_datetime", { datetime: "2026-03-04T05:06:07" }, []],
  ["os.params", {}, ["buf_size", "buf_count"]],
  ["os.info", {}, ["output"]],
  ["os.bootloader", {}, ["bootloader"]],
  ["os.bootloader", { query: "mode" }, ["mode"]],
  ["statistics.list", {}, ["stat_list"]],
  ["statistics.group", { name: "link" }, ["name", "fields"]],
  ["settings.read", { name: "name" }, ["val"]],
  ["settings.read", { name: "name", max_size: 64 }, ["val"]],
  ["settings.read", { name: "name", max_size: 5000 }, ["val", "max_size"]],
  ["settings.write", { name: "name", val: "nic9" }, []],
  ["settings.delete", { name: "name" }, []],
  ["settings.commit", {}, []],
  ["settings.load", {}, []],
  ["settings.save", {}, []],
  ["files.read", { name: "/log", off: 0 }, ["off", "data", "len"]],
  ["files.read", { name: "/log", off: 1 }, ["off", "data"]],
  ["files.status", { name: "/log" }, ["len"]],
  ["files.hash", { name: "/log" }, ["type", "len", "output"]],
  ["files.hash", { name: "/log", off: 5 }, ["type", "off", "len", "output"]],
  ["files.hash_types", {}, ["types"]],
  ["files.close", {}, []],
  ["enumeration.count", {}, ["count"]],
  ["enumeration.list", {}, ["groups"]],
  ["enumeration.one", {}, ["group"]],
  ["enumeration.details", {}, ["groups"]],
];

standard("every success map has the keys of the standard and no other, in both versions", () => {
  const { host } = running();
  for (const version of [0, 1]) {
    for (const [name, body, expected] of keys) {
      const answer = host.ask(name, body, version);
      assert.equal(Object.keys(answer).sort(), [...expected].sort(), `${name} v${version + 1}`);
      assert.not.throws(() => check<unknown>(commands[name].response, answer, name));
    }
  }
});

standard("version, sequence, group, command and operation of each answer are the request's", () => {
  const { host } = running();
  for (const [name, body] of keys) host.ask(name, body, 0);
  assert.is(host.heard.length, keys.length, "one answer each, and nothing unasked");
  host.heard.forEach((answer, seq) => {
    const [name] = keys[seq] ?? ["os.echo"];
    const { group, id, op } = commands[name];
    const answered = op === "read" ? "read_response" : "write_response";
    const { body: _body, ...header } = answer;
    assert.equal(header, { version: 0, op: answered, group, seq, command: id });
  });
});

/** A refusal by its group: the code in v2, what v1 calls it. */
const refusals: readonly (readonly [CommandName, Body, number, number])[] = [
  ["os.info", { format: "sx" }, 2, 3],
  ["os.bootloader", { query: "colour" }, 3, 5],
  ["statistics.group", { name: "nobody" }, 2, 5],
  ["statistics.group", { name: "toString" }, 2, 5],
  ["settings.read", { name: "x".repeat(65) }, 2, 3],
  ["settings.read", { name: "watchdog/colour" }, 3, 5],
  ["settings.read", { name: "nvs/x" }, 5, 1],
  ["settings.write", { name: "watchdog/policy", val: "require" }, 6, 1],
  ["settings.delete", { name: "lab" }, 7, 1],
  ["settings.save", { name: "nvs" }, 5, 1],
  ["files.read", { name: "log", off: 0 }, 2, 3],
  ["files.read", { name: "/nothing", off: 0 }, 3, 5],
  ["files.read", { name: "/crash/0", off: 0 }, 3, 5],
  ["files.read", { name: "/", off: 0 }, 4, 1],
  ["files.status", { name: "/crash" }, 4, 1],
  ["files.read", { name: "/log", off: 10_000_000 }, 12, 1],
  ["files.hash", { name: "/log", off: 10_000_000 }, 12, 1],
  ["files.hash", { name: "/log", type: "md5" }, 13, 3],
  ["files.hash", { name: "/log", type: "constructor" }, 13, 3],
  ["files.write", { name: "/log", off: 0, len: 1, data: "x" }, 15, 1],
  ["enumeration.one", { index: 99 }, 4, 1],
];

standard("a refusal of a standard group is err alone in v2, and rc with words in v1", () => {
  const { host } = running();
  for (const [name, body, rc, v1] of refusals) {
    const { group } = commands[name];
    const told = `${name} ${JSON.stringify(body)}`;
    assert.equal(host.ask(name, body, 1), { err: { group, rc } }, told);
    const { rc: old, rsn, ...more } = host.ask(name, body, 0);
    assert.equal([old, typeof rsn, Object.keys(more)], [v1, "string", []], told);
  }
});

standard("what is wrong with a request itself is rc in both versions", () => {
  const { host } = running();
  const wrong: readonly (readonly [CommandName, Body, number])[] = [
    ["os.echo", {}, 3],
    ["os.set_datetime", { datetime: "yesterday" }, 3],
    ["os.set_datetime", { datetime: "2026-02-30T00:00:00" }, 3],
    ["os.reset", { boot_mode: 256 }, 3],
    ["os.reset", { boot_mode: 1 }, 8],
    ["settings.read", { name: "" }, 3],
    ["settings.write", { name: "watchdog/promise_s", val: "0" }, 3],
    ["settings.write", { name: "watchdog/promise_s", val: "soon" }, 3],
    ["settings.write", { name: "name", val: "two words" }, 3],
    ["files.read", { name: "", off: 0 }, 3],
    ["files.read", { name: "/log" }, 3],
    ["files.hash", { name: "/log", len: 0 }, 3],
  ];
  for (const [name, body, rc] of wrong) {
    for (const version of [0, 1]) {
      const { rc: told, rsn, ...more } = host.ask(name, body, version);
      assert.equal([told, typeof rsn, more], [rc, "string", {}], `${name} v${version + 1}`);
    }
  }
  for (const [op, group, command] of [
    ["read", 1, 0],
    ["write", 2, 0],
    ["read", 9, 0],
    ["read", 3, 1],
    ["write", 8, 1],
  ] as const) {
    const packet = encodeMessage({ version: 1, op, group, seq: 1, command, body: {} });
    assert.is(host.answersTo(packet)[0]?.body.rc, 8, `${op} ${group}/${command}`);
  }
});

standard("words come beside a refusal of our groups where the request asks for them", () => {
  const { host } = running();
  const body = { task: "nobody" };
  assert.equal(host.ask("wdt.check_in", body), { err: { group: 66, rc: 6 } });
  const { rsn, ...rest } = host.ask("wdt.check_in", { ...body, rsn: true });
  assert.equal(rest, { err: { group: 66, rc: 6 } });
  assert.match(String(rsn), /no task named nobody/);
  assert.equal(host.ask("wdt.check_in", body), { err: { group: 66, rc: 6 } }, "that once alone");
});

standard("several requests in one packet are answered one by one, body length 0 is no body", () => {
  const { host } = running();
  const bare = encodeMessage({ version: 1, op: "read", group: 2, seq: 77, command: 1, body: {} });
  const lengthless = bare.slice(0, 8).fill(0, 2, 4);
  const packet = join(host.request("os.params"), lengthless, host.request("files.close"));
  assert.equal(
    host.answersTo(packet, 3).map(({ seq, group, command }) => [seq, group, command]),
    [
      [0, 0, 6],
      [77, 2, 1],
      [1, 8, 4],
    ],
  );
});

standard("info gives its fields in the order of the standard, whatever the order asked", () => {
  const { host } = running();
  const of = (format: string) => host.ask("os.info", { format }).output;
  assert.is(of("s"), "Linux");
  assert.is(of(""), "Linux");
  assert.is(of("omsm"), "Linux sim Linux");
  assert.is(of("a"), `Linux sim 0-sim simulated kenneld-0 sim sim simulated card Linux`);
  assert.is(of("sa"), of("a"));
});

standard("taskstat has the tasks that check in, and mpstat what is bounded", () => {
  const { world, host } = running();
  const all = host.ask("os.taskstat").tasks as Record<string, Record<string, number>>;
  const { last_checkin = 0, next_checkin = 0 } = all.dataplane ?? {};
  assert.is(next_checkin - last_checkin, 5000);
  assert.ok(last_checkin <= world.clock.now() && next_checkin > world.clock.now());
  assert.ok("kenneld/1" in all, "the agent's own threads");
  const pools = host.ask("os.mpstat").mpools as Record<string, Record<string, number>>;
  assert.equal(Object.keys(pools), ["queue", "ring", "spool", "files", "line"]);
  for (const [name, { nblks = 0, nfree = -1, min = -1 }] of Object.entries(pools)) {
    assert.ok(nfree >= min && min >= 0 && nfree <= nblks, name);
  }
  const pending = world.agent?.ledger.pending.length ?? 0;
  assert.is(pools.spool?.nfree, 512 - pending);
  assert.ok((pools.line?.min ?? 0) < 16_384, "answers have waited in it");
});

standard("the date is set with or without a zone, and told of", () => {
  const { world, host } = running();
  const set = (datetime: string) => host.ask("os.set_datetime", { datetime });
  const now = () => String(host.ask("os.datetime").datetime).slice(0, 19);
  assert.equal(set("2031-03-04T05:06:07"), {});
  assert.is(now(), "2031-03-04T05:06:07");
  set("2031-03-04T05:06:07.123456+02:30");
  assert.is(now(), "2031-03-04T02:36:07");
  set("2031-03-04T05:06:07Z");
  assert.is(now(), "2031-03-04T05:06:07");
  assert.is(reportsOf(world, "card:clock_set").length, 3);
  set("1970-01-01T00:00:00Z");
  assert.equal(host.ask("os.datetime"), { err: { group: 0, rc: 4 } }, "not set");
});

standard("a reset is refused while somebody holds the card, unless it is forced", () => {
  const { world, host } = running();
  host.ask("wdt.hold", { for_ms: 60_000, by: "bench" });
  const refused = host.ask("os.reset", {});
  assert.is(refused.rc, 10);
  assert.match(String(refused.rsn), /bench holds this card/);
  assert.is(host.ask("os.reset", { force: false }).rc, 10);
  assert.is(host.ask("os.reset", { force: 0 }).rc, 10);
  assert.equal(host.ask("os.reset", { force: 1, boot_mode: 0 }), {});
  resetTime(world, 5000);
});

standard("a reset that is asked for twice is one reset, and both are answered", () => {
  const { world, host } = running();
  host.send(host.request("os.reset"), host.request("os.reset"));
  resetTime(world, 5000);
  assert.is(host.heard.length, 2);
  assert.is(reportsOf(world, "wdt:pre_reset").length <= 1, true);
  confirmed(world);
  assert.is(world.resets.length, 1);
});

standard("statistics are the agent's own counters", () => {
  const { world, host } = running();
  const of = (name: string) => host.ask("statistics.group", { name }).fields as Body;
  const names = host.ask("statistics.list").stat_list as string[];
  for (const name of names) {
    for (const [field, value] of Object.entries(of(name))) {
      assert.ok(Number.isSafeInteger(value) && Number(value) >= 0, `${name}.${field}: ${value}`);
    }
  }
  const before = of("link");
  host.ask("files.read", { name: "/nothing", off: 0 });
  host.line.host.write(new TextEncoder().encode("\x06\x09AAAA\nlogin\n"));
  const after = of("link");
  assert.is(Number(after.requests) - Number(before.requests), 2);
  assert.is(Number(after.refused) - Number(before.refused), 1);
  assert.is(Number(after.frames_bad) - Number(before.frames_bad), 1);
  assert.is(Number(after.text_bytes) - Number(before.text_bytes), 6);
  assert.is(of("report").pending, world.agent?.ledger.pending.length);
  const armed = of("events");
  assert.is(armed["wdt:armed"], 1);
});

standard("enumeration names the groups, their commands, and ends with the last", () => {
  const { host } = running();
  const ids = host.ask("enumeration.list").groups as number[];
  assert.equal(ids, [0, 2, 3, 8, 10, 64, 65, 66, 67, 68, 69, 70]);
  assert.is(host.ask("enumeration.count").count, ids.length);
  const one = ids.map((_id, index) => host.ask("enumeration.one", { index }));
  assert.equal(
    one.map(({ group }) => group),
    ids,
  );
  assert.equal(one.at(-1), { group: 70, end: true });
  assert.is(one.filter(({ end }) => end !== undefined).length, 1);
  const details = host.ask("enumeration.details", { groups: [3, 8, 999] }).groups;
  assert.equal(details, [
    { group: 3, name: "settings", handlers: 4 },
    { group: 8, name: "files", handlers: 5 },
  ]);
});

standard("an agent that stood still does not answer what nobody waits for any more", () => {
  const { world, host } = running();
  world.hangAgent(answerWithinMs + 3000);
  world.advance(100);
  host.send(host.request("os.reset"));
  host.send(host.request("os.params"));
  world.advance(answerWithinMs + 4000);
  assert.equal(host.heard, [], "neither answered");
  assert.is(world.resets.length, 0, "nor obeyed");
  assert.equal(Object.keys(host.ask("os.params")), ["buf_size", "buf_count"]);
  const { fields } = host.ask("statistics.group", { name: "link" });
  assert.is((fields as Body).late, 2);
});

standard("an answer begins on a line of its own where somebody types on the same line", () => {
  const { world, host } = running();
  const raw: Uint8Array[] = [];
  const listen = (): void => host.line.host.onData((bytes) => raw.push(bytes));
  const heads = (text: string) => {
    raw.length = 0;
    if (text !== "") host.line.host.write(new TextEncoder().encode(text));
    host.send(host.request("os.params"));
    world.advance(100);
    return [...join(...raw).slice(0, 3)];
  };
  listen();
  assert.equal(heads("").slice(0, 2), [6, 9]);
  assert.equal(heads("root"), [10, 6, 9]);
  assert.equal(heads("").slice(0, 2), [6, 9], "once for each time");
  assert.equal(heads("uname -a\r\n"), [10, 6, 9]);
});

standard(
  "what changes the card is denied to whom it does not know, and what only reads is not",
  () => {
    const { world, host } = running({ access: { policy: "keys" } });
    const changes: readonly (readonly [CommandName, Body])[] = [
      ["os.set_datetime", { datetime: "2031-03-04T05:06:07" }],
      ["os.reset", { force: 1 }],
      ["settings.write", { name: "name", val: "mine" }],
      ["settings.delete", { name: "name" }],
      ["settings.commit", {}],
      ["settings.load", {}],
      ["settings.save", {}],
    ];
    const isChange = ([name]: readonly [CommandName, ...unknown[]]) =>
      changes.some(([one]) => one === name);
    for (const version of [0, 1]) {
      for (const [name, body] of changes) {
        const { rc, rsn, ...more } = host.ask(name, body, version);
        assert.equal([rc, typeof rsn, more], [11, "string", {}], `${name} v${version + 1}`);
      }
    }
    for (const [name, body, expected] of keys) {
      if (isChange([name])) continue;
      assert.equal(Object.keys(host.ask(name, body)).sort(), [...expected].sort(), name);
    }
    const write = { name: "/log", off: 0, len: 1, data: "x" };
    assert.equal(host.ask("files.write", write), { err: { group: 8, rc: 15 } });
    world.advance(1000);
    assert.equal([world.resets.length, world.agent?.config.name], [0, "sim"]);
    assert.ok(world.clock.wallMs() < Date.UTC(2031, 0, 1));
  },
);

standard("a card without power answers nothing", () => {
  const world = card();
  const host = new RawHost(world);
  host.send(host.request("os.params"));
  world.advance(5000);
  assert.equal(host.heard, []);
});

standard.run();
