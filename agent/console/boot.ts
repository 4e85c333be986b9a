/** `kennel boot timeline|history`: how this boot went, and how the last ones ended. */
import { writeFileSync } from "node:fs";
import { drawBoots } from "../answers/bootsvg.ts";
import { laneOfPast, laneOfPresent } from "../answers/lanes.ts";
import { Failure, rcs } from "../errors.ts";
import type { ResponseOf } from "../wire/commands.ts";
import type { Context, Outcome } from "./context.ts";
import { showLanes } from "./lanes.ts";
import type { Link } from "./link.ts";
import { harmless, type Paint, span, table } from "./show.ts";
import { causeText } from "./status.ts";

export type Timeline = ResponseOf<"boot.timeline">;
export type Earlier = ResponseOf<"boot.timelines">;
export type History = ResponseOf<"boot.history">;

export interface TimelineOptions {
  /** How many boots before this one. */
  readonly boots: number;
  /** The drawing goes into this file. */
  readonly svg?: string;
}

/** Failure `config.invalid` when the drawing cannot be written. */
export async function timeline(
  { link, hello, paint }: Context,
  { boots, svg }: TimelineOptions,
): Promise<Outcome> {
  const present = await link.request("boot.timeline", {});
  const earlier = await earlierBoots(link, boots);
  const data = { ...present, earlier };
  const shown = harmless(data);
  const lanes = [laneOfPresent(shown), ...shown.earlier.map(laneOfPast)];
  const drawn = svg === undefined ? [] : ["", `drawn into ${svg}`];
  if (svg !== undefined) write(svg, drawBoots(lanes, `Boots of ${harmless(hello.name)}`));
  const text = [showTimeline(shown, paint), "", showLanes(lanes, paint), ...drawn].join("\n");
  return { data, text };
}

/** Newest first, page by page; none from a card that does not know the command. */
async function earlierBoots(link: Link, most: number): Promise<Earlier["boots"]> {
  const found: Earlier["boots"] = [];
  try {
    for (let more = true; more && found.length < most; ) {
      const page = await link.request("boot.timelines", { skip: found.length });
      found.push(...page.boots);
      more = page.more && page.boots.length > 0;
    }
  } catch (error) {
    const isUnknown = error instanceof Failure && error.evidence.rc === rcs.unsupported;
    if (!isUnknown) throw error;
  }
  return found.slice(0, most);
}

function write(path: string, svg: string): void {
  try {
    writeFileSync(path, svg);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Failure("config.invalid", `cannot write ${path}: ${code}`, { cause: error });
  }
}

export async function history({ link, hello, paint }: Context): Promise<Outcome> {
  const data = await link.request("boot.history", {});
  return { data, text: showHistory(harmless(data), harmless(hello.boot), paint) };
}

export function showTimeline({ boot, slot, stages }: Timeline, paint: Paint): string {
  const head = ["stage", "start", "took", "budget", "margin", "refreshed by", "steps"];
  const rows = stages.map((stage) => [
    stage.stage,
    span(stage.start_ms),
    stage.end_ms === undefined ? "running" : span(stage.end_ms - stage.start_ms),
    stage.budget_ms === 0 ? "none" : span(stage.budget_ms),
    margin(stage.margin_ms, stage.budget_ms, paint),
    stage.refreshed_by,
    stage.steps.map((step) => step.name).join(" "),
  ]);
  return `boot ${boot}, slot ${slot}\n\n${table(paint, head, rows)}`;
}

/** What a stage left of its budget; under a quarter of it is close. */
export function margin(marginMs: number | undefined, budgetMs: number, paint: Paint): string {
  if (marginMs === undefined) return "";
  if (marginMs < 0) return paint.bad(span(marginMs));
  return marginMs < budgetMs / 4 ? paint.warn(span(marginMs)) : paint.good(span(marginMs));
}

/** `running`: the id of the present boot, which has not ended. */
export function showHistory({ boots }: History, running: string, paint: Paint): string {
  if (boots.length === 0) return "no boot is remembered";
  const head = ["boot", "slot", "ended in", "after", "cause", "culprit", ""];
  const rows = boots.map((entry) => [
    entry.boot,
    entry.slot,
    endedIn(entry, running, paint),
    span(entry.uptime_ms),
    entry.boot === running ? "" : causeText(entry.cause, paint),
    entry.culprit,
    entry.confirmed ? "" : paint.warn("unconfirmed"),
  ]);
  return table(paint, head, rows);
}

function endedIn(entry: History["boots"][number], running: string, paint: Paint): string {
  if (entry.boot === running) return paint.good("running");
  return entry.step === "" ? entry.stage : `${entry.stage} / ${entry.step}`;
}
