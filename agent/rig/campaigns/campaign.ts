/**
 * `npm run rig -- campaign NAME [--seed N] [--runs N] [--bug NAME]`: many runs, each from a seed of
 * its own, and for each that fails the line that runs it again alone.
 */
import { parseArgs } from "node:util";
import { exitCodes, Failure } from "../../errors.ts";

export interface Campaign {
  /** Defects that can be planted: with one of them the campaign has to fail. */
  readonly bugs: readonly string[];
  /** One run. Throws a Violation when a promise was broken. */
  run(seed: number, bug: string | null): void | Promise<void>;
  /** What the runs so far have met, a line each: a campaign that hits nothing proves nothing. */
  summary(): string[];
}

/** A broken promise: which one, and the evidence. */
export class Violation extends Error {
  readonly promise: string;

  constructor(promise: string, evidence: string) {
    super(`${promise}: ${evidence}`);
    this.name = "Violation";
    this.promise = promise;
  }
}

export type Print = (line: string) => void;

/** Runs of one campaign; more is a mistyped number. */
const runsMax = 10_000_000;
/** Failing runs that are told one by one. */
const toldMax = 20;

/** Runs what the arguments behind `campaign` ask for and gives the exit status. */
export async function campaignProgram(
  argv: readonly string[],
  campaigns: Readonly<Record<string, Campaign>>,
  print: Print = (line) => process.stdout.write(`${line}\n`),
): Promise<number> {
  try {
    const { name, seed, runs, bug } = readArguments(argv, campaigns);
    const campaign = campaigns[name] as Campaign;
    return await runAll({ name, campaign, seed, runs, bug }, print);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`${error.message}\n`);
    return error.exit;
  }
}

interface Asked {
  readonly name: string;
  readonly seed: number;
  readonly runs: number;
  readonly bug: string | null;
}

async function runAll(
  { name, campaign, seed, runs, bug }: Asked & { readonly campaign: Campaign },
  print: Print,
): Promise<number> {
  const startedMs = performance.now();
  const count = { passed: 0, failed: 0 };
  for (let own = seed; own < seed + runs; own++) {
    try {
      await campaign.run(own, bug);
      count.passed += 1;
    } catch (error) {
      count.failed += 1;
      if (count.failed > toldMax) continue;
      // What is no broken promise is a defect of the campaign: its place is worth the lines.
      const said = error instanceof Violation ? error.message : (error as Error).stack;
      const planted = bug === null ? "" : ` --bug ${bug}`;
      print(`FAIL  seed ${own}: ${said}`);
      print(`      npm run rig -- campaign ${name} --seed ${own} --runs 1${planted}`);
    }
  }
  for (const line of campaign.summary()) print(`  ${line}`);
  print(`  took ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  print(`${count.passed} passed, ${count.failed} failed`);
  return count.failed > 0 ? exitCodes.verdict : exitCodes.ok;
}

function readArguments(
  argv: readonly string[],
  campaigns: Readonly<Record<string, Campaign>>,
): Asked {
  const { values, positionals } = parse(argv);
  const [name = "", ...more] = positionals;
  const campaign = campaigns[name];
  if (campaign === undefined || more.length > 0) {
    const known = Object.keys(campaigns).join(", ");
    throw new Failure(
      "usage.invalid",
      `no campaign is named "${positionals}"; there are: ${known}`,
    );
  }
  const { bug = null } = values;
  if (bug !== null && !campaign.bugs.includes(bug)) {
    const known = campaign.bugs.join(", ");
    throw new Failure("usage.invalid", `no bug is named ${bug}; there are: ${known}`);
  }
  const seed = whole("seed", values.seed, 0xffff_ffff);
  return { name, seed, runs: whole("runs", values.runs, runsMax), bug };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        seed: { type: "string", default: "1" },
        runs: { type: "string", default: "200" },
        bug: { type: "string" },
      },
    });
  } catch (error) {
    throw new Failure("usage.invalid", error instanceof Error ? error.message : String(error));
  }
}

function whole(what: string, said: string, max: number): number {
  const number = Number(said);
  if (/^\d+$/.test(said) && number <= max) return number;
  throw new Failure("usage.invalid", `--${what} ${said}: expected a number from 0 to ${max}`);
}
