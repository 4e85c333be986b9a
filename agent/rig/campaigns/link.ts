/**
 * The campaign against the line between card and host: what both promise about reports, while
 * either loses power or is killed and the line does everything that a line can do.
 * `npm run rig -- campaign link --seed 1 --runs 1000`.
 */
import type { Campaign } from "./campaign.ts";
import { type LinkHits, LinkLife, noisyHour, troubledMinutes } from "./linklife.ts";

/** Defects that can be planted, in the host and in the card. */
export const linkBugs = [
  "early_ack",
  "twice",
  "silent_gap",
  "reordered",
  "invented",
  "unsynced",
  "uncounted",
  "grows",
  "late_refresh",
] as const;
export type LinkBug = (typeof linkBugs)[number];

/** Every so many-th seed is an hour at a bit error rate of 1e-3; it takes seconds. */
export const noisyEvery = 100;

export class LinkCampaign implements Campaign {
  readonly bugs = linkBugs;
  readonly hits: LinkHits = new Map();

  async run(seed: number, bug: string | null): Promise<void> {
    const planted = linkBugs.find((one) => one === bug) ?? null;
    const life = new LinkLife(seed, this.hits, planted);
    await (seed % noisyEvery === 0 ? noisyHour(life) : troubledMinutes(life));
  }

  summary(): string[] {
    const listed = (some: [string, number][]): string => {
      return some.map(([name, count]) => `${name} ${count}`).join(", ");
    };
    const of = (kind: string): [string, number][] => {
      return [...this.hits]
        .filter(([name]) => name.startsWith(`${kind}:`))
        .map(([name, count]): [string, number] => [name.slice(kind.length + 1), count])
        .sort();
    };
    return [
      `faults: ${listed(of("fault"))}`,
      `reports: ${listed(of("reports"))}`,
      `hours at a bit error rate of 1e-3: ${listed(of("noise"))}`,
      `bounds, the most seen: ${listed(of("most"))}`,
    ];
  }
}
