/** What the runtime watchdog can be told, and within which bounds. */

/** One second is the least a Linux watchdog counts; a day is the most anyone could mean. */
export const promiseRangeMs = { min: 1000, max: 86_400_000 };

export interface RuntimeConfig {
  /** T2, ms: the card is reset this long after the last check-in of the OS. */
  readonly promiseMs: number;
  /** How often the OS refreshes, as a fraction of T2: a quarter leaves three quarters of slack. */
  readonly refreshFraction: number;
  /** Slack below this fraction of T2 is worth a warning, one per window. */
  readonly slackWarnFraction: number;
  readonly slackWindowMs: number;
  /** Upper bound of a maintenance hold, ms. */
  readonly holdMaxMs: number;
  /** How long before the promised reset it is announced, ms; never more than a quarter of T2. */
  readonly preResetMs: number;
  readonly disarmAllowed: boolean;
  /** Bound on tasks that check in. */
  readonly tasksMax: number;
}
