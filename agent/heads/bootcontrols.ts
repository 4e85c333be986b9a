/**
 * Performs machines/bootcontrol.ts on the boot controls that were found, and reads back each write.
 */
import { Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { BootControl } from "../io/bootcontrol.ts";
import {
  closingPlan,
  confirmPlan,
  describeControl,
  unproven,
  type Wish,
  type Write,
} from "../machines/bootcontrol.ts";

/** Tries until a control that does not do as it is told is left as it is, and told of. */
export const controlTriesMax = 3;
/** Between two tries: firmware stores may be busy for a moment. */
export const controlRetryMs = 1000;

export class BootControls {
  private readonly controls: readonly BootControl[];
  private readonly emit: (event: AgentEvent) => void;
  private readonly told = new Set<string>();

  constructor(controls: readonly BootControl[], emit: (event: AgentEvent) => void) {
    this.controls = controls;
    this.emit = emit;
  }

  /** Makes this boot count as good wherever it does not yet; false when something is left to do. */
  confirm(wish: Wish): boolean {
    return this.controls
      .map((control) => this.perform(control, confirmPlan(control.kind, control.read(), wish)))
      .every((done) => done);
  }

  /** A reset was commanded: it is not to count as a failure of this boot. */
  closing(): void {
    for (const control of this.controls) {
      this.perform(control, closingPlan(control.kind, control.read()));
    }
  }

  /** `bluefield: watchdog after reset disabled, second reset none`, one per control. */
  describe(): string[] {
    return this.controls.map((control) => {
      return `${control.kind}: ${describeControl(control.kind, control.read())}`;
    });
  }

  private perform(control: BootControl, plan: readonly Write[]): boolean {
    for (const write of plan) {
      const { attribute, value } = write;
      const was = control.read()[attribute] ?? "";
      const problem = this.attempt(() => control.write(attribute, value));
      const wrong = problem ?? unproven(write, control.read());
      if (wrong !== null) {
        this.tell(control, attribute, wrong);
        return false;
      }
      this.emit({ kind: "boot:control", control: control.kind, attribute, was, value });
    }
    return true;
  }

  private attempt(act: () => void): string | null {
    try {
      act();
      return null;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return error.message;
    }
  }

  /** Each problem once: the same one comes back with every try. */
  private tell(control: BootControl, attribute: string, problem: string): void {
    if (this.told.has(problem)) return;
    this.told.add(problem);
    this.emit({ kind: "boot:control_refused", control: control.kind, attribute, problem });
  }
}
