/**
 * Which helper processes of earlier agents are still there. Linux ends a process only when its call
 * inside the TEE has ended: as long as one lives, what it was sent may still have its effect. Kept
 * in a file beside the socket, which a reboot of the machine empties.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";

interface Life {
  readonly pid: string;
  /** Ticks from the machine's boot to its start (proc(5), field 22): a pid comes again. */
  readonly started: string;
}

/** Helpers of earlier agents that are looked at; more than that were never lost at once. */
const livesMax = 32;

export class HelperLives {
  private readonly path: string;
  private readonly proc: string;
  private earlier: Life[];

  constructor(path: string, proc = "/proc") {
    this.path = path;
    this.proc = proc;
    // The first helper may start before anybody has made the socket's folder.
    this.attempt(() => makeFolder(dirname(path)));
    this.earlier = this.read().filter((life) => this.isAlive(life));
    this.attempt(() => writeFileSync(path, this.earlier.map(lineOf).join(""), { mode: 0o600 }));
  }

  /** A helper of ours was started: the next agent may have to wait for its end. */
  note(pid: number): void {
    const life = this.lifeOf(String(pid));
    if (life === null) return;
    this.attempt(() => appendFileSync(this.path, lineOf(life), { mode: 0o600 }));
  }

  /** What an earlier agent sent into the TEE may not be over. */
  get isAnyLeft(): boolean {
    this.earlier = this.earlier.filter((life) => this.isAlive(life));
    return this.earlier.length > 0;
  }

  private read(): Life[] {
    let text = "";
    this.attempt(() => {
      text = readFileSync(this.path, "latin1");
    });
    return text
      .split("\n")
      .map((line) => /^(\d+) (\d+)$/.exec(line))
      .flatMap((found) =>
        found === null ? [] : [{ pid: found[1] ?? "", started: found[2] ?? "" }],
      )
      .slice(-livesMax);
  }

  /** A dead leader whose last thread is inside the TEE still shows: that thread is looked for. */
  private isAlive({ pid, started }: Life): boolean {
    if (this.lifeOf(pid)?.started !== started) return false;
    let isRunning = false;
    this.attempt(() => {
      const tasks = readdirSync(`${this.proc}/${pid}/task`);
      isRunning = tasks.some((task) => {
        const [state] = fieldsOf(`${this.proc}/${pid}/task/${task}/stat`);
        return state !== "Z" && state !== "X";
      });
    });
    return isRunning;
  }

  private lifeOf(pid: string): Life | null {
    let started = "";
    this.attempt(() => {
      // Counted from the state on, which is field 3.
      started = fieldsOf(`${this.proc}/${pid}/stat`)[19] ?? "";
    });
    return started === "" ? null : { pid, started };
  }

  /** What cannot be read is not there; what cannot be written, the next agent does not know. */
  private attempt(act: () => void): void {
    try {
      act();
    } catch {
      // See above.
    }
  }
}

/** One level is made and no more: /run is there, and what is not is a slip of the pen. */
export function makeFolder(folder: string): void {
  if (!existsSync(folder)) mkdirSync(folder, { mode: 0o755 });
}

/** What follows the name, which may hold anything, also brackets. */
function fieldsOf(path: string): string[] {
  const stat = readFileSync(path, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function lineOf({ pid, started }: Life): string {
  return `${pid} ${started}\n`;
}
