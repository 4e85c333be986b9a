/** What the agent asks of the machine it runs on, beyond its devices. */
export interface Platform {
  /** Changes with every boot of the card, not with a restart of the agent. */
  machineBootId(): string;
  /** Eight random hexadecimal digits, to keep boot ids apart when counters are lost. */
  randomId(): string;
  /** The hand-off record that firmware left, byte for byte; null when there is none. */
  handOff(): Uint8Array | null;
  /**
   * What the hardware or firmware says ended the previous boot; `unknown` when nobody can say.
   * The watchdog's own flag is read from the watchdog, not here.
   */
  resetCause(): "power" | "panic" | "unknown";
  /** Asks the operating system for an orderly reboot. Returns at once. */
  reboot(): void;
  /** Fields of `uname`, for SMP os info. */
  names(): { os: string; host: string; release: string; version: string; machine: string };
}
