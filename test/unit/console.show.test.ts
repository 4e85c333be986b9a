import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Inbox } from "../../agent/console/inbox.ts";
import { fields, harmless, painter, span, table } from "../../agent/console/show.ts";
import { fit } from "../../agent/console/view.ts";
import { compare, showLedger, Witness } from "../../agent/console/witness.ts";
import type { Report } from "../../agent/wire/commands.ts";

const test = suite("console show");

const esc = "\x1b";

test("spans are told in the two units that matter", () => {
  const spans: [number, string][] = [
    [0, "0 ms"],
    [999.4, "999 ms"],
    [1000, "1.0 s"],
    [59_940, "59.9 s"],
    [59_960, "1 min 00 s"],
    [123_000, "2 min 03 s"],
    [3_600_000, "1 h 00 min"],
    [172_740_000, "47 h 59 min"],
    [180_000_000, "2 d 2 h"],
    [-2500, "-2.5 s"],
  ];
  for (const [ms, text] of spans) assert.is(span(ms), text);
});

test("columns stay aligned when cells are coloured", () => {
  const paint = painter(true);
  const rows = [
    [paint.bad("failed"), "x"],
    ["ok", "y"],
  ];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the colour codes
  const plain = table(paint, ["state", "what"], rows).replaceAll(/\x1b\[\d+m/g, "");
  assert.is(plain, "state   what\nfailed  x\nok      y");
});

test("fields are aligned, and the further lines of a value indented", () => {
  const text = fields(painter(false), [
    ["a", "one\ntwo"],
    ["longer", "three"],
  ]);
  assert.is(text, "a       one\n        two\nlonger  three");
});

test("harmless goes into lists, maps and their keys, and cuts what is endless", () => {
  const safe = harmless({ [`k${esc}`]: [`v${esc}[31m`, 7, true, null], long: "x".repeat(1000) });
  assert.equal(safe, {
    "k\\u{1b}": ["v\\u{1b}[31m", 7, true, null],
    long: `${"x".repeat(400)}…`,
  } as unknown as typeof safe);
});

test("a line is cut to the screen without counting colours, and its colour ends there", () => {
  assert.is(fit("abcdef", 4), "abcd");
  assert.is(fit("abc", 4), "abc");
  assert.is(fit(`${esc}[31mabcdef${esc}[39m`, 3), `${esc}[31mabc${esc}[0m`);
  assert.is(fit(`${esc}[31mabc${esc}[39m`, 3), `${esc}[31mabc${esc}[39m`);
});

function report(boot: string, seq: number, kind: string, data: Report["data"]): Report {
  return { boot, seq, at_ms: 0, kind, class: "safety", data };
}

test("the counts of both sides are compared boot by boot, drops on the card included", () => {
  const inbox = new Inbox(null);
  for (const seq of [1, 2, 3]) inbox.take(report("1-a", seq, "boot:stage", {}));
  inbox.take(report("2-b", 1, "boot:stage", {}));
  const boots = [
    { boot: "1-a", last_seq: 4, acknowledged: 4, dropped: 1 },
    { boot: "2-b", last_seq: 1, acknowledged: 0, dropped: 0 },
  ];
  const ledger = compare(inbox, { boots, pending: 0 });
  assert.equal(ledger, { received: 4, sent: 5, dropped: 1 });
  assert.is(
    showLedger(ledger),
    "reports: 4 received, 5 sent by the card (1 report dropped on the card)",
  );
});

test("the story of the day is told from reports alone", () => {
  const witness = new Witness();
  witness.report(report("1-a", 1, "boot:stage", { stage: "adopt" }));
  witness.report(report("1-a", 2, "tee:restored", { took_ms: 859, epoch: 2 }));
  const died = { stage: "runtime", step: "ready", cause: "watchdog", culprit: "dataplane" };
  witness.report(report("2-b", 1, "boot:died", died));
  const update = { stage: "os_load", step: "", cause: "commanded", culprit: "" };
  witness.report(report("2-b", 2, "boot:died", update));
  witness.report(report("2-b", 3, "boot:fallback", { from: "a", slot: "b", failures: 3 }));
  assert.equal(witness.story, [
    "tee: restored in 859 ms, epoch 2",
    "watchdog reset: cause watchdog, died in runtime / ready, culprit dataplane",
    "boot ended: cause commanded, in os_load",
    "fallback: slot a failed 3 times, now slot b",
  ]);
  assert.equal(witness.stagesSeen(), ["adopt"]);
  assert.equal(witness.seen, { restored: true, watchdogReset: true, fallback: true });
});

test.run();
