// Files and settings at the console: whole and proven, or not at all.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { settingNames } from "../../agent/answers/settings.ts";
import { getFile } from "../../agent/console/files.ts";
import { settings } from "../../agent/console/settings.ts";
import { painter } from "../../agent/console/show.ts";
import { crc32 } from "../../agent/wire/seal.ts";
import { rejectsCode } from "../assert.ts";
import { temporaryFolder } from "../children.ts";
import { type Script, ScriptedCard } from "../consolerig.ts";

const console_ = suite("console files and settings");
const content = Uint8Array.from({ length: 450 }, (_, at) => (at % 60 === 0 ? 0x0a : 0x61));

/** A card whose files all have this content, in pieces of 100 bytes. */
function filesCard(changes: Script = {}): ScriptedCard {
  return new ScriptedCard({
    "files.read": ({ off }) => {
      const at = Number(off);
      const data = content.slice(at, at + 100);
      return { off: at, data, ...(at === 0 ? { len: content.length } : {}) };
    },
    "files.hash": () => ({ type: "crc32", len: content.length, output: crc32(content) }),
    ...changes,
  });
}

console_(
  "a file is fetched piece by piece, written as it is, and its checksum compared",
  async () => {
    const card = filesCard();
    const out = join(temporaryFolder(), "log");
    const { data, text } = await card.until(getFile(card.link(), "/log", out));
    assert.equal(new Uint8Array(readFileSync(out)), content);
    assert.match(text, /450 bytes into .*, crc32 [0-9a-f]{8}$/);
    assert.is((data as { checked: boolean }).checked, true);
    const offsets = card.asked.flatMap(({ name, body }) =>
      name === "files.read" ? [body.off] : [],
    );
    assert.equal(offsets, [0, 100, 200, 300, 400]);
  },
);

console_("a file whose checksum differs is told of and not written", async () => {
  const card = filesCard({ "files.hash": () => ({ type: "crc32", len: 450, output: 1 }) });
  const out = join(temporaryFolder(), "log");
  await card.until(rejectsCode(() => getFile(card.link(), "/log", out), "link.garbled"));
  assert.throws(() => readFileSync(out));
});

console_("a card without checksums is believed, and that is said", async () => {
  const card = filesCard({ "files.hash": () => ({ rc: 8 }) });
  const out = join(temporaryFolder(), "log");
  const { text } = await card.until(getFile(card.link(), "/log", out));
  assert.match(text, /which the card could not confirm/);
});

console_("a file that ends too soon, or never, is no file", async () => {
  const empty = { data: new Uint8Array() };
  const short = filesCard({
    "files.read": ({ off }) => ({ off, ...empty, ...(off === 0 ? { len: 450 } : {}) }),
  });
  await short.until(rejectsCode(() => getFile(short.link(), "/log", undefined), "link.garbled"));
  const endless = filesCard({ "files.read": () => ({ off: 0, ...empty, len: 2 ** 40 }) });
  await endless.until(
    rejectsCode(() => getFile(endless.link(), "/log", undefined), "wire.too_large"),
  );
});

console_("what a file says is harmless on a screen", async () => {
  const data = new TextEncoder().encode("one\x1b[2J\ntwo\n");
  const card = filesCard({
    "files.read": () => ({ off: 0, data, len: data.length }),
    "files.hash": () => ({ type: "crc32", len: data.length, output: crc32(data) }),
  });
  const { text } = await card.until(getFile(card.link(), "/log", undefined));
  assert.not.ok(text.includes("\x1b"));
  assert.match(text, /^one.*\ntwo$/);
});

console_("a refusal of a standard group is said in words, though the card has none", async () => {
  const card = filesCard({ "files.read": () => ({ err: { group: 8, rc: 3 } }) });
  const failing = () => getFile(card.link(), "/x", undefined);
  const { message } = await card.until(rejectsCode(failing, "link.refused"));
  assert.is(message, "the card refused files.read: there is no such file (rc 3).");
});

console_("a setting is written, committed and saved, in this order, and read back", async () => {
  const card = new ScriptedCard({
    "settings.write": () => ({}),
    "settings.commit": () => ({}),
    "settings.save": () => ({}),
    "settings.read": () => ({ val: new TextEncoder().encode("30") }),
  });
  const done = settings(card.link(), painter(false), "watchdog/hold_max_s", "30", { save: true });
  const { data } = await card.until(done);
  assert.equal(card.names, ["settings.write", "settings.commit", "settings.save", "settings.read"]);
  assert.equal(data, { settings: { "watchdog/hold_max_s": 30 } });
});

console_("without a name every setting is read, and nothing is written", async () => {
  const card = new ScriptedCard({
    "settings.read": () => ({ val: new TextEncoder().encode("x") }),
  });
  const { data } = await card.until(
    settings(card.link(), painter(false), undefined, undefined, {}),
  );
  assert.is(card.names.length, settingNames.length);
  assert.equal(Object.keys((data as { settings: object }).settings), settingNames);
  assert.is(new Set(card.names).size, 1);
});

console_.run();
