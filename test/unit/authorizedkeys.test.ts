/** machines/authorizedkeys.ts: what a line grants, and every line that grants nothing, by name. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keysMax, parseKeys } from "../../agent/machines/authorizedkeys.ts";
import { toHex } from "../hex.ts";

const keys = suite("authorized keys");
const blob = "AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
const publicKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
/** The same but for the last byte of the key. */
const other = (last: number): string => {
  const bytes = Buffer.from(blob, "base64");
  bytes[bytes.length - 1] = last;
  return bytes.toString("base64");
};

const good: [string, string, readonly string[]][] = [
  [`ssh-ed25519 ${blob} ops@bench`, "ops@bench", ["operate"]],
  [`ssh-ed25519 ${blob}`, "key 1", ["operate"]],
  [
    `kennel="operate,danger" ssh-ed25519 ${blob} Ops of the bench`,
    "Ops of the bench",
    ["operate", "danger"],
  ],
  [`kennel="rig, operate"   ssh-ed25519   ${blob}   ops\r`, "ops", ["operate", "rig"]],
  [`kennel="" ssh-ed25519 ${blob} reader`, "reader", []],
  [`  ssh-ed25519 ${blob} \x1b[31mred`, "?[31mred", ["operate"]],
];

for (const [line, name, roles] of good) {
  keys(`taken: ${JSON.stringify(line.replace(blob, "KEY"))}`, () => {
    const { keys: found, problems } = parseKeys(`# a comment\n\n${line}\n`);
    assert.equal(problems, []);
    assert.equal(
      found.map((key) => [key.name, key.roles, key.rank]),
      [[name, roles, 0]],
    );
    assert.is(toHex(found[0]?.publicKey ?? new Uint8Array(0)), publicKey);
  });
}

const bad: [string, RegExp][] = [
  ["what is this", /no OpenSSH public key/],
  ["junk", /no OpenSSH public key/],
  [`ssh-rsa ${blob} old`, /keys of type ssh-rsa are not taken: use ssh-ed25519/],
  [`sk-ssh-ed25519@openssh.com ${blob}`, /keys of type sk-ssh-ed25519@openssh.com are not taken/],
  [`ssh-ed25519 ${blob.slice(0, -4)}`, /damaged/],
  [`ssh-ed25519 ${blob.replace("C3Nz", "C3Na")}`, /damaged/],
  [`kennel="root" ssh-ed25519 ${blob}`, /no role root: there are operate, danger, rig/],
  [`restrict ssh-ed25519 ${blob}`, /option restrict is not known/],
  [`from="10.0.0.1",kennel="operate" ssh-ed25519 ${blob}`, /option from=.* is not known/],
  [`cert-authority ssh-ed25519 ${blob}`, /option cert-authority is not known/],
];

for (const [line, problem] of bad) {
  keys(`refused by name: ${line.replace(blob, "KEY")}`, () => {
    const second = `ssh-ed25519 ${other(1)} second`;
    const { keys: found, problems } = parseKeys(`${line}\n${second}`);
    assert.equal(
      found.map(({ name }) => name),
      ["second"],
      "the others count",
    );
    assert.is(problems.length, 1);
    assert.match(problems[0] ?? "", /^line 1: /);
    assert.match(problems[0] ?? "", problem);
  });
}

keys("lines are in order of preference; a key counts once, and no more than there may be", () => {
  const lines = Array.from({ length: keysMax + 2 }, (_, at) => `ssh-ed25519 ${other(at)} k${at}`);
  const { keys: found, problems } = parseKeys([...lines.slice(0, 2), ...lines].join("\n"));
  assert.equal(
    found.map(({ rank }) => rank),
    Array.from({ length: keysMax }, (_, at) => at),
  );
  assert.match(problems.join("; "), /line 3: this key is in an earlier line/);
  assert.match(problems.at(-1) ?? "", /over 32 keys/);
});

keys.run();
