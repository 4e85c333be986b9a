/** Boots that are hung at one instant after the other; larger: `npm run rig -- sweep`. */
import type { BootRig } from "../bootrig.ts";
import { expect } from "../rig.ts";
import { type Story, story } from "../story.ts";
import { type SweepSettings, type Swept, sweep } from "../sweep/run.ts";
import { lineOf, mustAgree, sumOf } from "../sweep/tell.ts";

async function swept(rig: BootRig, settings: SweepSettings): Promise<Swept> {
  const told = await sweep(rig, settings, (hung) => {
    process.stdout.write(`  measured ${lineOf(hung)}\n`);
  });
  process.stdout.write(`  measured ${settings.device}: ${sumOf(told)}\n`);
  mustAgree(told, rig);
  return told;
}

/** Wherever the boot hangs, it is reset, and explain says so. */
async function covered(rig: BootRig, settings: SweepSettings): Promise<void> {
  const { hangs, toldMs } = await swept(rig, settings);
  const escaped = hangs.filter(({ tookMs }) => tookMs === null);
  expect(escaped.length === 0, `not reset: ${escaped.map(lineOf).join("\n")}`);
  expect(toldMs === 0, `explain tells of ${toldMs} ms without coverage`);
}

const timeoutMs = 20_000;

export const sweeps: readonly Story<BootRig>[] = [
  story(
    "hung at any instant a boot is reset, with the 6300ESB",
    { rows: ["A1-16"], isLong: true },
    (rig) => covered(rig, { device: "i6300esb", part: "machine", instants: 7, timeoutMs }),
  ),
  story(
    "hung at any instant a boot is reset, with the chipset's watchdog",
    { rows: ["A1-16"], isLong: true },
    (rig) => covered(rig, { device: "iTCO_wdt", part: "machine", instants: 7, timeoutMs }),
  ),
];
