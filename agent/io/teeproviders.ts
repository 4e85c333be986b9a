/**
 * What on this platform can restart parts of the TEE, each by a configured program or file. The
 * powers are declared, never implied: reloading the driver is none, since it does not restart the
 * TEE. A driver is never unbound through sysfs: with a session open that never returns (measured).
 */
import type { Clock } from "./clock.ts";
import type { RunProgram } from "./program.ts";
import type { RestartPower } from "./tee.ts";

type Command = readonly string[];

export interface TeeProviders {
  /** Stops and starts tee-supplicant. */
  readonly supplicant?: { readonly stop: Command; readonly start: Command };
  /** Unloads and loads the driver. Does not restart the TEE. */
  readonly driver?: { readonly unload: Command; readonly load: Command };
  /** Makes firmware restart the TEE OS: a program, or a file in sysfs and what is written to it. */
  readonly firmware?:
    | { readonly command: Command }
    | { readonly sysfs: string; readonly value: string };
  /** Makes firmware save and restore the hardware status; `save` prints the names of it. */
  readonly hardware?: { readonly save: Command; readonly restore: Command };
}

/** A program that takes longer is ended, and has failed: ten times a slow restart (1.1 s). */
const programMaxMs = 10_000;

/** Writes in a process of its own: the kernel may take its time, or never return. */
const writer = "require('node:fs').writeFileSync(process.argv[1], process.argv[2])";

/** The powers that these providers give, a session's reopening included. */
export function powersOf({ supplicant, firmware }: TeeProviders): readonly RestartPower[] {
  return [
    "session",
    ...(supplicant === undefined ? [] : ["supplicant" as const]),
    ...(firmware === undefined ? [] : ["tee_os" as const]),
  ];
}

/** The powers in words, those that are lacking among them. */
export function describeProviders(providers: TeeProviders): string {
  const { supplicant, driver, firmware, hardware } = providers;
  const say = (has: unknown, what: string): string =>
    has === undefined ? `no ${what}` : `${what}`;
  return [
    say(supplicant, "supplicant restart"),
    driver === undefined ? "no driver reload" : "driver reload (does not restart the TEE)",
    say(firmware, "firmware restart of the TEE OS"),
    hardware === undefined ? "hardware status absent" : "hardware status by firmware",
  ].join(", ");
}

/** Runs one program of a provider; `done` gets its first line, or null when it failed. */
export type RunStep = (command: Command, done: (said: string | null) => void) => void;

/** A runner with a deadline. `problem` is told why a program failed. */
export function stepRunner(
  clock: Clock,
  run: RunProgram,
  problem: (because: string) => void,
): RunStep {
  return (command, done) => {
    let isOver = false;
    const end = (said: string | null, because: string): void => {
      if (isOver) return;
      isOver = true;
      cancel();
      if (said === null) problem(`${command[0]}: ${because}`);
      done(said);
    };
    const stop = run(command, ({ ok, value }) => end(ok ? value : null, value));
    const cancel = clock.at(clock.now() + programMaxMs, () => {
      stop();
      end(null, `no end within ${programMaxMs} ms`);
    });
  };
}

/** The program that makes firmware restart the TEE OS. */
export function firmwareCommand(firmware: NonNullable<TeeProviders["firmware"]>): Command {
  if ("command" in firmware) return firmware.command;
  return [process.execPath, "-e", writer, firmware.sysfs, firmware.value];
}
