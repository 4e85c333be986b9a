/** `npm run rig`: stories on the rigs that this project has, lockstep, sweeps and campaigns. */
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../../agent/errors.ts";
import { campaignProgram } from "../../agent/rig/campaigns/campaign.ts";
import { HostileCampaign } from "../../agent/rig/campaigns/hostilecampaign.ts";
import { LinkCampaign } from "../../agent/rig/campaigns/link.ts";
import { TeeCampaign } from "../../agent/rig/campaigns/tee.ts";
import { runOrFail } from "../../agent/rig/command.ts";
import { addonPath } from "../../agent/rig/guest.ts";
import { lockstepProgram } from "../../agent/rig/lockstep/program.ts";
import { arm64, type Machine, pc } from "../../agent/rig/machines.ts";
import { OpteeRig } from "../../agent/rig/opteerig.ts";
import { type Benches, bench, rigProgram } from "../../agent/rig/program.ts";
import { QemuRig } from "../../agent/rig/qemurig.ts";
import { fetchSecureParts } from "../../agent/rig/secureworld.ts";
import { SimRig } from "../../agent/rig/simrig.ts";
import { boots, firstBoots } from "../../agent/rig/stories/boots.ts";
import { opteeStories } from "../../agent/rig/stories/optee.ts";
import { sweeps } from "../../agent/rig/stories/sweeps.ts";
import { sweepProgram } from "../../agent/rig/sweep/program.ts";
import { stories } from "../../agent/rig/tell.ts";
import { UefiRig } from "../../agent/rig/uefirig.ts";

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
/** The boot half is compiled for every run: that takes seconds, and it is never an old one. */
const withFirmware = (machine: Machine) => {
  const boot = path.join(project, ".build/boot");
  const build = async (): Promise<void> => {
    await compileAddon(machine);
    const options = { deadlineMs: buildMs, cwd: project };
    await runOrFail(process.execPath, ["boot/build.mjs", "--into", boot], options);
  };
  let built: Promise<void> | null = null;
  return async (logs: string): Promise<UefiRig> => {
    built ??= build();
    await built;
    return new UefiRig(machine, { project, logs, boot });
  };
};

/** Where the secure world cannot be had, its stories are skipped; the others are told. */
const withSecureWorld = async (logs: string): Promise<OpteeRig> => {
  await compileAddon(arm64);
  const parts = await fetchSecureParts(path.join(project, ".cache/guest"), arm64).catch(
    (error: unknown) => {
      if (error instanceof Failure && error.code.startsWith("rig.")) return error.message;
      throw error;
    },
  );
  return new OpteeRig(arm64, { project, logs }, parts);
};

const benches: Benches = {
  sim: bench((logFolder) => new SimRig(logFolder), stories),
  [pc.name]: bench(emulated(pc), stories),
  [arm64.name]: bench(emulated(arm64), stories),
  "qemu-optee": bench(withSecureWorld, opteeStories),
  "qemu-uefi": bench(withFirmware(pc), [...boots, ...sweeps]),
  "qemu-uefi-arm64": bench(withFirmware(arm64), [...firstBoots, ...sweeps.slice(0, 1)]),
};
const [verb, ...rest] = process.argv.slice(2);
const logs = path.join(project, ".cache/rig");
const sweepRigs = {
  "qemu-uefi": withFirmware(pc),
  "qemu-uefi-arm64": withFirmware(arm64),
};
const programs: Readonly<Record<string, () => Promise<number>>> = {
  lockstep: () => lockstepProgram(rest, project),
  sweep: () => sweepProgram(rest, sweepRigs, logs),
  campaign: () => {
    const tee = new TeeCampaign(path.join(project, "dist"));
    const [link, hostile] = [new LinkCampaign(), new HostileCampaign()];
    return campaignProgram(rest, { tee, link, hostile });
  },
};
const done = programs[verb ?? ""]?.() ?? rigProgram(process.argv.slice(2), benches, logs);
done.then((status) => {
  process.exitCode = status;
});
