/** `npm run rig`: stories on the rigs that this project has. */
import path from "node:path";
import { type Rigs, rigProgram } from "../../agent/rig/program.ts";
import { QemuRig } from "../../agent/rig/qemurig.ts";
import { SimRig } from "../../agent/rig/simrig.ts";

const project = path.join(__dirname, "../../..");
const rigs: Rigs = {
  sim: (logFolder) => new SimRig(logFolder),
  qemu: (logFolder) => new QemuRig(project, logFolder),
};
rigProgram(process.argv.slice(2), rigs, path.join(project, ".cache/rig")).then((status) => {
  process.exitCode = status;
});
