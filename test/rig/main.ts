/** `npm run rig`: stories on the rigs that this project has, and lockstep. */
import path from "node:path";
import { lockstepProgram } from "../../agent/rig/lockstep/program.ts";
import { type Rigs, rigProgram } from "../../agent/rig/program.ts";
import { QemuRig } from "../../agent/rig/qemurig.ts";
import { SimRig } from "../../agent/rig/simrig.ts";

const project = path.join(__dirname, "../../..");
const rigs: Rigs = {
  sim: (logFolder) => new SimRig(logFolder),
  qemu: (logFolder) => new QemuRig(project, logFolder),
};
const [verb, ...rest] = process.argv.slice(2);
const done =
  verb === "lockstep"
    ? lockstepProgram(rest, project)
    : rigProgram(process.argv.slice(2), rigs, path.join(project, ".cache/rig"));
done.then((status) => {
  process.exitCode = status;
});
