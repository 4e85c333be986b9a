/** Lives whose journal is torn at every byte: what is read is what was written, or it is feared. */

import { Failure } from "../../errors.ts";
import { TeeMemory } from "../../heads/teememory.ts";
import type { TeeHistory } from "../../machines/teerecord.ts";
import { SimDisk } from "../../sim/disk.ts";
import { Random } from "../../sim/random.ts";
import type { TeeBug, TeeRig } from "./teecard.ts";
import { type Hits, hold, live, promises } from "./teelives.ts";

const slots = ["tee.a", "tee.b"] as const;
type Slot = (typeof slots)[number];
type Files = Readonly<Record<Slot, Uint8Array>>;

/** A disk with these slots and nothing else. */
function diskWith(files: Partial<Files>): SimDisk {
  const disk = new SimDisk(new Random(1));
  for (const [name, bytes] of Object.entries(files)) disk.write(name, bytes);
  return disk;
}

function read(disk: SimDisk, rig: TeeRig): TeeHistory {
  return new TeeMemory(disk, "machine-1", rig.config, rig.clock.now()).history;
}

/**
 * After a life, each of the two slots of its journal is cut at every byte, and every byte of it is
 * changed: the other slot counts, and with both gone no restart is allowed that was not before. The
 * context saved at the crash is whole or refused.
 */
export function tornLife(random: Random, seed: number, hits: Hits, bug: TeeBug | null): void {
  const rig = live(random, seed, hits, bug);
  const files = Object.fromEntries(
    slots.map((slot) => [slot, rig.disk.read(slot) ?? new Uint8Array(0)]),
  ) as Files;
  const alone = new Map(slots.map((slot) => [slot, read(diskWith({ [slot]: files[slot] }), rig)]));
  const allowed = [...alone.values()].map((history) => JSON.stringify(history));
  let cuts = 0;
  for (const slot of slots) {
    const bytes = files[slot];
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.map((byte, index) => (index === at ? byte ^ (1 << (at % 8)) : byte));
      for (const damaged of [bytes.slice(0, at), changed]) {
        cuts += 1;
        const found = JSON.stringify(read(diskWith({ ...files, [slot]: damaged }), rig));
        hold(allowed.includes(found), promises.journal, `${slot} at byte ${at}: ${found}`);
        const both = read(diskWith({ [slot]: damaged }), rig);
        const isFeared = both.attempts.length >= rig.config.attemptsPerRung - 1;
        const isKnown = JSON.stringify(both) === JSON.stringify(alone.get(slot));
        hold(isFeared || isKnown, promises.journal, `${slot} alone at byte ${at}: not feared`);
      }
    }
  }
  tearContext(rig);
  hits.set("journals torn", (hits.get("journals torn") ?? 0) + cuts);
  comesBack(rig, random, files);
}

/** The saved context, cut at every byte, is refused by name. */
function tearContext(rig: TeeRig): void {
  const context = rig.disk.read("tee.context") ?? new Uint8Array(0);
  for (let at = 0; at < context.length; at++) {
    const disk = new SimDisk(new Random(1));
    disk.write("tee.context", context.slice(0, at));
    const memory = new TeeMemory(disk, "machine-1", rig.config, 0);
    const refused = (): boolean => {
      try {
        return memory.loadContext() === null;
      } catch (error) {
        return error instanceof Failure && error.code === "journal.corrupt";
      }
    };
    hold(refused(), promises.journal, `a context cut at byte ${at} is believed`);
  }
}

/** An agent that starts on a torn journal, before or after a reset, comes to an end of it. */
function comesBack(rig: TeeRig, random: Random, files: Files): void {
  const slot = random.pick(slots);
  const bytes = files[slot];
  rig.disk.write(slot, bytes.slice(0, random.int(bytes.length + 1)));
  if (random.chance(0.5)) rig.tee.powerCycle();
  rig.start(random.chance(0.5) ? "machine-1" : "machine-9");
  rig.advance(120_000);
  const ends = ["ready", "degraded", "unrecoverable", "escalate"];
  hold(ends.includes(rig.state), promises.deadlock, `it ended in ${rig.state}`);
  hold(rig.tee.world.staleServed === 0, promises.stale, `${rig.tee.world.staleServed} calls`);
}
