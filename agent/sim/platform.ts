/** What a simulated machine says of itself. */
import type { Platform } from "../io/platform.ts";
import type { SimClock } from "./clock.ts";

/** The parts of a platform that no story changes. */
export function plainPlatform(
  host: string,
  clock: SimClock,
): Pick<Platform, "names" | "threads" | "setDate" | "commandLine"> {
  return {
    names: () => ({
      os: "Linux",
      host,
      release: "0-sim",
      version: "simulated",
      machine: "sim",
      platform: "simulated card",
    }),
    threads: () => [
      { name: "kenneld", id: 1, priority: 120, state: 1, ticks: 0, contextSwitches: 0 },
    ],
    setDate: (ms) => {
      clock.stepWall(ms - clock.wallMs());
      return null;
    },
    commandLine: () => "",
  };
}
