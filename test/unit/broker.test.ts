import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Broker, clientsMax, typingMs } from "../../agent/console/broker.ts";
import { perOwnerMax } from "../../agent/console/routes.ts";
import { halfFrameMs } from "../../agent/heads/host.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { Random } from "../../agent/sim/random.ts";
import { enframe } from "../../agent/wire/frame.ts";
import { encodeMessage, type Request } from "../../agent/wire/smp.ts";
import { answerTo, PaperPort } from "../paperport.ts";

const test = suite("broker");

class Bench {
  readonly clock = new SimClock();
  readonly card = new PaperPort("card");
  readonly notes: string[] = [];
  readonly broker: Broker;

  constructor(firstSequence = 250) {
    this.broker = new Broker({
      clock: this.clock,
      write: (bytes) => this.card.write(bytes),
      note: (text) => this.notes.push(text),
      firstSequence,
    });
  }

  client(name: string): PaperPort {
    const port = new PaperPort(name);
    this.broker.attach(port, name);
    return port;
  }

  answer(request: Request | undefined, body: Record<string, unknown>): void {
    if (request === undefined) throw new Error("nothing was asked");
    this.broker.fromLine(answerTo(request, body));
  }
}

test("two clients with the same sequence number each get their own answer, in any order", () => {
  const { broker, card, ...bench } = new Bench();
  const { a, b } = { a: new PaperPort("a"), b: new PaperPort("b") };
  broker.attach(a, "a");
  broker.attach(b, "b");
  a.ask(0, 0, 7, { d: "from a" }, "write");
  b.ask(0, 0, 7, { d: "from b" }, "write");
  const [first, second] = card.messages();
  assert.is.not(first?.header.seq, second?.header.seq);
  for (const request of [second, first]) {
    broker.fromLine(answerTo(request as Request, { r: request?.body.d }));
  }
  for (const [port, text] of [
    [a, "from a"],
    [b, "from b"],
  ] as const) {
    const got = port.messages();
    assert.is(got.length, 1);
    assert.is(got[0]?.header.seq, 7);
    assert.is(got[0]?.header.op, "write_response");
    assert.is(got[0]?.body.r, text);
  }
  assert.is(bench.notes.length, 0);
});

test("the body of a request passes untouched, also as an indefinite map with odd lengths", () => {
  const bench = new Bench(0);
  const client = bench.client("zephyr");
  // {_ "d": "hi"} with the text's length in a byte of its own.
  const body = [0xbf, 0x61, 0x64, 0x78, 0x02, 0x68, 0x69, 0xff];
  const message = Uint8Array.of(0x08, 0, 0, body.length, 0, 0, 99, 0, ...body);
  client.say(enframe(message));
  const expected = message.slice();
  expected[6] = 0;
  assert.equal(bench.card.written[0], enframe(expected));
});

test("sequence numbers go round, and one that is still waited for is not used again", () => {
  const bench = new Bench(254);
  const patient = bench.client("patient");
  patient.ask(64, 1, 1);
  const [waiting] = bench.card.messages();
  const quick = bench.client("quick");
  for (let count = 0; count < 1000; count++) {
    quick.ask(0, 0, count & 0xff, { d: String(count) });
    const [asked] = bench.card.messages();
    assert.is.not(asked?.header.seq, waiting?.header.seq);
    bench.answer(asked, { r: String(count) });
    assert.is(quick.messages()[0]?.body.r, String(count));
  }
  bench.answer(waiting, { late: true });
  assert.is(patient.messages()[0]?.header.seq, 1);
});

test("a second answer, one to another command, and one nobody asked for reach nobody", () => {
  const bench = new Bench();
  const client = bench.client("a");
  client.ask(64, 1, 3);
  const [asked] = bench.card.messages();
  const { header } = asked as Request;
  bench.broker.fromLine(answerTo({ ...(asked as Request), header: { ...header, command: 2 } }, {}));
  assert.equal(client.messages(), []);
  bench.answer(asked, {});
  bench.answer(asked, {});
  assert.is(client.messages().length, 1);
  assert.is(bench.broker.counts.strays, 2);
});

test("who asks more than is answered loses its oldest questions, nobody else's", () => {
  const bench = new Bench();
  const [greedy, modest] = [bench.client("greedy"), bench.client("modest")];
  modest.ask(64, 1, 5);
  const [its] = bench.card.messages();
  for (let seq = 0; seq < 100; seq++) greedy.ask(64, 1, seq);
  const all = bench.card.messages();
  for (const request of all) bench.answer(request, {});
  const got = greedy.messages().map(({ header }) => header.seq);
  assert.equal(
    got,
    Array.from({ length: perOwnerMax }, (_, at) => 100 - perOwnerMax + at),
  );
  bench.answer(its, {});
  assert.is(modest.messages().length, 1);
});

