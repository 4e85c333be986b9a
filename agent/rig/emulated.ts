/** An emulated card from nothing: built or taken from the cache, booted, its logs kept. */
import fs from "node:fs";
import path from "node:path";
import { prepareGuest } from "./guest.ts";
import { pc } from "./machines.ts";
import { type Guest, kernelBoard, startGuest } from "./qemu.ts";

export interface EmulatedCard {
  /** The project: its `dist` goes into the card, its `.cache` holds downloads and logs. */
  readonly projectFolder: string;
  /** Names the folder of the logs. */
  readonly story: string;
  /** Shell text that the card runs in `dist` when it has booted. */
  readonly main: string;
}

/** How many runs' logs are kept. */
const runsMax = 10;

/** Where the logs and the disk of this run are, and the running card. */
export interface RunningCard {
  readonly guest: Guest;
  readonly folder: string;
}

/** Boots the card; it is up to the caller to `stop` it. */
export async function bootEmulatedCard(card: EmulatedCard): Promise<RunningCard> {
  const cache = path.join(card.projectFolder, ".cache");
  const folder = newRunFolder(path.join(cache, "rig"), card.story);
  const image = await prepareGuest({
    machine: pc,
    cacheFolder: path.join(cache, "guest"),
    appFolder: path.join(card.projectFolder, "dist"),
    main: card.main,
    intoFolder: folder,
  });
  try {
    return {
      guest: await startGuest({ image, board: kernelBoard(image), logFolder: folder }),
      folder,
    };
  } finally {
    fs.rmSync(image.initrd); // QEMU keeps it mapped and needs no name for it any more
  }
}

function newRunFolder(runs: string, story: string): string {
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, "-");
  const folder = path.join(runs, `${stamp}-${story}`);
  fs.mkdirSync(folder, { recursive: true });
  const oldest = fs.readdirSync(runs).sort().slice(0, -runsMax);
  for (const old of oldest) fs.rmSync(path.join(runs, old), { recursive: true, force: true });
  return folder;
}
