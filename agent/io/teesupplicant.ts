/**
 * The process that serves the TEE's storage. Its death looks like a lack of memory to whoever was
 * calling, so who it is at a call's start is compared with who it is at its end.
 */
import { readdirSync, readFileSync } from "node:fs";

/** Process id and start time: ids come again. null = nobody has been seen. */
export type SupplicantId = string | null;

export class SupplicantWatch {
  private readonly name: string;
  private readonly proc: string;
  /** Undefined until somebody asks: most cards never do. */
  private known: SupplicantId | undefined;

  /** `name` as the kernel has it, at most 15 characters. */
  constructor(name: string, proc = "/proc") {
    this.name = name;
    this.proc = proc;
  }

  /** Who it is now; looks through all processes only when the known one is gone. */
  now(): SupplicantId {
    const { known } = this;
    if (typeof known === "string" && this.idOf(known.split("@")[0] ?? "") === known) return known;
    this.known = this.find();
    return this.known;
  }

  /**
   * As `now`, for the start of every call: while none is known it does not look for one, which
   * would cost a pass through all processes.
   */
  atStart(): SupplicantId {
    return this.known === null ? null : this.now();
  }

  private find(): SupplicantId {
    for (const pid of this.processes()) {
      const id = this.idOf(pid);
      if (id !== null) return id;
    }
    return null;
  }

  private processes(): string[] {
    try {
      return readdirSync(this.proc).filter((name) => /^\d+$/.test(name));
    } catch {
      return [];
    }
  }

  /** `pid@start` of a living supplicant; null for any other process. */
  private idOf(pid: string): SupplicantId {
    try {
      const stat = readFileSync(`${this.proc}/${pid}/stat`, "latin1");
      const end = stat.lastIndexOf(")");
      if (stat.slice(stat.indexOf("(") + 1, end) !== this.name) return null;
      const fields = stat.slice(end + 2).split(" ");
      // proc(5): field 3 is the state, field 22 the start time.
      return fields[0] === "Z" ? null : `${pid}@${fields[19]}`;
    } catch {
      return null;
    }
  }
}
