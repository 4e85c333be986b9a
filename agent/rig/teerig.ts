/** The bench under a story of the TEE: a card with a secure world or without one. */
import type { Rig } from "./rig.ts";

/** What a command typed on the card's console came to. */
export interface Ran {
  readonly status: number;
  /** What it printed, between other things that the console said meanwhile. */
  readonly text: string;
}

/** What the program that calls the TEE said: one of facts, state, event or answer each. */
export interface TeeSaid {
  readonly id?: number;
  readonly tookMs?: number;
  readonly answer?: Readonly<Record<string, unknown>>;
  readonly state?: string;
  readonly event?: { readonly kind: string } & Readonly<Record<string, unknown>>;
  readonly facts?: Readonly<Record<string, unknown>>;
  readonly withheld?: string;
}

/** A request to that program: a call of a service, or an operation of the device. */
export type TeeAsk =
  | {
      readonly service: string;
      readonly command: number;
      readonly class: "idempotent" | "keyed" | "once";
      /** Hex digits. */
      readonly input?: string;
    }
  | { readonly operation: Readonly<Record<string, unknown>> };

export interface TeeRig extends Rig {
  /** A card with a TEE or without; its driver is loaded and the supplicant runs where wanted. */
  card(wanted: { secureWorld: boolean; driver: boolean; supplicant: boolean }): Promise<void>;
  /** Types a command on the card's console, and waits for its end. */
  run(command: string, withinMs?: number): Promise<Ran>;
  /**
   * Starts the agent with these options besides its line, and waits until it is ready; AgentEnded
   * when it gives up.
   */
  agent(options: string, settings?: object): Promise<void>;
  /** Starts the program that calls the TEE, with settings as of a settings file's `tee`. */
  caller(settings: object): Promise<void>;
  /** Everything that it said, oldest first. */
  readonly said: readonly TeeSaid[];
  /** Sends it a request and does not wait; gives the request's number. */
  send(ask: TeeAsk): number;
  answer(id: number, withinMs?: number): Promise<TeeSaid>;
  /** Has the TEE OS go astray at its next moment on the processor: it panics. */
  panicTeeOs(): Promise<void>;
  /** What the secure world printed lately. */
  secureWords(): Promise<string>;
}
