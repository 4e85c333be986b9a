/**
 * What a platform's firmware lets Linux decide about the next boots: attributes with texts, as a
 * driver shows them. What they mean is decided in machines/bootcontrol.ts.
 */

/** Firmware variables of ours, NVIDIA BlueField, AMD Pensando, U-Boot's boot counter. */
export type ControlKind = "uefi" | "bluefield" | "pensando" | "uboot";

export interface BootControl {
  readonly kind: ControlKind;
  /** Where it was found, for people. */
  readonly path: string;
  /** Every attribute that is there, without blanks around it; empty where it cannot be read. */
  read(): Readonly<Record<string, string>>;
  /**
   * Failure `boot.control`. That it returned says little: some firmware takes a value and goes on
   * as before, so what was written is to be read back.
   */
  write(attribute: string, value: string): void;
}
