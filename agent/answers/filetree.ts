/**
 * What the card's files hold:
 *
 *     /journal        the boots that are remembered and the reports that wait, a JSON value a line
 *     /log            the latest events, a JSON value a line, oldest first
 *     /timeline.svg   this boot and those before it as a drawing
 *     /crash/N        the boots that ended badly, 0 the latest: how, and its last words; JSON
 *     /crash/NAME     a crash record that waits for a host, by its name; text
 */
import type { Agent } from "../agent.ts";
import type { ResponseOf } from "../wire/commands.ts";
import { GroupFailure } from "../wire/grouperrors.ts";
import { drawBoots } from "./bootsvg.ts";
import { isBadEnd, laneOfPast, laneOfPresent } from "./lanes.ts";

type Past = ResponseOf<"boot.timelines">["boots"][number];

/** The content of `name` as it is now; null where there is none of that name. */
export function makeFile(agent: Agent, name: string): Uint8Array | null {
  if (/^\/(crash\/?)?$/.test(name)) throw new GroupFailure("files.folder", `${name} is a folder`);
  const record = /^\/crash\/([a-z][\w.-]*)$/.exec(name)?.[1];
  if (record !== undefined) return agent.crashes.contentOf(record);
  const text = textOf(agent, name);
  return text === null ? null : new TextEncoder().encode(text);
}

function textOf(agent: Agent, name: string): string | null {
  if (name === "/journal") return lines(journal(agent));
  if (name === "/log") return lines(log(agent));
  if (name === "/timeline.svg") return timeline(agent);
  const number = /^\/crash\/(0|[1-9][0-9]?)$/.exec(name)?.[1];
  const crash = number === undefined ? undefined : crashes(agent)[Number(number)];
  return crash === undefined ? null : lines([crashTold(agent, crash)]);
}

function lines(values: readonly object[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join("");
}

function journal(agent: Agent): object[] {
  const { config, boot, ledger, io } = agent;
  const at_ms = Math.round(io.clock.now());
  return [
    { card: config.name, version: config.version, boot: boot.id, at_ms },
    ...boot.history().boots.map((entry) => ({ boot: entry })),
    { counters: boot.counters() },
    ...ledger.boots().map((count) => ({ reports: count })),
    ...ledger.pending.map((report) => ({ report })),
  ];
}

function log(agent: Agent): object[] {
  return agent.ring.recent().map(({ atMs, event }) => ({ at_ms: Math.round(atMs), ...event }));
}

/** Every boot that is remembered, newest first. */
function past(agent: Agent): Past[] {
  const found: Past[] = [];
  for (let more = true; more; ) {
    const page = agent.boot.timelines(found.length);
    found.push(...page.boots);
    more = page.more;
  }
  return found;
}

function timeline(agent: Agent): string {
  const lanes = [laneOfPresent(agent.boot.timeline()), ...past(agent).map(laneOfPast)];
  return drawBoots(lanes, `Boots of ${agent.config.name}`);
}

/** Boots that ended as nobody asked for, newest first. */
export function crashes(agent: Agent): Past[] {
  return past(agent).filter(({ cause }) => isBadEnd(cause));
}

/** The cause and where it struck come first: a download that is cut short has told them. */
function crashTold(agent: Agent, crash: Past): object {
  const { boot, cause, culprit, ended_in, step, uptime_ms, ...rest } = crash;
  const { previous } = agent.resets.lastWords;
  const words = previous?.boot === boot ? previous : null;
  const first = { boot, cause, culprit, ended_in, step, uptime_ms };
  return { ...first, ...(words === null ? {} : { last_words: words }), ...rest };
}
