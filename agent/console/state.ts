/** `kennel state`: a card as its reports tell it, now from itself, at any moment from a store. */
import { Failure } from "../errors.ts";
import type { CardState } from "../wire/cardstate.ts";
import { askState, cardsIn, readStore } from "./archive.ts";
import type { Context, Outcome } from "./context.ts";
import { showGap } from "./inbox.ts";
import { type Moment, stateAt } from "./past.ts";
import { count, fields, harmless, type Paint, span } from "./show.ts";

/** As the card itself has it. */
export async function liveState({ link, hello, paint }: Context): Promise<Outcome> {
  const state = await askState(link);
  const { device = "unknown" } = hello;
  return { data: { device, state }, text: showState(harmless(state), harmless(device), paint) };
}

/**
 * `BOOT:SEQ`, a date of ISO 8601, or `90s`, `15m`, `3h`, `2d` ago. Failure `usage.invalid`.
 */
export function parseMoment(text: string, nowMs: number): Moment {
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (count !== undefined && unit !== undefined) {
    return { atMs: nowMs - Number(count) * unitMs[unit as keyof typeof unitMs] };
  }
  const [, boot, seq] = /^([^:]+):(\d{1,15})$/.exec(text) ?? [];
  // A date has colons too, and four digits and a hyphen before them.
  if (boot !== undefined && !/^\d{4}-\d\d-/.test(boot)) return { boot, seq: Number(seq) };
  const atMs = Date.parse(text);
  if (Number.isFinite(atMs)) return { atMs };
  throw new Failure(
    "usage.invalid",
    `--at ${text}: give BOOT:SEQ, a time such as 2026-01-31T12:00:00Z, or 90s, 15m, 3h, 2d ago.`,
  );
}

const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

export interface StoredOptions {
  readonly folder: string;
  /** Which card; may be left out where only one is stored. */
  readonly card: string | undefined;
  readonly at: string | undefined;
  readonly nowMs: number;
}

/** As a store tells it; no card has to answer. */
export function storedState(options: StoredOptions, paint: Paint): Outcome {
  const { folder, at, nowMs } = options;
  const card = options.card ?? onlyCard(folder);
  const store = readStore(folder, card);
  const moment = at === undefined ? null : parseMoment(at, nowMs);
  const { state, missing, heardMs, asOfMs } = stateAt(() => store.entries(), moment);
  const age_ms = Math.max(nowMs - heardMs, 0);
  const as_of = new Date(asOfMs).toISOString();
  const data = { device: card, as_of, age_ms, state, missing, damaged: store.damaged };
  const lines = [
    showState(harmless(state), harmless(card), paint),
    paint.dim(`as of ${as_of}, card last heard of ${span(age_ms)} ago`),
    ...missing.map((gap) => paint.bad(`incomplete: ${showGap(harmless(gap))}`)),
    ...(store.damaged ? [paint.warn("part of the store cannot be read")] : []),
  ];
  return { data, text: lines.join("\n") };
}

export function onlyCard(folder: string): string {
  const cards = cardsIn(folder);
  const [only, ...others] = cards;
  if (only !== undefined && others.length === 0) return only;
  if (only === undefined) {
    throw new Failure("store.missing", `no card is stored in ${folder}: see reports --store.`);
  }
  throw new Failure("usage.invalid", `which card? Give --card with one of ${cards.join(", ")}.`);
}

export function showState(state: CardState, device: string, paint: Paint): string {
  const { tee, previous, reset, dropped } = state;
  const yes = (is: boolean, good: string, bad: string): string =>
    is ? paint.good(good) : paint.warn(bad);
  const rows: [string, string][] = [
    ["card", `${paint.bold(state.name ?? "")} ${device}`.trim()],
    ["boot", `${state.boot}, slot ${state.slot ?? "unknown"}, at report ${state.seq}`],
    ["stage", `${state.stage ?? "unknown"}, ${readiness(state, paint)}`],
    ["protection", yes(state.protected, "protected", `not protected ${state.weak ?? ""}`.trim())],
    ["watchdog", watchdogText(state, paint)],
    ["tee", teeText(tee, paint)],
  ];
  if (reset !== undefined) {
    rows.push([
      "reset",
      paint.bad(`${reset.cause}, ${reset.culprit}, by ${span(reset.deadline_ms)}`),
    ]);
  }
  if (previous !== undefined) {
    const { boot, cause, stage, step, culprit } = previous;
    const who = culprit === "" ? "" : `, culprit ${culprit}`;
    rows.push(["before", `${boot} ended by ${cause} in ${stage} / ${step}${who}`]);
  }
  if (state.outage_ms !== undefined) rows.push(["outage", span(state.outage_ms)]);
  if (state.crash_records) rows.push(["crashes", count(state.crash_records, "record")]);
  if (state.journal !== undefined) rows.push(["journal", paint.bad(state.journal)]);
  if (dropped.safety + dropped.state > 0) {
    rows.push(["dropped", paint.bad(`${dropped.safety} safety, ${dropped.state} state`)]);
  }
  return fields(paint, rows);
}

function readiness({ ready, confirmed, not_ready }: CardState, paint: Paint): string {
  const how = confirmed ? "confirmed" : "not confirmed yet";
  if (ready) return `${paint.good("ready")}, ${how}`;
  return `${paint.warn(not_ready === undefined ? "not ready" : `not ready: ${not_ready}`)}, ${how}`;
}

function watchdogText(state: CardState, paint: Paint): string {
  const { armed, promise_ms, withheld, hold_until_ms, backend = "unknown" } = state;
  const parts = [
    backend,
    armed ? `armed, promised ${span(promise_ms ?? 0)}` : paint.bad("disarmed"),
  ];
  if (withheld !== undefined) parts.push(paint.bad(`refresh withheld: ${withheld}`));
  if (hold_until_ms !== undefined) parts.push(paint.warn(`held until +${span(hold_until_ms)}`));
  return parts.join(", ");
}

function teeText({ epoch, crashes, trouble, unavailable }: CardState["tee"], paint: Paint): string {
  const parts = [`epoch ${epoch ?? "unknown"}`, count(crashes ?? 0, "crash", "crashes")];
  if (trouble !== undefined) parts.push(paint.bad(trouble));
  if (unavailable.length > 0) parts.push(paint.bad(`unavailable: ${unavailable.join(", ")}`));
  return parts.join(", ");
}
