/** Every story of the rig, on the simulated card. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRig } from "../../agent/rig/simrig.ts";
import { boots } from "../../agent/rig/stories/boots.ts";
import { sweeps } from "../../agent/rig/stories/sweeps.ts";
import { lackOf, stories, tell } from "../../agent/rig/tell.ts";
import { temporaryFolder, unless } from "../children.ts";
import { skip } from "../skip.ts";

const onSim = suite("rig stories");
const bare = new SimRig(temporaryFolder());
const onQemu = "shown by npm run rig -- run --all --rig qemu (apt-get install qemu-system-x86)";
for (const story of stories) {
  const lack = lackOf(story, bare);
  const told = unless(lack === "" ? "" : `${lack}; ${onQemu}`, onSim);
  told(`${story.rows.join(" ")} ${story.name}`, async () => {
    const rig = new SimRig(temporaryFolder());
    try {
      assert.equal(await tell(story, rig), { outcome: "passed", why: "" }, story.name);
    } finally {
      await rig.close();
    }
  });
}
const onFirmware = `boots through real firmware: npm run rig -- run --all --rig qemu-uefi
  (apt-get install qemu-system-x86 ovmf mtools dosfstools clang lld)`.replace(/\s+/g, " ");
for (const story of [...boots, ...sweeps])
  skip(`${story.rows.join(" ")} ${story.name}`, onFirmware);
onSim.run();
