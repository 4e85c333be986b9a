import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { whyNoDevice } from "../../agent/io/teedrivers.ts";
import { readOptions, settingsOf } from "../../agent/options.ts";
import { temporaryFolder } from "../children.ts";

const absentSuite = suite("tee absent");

function because(...folders: string[]): string {
  const sys = temporaryFolder();
  for (const folder of folders) mkdirSync(join(sys, folder), { recursive: true });
  return whyNoDevice({ sys });
}

absentSuite(
  "a driver that is not loaded, one that found nothing, another device: three things",
  () => {
    assert.is(because(), "no TEE driver is loaded on this card");
    assert.is(because("class/tee"), "no TEE driver is loaded on this card");
    const loaded = because("class/tee", "module/tee", "module/optee");
    assert.is(loaded, "the driver optee is loaded and has found no TEE");
    const other = because("class/tee/tee1", "class/tee/teepriv1", "module/optee");
    assert.is(other, "the kernel has /dev/tee1");
  },
);

function tee(...argv: string[]): unknown {
  return settingsOf(readOptions(argv)).tee;
}

absentSuite("--tee takes a policy, a device, or both", () => {
  assert.equal(tee(), {});
  assert.equal(tee("--tee", "require"), { policy: "require" });
  assert.equal(tee("--tee", "/dev/tee1"), { device: "/dev/tee1" });
  const both = { policy: "require", device: "/dev/tee0" };
  assert.equal(tee("--tee", "/dev/tee0", "--tee", "require"), both);
  assert.equal(tee("--tee", "require", "--tee-device", "/dev/tee0"), both);
  assert.throws(() => tee("--tee", "dev/tee0"), /tee.policy/);
});

absentSuite.run();
