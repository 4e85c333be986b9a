/** Whole simulated cards for stories: set-up, a host on the line, and what to ask of them. */
import * as assert from "uvu/assert";
import { answers } from "../agent/answers/answers.ts";
import { type AgentConfig, configure, type Settings } from "../agent/config.ts";
import type { BootPlan } from "../agent/machines/boot.ts";
import type { BootEntry } from "../agent/machines/bootrecord.ts";
import type { SimLine } from "../agent/sim/port.ts";
import type { WatchdogFaults } from "../agent/sim/watchdog.ts";
import { plainModel, type WatchdogModel } from "../agent/sim/watchdogmodels.ts";
import { World, type WorldOptions } from "../agent/sim/world.ts";
import {
  type CommandName,
  commands,
  type Report,
  type ResponseOf,
} from "../agent/wire/commands.ts";
import { Deframer, enframe } from "../agent/wire/frame.ts";
import { encodeMessage, parsePacket } from "../agent/wire/smp.ts";

export interface CardOptions extends Partial<Omit<WorldOptions, "config" | "model">> {
  readonly watchdog?: Settings["watchdog"];
  readonly tasks?: Settings["tasks"];
  /** Open unless the story is about who may command. */
  readonly access?: Settings["access"];
  readonly plan?: Partial<BootPlan>;
  readonly model?: Partial<WatchdogModel>;
  readonly chip?: WatchdogFaults;
}

export function configOf({ watchdog, tasks, plan, access }: CardOptions): AgentConfig {
  const settings: Settings = {
    name: "sim",
    lab: true,
    access: access ?? { policy: "open" },
    ...(watchdog === undefined ? {} : { watchdog }),
    ...(tasks === undefined ? {} : { tasks }),
  };
  const config = configure(settings, "0");
  return { ...config, plan: { ...config.plan, ...plan } };
}

/** A card without power. */
export function card(options: CardOptions = {}): World {
  const { watchdog: _w, tasks: _t, plan: _p, access: _a, chip, model, ...rest } = options;
  const world = new World({
    seed: 1,
    ...rest,
    config: configOf(options),
    model: { ...plainModel, ...model },
  });
  world.chip.faults = chip ?? {};
  return world;
}

/** A card that has booted and whose agent has confirmed the boot. */
export function runningCard(options: CardOptions = {}): World {
  const world = card(options);
  world.power(true);
  confirmed(world);
  return world;
}

/** Advances until the present boot is confirmed. */
export function confirmed(world: World, withinMs = 200_000): void {
  const isConfirmed = world.until(() => world.agent?.boot.isConfirmed === true, withinMs);
  assert.ok(isConfirmed, `not confirmed: ${world.halted ?? world.agent?.watchdog.state.kind}`);
}

/** Advances until the card has been reset once more; returns the time of it, ms. */
export function resetTime(world: World, withinMs = 10_000_000): number {
  const before = world.resets.length;
  assert.ok(
    world.until(() => world.resets.length > before, withinMs),
    "the card was not reset",
  );
  return world.resets.at(-1)?.atMs ?? Number.NaN;
}

/** What the agent would answer to a command, unless told otherwise one without arguments. */
export function ask<N extends CommandName>(world: World, name: N, request = {}): ResponseOf<N> {
  const { agent } = world;
  assert.ok(agent !== null, "an agent runs");
  if (agent === null) throw new Error("no agent");
  const handler = answers(agent)[name] as unknown as (request: object) => ResponseOf<N>;
  return handler(request);
}

/** Data of the reports of one kind that the card keeps, oldest first. */
export function reportsOf(world: World, kind: string): Report["data"][] {
  const pending = world.agent?.ledger.pending ?? [];
  return pending.filter((report) => report.kind === kind).map(({ data }) => data);
}

/** The latest ended boot in the history that was not only a restart of the agent. */
export function lastEnded(world: World): BootEntry | undefined {
  return world.agent?.boot.journal.value.past.findLast(({ cause }) => cause !== "agent_restart");
}

/** Somebody at the host's end of a line: subscribes, and keeps what is pushed. */
export class HostTwin {
  readonly reports: { atMs: number; report: Report }[] = [];
  private readonly world: World;
  private readonly line: SimLine;
  private readonly deframer = new Deframer();

  constructor(world: World) {
    this.world = world;
    this.line = world.lines[0] as SimLine;
    this.line.host.onData((bytes) => this.received(bytes));
  }

  send(name: CommandName, body: Record<string, unknown>): void {
    const { group, id, op } = commands[name];
    const sent = {
      version: 1,
      op: op === "either" ? "read" : op,
      group,
      seq: 1,
      command: id,
    } as const;
    this.line.host.write(enframe(encodeMessage({ ...sent, body })));
  }

  private received(bytes: Uint8Array): void {
    for (const found of this.deframer.push(bytes)) {
      if (found.kind !== "message") continue;
      for (const item of parsePacket(found.bytes)) {
        if (item.kind !== "request" || item.header.group !== 68 || item.header.command !== 4)
          continue;
        const report = item.body as unknown as Report;
        this.reports.push({ atMs: this.world.clock.now(), report });
        this.send("report.acknowledge", { boot: report.boot, seq: report.seq });
      }
    }
  }
}
