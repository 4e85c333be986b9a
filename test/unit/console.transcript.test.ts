import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { nic7 } from "../consolecard.ts";
import { run } from "../consolerig.ts";

const test = suite("console transcripts");

/** Where the printed sessions are, seen from the built test. */
const folder = join(__dirname, "../../../test/transcripts");

/** The file it is kept in, the command line, its exit status. */
const sessions: [string, string, number][] = [
  ["hello", "hello", 0],
  ["status", "status", 0],
  ["protect", "protect", 1],
  ["doctor", "doctor", 1],
  ["boot-timeline", "boot timeline", 0],
  ["boot-history", "boot history", 0],
  ["wdt-status", "wdt status", 0],
  ["wdt-probe", "wdt probe", 0],
  ["wdt-explain", "wdt explain", 1],
  ["wdt-hold", "wdt hold --for 900 --by lab3 --yes", 0],
  ["wdt-disarm", "wdt disarm", 10],
  ["wdt-disarm-refused", "wdt disarm --yes", 8],
  ["tee-status", "tee status", 0],
  ["tee-sessions", "tee sessions", 0],
  ["tee-crashes", "tee crashes", 0],
  ["tee-recover", "tee recover", 10],
  ["tee-unquarantine", "tee unquarantine keystore#7 --yes", 0],
  ["tee-crash", "tee crash", 0],
  ["reports", "reports", 0],
  ["reports-since", "reports --since 1 --keep", 0],
  ["rig-faults", "rig faults", 0],
  ["rig-hang", "rig hang --for 30", 0],
  ["echo", "echo hello", 0],
  ["reset", "reset --yes", 0],
  ["usage", "wdt frobnicate", 2],
  ["help", "help", 0],
  ["help-wdt-hold", "wdt hold --help", 0],
  ["exit-codes", "help exit-codes", 0],
  ["help-ports", "help ports", 0],
  ["help-console", "console --help", 0],
  ["help-serve", "serve --help", 0],
];

for (const [name, line, exit] of sessions) {
  test(`kennel ${line} prints what its transcript shows`, async () => {
    const ran = await run(nic7(), line);
    const printed = `$ kennel ${line}\n${ran.stdout}${ran.stderr}(exit ${ran.exit})\n`;
    const path = join(folder, `console-${name}.txt`);
    if (process.env.UPDATE !== undefined) writeFileSync(path, printed);
    assert.ok(existsSync(path), `${path} is there; UPDATE=1 writes it`);
    assert.fixture(printed, readFileSync(path, "utf8"));
    assert.is(ran.exit, exit);
    // A bad verdict is an answer.
    const isAnswer = exit <= 1;
    assert.is(ran.stdout === "", !isAnswer, "errors go to stderr alone, answers to stdout");
    assert.is(ran.stderr === "", isAnswer);
  });
}

test("transcripts fit a screen: 24 rows, 100 columns, no trailing blanks", async () => {
  for (const [, line] of sessions.filter(([name]) => !/help|usage|exit-codes/.test(name))) {
    const { stdout } = await run(nic7(), line);
    const lines = stdout.split("\n");
    assert.ok(lines.length <= 24, `${line}: ${lines.length} rows`);
    for (const text of lines) {
      assert.ok(text.length <= 110, `${line}: ${text.length} columns`);
      assert.is(text, text.trimEnd());
    }
  }
});

test.run();
