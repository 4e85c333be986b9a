/** `npm run rig`: stories on the rigs that this project has. */
import path from "node:path";
import { rigProgram } from "../../agent/rig/program.ts";
import { SimRig } from "../../agent/rig/simrig.ts";

const logs = path.join(__dirname, "../../..", ".cache/rig");
rigProgram(process.argv.slice(2), { sim: (logFolder) => new SimRig(logFolder) }, logs).then(
  (status) => {
    process.exitCode = status;
  },
);
