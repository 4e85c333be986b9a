/**
 * What a card says it can do, beyond what its contract's version means. A host refuses by itself
 * what the card lacks, and ignores tags that it does not know.
 */
import type { CommandName } from "./commands.ts";

/** Commands that came after the first agents: a card that has them says so by a tag. */
export const tagOf: { readonly [N in CommandName]?: string } = {
  "report.state": "report.state",
  "report.crashes": "report.crash",
  "report.crash": "report.crash",
  "report.crash_confirm": "report.crash",
  "report.reset": "reset.notice",
  "report.reset_acknowledge": "reset.notice",
  "report.reset_hold": "reset.notice",
};
