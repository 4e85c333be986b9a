/** agent/rig/campaigns/link.ts: a part of the campaign, and that it finds what is planted. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Violation } from "../../agent/rig/campaigns/campaign.ts";
import { HostileCampaign, hostileBugs } from "../../agent/rig/campaigns/hostilecampaign.ts";
import { LinkCampaign, linkBugs } from "../../agent/rig/campaigns/link.ts";

const campaign = suite("campaign of the line");

/** So many seeds at most, until a planted defect is met. */
const patience = 40;

campaign("ten lives of a line keep every promise", async () => {
  const link = new LinkCampaign();
  for (let seed = 1; seed <= 10; seed++) await link.run(seed, null);
  assert.match(link.summary().join("\n"), /stored [1-9]/);
});

for (const bug of linkBugs) {
  campaign(`canary: ${bug} is found`, async () => {
    const link = new LinkCampaign();
    for (let seed = 1; seed <= patience; seed++) {
      const problem = await link.run(seed, bug).then(
        () => null,
        (error: unknown) => error,
      );
      if (problem === null) continue;
      assert.instance(problem, Violation);
      return;
    }
    assert.unreachable(`${bug} was not found`);
  });
}

for (const bug of hostileBugs) {
  campaign(`canary: ${bug} on a hostile line is found`, () => {
    assert.throws(
      () => new HostileCampaign().run(2, bug),
      (error: unknown) => error instanceof Violation,
    );
  });
}

campaign.run();
