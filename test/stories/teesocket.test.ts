// deadline: 240 s
// Programs of the card at the socket of kenneld as users start it: through crashes of the TEE and
// of the agent, and with users who have no business there.
import { spawn } from "node:child_process";
import { chmodSync, existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type * as library from "../../agent/client/declarations.ts";
import type { CallClass } from "../../agent/machines/teecalls.ts";
import { simCommand } from "../../agent/sim/teemodel.ts";
import { ApiCard, dist, patienceMs, RawClient, until } from "../apiclient.ts";
import { nativeObstacle, unless } from "../children.ts";
import { ask, Cable, Program } from "../programs.ts";
import { skip } from "../skip.ts";

const story = suite("programs at the socket");
const onNative = unless(nativeObstacle(), story);
const { connect }: typeof library = createRequire(__filename)(`${dist}/kennel-tee-client.cjs`);
const classes: readonly CallClass[] = ["idempotent", "keyed", "once"];
const { count, slow, store, read } = simCommand;
const clientsCount = 100;
/** What each of them gives its call, ms. */
const withinMs = 30_000;

async function onCard(body: (card: ApiCard) => Promise<void>, entry: object = {}): Promise<void> {
  const card = new ApiCard(entry);
  try {
    await body(card);
  } finally {
    await card.close();
  }
}

/** The services can be had. */
async function ready(card: ApiCard): Promise<library.TeeClient> {
  const client = await connect(card.socket, { withinMs: patienceMs });
  const services = await client.services();
  for (const { service } of services) {
    await client.call(service, read, { class: "idempotent", waits: true, withinMs: 60_000 });
  }
  return client;
}

/** All reports that wait for the host, as the console prints them. */
async function reportsOf(cable: Cable): Promise<string> {
  const words = ["--port", cable.host, "--json", "reports"];
  return (await new Program("kennel", words).ended).stdout;
}

/** A card whose line to the host is closed whatever happens. */
async function onLine(body: (card: ApiCard, cable: Cable) => Promise<void>, entry: object = {}) {
  const cable = new Cable();
  try {
    await onCard((card) => body(card, cable), entry);
  } finally {
    cable.close();
  }
}

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String(error);
}

onNative("kill -9 of the TEE during 100 calls: each has one verdict, in its time", () =>
  onCard(async (card) => {
    await card.startAgent();
    (await ready(card)).close();
    const before = card.witness().length;
    const clients = Array.from({ length: clientsCount }, () => new RawClient(card.socket));
    const startMs = performance.now();
    for (const [at, client] of clients.entries()) {
      const of = classes[at % classes.length] as CallClass;
      const service = at % 2 === 0 ? "keystore" : "unlock";
      const command = at < 4 ? slow : of === "keyed" ? store : count;
      const limits = { within_ms: withinMs, waits: true } as const;
      client.ask({ op: "call", id: 1, call: `c${at}`, service, command, class: of, ...limits });
    }
    // Some are inside, all the others wait for them.
    await until("a call is under way", () => clients.some(({ said }) => said.length > 0));
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.ok(
      clients.some((client) => client.verdicts().length === 0),
      "they are under way",
    );
    card.killTee();
    await until("all verdicts", () => clients.every((client) => client.verdicts().length > 0));
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs <= withinMs + 1_000, `${tookMs} ms`);
    // Whatever comes twice comes before the answer to a later question.
    for (const client of clients) client.ask({ op: "services", id: 2 });
    const isAsked = ({ said }: RawClient): boolean => said.some(({ kind }) => kind === "services");
    await until("the last word", () => clients.every(isAsked));
    const seen = new Map<string, number>();
    for (const client of clients) {
      const verdicts = client.verdicts();
      assert.is(verdicts.length, 1, JSON.stringify(verdicts));
      const verdict = verdicts[0]?.verdict ?? "";
      seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
      client.close();
    }
    const words = ["answered", "replayed", "outcome_unknown", "unavailable", "deadline"];
    assert.equal(
      [...seen.keys()].filter((word) => !words.includes(word)),
      [],
    );
    assert.ok((seen.get("answered") ?? 0) >= 80, JSON.stringify([...seen]));
    const ran = card
      .witness()
      .slice(before)
      .map((line) => line.split(" ")[3] ?? "");
    const keys = ran.filter((key) => key.startsWith("app."));
    assert.is(new Set(keys).size, keys.length, "no keyed call has its effect twice");
    process.stdout.write(
      `\nmeasured kill -9 of the TEE, 100 calls: ${JSON.stringify([...seen])}\n`,
    );
  }),
);

onNative("kill -9 of the agent during calls: the next one knows what it left", () =>
  onCard(async (card) => {
    await card.startTee();
    const agent = await card.startAgent();
    const client = await ready(card);
    const notices: boolean[] = [];
    await client.subscribe("keystore", (available) => notices.push(available));
    const options = { waits: true, withinMs: 60_000 } as const;
    const before = card.witness().length;
    const calls = classes.map((of) => {
      const made = client.call("keystore", slow, { ...options, class: of, id: `mine-${of}` });
      return made.then(({ verdict }) => verdict, codeOf);
    });
    await until("one has had its effect", () => card.witness().length > before);
    await agent.kill("SIGKILL");
    assert.ok(existsSync(card.socket), "a killed agent leaves its socket behind");
    await card.startAgent();
    const [idempotent, keyedSaid, onceSaid] = await Promise.all(calls);
    assert.is(idempotent, "replayed");
    assert.ok(keyedSaid === "answered" || keyedSaid === "replayed", keyedSaid);
    assert.is(onceSaid, "tee.unknown_outcome");
    const keys = card.witness().filter((line) => line.endsWith(".mine-keyed"));
    assert.is(keys.length, 1, "the keyed one had its effect once");
    const outcome = await client.outcome("mine-once");
    assert.is(outcome.state, "settled");
    assert.is(outcome.verdict, "outcome_unknown");
    await until("available again", () => notices.at(-1) === true);
    assert.equal(notices, [true, false, true]);
    assert.is((await client.call("keystore", count, { class: "once" })).ret, 0);
    client.close();
  }),
);

