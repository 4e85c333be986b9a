/** The third head on the twin's process, in real time: a card with `--tee-device sim:`. */

import { join } from "node:path";
import type { AgentEvent } from "../../events.ts";
import { type TeeAnswer, TeeHead } from "../../heads/tee.ts";
import { RealClock } from "../../io/clock.ts";
import { DeviceTee } from "../../io/devicetee.ts";
import { launchHelper, type TeeHelper } from "../../io/teeprocess.ts";
import { TwinProcess } from "../../io/twinprovider.ts";
import type { CallClass } from "../../machines/teecalls.ts";
import { type TeeConfig, teeConfig } from "../../machines/teeconfig.ts";
import { emptyHistory, type ReeContext, type TeeHistory } from "../../machines/teerecord.ts";
import { twinSetup } from "../../twindevice.ts";

/** How often the head is asked whether something is due, ms. */
const tickEveryMs = 2;

export interface TwinLifeOptions {
  /** Where the built programs are. */
  readonly dist: string;
  /** An empty folder of one's own. */
  readonly folder: string;
  readonly services: readonly string[];
  /** Sessions with each service; more than one are called `NAME.1`, `NAME.2`, ... */
  readonly sessionsEach?: number;
  readonly config?: Partial<TeeConfig>;
  /** See TwinSetup. */
  readonly timesBy?: number;
}

export interface Seen {
  /** Monotonic ms. */
  readonly atMs: number;
  readonly event: AgentEvent;
}

export class TwinLife {
  readonly clock = new RealClock();
  readonly twin: TwinProcess;
  readonly tee: DeviceTee;
  readonly head: TeeHead;
  readonly config: TeeConfig;
  readonly events: Seen[] = [];
  readonly withheld: string[] = [];
  /** Every helper that was started, the ended ones too. */
  readonly helpers: TeeHelper[] = [];
  /** Told of each event as it happens. */
  onEvent: (event: AgentEvent) => void = () => undefined;
  history: TeeHistory = emptyHistory;
  private context: ReeContext | null = null;
  private isOver = false;
  private ticking: NodeJS.Timeout | undefined;

  constructor(options: TwinLifeOptions) {
    const { dist, folder, services, sessionsEach = 1, config, timesBy = 1 } = options;
    const program = join(dist, "kennel-teetwin.cjs");
    this.twin = new TwinProcess({ program, folder, services, timesBy });
    const setup = twinSetup(this.twin, services, this.clock, dist);
    const named = [...setup.services].flatMap(([name, service]) => {
      if (sessionsEach === 1) return [[name, service] as const];
      return Array.from(
        { length: sessionsEach },
        (_, at) => [`${name}.${at + 1}`, service] as const,
      );
    });
    const nobody = launchHelper("/nowhere.cjs", "");
    this.tee = new DeviceTee({
      ...setup,
      services: new Map(named),
      launch: (gone) => {
        // A canary that dies with its helper is sent again: to one that ends at once.
        const helper = (this.isOver ? nobody : setup.launch)(gone);
        this.helpers.push(helper);
        return helper;
      },
    });
    this.config = teeConfig(
      named.map(([name]) => ({ name })),
      config,
    );
    this.head = new TeeHead(
      {
        clock: this.clock,
        tee: this.tee,
        post: (act) => act(),
        emit: (event) => {
          this.events.push({ atMs: this.clock.now(), event });
          this.onEvent(event);
        },
        keep: (history) => {
          this.history = history;
        },
        saveContext: (context) => {
          this.context = context;
        },
        loadContext: () => this.context,
        notify: () => undefined,
        withhold: (because) => this.withheld.push(because),
        keyPrefix: "life",
      },
      this.config,
      emptyHistory,
    );
  }

  /** Starts the TEE OS and waits until the services are there. */
  async ready(withinMs = 30_000): Promise<this> {
    const isUp = await new Promise<boolean>((resolve) => this.twin.start(resolve));
    if (!isUp) throw new Error("the twin's process does not listen");
    this.head.start();
    this.ticking = setInterval(() => this.head.tick(this.clock.now()), tickEveryMs);
    await this.until("ready", () => this.head.state.kind === "ready", withinMs);
    return this;
  }

  /** Waits for something; an Error that names `what` when it does not come. */
  async until(what: string, holds: () => boolean, withinMs = 30_000): Promise<void> {
    const endMs = this.clock.now() + withinMs;
    while (!holds()) {
      if (this.clock.now() > endMs) {
        const said = this.events.slice(-20).map(({ event }) => JSON.stringify(event));
        throw new Error(`not ${what}, but ${this.head.state.kind}:\n${said.join("\n")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, tickEveryMs));
    }
  }

  call(service: string, command: number, callClass: CallClass): Promise<TeeAnswer> {
    return new Promise((resolve) => this.head.call(service, command, callClass, resolve));
  }

  /** Ends everything that it started. */
  close(): void {
    this.isOver = true;
    clearInterval(this.ticking);
    this.twin.stop();
    for (const helper of this.helpers) if (!helper.isGone) helper.abandon();
  }
}
