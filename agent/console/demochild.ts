/** The simulated card of the demonstration: a process of its own, at the far end of a real line. */
import { type ChildProcess, spawn } from "node:child_process";
import { Failure } from "../errors.ts";
import type { CardAnnouncement } from "./card.ts";

export interface CardProcess {
  readonly announcement: CardAnnouncement;
  /** Resolves when it has ended, with what it last said on stderr; never rejects. */
  readonly ended: Promise<string>;
  /** Ends it; resolves once it is gone. */
  stop(): Promise<void>;
}

/** From start to the names of its terminals: a loaded machine may take seconds to start node. */
const startMaxMs = 20_000;
/** An orderly end takes milliseconds; after this it is killed. */
const stopMaxMs = 2000;
/** Of what it says on stderr, for a message. */
const errorTextMax = 2000;

/**
 * Starts `script` as a simulated card that lives through its day. It ends with us, however we end:
 * its stdin is our pipe. Failure `rig.fault` when it does not come up.
 */
export async function startCard(
  script: string,
  { seed, pace }: { seed: number; pace: number },
): Promise<CardProcess> {
  const kind = ["--day", "--seed", String(seed), "--pace", String(pace)];
  const args = [script, "card", "--json", "--while-stdin", ...kind];
  // In a group of its own: Ctrl-C reaches us, and we end it.
  const child = spawn(process.execPath, args, { stdio: "pipe", detached: true });
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-errorTextMax);
  });
  // A card that is gone no longer reads; its end is told by `ended`.
  child.stdin.on("error", () => {});
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", () => resolve(complaint.trim()));
  }).finally(() => process.removeListener("exit", kill));
  const stop = (): Promise<void> => end(child, ended);
  try {
    return { announcement: await announced(child, ended), ended, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Its first line. */
function announced(child: ChildProcess, ended: Promise<string>): Promise<CardAnnouncement> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void =>
      reject(new Failure("rig.fault", `the simulated card did not start: ${why}`));
    const timer = setTimeout(() => fail(`it said nothing for ${startMaxMs} ms.`), startMaxMs);
    void ended.then((complaint) => {
      clearTimeout(timer);
      fail(complaint === "" ? "it ended at once." : complaint);
    });
    let heard = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      heard += text;
      const end = heard.indexOf("\n");
      if (end < 0) return;
      clearTimeout(timer);
      child.stdout?.removeAllListeners("data").resume();
      try {
        resolve((JSON.parse(heard.slice(0, end)) as { data: CardAnnouncement }).data);
      } catch {
        fail(`its first line was ${heard.slice(0, end)}`);
      }
    });
  });
}

async function end(child: ChildProcess, ended: Promise<string>): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), stopMaxMs);
  await ended;
  clearTimeout(timer);
}
