/** What kenneld finds on its card: watchdog, TEE, disk, or what stands in for them. */
import { join } from "node:path";
import { native } from "../native/index.ts";
import type { AgentIo } from "./agentio.ts";
import type { AgentConfig, Settings } from "./config.ts";
import { exitCodes, Failure } from "./errors.ts";
import { bootHolderOf } from "./io/bootholder.ts";
import { RealClock } from "./io/clock.ts";
import { DeviceTee } from "./io/devicetee.ts";
import { type Disk, FileDisk } from "./io/disk.ts";
import type { HelperLives } from "./io/helperlives.ts";
import { findWatchdogs, handedOverFirst, LinuxWatchdog } from "./io/linuxwatchdog.ts";
import { LinuxPlatform } from "./io/platform.ts";
import { runProgram } from "./io/programs.ts";
import { type ServiceManager, watchdogName } from "./io/supervisor.ts";
import type { Tee } from "./io/tee.ts";
import { launchHelper } from "./io/teeprocess.ts";
import { SupplicantWatch } from "./io/teesupplicant.ts";
import type { Watchdog } from "./io/watchdog.ts";
import { realRoots } from "./io/watchdogfacts.ts";
import { type Hook, parseHook } from "./machines/boothook.ts";
import { SimDisk } from "./sim/disk.ts";
import { Random } from "./sim/random.ts";
import { SimTee } from "./sim/tee.ts";
import { teeModel } from "./sim/teemodel.ts";
import { SimChip, SimWatchdog } from "./sim/watchdog.ts";
import { plainModel } from "./sim/watchdogmodels.ts";
import { deviceSettings } from "./teesettings.ts";
import { isTwinDevice, twinTee } from "./twindevice.ts";

/** Lines that a person reads on the card's own console. */
export type Log = (line: string) => void;

/** The device to guard with, chosen by rule or named; or why there is none. */
export function findWatchdog(
  settings: Settings,
  config: AgentConfig,
  clock: RealClock,
  manager: ServiceManager,
  log: Log,
): FoundWatchdog {
  if (config.watchdogPolicy === "simulate") return simulated(clock, log);
  try {
    const device = settings.watchdog?.device;
    const { sys, dev, proc } = realRoots;
    const kept = manager.inherited.filter(({ name }) => name === watchdogName);
    const fds = kept.map(({ fd }) => fd);
    const [watchdog] =
      device === undefined
        ? handedOverFirst(findWatchdogs(sys, dev, proc, manager), fds)
        : [new LinuxWatchdog(device, realRoots, manager)];
    if (watchdog !== undefined) {
      watchdog.bootHolder = bootHolderOf(watchdog.path, whatHookLeft());
      native(); // a device that nothing here can drive is no device
      return { watchdog, problem: "" };
    }
    return fallBack("no watchdog device found under /sys/class/watchdog", config, clock, log);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return fallBack(error.message, config, clock, log);
  }
}

function whatHookLeft(): Hook | null {
  const hook = parseHook(new LinuxPlatform(null).bootHook() ?? "");
  return typeof hook === "string" ? null : hook;
}

interface FoundWatchdog {
  watchdog: Watchdog | null;
  problem: string;
}

/**
 * What the agent before us left open is adopted; what else was handed over is closed and told. The
 * keeper knows names alone: it forgets all of one, and gets back what is in use.
 */
export function takeOver(manager: ServiceManager, watchdog: Watchdog | null): void {
  let isStale = false;
  for (const inherited of manager.inherited) {
    const { name, fd } = inherited;
    try {
      if (name !== watchdogName) manager.close(inherited, "its name is not known");
      else if (watchdog instanceof LinuxWatchdog && !watchdog.isOpen) watchdog.adopt(fd);
      else {
        isStale = true;
        const isReal = watchdog instanceof LinuxWatchdog;
        manager.close(inherited, isReal ? "it is the second one" : "no real watchdog");
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      manager.refuse(inherited, error.message);
      isStale = true;
    }
  }
  if (isStale) manager.forget();
  if (isStale && watchdog instanceof LinuxWatchdog && watchdog.isOpen) watchdog.keepAgain();
}

/** `prefer` goes on with the simulated watchdog, and says so; `require` does not go on. */
function fallBack(problem: string, config: AgentConfig, clock: RealClock, log: Log): FoundWatchdog {
  if (config.watchdogPolicy === "require") return { watchdog: null, problem };
  log(`${problem}: going on with a simulated watchdog, which protects nothing`);
  return simulated(clock, log);
}

function simulated(clock: RealClock, log: Log): FoundWatchdog {
  const chip = new SimChip(clock, plainModel, () => {
    log("the simulated watchdog expired: a real one would have reset the card now");
    process.exit(exitCodes.verdict);
  });
  return { watchdog: new SimWatchdog(chip, clock), problem: "" };
}

/** The TEE that `tee.policy` asks for. A real one is called when it or a service is named. */
export function findTee(
  settings: Settings,
  config: AgentConfig,
  clock: RealClock,
  lives: HelperLives | null,
): Tee {
  const started = (pid: number): void => lives?.note(pid);
  const isProcess = isTwinDevice(settings.tee?.device);
  if (config.teePolicy === "simulate" && !isProcess) {
    const model = teeModel(config.tee.services.map(({ name }) => name));
    return new SimTee(clock, new Random(process.pid), model);
  }
  if (isProcess) return twinTee(settings.tee ?? {}, config, clock, started);
  const { supplicantName, ...device } = deviceSettings(settings.tee ?? {});
  const isRequired = config.teePolicy === "require";
  const tee = new DeviceTee({
    ...device,
    clock,
    launch: launchHelper(join(__dirname, "kennel-tee.cjs"), device.device, started),
    runProgram,
    supplicant: new SupplicantWatch(supplicantName),
    isWanted: isRequired || device.services.size > 0 || settings.tee?.device !== undefined,
  });
  const facts = tee.facts();
  if (isRequired && !facts.usable) {
    throw new Failure("tee.missing", `a TEE is required: ${facts.because}`);
  }
  return tee;
}

/** A folder that cannot be used degrades the journal; it does not stop the guard. */
export function openDisk(folder: string, log: Log): Disk {
  try {
    return new FileDisk(folder);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    log(`${error.message}. Nothing will survive a reset; see --state`);
    const disk = new SimDisk(new Random(0));
    disk.faults = { readOnly: true };
    return disk;
  }
}

/** Faults of a lab image: what a rig may do to the real process. */
export function labFaults(tee: Tee): AgentIo["faults"] {
  const faults: Record<string, (forMs: number) => void> = {
    hang: (forMs) => {
      const clock = new RealClock();
      const endMs = clock.now() + (forMs === 0 ? Infinity : forMs);
      while (clock.now() < endMs);
    },
    kill: () => process.kill(process.pid, "SIGKILL"),
    stop: () => process.kill(process.pid, "SIGSTOP"),
  };
  if (tee instanceof SimTee) faults.tee_crash = () => tee.inject("core_panic");
  return faults;
}
