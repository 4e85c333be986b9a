/** The commands about who may command: `kennel access ...` and `kennel keygen`. */
import type { Command } from "commander";
import { accessRelease, accessStatus, accessTake, forceEffect } from "./access.ts";
import { mustConfirm } from "./context.ts";
import { keygen } from "./keygen.ts";
import { milliseconds, seconds } from "./numbers.ts";
import type { Run } from "./run.ts";
import { type Confirmed, type Globals, group } from "./tree.ts";

interface TakeArguments extends Confirmed {
  readonly for?: number;
  readonly force?: true;
}

export function plantAccess(program: Command, run: Run, globals: Globals): void {
  const access = group(program, "access", "who may command the card, and who does");
  access
    .command("status")
    .description("what changes take, who holds the lease, what was refused")
    .action(() => run.onCard(globals(), accessStatus));
  access
    .command("take")
    .description("command the card for a while; others then only read")
    .option("--for <seconds>", "how long, at most", seconds)
    .option("--force", "from whoever has it, once")
    .option("--yes", "really")
    .action(({ force, yes, ...options }: TakeArguments) => {
      if (force === true) mustConfirm(yes, forceEffect);
      const forMs = milliseconds(options.for);
      return run.onCard(globals(), (card) => accessTake(card, forMs, force === true));
    });
  access
    .command("release")
    .description("let others command it")
    .action(() => run.onCard(globals(), accessRelease));
  program
    .command("keygen [file]")
    .description("make a key to command cards with, and the line that authorises it")
    .option("--comment <text>", "what the key is called")
    .option("--roles <roles>", "operate, danger, rig: for that line", "operate")
    .action((file: string | undefined, options: { comment?: string; roles: string }) => {
      const { env } = run.setting;
      return run.print(
        keygen({ file, comment: options.comment, roles: options.roles }, env, run.paint),
      );
    });
}
