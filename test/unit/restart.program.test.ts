// kenneld itself, stopped and killed on the scripted driver: what the driver gets to see of it.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ended, makeTwin, said, temporaryFolder, twinObstacle, unless } from "../children.ts";

const programs = suite("restart program");
const onTwin = unless(twinObstacle(), programs);
const kenneld = join(__dirname, "..", "..", "..", "dist", "kenneld.cjs");

onTwin("B15-01 kenneld stopped or killed closes without V, and opens again", async () => {
  const twin = makeTwin();
  const args = [kenneld, "--device", twin.device, "--state", temporaryFolder()];
  for (const signal of ["SIGTERM", "SIGKILL", "SIGTERM"] as const) {
    const child = spawn(process.execPath, args, {
      env: { ...process.env, ...twin.env("timeleft=-95") },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const end = ended(child);
    await said(child, "kenneld ready");
    child.kill(signal);
    const { code, stderr } = await end;
    assert.equal([code, stderr], [signal === "SIGTERM" ? 0 : null, ""]);
  }
  const calls = twin.calls().map(({ text }) => text);
  assert.is(calls.filter((text) => text.startsWith("open")).length, 3);
  assert.equal(
    calls.filter((text) => text.startsWith("write")),
    [],
  );
  assert.not.ok(calls.includes("release stopped"));
  assert.is(calls.filter((text) => text === "release counting").length, 2, "one was killed");
});

programs.run();
