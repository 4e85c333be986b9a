// `kennel wdt probe --json` of a kenneld on the scripted driver, whose limits are those of iTCO.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ended, makeTwin, said, temporaryFolder, twinObstacle, unless } from "../children.ts";
import { ask, Cable } from "../programs.ts";

const programs = suite("probe program");
const onTwin = unless(twinObstacle(), programs);
const kenneld = join(__dirname, "..", "..", "..", "dist", "kenneld.cjs");

interface Shown {
  readonly name: string;
  readonly value: string;
  readonly required: string;
  readonly ok: boolean;
}

/** What is asked for by the issue that made the probe, in its words, and where it is answered. */
const criteria = {
  "timeout range found safely": ["timeout_max", "timeout_min"],
  "granted vs asked": ["granted", "set_timeout"],
  "refresh truly refreshes, time left falls": ["refresh", "refresh_works", "time_left"],
  "not refreshed too fast": ["refresh_gap"],
  "stop possible": ["stoppable", "survives_close"],
  "reset cause reported": ["reset_cause"],
  exclusive: ["exclusive"],
  "real hardware": ["present", "real_hardware", "driver"],
  kernel: ["open_timeout", "boot_countdown", "stop_on_reboot", "pretimeout", "governor"],
};

onTwin("A2-01 every criterion with value, required and ok; limits found; the reason", async () => {
  const twin = makeTwin();
  const cable = new Cable();
  const child = spawn(
    process.execPath,
    [
      ...[kenneld, "--device", twin.device, "--state", temporaryFolder()],
      ...["--port", cable.card, "--promise", "700", "--hardware-min-gap", "0.05"],
    ],
    {
      env: { ...process.env, ...twin.env("min=3 max=614 timeout=30") },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const end = ended(child);
  await said(child, "kenneld ready");
  const { ok, data } = await ask(cable.host, "wdt", "probe");
  child.kill("SIGTERM");
  await end;
  cable.close();
  assert.is(ok, true);
  const shown = data.criteria as Shown[];
  assert.equal(shown.map(({ name }) => name).sort(), Object.values(criteria).flat().sort());
  for (const { name, value, required, ok: isMet } of shown) {
    assert.ok(value.length > 0 && required.length > 0 && typeof isMet === "boolean", name);
  }
  const of = (name: string): unknown[] => {
    const { value, required, ok: isMet } = shown.find((one) => one.name === name) as Shown;
    return [value, required, isMet];
  };
  assert.equal(of("timeout_max"), ["614 s, found by trying", ">= 700 s", false]);
  assert.equal(of("granted"), ["614 s of 700 s asked for", "the timeout asked for", false]);
  assert.equal(of("refresh_gap"), ["50 ms", "<= 307 s, half of T1", true]);
  assert.equal(
    [data.backend, data.because],
    ["service", "the hardware holds at most 614 s of the promised 700 s"],
  );
  const asked = twin.calls().flatMap(({ text }) => {
    const hex = /request=0xc0045706 in=([\da-f]{8})/.exec(text)?.[1];
    return hex === undefined ? [] : [Buffer.from(hex, "hex").readInt32LE()];
  });
  assert.ok(
    asked.every((seconds) => seconds >= 30),
    `never shorter than it had: ${asked}`,
  );
});

programs.run();