test("several requests in one packet go one by one; what is no request goes nowhere", () => {
  const bench = new Bench();
  const client = bench.client("a");
  const of = (seq: number, op: "read" | "read_response") =>
    encodeMessage({ version: 1, op, group: 64, seq, command: 0, body: {} });
  client.say(enframe(Buffer.concat([of(1, "read"), of(2, "read_response"), of(3, "read")])));
  client.say(enframe(Uint8Array.of(1, 2, 3)));
  client.say(enframe(Uint8Array.of(8, 0, 0, 99, 0, 64, 0, 0, 0xa0)));
  assert.is(bench.card.messages().length, 2);
});

// Reports --------------------------------------------------------------------------------------

const pushed = enframe(
  encodeMessage({
    version: 1,
    op: "read_response",
    group: 68,
    seq: 0,
    command: 4,
    body: { boot: "1-00000000", seq: 1 },
  }),
);

test("pushed reports go to subscribers alone, for as long as their lease", () => {
  const bench = new Bench();
  const [reader, other] = [bench.client("reader"), bench.client("other")];
  reader.ask(68, 0, 1, { for_ms: 20_000 }, "write");
  bench.answer(bench.card.messages()[0], { for_ms: 20_000 });
  reader.messages();
  bench.broker.fromLine(pushed);
  assert.is(reader.messages()[0]?.header.command, 4);
  assert.equal(other.messages(), []);
  bench.clock.advance(20_001);
  bench.broker.fromLine(pushed);
  assert.equal(reader.messages(), []);
  assert.is(bench.broker.counts.strays, 0, "the card may not know yet");
});

test("a short lease does not cut a longer one of another client, on the one line", () => {
  const bench = new Bench();
  const [long, short] = [bench.client("long"), bench.client("short")];
  long.ask(68, 0, 1, { for_ms: 60_000 }, "write");
  short.ask(68, 0, 1, { for_ms: 5000 }, "write");
  assert.equal(
    bench.card.messages().map(({ body }) => body.for_ms),
    [60_000, 60_000],
  );
});

test("nobody ends the subscription of another; the last one does", () => {
  const bench = new Bench();
  const [a, b] = [bench.client("a"), bench.client("b")];
  for (const client of [a, b]) client.ask(68, 0, 1, {}, "write");
  bench.card.messages();
  a.ask(68, 1, 2, {}, "write");
  assert.equal(bench.card.messages(), [], "b still wants them");
  assert.equal(a.messages()[0]?.body, {}, "and a is told that it is done");
  bench.broker.fromLine(pushed);
  assert.equal(a.messages(), []);
  assert.is(b.messages().length, 1);
  b.ask(68, 1, 2, {}, "write");
  assert.is(bench.card.messages()[0]?.header.command, 1);
});

// Text -----------------------------------------------------------------------------------------

test("console text goes to everybody at once, prompts too, frames among it do not", () => {
  const bench = new Bench();
  const [a, b] = [bench.client("a"), bench.client("b")];
  bench.broker.fromLine(new TextEncoder().encode("[ 1.0] up\nlogin: "));
  for (const client of [a, b]) assert.is(client.text(), "[ 1.0] up\nlogin: ");
  bench.broker.fromLine(pushed);
  assert.is(a.text(), "");
});

test("an answer begins on a fresh line where text stands before it", () => {
  const bench = new Bench();
  const client = bench.client("go");
  client.ask(64, 1, 1);
  bench.broker.fromLine(new TextEncoder().encode("login: "));
  bench.answer(bench.card.messages()[0], {});
  assert.ok(client.text().startsWith("login: \n\u0006\t"));
});

test("0x04 and 0x06 are keys and text when nothing follows them", () => {
  const bench = new Bench();
  const client = bench.client("a");
  client.say(Uint8Array.of(0x04));
  assert.is(bench.card.text(), "", "it may begin a frame");
  bench.clock.advance(100);
  assert.is(bench.card.text(), "\x04");
  bench.broker.fromLine(Uint8Array.of(0x41, 0x06));
  assert.is(client.text(), "A");
  bench.clock.advance(100);
  assert.is(client.text(), "\x06");
});

test("one types at a time; others are told who, once; the keyboard is free after a while", () => {
  const bench = new Bench();
  const [a, b] = [bench.client("client a"), bench.client("client b")];
  a.say("ls\r");
  b.say("re");
  b.say("boot\r");
  assert.is(bench.card.text(), "ls\r");
  assert.match(
    b.text(),
    /^\[kennel serve\] client a is typing; yours was dropped\. Free in 30 s\r\n$/,
  );
  b.ask(64, 1, 1);
  assert.is(bench.card.messages().length, 1, "asking is not typing");
  bench.clock.advance(typingMs);
  b.say("w\r");
  assert.is(bench.card.text(), "w\r");
  a.say("x");
  assert.match(a.text(), /client b is typing/);
});

