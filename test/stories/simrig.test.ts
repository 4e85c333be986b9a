/** Every story of the rig, on the simulated card. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRig } from "../../agent/rig/simrig.ts";
import { lackOf, stories, tell } from "../../agent/rig/tell.ts";
import { temporaryFolder, unless } from "../children.ts";

const onSim = suite("rig stories");
const bare = new SimRig(temporaryFolder());
for (const story of stories) {
  const told = unless(lackOf(story, bare), onSim);
  told(`${story.rows.join(" ")} ${story.name}`, async () => {
    const rig = new SimRig(temporaryFolder());
    try {
      assert.equal(await tell(story, rig), { outcome: "passed", why: "" }, story.name);
    } finally {
      await rig.close();
    }
  });
}
onSim.run();
