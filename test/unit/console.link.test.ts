import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Link, readAttempts, waitingMax } from "../../agent/console/link.ts";
import { Failure } from "../../agent/errors.ts";
import type { Report } from "../../agent/wire/commands.ts";
import { enframe } from "../../agent/wire/frame.ts";
import { encodeMessage, type Header } from "../../agent/wire/smp.ts";
import { rejectsCode } from "../assert.ts";
import { type Script, ScriptedCard } from "../consolerig.ts";
import { fuzzAsync } from "../fuzz.ts";

const test = suite("console link");

const params = { buf_size: 2052, buf_count: 1 };
const silent = (): null => null;

/** What a request that nobody answers fails with, while `during` puts things on the line. */
async function unanswered(during: (card: ScriptedCard) => void, name: "read" | "write" = "read") {
  const card = new ScriptedCard({ "os.params": silent, "os.reset": silent });
  const link = card.link();
  const request = name === "read" ? link.request("os.params", {}) : link.request("os.reset", {});
  during(card);
  try {
    await card.until(request);
  } catch (error) {
    if (error instanceof Failure) return { card, failure: error };
    throw error;
  }
  throw new Error("was answered");
}

function header(card: ScriptedCard, at: number): Header {
  const asked = card.asked[at];
  if (asked === undefined) throw new Error(`was not asked ${at + 1} times`);
  return asked.header;
}

test("a request is SMP version 2 with its own sequence number, its answer is checked", async () => {
  const card = new ScriptedCard({ "os.params": () => params, "os.echo": ({ d }) => ({ r: d }) });
  const link = card.link(3000, 255);
  assert.equal(await card.until(link.request("os.params", {})), params);
  assert.equal(await card.until(link.request("os.echo", { d: "hi" })), { r: "hi" });
  const read = { version: 1, op: "read", group: 0, seq: 255, command: 6 };
  assert.equal(header(card, 0), read);
  assert.equal(header(card, 1), { version: 1, op: "write", group: 0, seq: 0, command: 0 });
});

test("members that the contract does not name are left out of an answer", async () => {
  const card = new ScriptedCard({ "os.params": () => ({ ...params, rc: 0, extra: true }) });
  assert.equal(await card.until(card.link().request("os.params", {})), params);
});

test("a read is asked again within its deadline, a write is sent once", async () => {
  const read = await unanswered(() => {});
  assert.is(read.card.asked.length, readAttempts);
  const seqs = read.card.asked.map(({ header: { seq } }) => seq);
  assert.is(new Set(seqs).size, readAttempts, "each copy has a number of its own");
  assert.ok(Math.abs(read.card.clock.now() - 3000) < 20, "the deadline holds for all copies");
  const write = await unanswered(() => {}, "write");
  assert.is(write.card.asked.length, 1);
  assert.match(write.failure.message, /Whether the card acted on it is not known/);
  assert.not.match(read.failure.message, /Whether the card acted/);
});

test("an answer to the first copy is taken while the second is out, and only once", async () => {
  const card = new ScriptedCard({ "os.params": silent, "os.echo": ({ d }) => ({ r: d }) });
  const link = card.link();
  card.clock.at(1500, () => {
    card.answer(header(card, 0), params);
    card.answer(header(card, 1), { buf_size: 1, buf_count: 9 });
  });
  assert.equal(await card.until(link.request("os.params", {})), params);
  assert.is(card.asked.length, 2);
  assert.equal(await card.until(link.request("os.echo", { d: "next" })), { r: "next" });
});

test("an answer that comes after its request was given up is not taken for the next", async () => {
  const card = new ScriptedCard({ "os.params": silent });
  const link = card.link(300);
  await card.until(rejectsCode(() => link.request("os.params", {}), "link.timeout"));
  const late = card.asked.map((asked) => asked.header);
  const second = link.request("os.params", {});
  for (const one of late) card.answer(one, { buf_size: 1, buf_count: 1 });
  card.clock.at(card.clock.now() + 50, () => card.answer(header(card, readAttempts), params));
  assert.equal(await card.until(second), params);
});

test("answers of another group, command or operation are not taken", async () => {
  const { failure } = await unanswered((card) => {
    card.clock.at(100, () => {
      const own = header(card, 0);
      card.answer({ ...own, command: 0 }, { r: "x" });
      card.answer({ ...own, group: 64 }, params);
      card.send({ ...own, op: "write_response", body: params });
      card.send({ ...own, op: "read", body: {} });
    });
  });
  assert.is(failure.code, "link.timeout");
  assert.match(failure.message, /4 frames that answered something else/);
});

