/** The commands and options of `kennel`, and what each of them starts. */
import { Command } from "commander";
import { plantAccess } from "./accesstree.ts";
import { history, type TimelineOptions, timeline } from "./boot.ts";
import { mustConfirm } from "./context.ts";
import { doctor } from "./doctor.ts";
import { listExits, showExits } from "./exits.ts";
import { explainFile, wdtExplain } from "./explain.ts";
import { getFile } from "./files.ts";
import { echo, hello, reset, resetEffect } from "./hello.ts";
import { milliseconds, positive, seconds, whole } from "./numbers.ts";
import { protect } from "./protect.ts";
import { plantReports } from "./reporttree.ts";
import { injectFault, rigFaults } from "./rig.ts";
import type { GlobalOptions, Run } from "./run.ts";
import { type SettingsOptions, settings } from "./settings.ts";
import { status } from "./status.ts";
import {
  recoverEffect,
  teeCrash,
  teeCrashes,
  teeRecover,
  teeSessions,
  teeStatus,
  teeUnquarantine,
  unquarantineEffect,
} from "./tee.ts";
import { plantLines, portOptions, portsHelp } from "./treelines.ts";
import {
  disarmEffect,
  holdEffect,
  wdtArm,
  wdtDisarm,
  wdtHold,
  wdtProbe,
  wdtStatus,
} from "./wdt.ts";

/** Speed of a serial console unless a card says otherwise. */
const baudDefault = 115_200;
/** One answer takes milliseconds; this allows for a card that is busy, and two more attempts. */
const timeoutDefaultS = 5;
/** Boots before this one that a screen has room for. */
const earlierDefault = 5;
/** Who asked, where nobody says. */
const byDefault = "kennel";

/** `hear` gets what the parser has to say: help, version and usage errors. */
export function plant(run: Run, hear: (text: string) => void): Command {
  const program = new Command("kennel")
    .description("Asks and commands a card's resilience agent over its serial line.")
    .version(__VERSION__, "--version", "print the version");
  portOptions(program)
    .option("--baud <number>", "its speed in bits per second", whole, baudDefault)
    .option("--sim", "take a private simulated card instead")
    .option("--seed <number>", "seed of the simulated card", whole, 1)
    .option("--json", "print exactly one JSON object, errors included")
    .option("--key <file>", "sign with this key (~/.config/kennel/id_ed25519, or ssh-agent)")
    .option("--device <name>", "sign for this card alone, as access status calls it")
    .option("--timeout <seconds>", "how long to wait for one answer", seconds, timeoutDefaultS)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: hear, writeErr: hear, outputError: () => {} })
    .exitOverride()
    .helpCommand(false);
  program.hook("preAction", (_program, command) => {
    run.command = pathOf(command);
  });
  const globals = (): GlobalOptions => program.opts();
  plantCard(program, run, globals);
  plantBoot(program, run, globals);
  plantWatchdog(program, run, globals);
  plantTee(program, run, globals);
  plantReports(program, run, globals);
  plantAccess(program, run, globals);
  plantRig(program, run, globals);
  plantLines(program, run, globals);
  plantSimulated(program, run, globals);
  plantHelp(program, run);
  return program;
}

export type Globals = () => GlobalOptions;

function plantCard(program: Command, run: Run, globals: Globals): void {
  program
    .command("hello")
    .description("who is there")
    .action(() => run.onCard(globals(), hello));
  program
    .command("status")
    .description("the whole card on one screen")
    .action(() => run.onCard(globals(), status));
  program
    .command("protect")
    .description("what guards which stage, and the next step for all that is weak")
    .action(() => run.onCard(globals(), protect));
  program
    .command("doctor")
    .description("who else wants the card's watchdog, and what to do about it")
    .action(() => run.onCard(globals(), doctor));
  program
    .command("echo <text>")
    .description("send a text and get it back; any SMP server answers")
    .action((text: string) => run.onLine(globals(), ({ link }) => echo(link, text)));
  program
    .command("reset")
    .description("restart the card")
    .option("--force", "although somebody holds the card")
    .option("--yes", "really")
    .action(({ yes, force }: Confirmed & { force?: true }) => {
      mustConfirm(yes, resetEffect);
      return run.onLine(globals(), ({ link }) => reset(link, force));
    });
  program
    .command("get <file>")
    .description("a file of the card: /journal, /log, /timeline.svg, /crash/0; any SMP server")
    .option("--out <file>", "into this file instead of onto the screen")
    .action((file: string, { out }: { out?: string }) =>
      run.onLine(globals(), ({ link }) => getFile(link, file, out)),
    );
  program
    .command("settings [name] [value]")
    .description("the card's settings; with a value, change one")
    .option("--default", "back to what the card's settings file says")
    .option("--save", "keep what is set over restarts of the agent")
    .action((name: string | undefined, value: string | undefined, options: SettingsOptions) =>
      run.onLine(globals(), ({ link }) => settings(link, run.paint, name, value, options)),
    );
}

