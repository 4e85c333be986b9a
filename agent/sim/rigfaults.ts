/** What a rig can break of a simulated card, over its line: by name, on the card's own clock. */
import type { World } from "./world.ts";

export function rigFaults(world: World): Record<string, (forMs: number) => void> {
  const { tee, config } = world;
  return {
    hang: (forMs) => world.hangAgent(forMs === 0 ? Infinity : forMs),
    kill: () => world.killAgent(),
    kernel_hang: () => world.hangKernel(),
    task_stuck: () => {
      for (const { name } of config.tasks) world.stuckTasks.add(name);
    },
    tee_crash: () => tee.inject("core_panic"),
    tee_panic: () => tee.inject("panic", config.tee.services[0]?.name),
    tee_restart_hangs: () => {
      tee.faults = { ...tee.faults, restartHangs: true };
      tee.inject("core_panic");
    },
    power_cycle: () => {
      world.power(false);
      world.power(true);
    },
    boot_hang_os_load: () => hangBoots(world, "os_load", "load_kernel"),
    boot_hang_hand_off: () => hangBoots(world, "hand_off", "kernel_init"),
    boot_heal: () => {
      for (const slot of ["a", "b", "safe"] as const) world.bootFaults[slot] = {};
    },
  };
}

/** Boots of the running slot hang from now on. */
function hangBoots(world: World, stage: "os_load" | "hand_off", step: string): void {
  const slot = world.agent?.boot.entry?.slot ?? "a";
  world.bootFaults[slot] = { hang: { stage, step } };
}
