// Debian's packages of another architecture, with stand-ins for apt and dpkg that note their calls.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openPackages, type Pick } from "../../agent/rig/debian.ts";
import { arm64, type Machine, pc } from "../../agent/rig/machines.ts";
import { rejectsCode } from "../assert.ts";

const packages = suite("rig.packages");
const [ours, foreign]: Machine[] = process.arch === "x64" ? [pc, arm64] : [arm64, pc];

/** apt knows `thing` 1:2-3 alone; a package holds the file `inside`. */
const programs = {
  "apt-get": `case "$*" in *download*) : >thing.deb;; esac`,
  "apt-cache": `case "$*" in
*show*thing) echo "Package: thing"; echo "Version: 1:2-3";;
*show*) exit 100;;
*depends*) echo "  Depends: thing-one"; echo "  Depends: other";; esac`,
  "dpkg-deb": `for last; do :; done; mkdir "$last"; echo text >"$last/inside"`,
};
const path0 = process.env.PATH;
let folder = "";

packages.before.each(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "kennel-packages-"));
  for (const [name, text] of Object.entries(programs)) {
    const script = `#!/bin/sh\necho "${name} $*" >>${folder}/calls\n${text}\n`;
    fs.writeFileSync(path.join(folder, name), script, { mode: 0o755 });
  }
  process.env.PATH = `${folder}:${path0}`;
});

packages.after.each(() => {
  process.env.PATH = path0;
  fs.rmSync(folder, { recursive: true });
});

function calls(beginning: string): string[] {
  const lines = fs.readFileSync(path.join(folder, "calls"), "utf8").trim().split("\n");
  return lines.filter((line) => line.startsWith(beginning));
}

const pickInside: Pick = (from, into) => fs.renameSync(`${from}/inside`, `${into}/inside`);

packages("another architecture has lists and state of its own, fetched once a day", async () => {
  const cache = path.join(folder, "cache");
  await openPackages(cache, foreign as Machine);
  const { dependsOf } = await openPackages(cache, foreign as Machine);
  assert.equal(await dependsOf("kernel"), ["thing-one", "other"]);
  assert.is(calls("apt-get").filter((line) => line.endsWith(" update")).length, 1);
  for (const call of calls("apt-")) {
    assert.match(call, `-o APT::Architecture=${foreign?.debian.arch} `);
    assert.match(call, `-o Dir::State=${cache}/apt `);
    assert.match(call, `-o Dir::Cache=${cache}/apt/`);
  }

  const dayAgo = Date.now() / 1000 - 25 * 3600;
  fs.utimesSync(path.join(cache, "apt/updated"), dayAgo, dayAgo);
  await openPackages(cache, foreign as Machine);
  assert.is(calls("apt-get").filter((line) => line.endsWith(" update")).length, 2);
});

packages(
  "without a network older lists will do, and where there are none apt is quoted",
  async () => {
    const cache = path.join(folder, "cache");
    await openPackages(cache, foreign as Machine);
    const offline = "#!/bin/sh\necho 'E: no network' >&2\nexit 100\n";
    fs.writeFileSync(path.join(folder, "apt-get"), offline);
    fs.utimesSync(path.join(cache, "apt/updated"), 0, 0);
    await openPackages(cache, foreign as Machine);
    const elsewhere = path.join(folder, "elsewhere");
    const failure = await rejectsCode(
      () => openPackages(elsewhere, foreign as Machine),
      "rig.fault",
    );
    assert.match(failure.message, /no package lists for \w+: E: no network/);
  },
);

packages("this machine's own architecture is taken from its own lists", async () => {
  const { kept } = await openPackages(path.join(folder, "cache"), ours as Machine);
  await kept("thing", pickInside);
  assert.equal(calls("apt-"), [
    "apt-cache show --no-all-versions thing",
    "apt-get download thing=1:2-3",
  ]);
});

packages("what is chosen of a package is kept under its version, and downloaded once", async () => {
  const { kept } = await openPackages(path.join(folder, "cache"), ours as Machine);
  const first = await kept("thing", pickInside);
  assert.match(path.basename(first), /^thing_1%2-3-\d+$/);
  assert.is(fs.readFileSync(path.join(first, "inside"), "utf8"), "text\n");
  assert.is(await kept("thing", pickInside), first);
  assert.is(calls("apt-get").length, 1);
});

packages("a package that cannot be taken apart leaves nothing behind", async () => {
  const cache = path.join(folder, "cache");
  const { kept } = await openPackages(cache, ours as Machine);
  await rejectsCode(() => kept("missing", pickInside), "rig.fault");
  fs.writeFileSync(path.join(folder, "dpkg-deb"), "#!/bin/sh\nexit 2\n");
  await rejectsCode(() => kept("thing", pickInside), "rig.fault");
  assert.equal(fs.readdirSync(cache), []);
});

packages.run();
