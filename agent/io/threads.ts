/** The threads of this process, as Linux counts them. Source: proc(5). */
import { readdirSync, readFileSync } from "node:fs";

export interface Thread {
  readonly name: string;
  readonly id: number;
  /** As the kernel orders them: 0 is the most urgent, 99 the least of real time, 120 is usual. */
  readonly priority: number;
  /** The letter's place in `RSDTtZXI`, from 0 (running) on. */
  readonly state: number;
  /** Clock ticks (1/100 s) on a processor. */
  readonly ticks: number;
  readonly contextSwitches: number;
}

const states = "RSDTtZXI";
/** What the kernel counts from -100 on. */
const priorityBase = 100;

/** Empty where /proc cannot be read; a thread that ends meanwhile is left out. */
export function ownThreads(folder = "/proc/self/task"): Thread[] {
  const ids = namesIn(folder).map(Number);
  return ids.sort((left, right) => left - right).flatMap((id) => threadOf(folder, id));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function threadOf(folder: string, id: number): Thread[] {
  try {
    const stat = /\((.*)\) (\S) (.*)/s.exec(readFileSync(`${folder}/${id}/stat`, "utf8"));
    const status = readFileSync(`${folder}/${id}/status`, "utf8");
    if (stat === null) return [];
    // Fields are numbered from 1 in proc(5); what follows the state begins with the fourth.
    const field = (number: number): number => Number((stat[3] ?? "").split(" ")[number - 4]);
    const switches = [...status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s*(\d+)/gm)];
    return [
      {
        name: stat[1] ?? "",
        id,
        priority: Math.max(field(18) + priorityBase, 0),
        state: Math.max(states.indexOf(stat[2] ?? ""), 0),
        ticks: field(14) + field(15),
        contextSwitches: switches.reduce((sum, [, count]) => sum + Number(count), 0),
      },
    ];
  } catch {
    return [];
  }
}
