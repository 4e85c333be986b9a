/** `kennel access status|take|release`: who may command the card, and who does. */
import type { ResponseOf } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { fields, harmless, type Paint, span } from "./show.ts";

type Status = ResponseOf<"access.status">;
type Lease = ResponseOf<"access.take">;

export async function accessStatus({ link, paint }: Context): Promise<Outcome> {
  const data = await link.request("access.status", {});
  return { data, text: showAccess(harmless(data), paint) };
}

/** Waits out the moment in which others may claim it as well. */
export async function accessTake(
  { link, clock, paint }: Context,
  forMs: number | undefined,
  force: boolean,
): Promise<Outcome> {
  const body = { ...(forMs === undefined ? {} : { for_ms: forMs }), ...(force ? { force } : {}) };
  let lease = await link.request("access.take", body);
  if (lease.settles_in_ms !== undefined) {
    const dueMs = clock.now() + lease.settles_in_ms + 1;
    await new Promise<void>((resolve) => void clock.at(dueMs, resolve));
    // Claiming what one has only makes it longer; what another has got by now is refused by name.
    lease = await link.request("access.take", body);
  }
  return { data: lease, text: fields(paint, [["lease", leaseText(harmless(lease), paint)]]) };
}

export const forceEffect = "force takes the card from whoever commands it now, in mid-work";

export async function accessRelease({ link, paint }: Context): Promise<Outcome> {
  const data = await link.request("access.release", {});
  return { data, text: fields(paint, [["lease", leaseText(harmless(data), paint)]]) };
}

function showAccess(status: Status, paint: Paint): string {
  const { policy, read, keys, problem, refused } = status;
  const open = paint.warn("open: anybody at a line may change the card");
  const counts = Object.entries(refused).map(([name, count]) => `${name} ${count}`);
  return fields(paint, [
    ["card", status.device],
    ["changes", policy === "open" ? open : `signed by one of ${keys} authorised keys`],
    ["reading", read === "open" ? "open" : "signed as well"],
    ...(problem === undefined ? [] : [["keys", paint.warn(problem)] as [string, string]]),
    ["lease", leaseText(status.lease, paint)],
    ["refused", counts.join(", ") || "nothing"],
  ]);
}

function leaseText({ state, epoch, owner, mine, ends_in_ms }: Lease, paint: Paint): string {
  if (state === "free") return `free, last epoch ${epoch}`;
  const who = mine ? paint.good("yours") : (owner ?? "another's");
  const left = ends_in_ms === undefined ? "" : ` for ${span(ends_in_ms)}`;
  return state === "held" ? `epoch ${epoch}, ${who}${left}` : `claimed by ${who}`;
}
