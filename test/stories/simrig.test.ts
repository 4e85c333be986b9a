/** Every story of the rig, on the simulated card. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRig } from "../../agent/rig/simrig.ts";
import { stories, tell } from "../../agent/rig/tell.ts";
import { temporaryFolder } from "../children.ts";

const onSim = suite("rig stories");
for (const story of stories) {
  onSim(`${story.rows.join(" ")} ${story.name}`, async () => {
    const rig = new SimRig(temporaryFolder());
    try {
      assert.equal(await tell(story, rig), { outcome: "passed", why: "" }, story.name);
    } finally {
      await rig.close();
    }
  });
}
onSim.run();
