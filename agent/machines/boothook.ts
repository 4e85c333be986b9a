/** The early-userspace hook's record, lines of key=value: see boot/linux/boot-hook.sh. Pure. */

/** What boot/linux/boot-hook.sh left in /run/kennel/boot-hook. Times are ms on the clock. */
export interface Hook {
  readonly driver: string;
  readonly method: Method;
  readonly device: string;
  /** Before the driver was loaded, after it, and once the device was open; null = it was not. */
  readonly beganMs: number;
  readonly loadedMs: number | null;
  readonly openedMs: number | null;
  /** What the device showed as left just after loading, ms; null where it shows none. */
  readonly leftMs: number | null;
  /** The process that has the device open for the agent. */
  readonly holder: number | null;
  readonly adoptWithinMs: number;
  /** A watchdog was there before the hook: what its driver did to a countdown is not known. */
  readonly before: boolean;
  readonly problem: string;
}

const methods = ["lock", "hold", "open_timeout", "leave", "none"] as const;
type Method = (typeof methods)[number];

/** Lines that a hook's record can have; more is not one. */
const linesMax = 32;
const problemCharactersMax = 160;

/** Reads the record; a mistake is told as text. */
export function parseHook(text: string): Hook | string {
  const lines = text.split("\n").filter((line) => line !== "");
  if (lines.length > linesMax) return `${lines.length} lines`;
  const found = new Map(
    lines.map((line): [string, string] => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  const version = found.get("version");
  if (version !== "1") return `version ${version ?? "missing"}, this agent knows 1`;
  const method = methods.find((name) => name === found.get("method"));
  const beganMs = secondsOf(found.get("began"));
  const adoptWithinMs = secondsOf(found.get("adopt_within"));
  if (method === undefined) return "no method that is known";
  if (beganMs === null || adoptWithinMs === null) return "no times";
  const loadedMs = secondsOf(found.get("loaded"));
  const openedMs = secondsOf(found.get("opened"));
  const times = [beganMs, loadedMs, openedMs].filter((ms) => ms !== null);
  if (times.some((ms, at) => ms < (times[at - 1] ?? 0))) return "times that contradict each other";
  const holder = Number(found.get("holder") ?? Number.NaN);
  return {
    driver: found.get("driver") ?? "",
    method,
    device: found.get("device") ?? "",
    beganMs,
    loadedMs,
    openedMs,
    leftMs: secondsOf(found.get("left")),
    holder: Number.isInteger(holder) && holder > 1 ? holder : null,
    adoptWithinMs,
    before: found.get("before") !== "no",
    problem: (found.get("problem") ?? "").slice(0, problemCharactersMax),
  };
}

function secondsOf(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,9}(\.\d{1,3})?$/.test(text)
    ? Math.round(Number(text) * 1000)
    : null;
}
