/**
 * How close refreshes come to the deadline: the smallest slack of a window of time, and one
 * warning per window when it is small. Pure.
 */

export interface Slack {
  /** Smallest distance from a refresh to its deadline in this window, ms. */
  readonly minMs: number;
  readonly windowEndsMs: number;
  readonly warned: boolean;
}

/** The slack after a refresh that had `slackMs` left; a window that is over starts a new one. */
export function slackAfter(
  slack: Slack,
  refresh: { slackMs: number; atMs: number; warnBelowMs: number; windowMs: number },
): { slack: Slack; isWorthWarning: boolean } {
  const { slackMs, atMs } = refresh;
  const isOver = atMs >= slack.windowEndsMs;
  const warned = isOver ? false : slack.warned;
  const isLow = slackMs < refresh.warnBelowMs;
  return {
    slack: {
      minMs: isOver ? slackMs : Math.min(slack.minMs, slackMs),
      windowEndsMs: isOver ? atMs + refresh.windowMs : slack.windowEndsMs,
      warned: warned || isLow,
    },
    isWorthWarning: isLow && !warned,
  };
}