test("X-01 a timeout says that nothing arrived, and where and how often was asked", async () => {
  const { failure } = await unanswered(() => {});
  assert.is(failure.code, "link.timeout");
  assert.is(failure.exit, 6);
  assert.match(failure.message, /no answer to os\.params on sim:host within 3\.0 s/);
  assert.match(failure.message, /asked 3 times/);
  assert.match(failure.message, /nothing at all arrived\. Check the card's power/);
});

test("a timeout shows the text that came instead, made harmless", async () => {
  const text = "Linux 6.1\r\nlogin: \x1b[2J";
  const { failure } = await unanswered((card) => card.raw(`${text}\n`));
  assert.is(failure.code, "link.timeout");
  assert.match(failure.message, /last "login: \\u\{1b\}\[2J"/);
  assert.not.ok(failure.message.includes("\x1b"));
  assert.match(failure.message, /A console or a login owns this line/);
});

test("a prompt without a line end is shown as well", async () => {
  const { failure } = await unanswered((card) => card.raw("nic0 login: "));
  assert.match(failure.message, /12 bytes of text, last "nic0 login:"/);
});

test("text that is not readable points to the speed of the line", async () => {
  const { failure } = await unanswered((card) => card.raw(Uint8Array.of(0xf8, 0x80, 0x1e, 0xfe)));
  assert.match(failure.message, /try another speed \(--baud\)/);
});

test("half a frame and then silence is said so", async () => {
  const { failure } = await unanswered((card) => {
    card.clock.at(100, () => {
      const message = encodeMessage({ ...header(card, 0), op: "read_response", body: params });
      card.raw(enframe(message).subarray(0, 20));
    });
  });
  assert.is(failure.code, "link.garbled");
  assert.is(failure.exit, 7);
  assert.match(failure.message, /half a frame \(\d+ bytes, then silence\)/);
});

/** The right answer to the first copy, with one character of its frame changed. */
function damaged(card: ScriptedCard, at: number): void {
  const message = encodeMessage({ ...header(card, 0), op: "read_response", body: params });
  const frame = enframe(message);
  frame[at] = frame[at] === 0x41 ? 0x42 : 0x41;
  card.raw(frame);
}

test("a frame with a wrong checksum is no answer, and is counted", async () => {
  const { failure } = await unanswered((card) => {
    card.clock.at(100, () => damaged(card, 12));
    card.clock.at(200, () => damaged(card, 16));
  });
  assert.is(failure.code, "link.garbled");
  assert.match(failure.message, /2 frames damaged \(wrong checksum\)/);
  assert.equal((failure.evidence.seen as { bad: number }).bad, 2);
});

test("a sound frame around damaged CBOR is no answer", async () => {
  const { failure } = await unanswered((card) => {
    card.clock.at(100, () => {
      const whole = encodeMessage({ ...header(card, 0), op: "read_response", body: params });
      whole[8] = 0xff;
      card.raw(enframe(whole));
    });
  });
  assert.is(failure.code, "link.garbled");
  assert.match(failure.message, /1 frame damaged/);
});

async function refused(script: Script["os.params"]): Promise<Failure> {
  const card = new ScriptedCard({ "os.params": script ?? silent });
  const link = card.link();
  return card.until(rejectsCode(() => link.request("os.params", {}), "link.refused"));
}

test("a refusal carries the card's code and reason", async () => {
  const version1 = await refused(() => ({ rc: 6, rsn: "not now\x07" }));
  assert.is(version1.message, "the card refused os.params: not now\\u{7} (rc 6).");
  assert.is(version1.exit, 8);
  const version2 = await refused(() => ({ err: { group: 66, rc: 11 } }));
  assert.is(version2.message, "the card refused os.params: it is not allowed (rc 11).");
  assert.equal(version2.evidence, {
    request: "os.params",
    rc: 11,
    rc_name: "denied",
    group: 66,
  });
});

test("an answer that breaks the contract is refused by name", async () => {
  const card = new ScriptedCard({ "os.params": () => ({ buf_size: "big", buf_count: 1 }) });
  const link = card.link();
  const failure = await card.until(
    rejectsCode(() => link.request("os.params", {}), "wire.malformed"),
  );
  assert.match(failure.message, /the answer to os\.params\.buf_size: expected uint/);
  assert.is(failure.exit, 7);
});

const report: Report = {
  boot: "1-abc",
  seq: 1,
  at_ms: 5,
  kind: "boot:stage",
  class: "state",
  data: { stage: "adopt" },
};

test("pushed reports reach their listener and are no answers", async () => {
  const card = new ScriptedCard({
    "os.params": () => {
      card.push(report);
      return params;
    },
  });
  const link = card.link();
  const heard: Report[] = [];
  link.onReport((one) => heard.push(one));
  assert.equal(await card.until(link.request("os.params", {})), params);
  assert.equal(heard, [report]);
});

test("a pushed report that breaks the contract is dropped, and the link lives on", async () => {
  const card = new ScriptedCard({ "os.params": () => params });
  const link = card.link();
  const heard: Report[] = [];
  link.onReport((one) => heard.push(one));
  card.push({ ...report, seq: -1 });
  card.push(report);
  assert.equal(await card.until(link.request("os.params", {})), params);
  assert.equal(heard, [report]);
});

test("one request is on the line at a time, in order", async () => {
  const open: Header[] = [];
  const card = new ScriptedCard({
    "os.echo": (body, own) => {
      assert.is(open.length, 0, "the one before has been answered");
      open.push(own);
      card.clock.at(card.clock.now() + 100, () => {
        open.pop();
        card.answer(own, { r: body.d });
      });
      return null;
    },
  });
  const link = card.link();
  const words = ["a", "b", "c", "d"];
  const answers = words.map((d) => link.request("os.echo", { d }));
  const heard = await card.until(Promise.all(answers));
  assert.equal(
    heard.map(({ r }) => r),
    words,
  );
});

test("requests that wait are bounded", async () => {
  const card = new ScriptedCard({ "os.params": silent });
  const link = card.link();
  const waiting = Array.from({ length: waitingMax + 1 }, () =>
    link.request("os.params", {}).catch((error: Failure) => error.code),
  );
  await card.until(rejectsCode(() => link.request("os.params", {}), "queue.full"));
  link.close();
  const ends = await card.until(Promise.all(waiting));
  assert.ok(ends.every((end) => end === "port.lost"));
});

test("when the line is lost everything asked fails, also later, and it is told once", async () => {
  const card = new ScriptedCard({ "os.params": silent });
  const link = card.link();
  const told: Failure[] = [];
  link.onLost((failure) => told.push(failure));
  const first = rejectsCode(() => link.request("os.params", {}), "port.lost");
  const second = rejectsCode(() => link.request("os.reset", {}), "port.lost");
  card.line.host.unplug();
  assert.match((await card.until(first)).message, /the line sim:host was lost: unplugged/);
  assert.is((await card.until(second)).exit, 9);
  await card.until(rejectsCode(() => link.request("os.params", {}), "port.lost"));
  assert.is(told.length, 1);
  assert.equal(card.names, ["os.params"], "nothing was written after the loss");
});

test("a line that takes no more bytes is said so at once", async () => {
  const card = new ScriptedCard({});
  card.line.host.write = () => false;
  const link = card.link();
  const failure = await card.until(
    rejectsCode(() => link.request("os.params", {}), "link.timeout"),
  );
  assert.match(failure.message, /takes no more bytes/);
  assert.is(card.clock.now(), 5);
});

/** Asks ten questions over a bad line; each is answered rightly or fails by name. */
async function overBadLine(card: ScriptedCard, link: Link): Promise<number> {
  let right = 0;
  for (let number = 0; number < 10; number++) {
    const d = `question ${number}`;
    try {
      const { r } = await card.until(link.request("os.echo", { d }));
      assert.is(r, d);
      right += 1;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      assert.ok(["link.timeout", "link.garbled"].includes(error.code), error.message);
    }
  }
  return right;
}

test("X-01 over a bad line an answer is right or missing, never wrong", async () => {
  let right = 0;
  await fuzzAsync(60, async (random) => {
    const card = new ScriptedCard({ "os.echo": ({ d }) => ({ r: d }) });
    card.line.options.random.chance = (share: number) => random.chance(share);
    card.line.options.random.int = (below: number) => random.int(below);
    card.line.faults = { flip: 0.2, lose: 0.1, text: 0.3 };
    right += await overBadLine(card, card.link(600));
  });
  assert.ok(right > 200, `${right} of 600 were answered at all`);
});

test.run();
