/** The early-userspace hook's record, lines of key=value: see boot/linux/boot-hook.sh. Pure. */

export interface HookRecord {
  readonly method: string;
  /** Ms of the kernel's uptime. The driver was loaded between the two; null where none was. */
  readonly beganMs: number;
  readonly loadedMs: number | null;
  /** It opened the device and keeps it open for the agent; null where it did not. */
  readonly openedMs: number | null;
  /** There was a watchdog before the hook: when its driver was loaded is not known. */
  readonly hadOne: boolean;
}

/** Null for a record of another version, or one that is damaged. */
export function readHook(text: string): HookRecord | null {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const at = line.indexOf("=");
    if (at > 0) values.set(line.slice(0, at), line.slice(at + 1).trim());
  }
  const beganMs = millisecondsOf(values.get("began"));
  if (values.get("version") !== "1" || beganMs === null) return null;
  return {
    method: values.get("method") ?? "",
    beganMs,
    loadedMs: millisecondsOf(values.get("loaded")),
    openedMs: millisecondsOf(values.get("opened")),
    hadOne: values.get("before") === "yes",
  };
}

/** Seconds as /proc/uptime has them. */
function millisecondsOf(seconds: string | undefined): number | null {
  if (seconds === undefined || !/^\d{1,9}(\.\d{1,3})?$/.test(seconds)) return null;
  return Math.round(Number(seconds) * 1000);
}
