/** The bench under a story of a boot: a card that is powered on through its own firmware. */
import type { Stopped, StoppedPart } from "./processor.ts";
import type { Rig } from "./rig.ts";

/**
 * What is wrong with the boot in slot a. Slot b is well, except where a story says otherwise.
 * In firmware: a step of the load hangs, also at the highest task priority, or takes its time; the
 * configuration or the kernel is missing or damaged. From the hand-off on: the kernel spins at
 * once, panics, or never loads a driver; the initramfs hangs; the agent is never started, or dies
 * before it has opened the watchdog; the hand-off record is damaged on its way to it; the
 * firmware's store of variables has no room left.
 */
export type BootFault =
  | "load_hangs"
  | "load_hangs_high"
  | "load_is_slow"
  | "no_configuration"
  | "damaged_configuration"
  | "no_kernel"
  | "damaged_kernel"
  | "kernel_spins"
  | "kernel_panics"
  | "no_driver"
  | "initramfs_hangs"
  | "no_agent"
  | "agent_dies"
  | "damaged_record"
  | "full_store";

/** Times are whole seconds, in ms. */
export interface BootSettings {
  /** What the loader arms with. */
  readonly timeoutMs: number;
  readonly fault?: BootFault;
  /** Failed boots of a slot before the other one is taken; 1 when absent. */
  readonly attempts?: number;
  /** The watchdog under the card; i6300esb when absent. */
  readonly device?: "i6300esb" | "iTCO_wdt" | "none";
  /** The hardware is locked at hand-off (i6300esb). */
  readonly lock?: boolean;
  /** How long the hook gives the agent; 20 s when absent. */
  readonly adoptWithinMs?: number;
  /** What the loader does without a watchdog; `prefer` when absent. */
  readonly policy?: "prefer" | "require";
  /** How long the loader waits for a key, and how long a person may hold the boot. */
  readonly menu?: { readonly waitMs: number; readonly holdMs: number };
  /** The driver is loaded as by a kernel that knows nothing of all this. */
  readonly withoutHook?: boolean;
}

export interface BootRig extends Rig {
  /**
   * The latest refresh by the firmware of the boot that was running at `beforeMs`, as far as the
   * rig can tell, on its clock.
   */
  firmwareRefreshMs(beforeMs: number): number | undefined;
  /** Powers a new card on, and waits for nothing. */
  boot(settings: BootSettings): Promise<void>;
  /** Pulls the plug, changes what is on the card's partition, and powers it on again. */
  change(settings: BootSettings): Promise<void>;
  /**
   * Has the processor stand still where it is, now, while the watchdog goes on; null when there
   * was no program to stop.
   */
  stopProcessor(part: StoppedPart): Promise<Stopped | null>;
  /** Presses a key at the loader. */
  press(key: string): void;
}