function plantBoot(program: Command, run: Run, globals: Globals): void {
  const boot = group(program, "boot", "how boots went");
  boot
    .command("timeline")
    .description("the stages of this boot against their budgets, and boots before it as lanes")
    .option("--boots <number>", "how many boots before this one", whole, earlierDefault)
    .option("--svg <file>", "draw them into this file as well")
    .action((options: TimelineOptions) => run.onCard(globals(), (card) => timeline(card, options)));
  boot
    .command("history")
    .description("how the boots before this one ended")
    .action(() => run.onCard(globals(), history));
}

function plantWatchdog(program: Command, run: Run, globals: Globals): void {
  const wdt = group(program, "wdt", "the hardware watchdog");
  wdt
    .command("status")
    .description("its countdown and who keeps it going")
    .action(() => run.onCard(globals(), wdtStatus));
  wdt
    .command("probe")
    .description("what the hardware can do, and what follows")
    .action(() => run.onCard(globals(), wdtProbe));
  wdt
    .command("explain")
    .description("which seconds of a boot are covered; exit 1 where a hang is never caught")
    .option("--plan <file>", "of this coverage plan instead of a card's")
    .action(({ plan }: { plan?: string }) => {
      if (plan === undefined) return run.onCard(globals(), wdtExplain);
      return run.print(explainFile(plan, run.paint));
    });
  wdt
    .command("arm")
    .description("start the countdown; it is refreshed while the card is well")
    .option("--promise <seconds>", "reset this long after the last check-in", seconds)
    .action(({ promise }: { promise?: number }) =>
      run.onCard(globals(), (card) => wdtArm(card, milliseconds(promise))),
    );
  wdt
    .command("disarm")
    .description("stop the countdown, where the card allows it")
    .option("--by <name>", "who asks, for the card's records", byDefault)
    .option("--yes", "really")
    .action(({ by, yes }: { by: string } & Confirmed) => {
      mustConfirm(yes, disarmEffect);
      return run.onCard(globals(), (card) => wdtDisarm(card, by));
    });
  wdt
    .command("hold")
    .description("keep the card alive on purpose, for maintenance")
    .requiredOption("--for <seconds>", "how long, at most", seconds)
    .option("--by <name>", "who asks, for the card's records", byDefault)
    .option("--yes", "really")
    .action(({ by, yes, ...options }: { for: number; by: string } & Confirmed) => {
      const forMs = Math.round(options.for * 1000);
      mustConfirm(yes, holdEffect(forMs));
      return run.onCard(globals(), (card) => wdtHold(card, forMs, by));
    });
}

function plantTee(program: Command, run: Run, globals: Globals): void {
  const tee = group(program, "tee", "the trusted execution environment");
  tee
    .command("status")
    .description("its state, its sessions and its crashes")
    .action(() => run.onCard(globals(), teeStatus));
  tee
    .command("sessions")
    .description("its sessions with the security services")
    .action(() => run.onCard(globals(), teeSessions));
  tee
    .command("crashes")
    .description("its latest crashes, and what they were answered with")
    .action(() => run.onCard(globals(), teeCrashes));
  tee
    .command("recover")
    .description("restore a TEE that was given up, and forgive what was held against it")
    .option("--yes", "really")
    .action(({ yes }: Confirmed) => {
      mustConfirm(yes, recoverEffect);
      return run.onCard(globals(), teeRecover);
    });
  tee
    .command("unquarantine [command]")
    .description("allow a command that crashed it again, such as keystore#7; all without a name")
    .option("--yes", "really")
    .action((name: string | undefined, { yes }: Confirmed) => {
      mustConfirm(yes, unquarantineEffect(name));
      return run.onCard(globals(), (card) => teeUnquarantine(card, name));
    });
  tee
    .command("crash")
    .description("crash it; only simulated cards and lab images do that")
    .action(() => run.onCard(globals(), teeCrash));
}

