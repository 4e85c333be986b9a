/** `--tee-device sim:[FOLDER]`: the simulated TEE whose TEE OS is a process of its own. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentConfig } from "./config.ts";
import type { Clock } from "./io/clock.ts";
import { DeviceTee, type TeeSetup } from "./io/devicetee.ts";
import { runProgram } from "./io/programs.ts";
import { launchHelper } from "./io/teeprocess.ts";
import { devicePath, twinPrefix } from "./io/twindriver.ts";
import { TwinProcess, TwinSupplicant, twinProviders } from "./io/twinprovider.ts";
import { simCommand } from "./sim/teemodel.ts";
import { bytesOf, deviceList, simUuid } from "./sim/teetwin.ts";
import type { TeeSettings } from "./teesettings.ts";

export function isTwinDevice(device: string | undefined): boolean {
  return device?.startsWith(twinPrefix) === true;
}

/** The setup of a DeviceTee on this twin; `programs` has kennel-tee.cjs. */
export function twinSetup(
  twin: TwinProcess,
  services: readonly string[],
  clock: Clock,
  programs: string,
  started?: (pid: number) => void,
): TeeSetup {
  const { folder } = twin;
  const named = services.map((name) => {
    const uuid = bytesOf(simUuid(name));
    return [name, { uuid, login: 0, queryCommand: simCommand.query }] as const;
  });
  return {
    device: devicePath(folder),
    clock,
    launch: launchHelper(join(programs, "kennel-tee.cjs"), `${twinPrefix}${folder}`, started),
    runProgram: twin.runner(runProgram),
    services: new Map(named),
    canary: { uuid: bytesOf(deviceList.uuid), command: 0, outputBytes: 0 },
    providers: twinProviders,
    supplicant: new TwinSupplicant(folder),
    isWanted: true,
    simulated: true,
  };
}

/**
 * Uses the TEE OS that listens in FOLDER, or starts one; without a folder it has one to itself. It
 * ends with the agent that started it. Helpers wait for it, as for a TEE that takes its time.
 */
export function twinTee(
  settings: TeeSettings,
  config: AgentConfig,
  clock: Clock,
  started?: (pid: number) => void,
): DeviceTee {
  const asked = settings.device?.slice(twinPrefix.length) ?? "";
  const folder = asked === "" ? mkdtempSync(join(tmpdir(), "kennel-tee-")) : asked;
  const services = config.tee.services.map(({ name }) => name);
  const program = join(__dirname, "kennel-teetwin.cjs");
  const twin = new TwinProcess({ program, folder, services });
  const tee = new DeviceTee(twinSetup(twin, services, clock, __dirname, started));
  twin.start(() => undefined);
  return tee;
}
