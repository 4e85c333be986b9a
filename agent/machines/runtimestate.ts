/** What the runtime watchdog's machine is made of; see runtime.ts. */
import type { Code } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Judgement, Via } from "./criteria.ts";
import type { RuntimeConfig } from "./runtimeconfig.ts";
import type { Slack } from "./slack.ts";
import type { Task } from "./tasks.ts";

/** What every state carries. */
export interface Guard {
  readonly config: RuntimeConfig;
  readonly judgement: Judgement;
  readonly tasks: readonly Task[];
}

/** What the states with a running countdown carry. */
export interface Running extends Guard {
  readonly via: Via;
  /** T1 as granted. */
  readonly hardwareMs: number;
  readonly promiseMs: number;
  readonly checkedInMs: number;
  /** checkedInMs + T2: when the reset is promised. */
  readonly deadlineMs: number;
  readonly slack: Slack;
}

export type State =
  | ({ kind: "idle" } & Guard)
  | ({ kind: "arming"; promiseMs: number } & Guard)
  | ({ kind: "armed" } & Running)
  | ({ kind: "holding"; untilMs: number; by: string } & Running)
  | ({
      kind: "withheld";
      culprit: string;
      sinceMs: number;
      final: boolean;
      warned: boolean;
    } & Running)
  | ({ kind: "unprotected"; because: string } & Guard);

export type Event =
  | { kind: "arm"; atMs: number; promiseMs: number }
  | { kind: "opened"; atMs: number; grantedMs: number; askedMs: number }
  | { kind: "failed"; atMs: number; operation: Operation; problem: string }
  | { kind: "task"; atMs: number; name: string; everyMs: number }
  | { kind: "check_in"; atMs: number; task: string }
  | { kind: "tick"; atMs: number }
  | { kind: "hold"; atMs: number; forMs: number; by: string }
  | { kind: "withhold"; atMs: number; culprit: string }
  | { kind: "disarm"; atMs: number; by: string }
  | { kind: "disarmed"; atMs: number; by: string }
  /** These settings hold from now on. */
  | { kind: "configure"; atMs: number; preResetMs: number; holdMaxMs: number };

/** What can go wrong with a device, as events name it. */
export type Operation = "open" | "serve" | "refresh" | "disarm";

export type Effect =
  /** Open the device if it is not, ask it for `hardwareMs`, answer with `opened` or `failed`. */
  | { kind: "open"; hardwareMs: number }
  | { kind: "serve"; hardwareMs: number; promiseMs: number }
  | { kind: "refresh" }
  | { kind: "stop"; by: string }
  | { kind: "note_cause"; culprit: string }
  /** The last chance before the reset: keep what is known of it. */
  | { kind: "last_words"; culprit: string; checkedInMs: number; deadlineMs: number }
  | { kind: "clear_cause" }
  | { kind: "report"; event: AgentEvent }
  | { kind: "refuse"; code: Code; message: string };
