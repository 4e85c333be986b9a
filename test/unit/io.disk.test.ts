// The real folder of state: what is there after a restart, and what a bad folder says.
import * as fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FileDisk } from "../../agent/io/disk.ts";
import { throwsCode } from "../assert.ts";
import { temporaryFolder } from "../children.ts";

const disks = suite("file disk");
const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);

disks("what was written and synced is read back by the next process", () => {
  const folder = join(temporaryFolder(), "deep", "down");
  const disk = new FileDisk(folder);
  disk.write("a", bytes(1, 2));
  disk.append("a", bytes(3));
  disk.sync("a");
  assert.equal([...(new FileDisk(folder).read("a") ?? [])], [1, 2, 3]);
  assert.is(fs.statSync(folder).mode & 0o777, 0o700);
  assert.is(fs.statSync(join(folder, "a")).mode & 0o777, 0o600);
});

disks("a file that is not there is no error, and one that is removed is gone", () => {
  const disk = new FileDisk(temporaryFolder());
  assert.is(disk.read("a"), undefined);
  disk.remove("a");
  disk.write("a", bytes(1));
  disk.remove("a");
  assert.is(disk.read("a"), undefined);
});

disks("a folder that cannot be made is named, at once", () => {
  const failure = throwsCode(() => new FileDisk("/proc/kennel/state"), "journal.degraded");
  assert.match(failure.message, /state cannot be kept: \/proc\/kennel\/state: ENOENT/);
});

disks("a file in the place of the folder is named when something is to be written", () => {
  const path = join(temporaryFolder(), "file");
  fs.writeFileSync(path, "");
  const disk = new FileDisk(path);
  const failure = throwsCode(() => disk.write("a", bytes(1)), "journal.degraded");
  assert.match(failure.message, /ENOTDIR/);
});

disks("a full disk is a failure by name", () => {
  const failure = throwsCode(
    () => new FileDisk("/dev").write("full", bytes(1)),
    "journal.degraded",
  );
  assert.match(failure.message, /\/dev\/full: ENOSPC/);
});

disks.run();
