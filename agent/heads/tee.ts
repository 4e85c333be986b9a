/** The third head: the TEE. First form: a TEE that is absent. */
import type { TeeState } from "../wire/commands.ts";

export class TeeHead {
  readonly dueMs = Infinity;
  start(): void {}
  tick(_nowMs: number): void {}
  recover(): void {}
  status(): TeeState {
    return {
      state: "absent",
      simulated: true,
      epoch: 0,
      crashes: 0,
      restarts_in_window: 0,
      in_flight: 0,
      powers: [],
      sessions: [],
      quarantined: [],
    };
  }
  crashes(): { crashes: [] } {
    return { crashes: [] };
  }
}
