// deadline: 240 s
// What crosses a line is what SMP and CBOR say it is, also to an implementation that is not ours.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { enframe } from "../../agent/wire/frame.ts";
import { encodeMessage, type Message } from "../../agent/wire/smp.ts";
import { temporaryFolder } from "../children.ts";
import { toHex } from "../hex.ts";
import { pythonLack, runPython } from "../python.ts";
import { type Entry, record } from "../session.ts";
import { skip } from "../skip.ts";

const independent = suite("independent decoder");
const seeds = [1, 2, 3, 4];
/** Of each card's own time, ms. */
const forMs = 300_000;

function compare(entries: readonly Entry[]): { status: number; said: string } {
  const file = join(temporaryFolder(), "session.jsonl");
  writeFileSync(file, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
  return runPython("compare.py", file);
}

/** The message as it crosses a line, and as our decoder has it. */
function crossed(at: string, message: Message): Entry[] {
  const packet = encodeMessage(message);
  return [
    { at, bytes: toHex(enframe(packet)) },
    { at, packet: toHex(packet), messages: [message] },
  ];
}

const lack = pythonLack();
if (lack !== null) skip("an independent SMP and CBOR decoder finds no difference", lack);
else {
  independent("X-02 it decodes every frame of long sessions without a difference", () => {
    for (const seed of seeds) {
      const entries = record(seed, forMs);
      const { status, said } = compare(entries);
      assert.is(status, 0, `seed ${seed}: ${said}`);
      console.log(`\nmeasured seed ${seed}: ${said.trim()}`);
    }
  });

  independent("it sees a changed value, a packet that is missing and one that was invented", () => {
    const entries = record(1, 20_000);
    assert.is(compare(entries).status, 0);
    const found = entries.flatMap((entry, at) => ("packet" in entry ? [at] : []));
    const at = found[Math.floor(found.length / 2)] as number;
    const entry = entries[at] as Extract<Entry, { packet: string }>;
    const [first] = entry.messages as Record<string, unknown>[];
    const changed = { ...entry, messages: [{ ...first, seq: 256 }] };
    const changes: readonly Entry[][] = [
      entries.with(at, changed),
      entries.toSpliced(at, 1),
      entries.toSpliced(at, 0, entry),
    ];
    for (const spoiled of changes) assert.is(compare(spoiled).status, 1);
  });

  independent("it gives up where a strict client does: unknown keys, rc 0, unasked frames", () => {
    const asked: Message = { version: 1, op: "read", group: 0, seq: 3, command: 6, body: {} };
    const good: Message = { ...asked, op: "read_response", body: { buf_size: 2052, buf_count: 1 } };
    const custom: Message = { ...asked, group: 66, command: 1 };
    const refused: Message = {
      ...custom,
      op: "read_response",
      body: { err: { group: 66, rc: 6 } },
    };
    const words = { ...refused.body, rsn: "no" };
    const said = (...messages: Message[]) => {
      const of = ({ op }: Message) => (op.endsWith("response") ? "card 0" : "host 0");
      return compare(messages.flatMap((message) => crossed(of(message), message)));
    };
    assert.is(said(asked, good).status, 0);
    assert.is(said(custom, refused).status, 0);
    assert.is(said({ ...custom, body: { rsn: true } }, { ...refused, body: words }).status, 0);
    const bad: readonly [RegExp, ...Message[]][] = [
      [/\['extra'\]/, asked, { ...good, body: { ...good.body, extra: 1 } }],
      [/rc 0|'rc': 0/, asked, { ...good, body: { ...good.body, rc: 0 } }],
      [/lacks buf_count/, asked, { ...good, body: { buf_size: 2052 } }],
      [/is True/, asked, { ...good, body: { buf_size: 2052, buf_count: true } }],
      [/answers no request/, good],
      [/answers no request/, asked, good, good],
      [/answers no request/, asked, { ...good, seq: 4 }],
      [/answers no request/, asked, { ...good, version: 0 }],
      [/came unasked/, { ...good, group: 68, seq: 0, command: 4 }],
      [/\['err', 'rsn'\] beside err/, custom, { ...refused, body: words }],
      [/err of another group/, custom, { ...refused, body: { err: { group: 0, rc: 6 } } }],
      [/'buf_size': 2048/, asked, { ...good, body: { buf_size: 2048, buf_count: 1 } }],
    ];
    for (const [why, ...messages] of bad) {
      const { status, said: told } = said(...messages);
      assert.is(status, 1, `${why}`);
      assert.match(told, why);
    }
  });
}

independent.run();
