import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EscapeKeys } from "../../agent/console/escapes.ts";
import { KeptLine } from "../../agent/console/keptline.ts";
import { Failure } from "../../agent/errors.ts";
import type { Port } from "../../agent/io/port.ts";
import { SimClock } from "../../agent/sim/clock.ts";
import { rejectsCode } from "../assert.ts";
import { turn } from "../consolerig.ts";
import { PaperPort } from "../paperport.ts";

const test = suite("kept line");

class Bench {
  readonly clock = new SimClock();
  readonly ports: PaperPort[] = [];
  readonly told: string[] = [];
  heard = "";
  /** What the next attempts to open end in. */
  refusals: Failure[] = [];
  readonly line: KeptLine;

  constructor(comesBack = true) {
    this.line = new KeptLine({
      open: () => this.open(),
      clock: this.clock,
      comesBack,
      onData: (bytes) => {
        this.heard += Buffer.from(bytes).toString();
      },
      onDown: (cause) => this.told.push(`down: ${cause}`),
      onUp: (name) => this.told.push(`up: ${name}`),
      onGone: (failure) => this.told.push(`gone: ${failure.code}`),
    });
  }

  private open(): Promise<Port> {
    const refusal = this.refusals.shift();
    if (refusal !== undefined) return Promise.reject(refusal);
    const port = new PaperPort(`port ${this.ports.length}`);
    this.ports.push(port);
    return Promise.resolve(port);
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await turn();
  }
}

const away = new Failure("port.missing", "not there");

test("a lost line comes back as a new port, and nothing written meanwhile reaches it", async () => {
  const bench = new Bench();
  await bench.line.start();
  bench.refusals = [away, new Failure("port.busy", "another was quicker"), away];
  bench.ports[0]?.lose("unplugged");
  assert.is(bench.line.write(Buffer.from("STALE-CMD")), false);
  assert.is(bench.line.isUp, false);
  for (let count = 0; count < 3; count++) {
    await bench.pass(250);
    assert.is(bench.line.write(Buffer.from("STALE-CMD")), false);
  }
  await bench.pass(250);
  assert.is(bench.ports.length, 2);
  assert.ok(bench.ports[0]?.isClosed);
  assert.is(bench.line.write(Buffer.from("new")), true);
  assert.is(bench.ports[1]?.text(), "new");
  assert.equal(bench.told, ["down: unplugged", "up: port 1"]);
});

test("what an old port still says after its loss is not heard", async () => {
  const bench = new Bench();
  await bench.line.start();
  bench.ports[0]?.say("a");
  bench.ports[0]?.lose();
  bench.ports[0]?.say("late");
  bench.ports[0]?.lose("again");
  await bench.pass(250);
  bench.ports[1]?.say("b");
  assert.is(bench.heard, "ab");
  assert.is(bench.told.length, 2);
});

test("the first opening fails as the port does; a line that cannot come back is gone", async () => {
  const never = new Bench();
  never.refusals = [away];
  await rejectsCode(() => never.line.start(), "port.missing");
  const once = new Bench(false);
  await once.line.start();
  once.ports[0]?.lose();
  await once.pass(10_000);
  assert.equal(once.told, ["gone: port.lost"]);
  assert.is(once.ports.length, 1);
});

test("a line that is closed while it is away stays closed", async () => {
  const bench = new Bench();
  await bench.line.start();
  bench.ports[0]?.lose();
  bench.line.close();
  await bench.pass(10_000);
  assert.is(bench.ports.length, 1);
});

const typed: [keys: string, send: string, wants: string | null][] = [
  ["~.", "", "end"],
  ["ls\r~.rest", "ls\r", "end"],
  ["a~.b", "a~.b", null],
  ["~~", "~", null],
  ["~x", "~x", null],
  ["~?~.", "", "end"],
  ["~?", "", "help"],
  ["\r~~.\r", "\r~.\r", null],
  ["\u0003\u0004", "\u0003\u0004", null],
];

test("escapes: only at the start of a line, in pieces of any size", () => {
  for (const [keys, send, wants] of typed) {
    const whole = new EscapeKeys().push(Buffer.from(keys));
    assert.equal([Buffer.from(whole.send).toString(), whole.wants], [send, wants], keys);
    const single = new EscapeKeys();
    let sent = "";
    let wanted: string | null = null;
    for (const key of Buffer.from(keys)) {
      const { send: some, wants: now } = single.push(Uint8Array.of(key));
      sent += Buffer.from(some).toString();
      wanted = now ?? wanted;
      if (wanted === "end") break;
    }
    assert.equal([sent, wanted], [send, wants], `${keys}, key by key`);
  }
});

test.run();
