// The refresh placement of the simulator and of the native thread are one formula.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { nextRefresh } from "../../agent/machines/placement.ts";
import { native } from "../../native/index.ts";
import { nativeObstacle, unless } from "../children.ts";
import { fuzz } from "../fuzz.ts";

const placement = suite("placement");

unless(nativeObstacle(), placement)("both twins place every refresh alike", () => {
  fuzz(20_000, (random) => {
    const hardware = random.range(1, 5000) * 2;
    const minGap = random.range(0, hardware / 2);
    const last = random.range(0, 100_000);
    const checkIn = last + random.range(-hardware, hardware);
    const deadline = checkIn + hardware + random.range(0, hardware * 10);
    const mine = nextRefresh({ last, checkIn, deadline, hardware, minGap });
    const numbers = [last, checkIn, deadline, hardware, minGap].map(BigInt);
    const [l = 0n, c = 0n, d = 0n, h = 0n, g = 0n] = numbers;
    const theirs = native().RuntimeService.nextRefreshNs(l, c, d, h, g);
    assert.is(mine, theirs === null ? null : Number(theirs));
  });
});

placement.run();
