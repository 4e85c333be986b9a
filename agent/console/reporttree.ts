/** The commands of `kennel` about reports, stores, crash records and announced resets. */
import type { Command } from "commander";
import { Failure } from "../errors.ts";
import { Archive, storeFolder } from "./archive.ts";
import { mustConfirm } from "./context.ts";
import { crashGet, crashList } from "./crashes.ts";
import { askCards, storedCards } from "./inventory.ts";
import { acknowledgeEffect, noticeAcknowledge, noticeHold, noticeShow } from "./notice.ts";
import { milliseconds, seconds } from "./numbers.ts";
import { followReports, parseSince, reports } from "./reports.ts";
import type { GlobalOptions, Run } from "./run.ts";
import { liveState, storedState } from "./state.ts";

type Globals = () => GlobalOptions;
/** `--store` alone: the usual folder. */
type StoreOption = string | true | undefined;

const storeHelp = "keep them in this folder, each synced before it is acknowledged";
const usualFolder = "$XDG_STATE_HOME/kennel/cards";

export function plantReports(program: Command, run: Run, globals: Globals): void {
  plantRead(program, run, globals);
  plantState(program, run, globals);
  plantCrash(program, run, globals);
  plantNotice(program, run, globals);
}

function folderOf(run: Run, store: StoreOption): string | null {
  if (store === undefined) return null;
  return store === true ? storeFolder(run.setting.env) : store;
}

interface ReportArguments {
  readonly since?: string;
  readonly keep?: true;
  readonly follow?: true;
  readonly for?: number;
  readonly store?: StoreOption;
}

function plantRead(program: Command, run: Run, globals: Globals): void {
  program
    .command("reports")
    .description("what the card has to tell; shown, then acknowledged")
    .option("--since <[boot:]seq>", "only what came after this report")
    .option("--keep", "do not acknowledge: the card keeps them")
    .option("--follow", "stay and show what comes, across resets and lost lines")
    .option("--for <seconds>", "with --follow: end by itself", seconds)
    .option("--store [dir]", `${storeHelp} (${usualFolder})`)
    .action(async (options: ReportArguments) => {
      const { since, follow } = options;
      const keep = options.keep === true;
      const folder = folderOf(run, options.store);
      if (folder !== null && since !== undefined) {
        // What is skipped would count as stored, and the card would be told to forget it.
        throw new Failure("usage.invalid", "give --since or --store, not both.");
      }
      const position = (boot: string) => (since === undefined ? null : parseSince(since, boot));
      const { stop, terminal } = run.setting;
      const { paint, isJson } = run;
      const forMs = milliseconds(options.for) ?? Infinity;
      if (follow !== true) {
        return run.onCard(globals(), (card) =>
          withArchive(folder, card.hello, (archive) =>
            reports(card, { keep, archive, since: position(card.hello.boot) }),
          ),
        );
      }
      await run.untilStopped(globals(), (session, hello, reopen) =>
        withArchive(folder, hello, (archive) => {
          const common = { session, reopen, forMs, stop, terminal, paint, quiet: isJson };
          return followReports({ ...common, keep, archive, since: position(hello.boot) });
        }),
      );
    });
}

/** The lock on a store is held while `act` runs; what it leaves for later needs none. */
async function withArchive<T>(
  folder: string | null,
  hello: Parameters<typeof Archive.open>[1],
  act: (archive: Archive | null) => Promise<T>,
): Promise<T> {
  const archive = folder === null ? null : await Archive.open(folder, hello);
  try {
    return await act(archive);
  } finally {
    archive?.close();
  }
}

interface StateArguments {
  readonly store?: StoreOption;
  readonly card?: string;
  readonly at?: string;
}

function plantState(program: Command, run: Run, globals: Globals): void {
  program
    .command("state")
    .description("the card as its reports tell it: now, or with --store at any moment")
    .option("--store [dir]", `from a store; the card need not answer (${usualFolder})`)
    .option("--card <device>", "which card of the store")
    .option("--at <moment>", "BOOT:SEQ, a time such as 2026-01-31T12:00:00Z, or 15m ago")
    .action(async ({ store, card, at }: StateArguments) => {
      const folder = folderOf(run, at !== undefined && store === undefined ? true : store);
      if (folder === null) return run.onCard(globals(), liveState);
      await run.print(storedState({ folder, card, at, nowMs: Date.now() }, run.paint));
    });
  program
    .command("inventory [ports...]")
    .description("which cards there are; with --store also those that are silent")
    .option("--store [dir]", `with ports: into the store; without: from it (${usualFolder})`)
    .action(async (ports: string[], { store }: { store?: StoreOption }) => {
      const folder = folderOf(run, store);
      if (ports.length === 0 && folder !== null) {
        return run.print(storedCards(folder, Date.now(), run.paint));
      }
      const options = globals();
      const target = ports.length === 0 ? run.target(options) : null;
      const own = target === null ? ports : [target.kind === "port" ? target.path : "sim"];
      const open = (port: string) => run.open(target === null ? { ...options, port } : options);
      await run.print(await askCards(own, open, folder, run.paint));
    });
}

interface CrashArguments {
  readonly out?: string;
  readonly keep?: true;
}

function plantCrash(program: Command, run: Run, globals: Globals): void {
  const crash = program
    .command("crash")
    .description("crash records that wait on the card")
    .helpCommand(false);
  crash
    .command("list", { isDefault: true })
    .description("which there are, the worst first")
    .action(() => run.onCard(globals(), crashList));
  crash
    .command("get [record]")
    .description("fetch one, the worst unless named; an interrupted transfer goes on")
    .option("--out <file>", "into this file instead of one of its name here")
    .option("--keep", "do not confirm: the card keeps it")
    .action((name: string | undefined, { out, keep }: CrashArguments) =>
      run.onCard(globals(), (card) => crashGet(card, { name, out, keep: keep === true })),
    );
}

function plantNotice(program: Command, run: Run, globals: Globals): void {
  const notice = program
    .command("notice")
    .description("the reset that the card has announced")
    .helpCommand(false);
  notice
    .command("show", { isDefault: true })
    .description("whether one is coming, why and when")
    .action(() => run.onCard(globals(), noticeShow));
  notice
    .command("ack")
    .description("this host is ready: the card need not wait")
    .option("--yes", "really")
    .action(({ yes }: { yes?: true }) => {
      mustConfirm(yes, acknowledgeEffect);
      return run.onCard(globals(), noticeAcknowledge);
    });
  notice
    .command("hold")
    .description("put it off, as far as the card allows")
    .requiredOption("--for <seconds>", "how long", seconds)
    .option("--by <name>", "who asks, for the card's records", "kennel")
    .action(({ by, ...options }: { for: number; by: string }) =>
      run.onCard(globals(), (card) => noticeHold(card, Math.round(options.for * 1000), by)),
    );
}
