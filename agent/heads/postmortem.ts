/**
 * Writes crash records: what is known of a boot that ended badly, put together by the next start,
 * and of a crash of the TEE when it happens. The most telling comes first: the first 512 bytes
 * have cause, stage and culprit, so that a transfer that ends early was worth it.
 */
import type { AgentIo } from "../agentio.ts";
import type { CrashKind, CrashStore } from "../crashstore.ts";
import type { AgentEvent, EventRing } from "../events.ts";
import type { Ledger } from "../ledger.ts";
import type { Cause } from "../machines/bootrecord.ts";
import type { BootHead } from "./boot.ts";
import { eventsMax } from "./lastwords.ts";
import type { Resets } from "./resets.ts";
import type { TeeHead } from "./tee.ts";

/** What of the agent it asks. */
export interface Witnesses {
  readonly io: Pick<AgentIo, "clock" | "platform">;
  readonly ring: EventRing;
  readonly boot: BootHead;
  readonly tee: TeeHead;
  readonly ledger: Ledger;
  readonly resets: Resets;
  readonly crashes: CrashStore;
}

type Told<K extends AgentEvent["kind"]> = Extract<AgentEvent, { kind: K }>;

/** Ends of a boot that leave a record; the others were meant. */
const aboutOf: { readonly [C in Cause]: CrashKind | null } = {
  watchdog: "reset",
  panic: "reset",
  power: "lost",
  unknown: "lost",
  commanded: null,
  clean: null,
  agent_restart: null,
};

/** Crashes waiting to be written: one turn of the agent makes few. */
const waitingMax = 16;
/** So much of a name, a culprit or an event's data stands in a record. */
const cellMax = 120;
/** Of the kernel's log; with 64 events it fits a record. */
const kernelTextMax = 49_152;

export class PostMortem {
  private readonly agent: Witnesses;
  private readonly emit: (event: AgentEvent) => void;
  private readonly died: Told<"boot:died">[] = [];
  private readonly crashed: Told<"tee:crashed">[] = [];
  private evidence = "not known";
  private words: Told<"boot:last_words"> | null = null;

  constructor(agent: Witnesses, emit: (event: AgentEvent) => void) {
    this.agent = agent;
    this.emit = emit;
  }

  /** Hears every event; what is a crash is written with the next `flush`. */
  note(event: AgentEvent): void {
    if (this.died.length + this.crashed.length >= waitingMax) return;
    if (event.kind === "boot:died" && aboutOf[event.cause] !== null) this.died.push(event);
    else if (event.kind === "tee:crashed") this.crashed.push(event);
    else if (event.kind === "boot:evidence") this.evidence = event.evidence;
    else if (event.kind === "boot:last_words") this.words = event;
  }

  /** Puts what was noted on stable storage: before the reports that would have it forgotten. */
  flush(): void {
    for (const died of this.died.splice(0)) {
      const name = `reset-${died.boot}.txt`;
      this.keep(name, aboutOf[died.cause] ?? "lost", died.boot, this.ofBoot(died));
    }
    for (const crash of this.crashed.splice(0)) {
      const { id } = this.agent.boot;
      this.keep(`tee-${id}-${crash.epoch}.txt`, "tee", id, this.ofTee(crash));
    }
  }

  private keep(name: string, about: CrashKind, boot: string, lines: readonly string[]): void {
    const body = new TextEncoder().encode(`${lines.join("\n")}\n`);
    const dropped = this.agent.crashes.add({ name, about, boot, body });
    if (dropped?.name !== name) {
      this.emit({ kind: "crash:kept", record: name, about, bytes: body.length });
    }
    if (dropped !== null) {
      this.emit({ kind: "crash:dropped", record: dropped.name, about: dropped.about });
    }
  }

  private ofBoot(died: Told<"boot:died">): string[] {
    const { boot, resets } = this.agent;
    const words = this.words?.boot === died.boot ? this.words : null;
    const isLast = boot.journal.value.past.at(-1)?.boot === died.boot;
    const head = [
      "kennel crash record 1",
      `cause: ${died.cause}`,
      `stage: ${died.stage}, step ${cell(died.step)}`,
      `culprit: ${cell(died.culprit) || "not known"}`,
      `boot: ${died.boot}, slot ${died.slot}, after ${died.uptime_ms} ms`,
      ...(isLast ? [`evidence: ${cell(this.evidence)}`] : []),
    ];
    const last = words === null ? ["last words: none"] : lastWords(words);
    const spoken = resets.lastWords.previous?.events ?? [];
    const events = words === null ? this.reportsOf(died.boot) : spoken;
    return [
      ...head,
      ...last,
      "",
      ...listed("events, latest first", events),
      ...this.teeCrashes(),
      ...(died.cause === "panic" && isLast ? this.kernelLog() : ["kernel log: none of this end"]),
    ];
  }

  private ofTee(crash: Told<"tee:crashed">): string[] {
    const { ring, boot } = this.agent;
    const { epoch, rung, code, trigger } = crash;
    const events = ring.recent().slice(-eventsMax);
    return [
      "kennel crash record 1",
      "cause: tee",
      `stage: ${boot.entry?.stage ?? "runtime"}`,
      `culprit: ${cell(trigger) || "not known"}`,
      `code: ${cell(code)}`,
      `tee: epoch ${epoch}, first rung ${rung}`,
      `boot: ${boot.id}`,
      "",
      ...listed(
        "events, latest first",
        events.map(({ atMs, event: { kind, ...data } }) => {
          return { atMs, kind, data: JSON.stringify(data) };
        }),
      ),
      ...this.teeCrashes(),
    ];
  }

  /** A boot without last words: its reports that nobody has acknowledged yet. */
  private reportsOf(boot: string): Line[] {
    const own = this.agent.ledger.pending.filter((report) => report.boot === boot);
    return own.slice(-eventsMax).map(({ at_ms, kind, data }) => {
      return { atMs: at_ms, kind, data: JSON.stringify(data) };
    });
  }

  private teeCrashes(): string[] {
    const found = this.agent.tee.crashes().crashes.map(({ at_ms, epoch, rung, code, trigger }) => {
      return { atMs: at_ms, kind: `epoch ${epoch}, ${rung}`, data: `${code} ${trigger}` };
    });
    return listed("crashes of the tee, latest first", found);
  }

  private kernelLog(): string[] {
    const { platform } = this.agent.io;
    const secondsOf = (record: string): number => Number(record.slice(record.lastIndexOf("@") + 1));
    const latest = platform.crashRecords().sort((one, other) => secondsOf(other) - secondsOf(one));
    const text = platform.crashText(latest, kernelTextMax);
    return text === "" ? ["kernel log: none kept"] : ["kernel log:", text];
  }
}

interface Line {
  readonly atMs: number;
  readonly kind: string;
  readonly data: string;
}

function lastWords(words: Told<"boot:last_words">): string[] {
  const { refreshed_ago_ms, reset_in_ms, culprit } = words;
  return [
    `last words: ${cell(culprit)}, ${reset_in_ms} ms before the reset was due, ` +
      `last refreshed ${refreshed_ago_ms} ms before`,
  ];
}

function listed(title: string, lines: readonly Line[]): string[] {
  if (lines.length === 0) return [`${title}: none`, ""];
  const rows = lines.toReversed().map(({ atMs, kind, data }) => {
    return `${Math.round(atMs)} ${kind} ${cell(data)}`;
  });
  return [`${title}:`, ...rows, ""];
}

/** One line of printable characters, with an end. */
function cell(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, cellMax);
}
