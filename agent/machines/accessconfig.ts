/** Who may do what to this card, as it is set up. Pure. */

export interface AccessConfig {
  /** `keys`: changing anything takes a signature by an authorised key. `open`: anybody may. */
  readonly policy: "keys" | "open";
  /** `keys`: reading takes a signature as well, but for what a console must know to sign. */
  readonly read: "open" | "keys";
}

/** Changes need a key unless that was chosen otherwise; reading is open unless closed. */
export function accessConfig(settings: Partial<AccessConfig> = {}): AccessConfig {
  const { policy = "keys", read = "open" } = settings;
  return { policy, read };
}
