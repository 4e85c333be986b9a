/**
 * Hangs a card at any instant, from outside: the processor gets an endless jump where it stands,
 * while the watchdog and all other devices go on.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Gdb } from "./gdb.ts";
import type { Machine } from "./machines.ts";

/**
 * `machine`: interrupts are off as well, so nothing runs any more. `programs`: each program stands
 * still where it is next seen to run, and the kernel lives on.
 */
export type StoppedPart = "machine" | "programs";

/** Where the processor was: in firmware or a kernel that has not mapped itself yet, or later. */
export type Place = "firmware" | "kernel" | "program";

export interface Stopped {
  /** On this process's monotonic clock, ms. */
  readonly atMs: number;
  readonly place: Place;
  /** The instruction at which it stands. */
  readonly address: bigint;
}

interface Processor {
  /** Jumps to itself. */
  readonly jump: Uint8Array;
  /** Sleeps until an interrupt, again and again: as good, and the host has its processor back. */
  readonly sleep: Uint8Array;
  /** The registers' numbers in QEMU's description, and how many bytes the flags have. */
  readonly counter: number;
  readonly flags: { readonly number: number; readonly bytes: number };
  /** The flags with all interrupts off. */
  readonly deaf: (flags: bigint) => bigint;
  /** The register that tells whether a program runs, and which bits of it. */
  readonly privilege: { readonly number: number; readonly isProgram: (value: bigint) => boolean };
}

const processors: Readonly<Record<Machine["arch"], Processor>> = {
  // gdb-xml/i386-64bit.xml: rip, eflags, cs. Source of the bits: Intel SDM volume 1, 3.4.3.
  x64: {
    jump: Uint8Array.of(0xeb, 0xfe),
    sleep: Uint8Array.of(0xf4, 0xeb, 0xfd),
    counter: 16,
    flags: { number: 17, bytes: 4 },
    deaf: (flags) => flags & ~0x200n,
    privilege: { number: 18, isProgram: (cs) => (cs & 3n) === 3n },
  },
  // gdb-xml/aarch64-core.xml: pc, cpsr. Source of the bits: Arm ARM, C5.2: DAIF and M.
  arm64: {
    jump: Uint8Array.of(0x00, 0x00, 0x00, 0x14),
    sleep: Uint8Array.of(0x7f, 0x20, 0x03, 0xd5, 0xff, 0xff, 0xff, 0x17),
    counter: 32,
    flags: { number: 33, bytes: 4 },
    deaf: (flags) => flags | 0x3c0n,
    privilege: { number: 33, isProgram: (cpsr) => (cpsr & 0xfn) === 0n },
  },
};

/** Both architectures have their kernel in the upper half. */
const upperHalf = 1n << 63n;

/** Programs are looked for this long, so often; a card stands still while it is looked at, ms. */
const programsMs = 5_000;
const lookEveryMs = 10;

/** Stops it and lets go of the card. `gdb`: just opened, so the card stands still. */
export async function stopProcessor(
  gdb: Gdb,
  arch: Machine["arch"],
  part: StoppedPart,
): Promise<Stopped | null> {
  const processor = processors[arch];
  const stopped =
    part === "machine" ? await stopMachine(gdb, processor) : await stopPrograms(gdb, processor);
  await gdb.close();
  return stopped;
}

async function placeOf(gdb: Gdb, { counter, privilege }: Processor): Promise<Stopped> {
  const address = await gdb.register(counter);
  const isProgram = privilege.isProgram(await gdb.register(privilege.number));
  const place = isProgram ? "program" : address >= upperHalf ? "kernel" : "firmware";
  return { atMs: performance.now(), place, address };
}

async function stopMachine(gdb: Gdb, processor: Processor): Promise<Stopped> {
  const { jump, sleep, flags, deaf } = processor;
  const found = await placeOf(gdb, processor);
  // A program may not sleep.
  await gdb.write(found.address, found.place === "program" ? jump : sleep);
  await gdb.setRegister(flags.number, deaf(await gdb.register(flags.number)), flags.bytes);
  return found;
}

/** Null when no program was seen in all that time. */
async function stopPrograms(gdb: Gdb, processor: Processor): Promise<Stopped | null> {
  const endMs = performance.now() + programsMs;
  const stand = new Set<bigint>();
  let first: Stopped | null = null;
  for (;;) {
    const found = await placeOf(gdb, processor);
    if (found.place === "program" && !stand.has(found.address)) {
      await gdb.write(found.address, processor.jump);
      stand.add(found.address);
      first ??= found;
    }
    if (performance.now() >= endMs) return first;
    gdb.go();
    await delay(lookEveryMs);
    await gdb.halt();
  }
}
