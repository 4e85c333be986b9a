/** io/authority.ts: the key file on disk, whom it may belong to, and what a card is called. */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FileAuthority } from "../../agent/io/authority.ts";

const authority = suite("io authority");

function inFolder(name: string, body: (folder: string, path: string) => void): void {
  authority(name, () => {
    const folder = mkdtempSync(join(tmpdir(), "kennel-keys-"));
    try {
      body(folder, join(folder, "authorized_keys"));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

inFolder("the file as it stands, and the same object while it is the same", (_folder, path) => {
  const keys = new FileAuthority(path);
  assert.match(keys.keyFile().problem ?? "", `there is no ${path}`);
  assert.is(keys.keyFile(), keys.keyFile());
  writeFileSync(path, "one\n", { mode: 0o600 });
  const first = keys.keyFile();
  assert.equal(first, { text: "one\n", problem: null });
  assert.is(keys.keyFile(), first);
  writeFileSync(path, "two\n");
  assert.equal(keys.keyFile(), { text: "two\n", problem: null });
  writeFileSync(`${path}.new`, "one\n", { mode: 0o600 });
  renameSync(`${path}.new`, path);
  assert.is(keys.keyFile().text, "one\n");
});

inFolder("a file that others could write does not count, and names the cure", (folder, path) => {
  const keys = new FileAuthority(path);
  writeFileSync(path, "key\n");
  for (const mode of [0o620, 0o602, 0o666]) {
    chmodSync(path, mode);
    assert.equal(keys.keyFile(), {
      text: "",
      problem: `${path} can be written by others: chmod go-w ${path}`,
    });
  }
  chmodSync(path, 0o644);
  assert.is(keys.keyFile().text, "key\n");
  chmodSync(folder, 0o777);
  assert.match(keys.keyFile().problem ?? "", `chmod go-w ${folder}`);
  chmodSync(folder, 0o1777);
  assert.is(keys.keyFile().problem, null, "as /tmp is: others cannot replace it");
});

inFolder("a file of another user does not count", (_folder, path) => {
  writeFileSync(path, "key\n", { mode: 0o600 });
  if (process.getuid?.() === 0) chownSync(path, 65_534, 65_534);
  const { problem } = new FileAuthority(path).keyFile();
  if (process.getuid?.() === 0) assert.match(problem ?? "", /belongs to user 65534: chown root/);
  else assert.is(problem, null);
});

inFolder("what is no file of keys is refused by name", (_folder, path) => {
  const keys = new FileAuthority(path);
  mkdirSync(path);
  assert.match(keys.keyFile().problem ?? "", /is no file/);
  rmSync(path, { recursive: true });
  symlinkSync("/dev/zero", path);
  assert.match(keys.keyFile().problem ?? "", /is no file/);
  rmSync(path);
  writeFileSync(path, "");
  truncateSync(path, 1 << 20);
  assert.match(keys.keyFile().problem ?? "", /over 65536 bytes/);
  const through = new FileAuthority(join(path, "x"));
  assert.match(through.keyFile().problem ?? "", /ENOTDIR/);
});

authority.run();
