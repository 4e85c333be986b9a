/** Everything of the world that the agent touches: each the real thing or its twin. */
import type { Authority } from "./io/authority.ts";
import type { BootControl } from "./io/bootcontrol.ts";
import type { Clock } from "./io/clock.ts";
import type { Sha256 } from "./io/digest.ts";
import type { Disk } from "./io/disk.ts";
import type { Platform } from "./io/platform.ts";
import type { RunProgram } from "./io/program.ts";
import type { Supervisor } from "./io/supervisor.ts";
import type { Tee } from "./io/tee.ts";
import type { Watchdog } from "./io/watchdog.ts";
import type { Finding } from "./machines/doctor.ts";

export interface AgentIo {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly platform: Platform;
  /** null when there is none; `watchdogProblem` then says why. */
  readonly watchdog: Watchdog | null;
  readonly watchdogProblem: string;
  readonly tee: Tee;
  readonly supervisor: Supervisor;
  /** What it rests on who may command. */
  readonly authority: Authority;
  /** Boot controls of the platform; none on most machines. */
  readonly controls: readonly BootControl[];
  readonly runProgram: RunProgram;
  readonly sha256: Sha256;
  /** Who else wants the watchdog, as it stands now. */
  readonly examine: () => readonly Finding[];
  /** Faults that can be injected on a lab image or a simulated card; empty elsewhere. */
  readonly faults: { readonly [name: string]: (forMs: number) => void };
  /** Lines that cannot be expected to survive this process are written here. */
  readonly log: (line: string) => void;
}