test("the keyboard of a client that left is free at once", () => {
  const bench = new Bench();
  const [a, b] = [bench.client("a"), bench.client("b")];
  a.say("x");
  a.lose();
  b.say("y");
  assert.is(bench.card.text(), "xy");
});

// Bad clients, bad lines -----------------------------------------------------------------------

test("half a frame locks nothing: neither for others nor, after 3 s, for its sender", () => {
  const bench = new Bench();
  const [half, other] = [bench.client("half"), bench.client("other")];
  const frame = enframe(
    encodeMessage({ version: 1, op: "read", group: 64, seq: 1, command: 1, body: {} }),
  );
  half.say(frame.subarray(0, frame.length - 4));
  assert.equal(bench.card.written, [], "only whole frames go out");
  other.ask(64, 1, 9);
  other.say("ls\r");
  assert.is(bench.card.written.length, 2);
  bench.card.written.length = 0;
  bench.clock.advance(halfFrameMs + 1);
  half.say(frame);
  assert.is(bench.card.messages().length, 1);
  half.say(Uint8Array.of(6, 9, 0x21, 0x21));
  bench.clock.advance(typingMs);
  half.say("typed\r");
  assert.is(bench.card.text(), "typed\r", "a bad line is given up as well");
});

test("half a frame from the card is given up after 3 s", () => {
  const bench = new Bench();
  const client = bench.client("a");
  bench.broker.fromLine(Uint8Array.of(6, 9, 0x41, 0x41));
  bench.clock.advance(halfFrameMs + 1);
  bench.broker.fromLine(new TextEncoder().encode("panic\n"));
  assert.is(client.text(), "panic\n");
});

test("a client that does not read is cut off, alone, and that is told", () => {
  const bench = new Bench();
  const [slow, quick] = [bench.client("slow"), bench.client("quick")];
  slow.isFull = true;
  bench.broker.fromLine(new TextEncoder().encode("a\n"));
  bench.broker.fromLine(new TextEncoder().encode("b\n"));
  assert.is(quick.text(), "a\nb\n");
  assert.ok(slow.isClosed);
  assert.equal(bench.notes, ["slow does not read and was cut off"]);
  assert.is(bench.broker.counts.clients, 1);
  slow.ask(64, 1, 1);
});

test("one client more than fits is told so", () => {
  const bench = new Bench();
  for (let count = 0; count < clientsMax; count++) bench.client(`${count}`);
  const late = bench.client("late");
  assert.match(late.text(), /16 clients are here already/);
  assert.ok(late.isClosed);
  assert.is(bench.broker.counts.clients, clientsMax);
});

test("a lost line: everybody is told, and answers to what was asked before fit nothing", () => {
  const bench = new Bench();
  const client = bench.client("a");
  client.ask(64, 1, 1);
  const [before] = bench.card.messages();
  bench.broker.down("/dev/ttyUSB0 is gone");
  assert.match(
    client.text(),
    /^\[kennel serve\] \/dev\/ttyUSB0 is gone\. Waiting for it to come back/,
  );
  bench.card.isFull = true;
  client.ask(64, 1, 2);
  assert.is(bench.broker.counts.refused, 1);
  const late = bench.client("late");
  assert.match(late.text(), /the line is away: \/dev\/ttyUSB0 is gone/);
  bench.card.isFull = false;
  bench.broker.up("/dev/ttyUSB0");
  assert.match(client.text(), /the line is back: \/dev\/ttyUSB0/);
  bench.answer(before, {});
  assert.equal(client.messages(), []);
  assert.equal(bench.card.written, [], "nothing of before is sent to the card that came back");
});

test("X-03 noise from every side, a million bytes: nothing throws, nothing grows", () => {
  const bench = new Bench();
  const random = new Random(6);
  const clients = Array.from({ length: 4 }, (_, at) => bench.client(`${at}`));
  const markers = [6, 9, 4, 20, 10, 13];
  for (let round = 0; round < 4000; round++) {
    const bytes = Uint8Array.from({ length: 64 }, () =>
      random.chance(0.2) ? (markers[random.int(markers.length)] ?? 0) : random.int(256),
    );
    for (const client of clients) {
      client.say(bytes.subarray(0, random.int(64)));
      client.written.length = 0;
    }
    bench.broker.fromLine(bytes);
    bench.card.written.length = 0;
    bench.clock.advance(random.int(100));
  }
  const [client] = clients;
  bench.clock.advance(halfFrameMs + typingMs);
  client?.ask(64, 1, 1);
  bench.answer(bench.card.messages()[0], { ok: true });
  assert.is(client?.messages().at(-1)?.body.ok, true);
});

test.run();
