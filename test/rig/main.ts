/** `npm run rig`: stories on the rigs that this project has, and lockstep. */
import fs from "node:fs";
import path from "node:path";
import { runOrFail } from "../../agent/rig/command.ts";
import { addonPath } from "../../agent/rig/guest.ts";
import { lockstepProgram } from "../../agent/rig/lockstep/program.ts";
import { arm64, type Machine, pc } from "../../agent/rig/machines.ts";
import { type Rigs, rigProgram } from "../../agent/rig/program.ts";
import { QemuRig } from "../../agent/rig/qemurig.ts";
import { SimRig } from "../../agent/rig/simrig.ts";

const project = path.join(__dirname, "../../..");
const buildMs = 300_000;

/** `dist` has the addon for this machine; the one for another architecture is compiled now. */
async function compileAddon(machine: Machine): Promise<void> {
  if (machine.arch === process.arch) return;
  if (fs.existsSync(addonPath(path.join(project, "dist"), machine))) return;
  const advice = `It wants a cross compiler: apt-get install ${machine.compilerFrom}`;
  const options = { deadlineMs: buildMs, cwd: project, advice };
  await runOrFail(process.execPath, ["build.mjs", "--arch", machine.arch], options);
}

const emulated =
  (machine: Machine) =>
  async (logFolder: string): Promise<QemuRig> => {
    await compileAddon(machine);
    return new QemuRig(machine, project, logFolder);
  };
const rigs: Rigs = {
  sim: (logFolder) => new SimRig(logFolder),
  [pc.name]: emulated(pc),
  [arm64.name]: emulated(arm64),
};
const [verb, ...rest] = process.argv.slice(2);
const done =
  verb === "lockstep"
    ? lockstepProgram(rest, project)
    : rigProgram(process.argv.slice(2), rigs, path.join(project, ".cache/rig"));
done.then((status) => {
  process.exitCode = status;
});