onNative("the library: calls, refusals by name, an end in time, and none left at its close", () =>
  onCard(async (card) => {
    await card.startAgent();
    const client = await ready(card);
    const input = Uint8Array.of(1, 2, 3);
    const said = await client.call("keystore", count, { class: "once", input });
    assert.equal([said.verdict, said.ret, said.output], ["answered", 0, input]);
    const codes = await Promise.all([
      client.call("nowhere", 1).catch(codeOf),
      client.call("keystore", slow, { withinMs: 200 }).catch(codeOf),
      client.call("keystore", 1, { id: "not an id" }).catch(codeOf),
      client.call("keystore", 1, { input: new Uint8Array(32_769) }).catch(codeOf),
      client.call("keystore", 1, { withinMs: 10_000_000 }).catch(codeOf),
    ]);
    assert.equal(codes, ["tee.denied", "tee.deadline", "tee.call", "tee.call", "tee.call"]);
    // Many at once are queued here, as the agent takes only so many of one connection.
    const many = Array.from({ length: 200 }, () => client.call("unlock", read));
    assert.is((await Promise.all(many)).length, 200);
    const left = client.call("keystore", slow).catch(codeOf);
    client.close();
    assert.is(await left, "tee.socket");
    assert.is(await client.call("keystore", read).catch(codeOf), "tee.socket");
    const nobody = await connect(card.path("nowhere"), { withinMs: 100 }).catch(codeOf);
    assert.is(nobody, "tee.socket");
  }),
);

const isRoot = process.getuid?.() === 0 && nativeObstacle() === "";
const strangers = "a user is let to his services, a stranger to none, and the host hears of it";
if (!isRoot) skip(strangers, "needs root, to become other users");
else {
  story(strangers, () =>
    onLine(
      async (card, cable) => {
        await card.startAgent("--port", cable.card);
        (await ready(card)).close();
        for (const path of [card.folder, dist]) chmodSync(path, 0o755);
        assert.is(statSync(card.socket).mode & 0o777, 0o666);
        const program = `const net = require("net"), fs = require("fs");
          const socket = net.connect(process.argv[1]);
          const frame = Buffer.from(process.argv[2], "hex");
          let said = "";
          socket.on("error", () => {}).on("connect", () => socket.write(frame));
          socket.on("data", (some) => {
            said += some.toString("latin1");
            if (said.includes("keystore")) socket.end();
          });
          socket.on("close", () => fs.writeSync(1, said));`;
        const hello = "00000017a3626f706568656c6c6f626964006776657273696f6e01";
        const services = "00000011a2626f70687365727669636573626964 01".replace(" ", "");
        const heard = (uid: number): Promise<string> => {
          const args = ["-e", program, card.socket, `${hello}${services}`];
          const child = spawn(process.execPath, args, { uid, gid: uid, cwd: "/" });
          let text = "";
          child.stdout.on("data", (some) => {
            text += some;
          });
          return new Promise((resolve) => child.on("close", () => resolve(text)));
        };
        const [friend, stranger] = await Promise.all([heard(12_345), heard(12_346)]);
        assert.match(friend, /keystore/);
        assert.match(friend, /uid/);
        assert.match(stranger, /tee\.denied/);
        assert.not.match(stranger, /keystore/);
        const told = await reportsOf(cable);
        assert.match(told, /tee:refused/);
        assert.match(told, /12346/);
        assert.not.match(told, /12345/);
      },
      { allow: { uids: [12_345] } },
    ),
  );
}

onNative("secrets in inputs and outputs are on no disk, in no report and in no log", async () => {
  const secret = "TOP-SECRET-PIN-4711";
  const input = new TextEncoder().encode(secret);
  const wire: string[] = [];
  await onLine(async (card, cable) => {
    const agent = await card.startAgent("--port", cable.card);
    const client = await ready(card);
    for (const of of classes) {
      const { output } = await client.call("keystore", count, { class: of, input });
      assert.equal(output, input);
    }
    const inside = client.call("keystore", slow, { input, class: "once" }).catch(codeOf);
    await new Promise((resolve) => setTimeout(resolve, 200));
    card.killTee();
    await inside;
    await client.call("keystore", read, { class: "idempotent", waits: true });
    wire.push(await reportsOf(cable));
    wire.push(JSON.stringify(await ask(cable.host, "tee", "crashes")));
    wire.push(JSON.stringify(await ask(cable.host, "tee", "status")));
    client.close();
    await agent.kill("SIGTERM");
    const said = agent.stdout + agent.stderr + wire.join("");
    assert.match(said, /tee:crashed/);
    const [hex, base64] = [Buffer.from(input).toString("hex"), btoa(secret)];
    for (const form of [secret, hex, base64]) assert.not.ok(said.includes(form), form);
    assert.ok([...card.files().keys()].some((path) => path.includes("tee.calls")));
    for (const [path, bytes] of card.files()) {
      assert.not.ok(bytes.includes(secret) || bytes.includes(hex), path);
    }
  });
});

story.run();
