/**
 * A port that somebody else has: wait for it, or end the other, only when asked. Only consoles of
 * ours (`kennel`, of this user; of any user for root) are ever ended, by SIGTERM; of all others it
 * is said what they are.
 */
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { Failure } from "../../errors.ts";
import type { Holder } from "../holder.ts";
import type { Port } from "../port.ts";

export interface Patience {
  /** How long to wait for a busy port, ms; 0: not at all, Infinity: for ever. */
  readonly waitMs: number;
  /** Ask a console of ours that holds the port to end. */
  readonly evict: boolean;
  readonly note: (text: string) => void;
}

/** Between two attempts on a busy port. */
const retryMs = 200;
/** A console of ours ends within a second of SIGTERM. */
const evictMs = 3000;

/** Opens with patience. Rejects with port.busy once it has ended, and at once with all else. */
export async function openWaiting(open: () => Promise<Port>, patience: Patience): Promise<Port> {
  const startMs = performance.now();
  let waitMs = patience.waitMs;
  let isTold = false;
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "port.busy") throw error;
      if (!isTold && patience.evict) {
        evict(error, patience.note);
        waitMs = Math.max(waitMs, evictMs);
      } else if (!isTold && waitMs > 0) {
        patience.note(`${firstSentence(error.message)} Waiting for it.`);
      }
      isTold = true;
      if (performance.now() - startMs >= waitMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}

/** Ends whoever has the port when all of them are ours; port.busy says what they are if not. */
function evict(busy: Failure, note: (text: string) => void): void {
  const holders = (busy.evidence.holders ?? []) as readonly Holder[];
  const strangers = holders.filter(({ pid }) => !isOurConsole(pid));
  if (holders.length === 0 || strangers.length > 0) {
    const who = strangers.map(({ pid, command }) => `pid ${pid} (${command})`).join(" and ");
    const why = who === "" ? "who has it cannot be seen" : `${who} is no console of Kennel's`;
    const message = `${firstSentence(busy.message)} Nobody was ended: ${why}.`;
    throw new Failure("port.busy", message, { cause: busy, evidence: busy.evidence });
  }
  for (const { pid, command } of holders) {
    if (terminate(pid)) note(`asked pid ${pid} (${command}) to end, as it has the port`);
  }
}

/** False when it has ended by itself meanwhile. */
function terminate(pid: number): boolean {
  try {
    process.kill(pid, "SIGTERM");
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw new Failure("port.permission", `pid ${pid} cannot be ended: it is another user's.`, {
      cause,
    });
  }
}

/** `kennel` or `kennel.cjs` as the program or as node's script; of this user, or we are root. */
function isOurConsole(pid: number): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    const isKennel = words.slice(0, 2).some((word) => /^kennel(\.cjs)?$/.test(basename(word)));
    const own = process.getuid?.() ?? -1;
    return isKennel && (own === 0 || statSync(`/proc/${pid}`).uid === own);
  } catch {
    return false;
  }
}

function firstSentence(message: string): string {
  const end = message.indexOf(". ");
  return end < 0 ? message : message.slice(0, end + 1);
}
