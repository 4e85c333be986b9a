/**
 * The campaign against the third head: a crash of everything, at every step, in every combination
 * that a seed comes to. `npm run rig -- campaign tee --seed 1 --runs 2000`.
 */
import { steps } from "../../machines/teestate.ts";
import { Random } from "../../sim/random.ts";
import type { Campaign } from "./campaign.ts";
import { type TeeBug, teeBugs } from "./teecard.ts";
import { crashingLife, type Hits, injected, killedLife, slowLife } from "./teelives.ts";
import { processLife } from "./teeprocesses.ts";
import { tornLife } from "./teetorn.ts";

/** Every so many-th seed is a life on the twin's process; they take seconds, not milliseconds. */
export const processEvery = 100;

type Life = (random: Random, seed: number, hits: Hits, bug: TeeBug | null) => void;
/** Of twenty seeds, so many are of this kind. */
const kinds: readonly (readonly [Life, number])[] = [
  [crashingLife, 11],
  [killedLife, 5],
  [slowLife, 3],
  [tornLife, 1],
];
const lives: readonly Life[] = kinds.flatMap(([life, count]) => Array(count).fill(life));

/** `dist`: where the built programs are. */
export class TeeCampaign implements Campaign {
  readonly bugs = teeBugs;
  readonly hits: Hits = new Map();
  private readonly dist: string;

  constructor(dist: string) {
    this.dist = dist;
  }

  run(seed: number, bug: string | null): void | Promise<void> {
    const random = new Random(seed);
    const planted = teeBugs.find((one) => one === bug) ?? null;
    const isProcess = seed % processEvery === 0 && planted === null;
    if (isProcess) return processLife(random, this.hits, this.dist);
    const life = lives[seed % lives.length] as Life;
    life(random, seed, this.hits, planted);
  }

  summary(): string[] {
    const { hits } = this;
    const sum = (wanted: (name: string) => boolean): number => {
      return [...hits].reduce((total, [name, count]) => total + (wanted(name) ? count : 0), 0);
    };
    const states = ["ready", "suspect", ...steps];
    const strikes = states.map((state) => {
      const count = sum((name) => injected.some((fault) => name === `${fault} in ${state}`));
      return `${state} ${count}`;
    });
    const by = injected.map((fault) => `${fault} ${sum((name) => name.startsWith(`${fault} in`))}`);
    const others = [...hits].filter(([name]) => !/ in |^(once|keyed|idempotent) /.test(name));
    const verdicts = [...hits].filter(([name]) => /^(once|keyed|idempotent) /.test(name));
    const listed = (some: [string, number][]): string => {
      return some
        .sort()
        .map((one) => one.join(" "))
        .join(", ");
    };
    return [
      `strikes by state: ${strikes.join(", ")}`,
      `strikes by kind: ${by.join(", ")}`,
      `agents killed: ${sum((name) => name.startsWith("agent killed in"))}`,
      `verdicts: ${listed(verdicts)}`,
      listed(others),
    ];
  }
}