function plantRig(program: Command, run: Run, globals: Globals): void {
  const rig = group(program, "rig", "break a simulated card or a lab image");
  rig
    .command("faults")
    .description("what can be broken")
    .action(() => run.onCard(globals(), rigFaults));
  rig
    .command("inject <fault>", { isDefault: true })
    .description("break it in this way; the word inject may be left out")
    .option("--for <seconds>", "heal by itself, for faults that last", seconds)
    .action((fault: string, options: { for?: number }) =>
      run.onCard(globals(), (card) => injectFault(card, fault, milliseconds(options.for))),
    );
}

interface SimulatedArguments {
  readonly for?: number;
  readonly pace?: number;
  readonly day?: true;
  readonly whileStdin?: true;
  readonly recording?: string;
}

function plantSimulated(program: Command, run: Run, globals: Globals): void {
  const { stop, terminal, script } = run.setting;
  const { paint, isJson } = run;
  program
    .command("card")
    .description("run a simulated card on pseudo terminals, for consoles to attach to")
    .option("--pty", "on pseudo terminals (the only way for now)")
    .option("--pace <number>", "its seconds per second here", positive)
    .option("--day", "play one day in the life: crashes, a hang, resets")
    .option("--for <seconds>", "end by itself", seconds)
    .option("--while-stdin", "end when stdin does")
    .option("--recording <file>", "not simulated, but as `--record` wrote it down")
    .action(async (options: SimulatedArguments) => {
      const { card } = await import("./card.ts");
      const forMs = milliseconds(options.for) ?? Infinity;
      const { pace = 1, day = false, whileStdin = false, recording } = options;
      const { seed } = globals();
      const common = { pace, forMs, stop, whileStdin, terminal, json: isJson };
      if (recording === undefined) return run.print(await card({ ...common, seed, day }));
      const { recordedCard } = await import("./playcard.ts");
      await run.print(await recordedCard({ ...common, file: recording }));
    });
  program
    .command("demo")
    .description("a simulated card, its line and a live view of one day in its life")
    .option("--pace <number>", "the card's seconds per second here", positive)
    .option("--for <seconds>", "end by itself, with a summary", seconds)
    .action(async (options: SimulatedArguments) => {
      const { demo } = await import("./demo.ts");
      const forMs = milliseconds(options.for) ?? Infinity;
      const { pace = 1 } = options;
      const { seed } = globals();
      await run.print(
        await demo({ seed, pace, forMs, stop, terminal, paint, json: isJson, script }),
      );
    });
}

function plantHelp(program: Command, run: Run): void {
  program
    .command("help [topic...]")
    .description("about a command; `help exit-codes` lists exit statuses, `help ports` ports")
    .action(async (topic: string[]) => {
      if (topic.join(" ") === "ports") return run.print(portsHelp(run.paint));
      if (topic.join(" ") !== "exit-codes") return find(program, topic).help();
      const exits = listExits();
      await run.print({ data: { exits }, text: showExits(exits, run.paint) });
    });
}

function find(program: Command, topic: readonly string[]): Command {
  return topic.reduce((command, name) => {
    const found = command.commands.find((candidate) => candidate.name() === name);
    if (found === undefined) return command.error(`no help on '${topic.join(" ")}'`);
    return found;
  }, program);
}

/** A command with commands of its own. */
export function group(program: Command, name: string, description: string): Command {
  return program.command(name).description(description).helpCommand(false);
}

export interface Confirmed {
  readonly yes?: true;
}

/** "wdt status" */
function pathOf(command: Command): string {
  const { parent } = command;
  return parent === null ? "" : `${pathOf(parent)} ${command.name()}`.trim();
}
