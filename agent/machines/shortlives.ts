/**
 * What becomes of an agent that ends again and again. Each start refreshes, so one that a service
 * manager brings back for ever would hold off the reset of a card that nobody guards.
 */

/** Agents in a row that may end before they have lived for T2; thirty are but a bad day. */
export const shortLivesMax = 32;

/**
 * `guard` as usual; `withhold`: take the watchdog over once more, name the culprit and let the
 * reset come at T2; `leave`: the agent that was to wait for it ended as well, so touch nothing.
 */
export function afterShortLives(inARow: number): "guard" | "withhold" | "leave" {
  if (inARow < shortLivesMax) return "guard";
  return inARow === shortLivesMax ? "withhold" : "leave";
}
