/** Who may command this card: what comes unsigned is measured against the settings. */
import { Failure } from "../errors.ts";
import type { AgentEvent } from "../events.ts";
import type { Clock } from "../io/clock.ts";
import type { AccessConfig } from "../machines/accessconfig.ts";
import { type CommandName, commands } from "../wire/commands.ts";
import type { Line } from "./host.ts";

/** What a console must be told before it can sign anything, and what carries nothing. */
const alwaysOpen: readonly CommandName[] = ["card.hello", "os.echo", "os.params"];

export interface AccessIo {
  readonly clock: Clock;
  readonly emit: (event: AgentEvent) => void;
}

export class AccessHead {
  private readonly io: AccessIo;
  private readonly config: AccessConfig;

  constructor(io: AccessIo, config: AccessConfig) {
    this.io = io;
    this.config = config;
  }

  /** An open card is never silent about it. */
  start(): void {
    if (this.config.policy === "open") this.io.emit({ kind: "access:open" });
  }

  /** Failure `access.unsigned` unless an unsigned request may have this. */
  allow(name: CommandName, line: Line): void {
    const { policy, read } = this.config;
    const isChange = commands[name].needs !== null;
    if (isChange ? policy === "open" : read === "open" || alwaysOpen.includes(name)) return;
    this.io.emit({ kind: "access:refused", why: "unsigned", command: name, port: line.port.name });
    const what = isChange ? "changes this card" : "is not for everybody on this card";
    throw new Failure(
      "access.unsigned",
      `${name} ${what}: it takes a signature by an authorised key. Make one with kennel keygen, ` +
        "put its public half into the card's authorized_keys",
    );
  }
}
