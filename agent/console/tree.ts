/** The commands and options of `kennel`, and what each of them starts. */
import { Command, InvalidArgumentError } from "commander";
import { version } from "../../package.json" with { type: "json" };
import { history, timeline } from "./boot.ts";
import { listExits, showExits } from "./exits.ts";
import { echo, hello, reset } from "./hello.ts";
import { followReports, parseSince, reports } from "./reports.ts";
import { injectFault, rigFaults } from "./rig.ts";
import type { GlobalOptions, Run } from "./run.ts";
import { status } from "./status.ts";
import { teeCrash, teeStatus } from "./tee.ts";
import { wdtArm, wdtDisarm, wdtHold, wdtProbe, wdtStatus } from "./wdt.ts";
